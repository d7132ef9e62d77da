//! What one viewer's stream holds, read back by the demuxer: starts, skips, breaks and ends.

use super::*;
use crate::fixture::av::{Source, Tag, What, tags};
use crate::fixture::{FRAMES, Feed, catalog};
use media::flv::{Demuxer, Event};
use media::frame::Kind;
use std::task::Waker;
use std::time::Duration;

const TERMS: Terms = Terms {
    skip_after: Duration::from_secs(3),
    queue: 8 << 20,
    close_after: Duration::from_secs(20),
};

/// A viewer that demuxes what it gets.
struct Player {
    tags: Tags,
    demuxer: Demuxer,
    skipped: u64,
}

impl Player {
    fn new(feed: &Feed) -> Self {
        let tags = Tags::new(feed.consumer.clone(), Options::default(), TERMS);
        Self {
            tags,
            demuxer: Demuxer::new(),
            skipped: 0,
        }
    }

    /// Takes one filling.
    fn take(&mut self) -> Poll<Option<Filled>> {
        let mut pieces = Pieces::default();
        let filled = self
            .tags
            .poll_fill(&mut Context::from_waker(Waker::noop()), &mut pieces);
        if let Poll::Ready(Some(filled)) = filled {
            assert_eq!(filled.bytes, pieces.remaining());
            self.skipped += filled.dropped.by_kind().iter().map(|(_, n)| n).sum::<u64>();
        }
        while let Some(piece) = pieces.pop() {
            self.demuxer.push(&piece);
        }
        filled
    }

    /// Takes all there is: pictures as kind and milliseconds, and `C` for a configuration.
    fn play(&mut self) -> Vec<String> {
        while let Poll::Ready(Some(_)) = self.take() {}
        let mut seen = Vec::new();
        while let Some(event) = self.demuxer.next().unwrap() {
            match event {
                Event::Config(_) => seen.push("C".to_owned()),
                Event::Frame(_, frame) => {
                    let kind = if frame.kind == Kind::Key { "K" } else { "P" };
                    seen.push(format!("{kind}{}", frame.dts.as_millis()));
                }
                _ => {}
            }
        }
        seen
    }
}

#[test]
fn a_stream_starts_with_its_configuration_and_the_newest_key_frame() {
    let mut feed = Feed::new();
    feed.group();
    feed.group();
    let mut player = Player::new(&feed);
    assert_eq!(player.play(), ["C", "K0", "P40", "P80", "P120", "P160"]);
    let mut group = feed.open();
    feed.push(&mut group);
    assert_eq!(player.play(), ["K200"]);
    assert!(player.take().is_pending());
    feed.push(&mut group);
    assert_eq!(player.play(), ["P240"]);
}

#[test]
fn a_changed_configuration_is_sent_before_its_frames() {
    let mut feed = Feed::new();
    feed.group();
    let mut player = Player::new(&feed);
    player.play();
    feed.group();
    feed.catalog = catalog(2);
    feed.group();
    let seen = player.play();
    assert_eq!(seen[..FRAMES], ["K200", "P240", "P280", "P320", "P360"]);
    assert_eq!(
        seen[FRAMES..],
        ["C", "K400", "P440", "P480", "P520", "P560"]
    );
}

#[test]
fn a_new_epoch_goes_on_in_time() {
    let mut feed = Feed::new();
    feed.group();
    let mut player = Player::new(&feed);
    player.play();
    (feed.epoch, feed.number, feed.at_ms) = (2, 1, 0);
    feed.group();
    assert_eq!(player.play(), ["K180", "P220", "P260", "P300", "P340"]);
}

#[test]
fn the_rest_of_a_broken_group_is_left_out() {
    let mut feed = Feed::new();
    let mut group = feed.open();
    feed.push(&mut group);
    feed.push(&mut group);
    let mut player = Player::new(&feed);
    assert_eq!(player.play(), ["C", "K0", "P40"]);
    drop(group);
    feed.at_ms += 120;
    feed.group();
    assert_eq!(player.play()[..2], ["K200", "P240"]);
}

#[test]
fn a_slow_viewer_goes_on_at_a_key_frame_and_loses_whole_frames() {
    let mut feed = Feed::new();
    let mut group = feed.open();
    feed.push(&mut group);
    feed.push(&mut group);
    let (mut slow, mut quick) = (Player::new(&feed), Player::new(&feed));
    assert_eq!(slow.play(), ["C", "K0", "P40"]);
    quick.play();
    (2..FRAMES).for_each(|_| feed.push(&mut group));
    group.finish();
    for _ in 0..20 {
        feed.group();
        quick.play();
    }
    let seen = slow.play();
    assert_eq!(seen, ["K4000", "P4040", "P4080", "P4120", "P4160"]);
    // Three of the group it was in, and nineteen groups of five.
    assert_eq!((slow.skipped, quick.skipped), (3 + 19 * FRAMES as u64, 0));
}

#[test]
fn a_slow_viewer_keeps_its_sound_and_is_told_where_it_goes_on() {
    let mut source = Source::default();
    drop(source.next());
    let wish = Options {
        weir: true,
        ..Options::default()
    };
    let mut viewer = Tags::new(source.consumer.clone(), wish, TERMS);
    let mut take = || {
        let (mut pieces, mut cx) = (Pieces::default(), Context::from_waker(Waker::noop()));
        let mut dropped = Dropped::default();
        while let Poll::Ready(Some(filled)) = viewer.poll_fill(&mut cx, &mut pieces) {
            dropped = filled.dropped;
        }
        (pieces.copy_to_bytes(pieces.remaining()), dropped)
    };
    let (mut stream, _) = take();
    // Two frames each 40 ms: 3.6 s, which is more than the bound and less than twice that.
    (0..180).for_each(|_| drop(source.next()));
    let (rest, dropped) = take();
    stream = [stream, rest].concat().into();
    let tags = tags(&stream);
    let frames: Vec<_> = tags.iter().filter_map(Tag::frame).collect();
    let last_group = 175;
    for number in 1..=180 {
        let kept = source.made[number] == What::Sound || number >= last_group;
        assert_eq!(frames.contains(&number), kept, "{number}");
    }
    let lost = 181 - frames.len() as u64;
    assert_eq!((dropped.skips, dropped.sound), (1, 0));
    assert_eq!(dropped.disposable + dropped.reference + dropped.key, lost);
    for pair in tags.windows(2).filter(|pair| pair[0].mark().is_some()) {
        let next = pair[1].frame().unwrap();
        assert_eq!(pair[0].mark(), Some(source.place(next)), "{next}");
    }
    let torn = frames.windows(2).filter(|pair| pair[1] != pair[0] + 1);
    assert!(torn.count() > 80, "sound alone for most of it");
}

#[test]
fn a_viewer_within_its_limit_loses_nothing() {
    let mut feed = Feed::new();
    feed.group();
    let mut player = Player::new(&feed);
    player.play();
    (0..14).for_each(|_| feed.group());
    assert_eq!((player.play().len(), player.skipped), (14 * FRAMES, 0));
}

/// What a viewer with this wish gets of a source that made 60 frames.
fn resumed(source: &Source, wish: Options) -> Vec<Tag> {
    let mut viewer = Tags::new(source.consumer.clone(), wish, TERMS);
    let (mut pieces, mut cx) = (Pieces::default(), Context::from_waker(Waker::noop()));
    while let Poll::Ready(Some(_)) = viewer.poll_fill(&mut cx, &mut pieces) {}
    tags(&pieces.copy_to_bytes(pieces.remaining()))
}

#[test]
fn a_resumed_stream_goes_on_where_it_ended() {
    let mut source = Source::default();
    (0..60).for_each(|_| drop(source.next()));
    for last in [3, 24, 49] {
        let (epoch, group, frame) = source.place(last);
        let wish = Options {
            weir: true,
            resume: Some(Resume {
                epoch,
                group,
                frame,
            }),
            ..Options::default()
        };
        let tags = resumed(&source, wish);
        let frames: Vec<_> = tags.iter().filter_map(Tag::frame).collect();
        assert_eq!(frames, (last + 1..60).collect::<Vec<_>>(), "after {last}");
        let marks: Vec<_> = tags.iter().filter_map(Tag::mark).collect();
        assert_eq!(marks[0], source.place(last + 1), "after {last}");
        assert!(marks[1..].iter().all(|(.., frame)| *frame == 0));
    }
    let wish = Options {
        resume: Some(Resume {
            epoch: 99,
            group: 1,
            frame: 0,
        }),
        ..Options::default()
    };
    let frames: Vec<_> = resumed(&source, wish)
        .iter()
        .filter_map(Tag::frame)
        .collect();
    assert_eq!(
        frames,
        (50..60).collect::<Vec<_>>(),
        "another life is not waited for"
    );
}

#[test]
fn a_filling_is_bounded() {
    let mut feed = Feed::new();
    let mut group = feed.open();
    for at_ms in 0..2_000 {
        feed.at_ms = at_ms;
        feed.push(&mut group);
    }
    let mut player = Player::new(&feed);
    let Poll::Ready(Some(filled)) = player.take() else {
        panic!("frames are there")
    };
    assert!(filled.bytes < FILL_BYTES + 1_000 && !player.tags.is_exhausted());
    player.play();
    assert!(player.tags.is_exhausted());
}

#[test]
fn it_ends_with_the_track() {
    let mut feed = Feed::new();
    feed.group();
    let mut player = Player::new(&feed);
    feed.track.end();
    assert_eq!(player.play().len(), 1 + FRAMES);
    assert_eq!(player.take(), Poll::Ready(None));
}

#[test]
fn pieces_are_one_buffer_to_a_writer() {
    let mut pieces = Pieces::default();
    for text in ["head", "", "payload", "tail"] {
        pieces.push(Bytes::from_static(text.as_bytes()));
    }
    pieces.push_front(Bytes::from_static(b"<"));
    let mut slices = [IoSlice::new(&[]); 3];
    assert_eq!(pieces.chunks_vectored(&mut slices), 3);
    assert_eq!((&*slices[0], &*slices[2]), (&b"<"[..], &b"payload"[..]));
    pieces.advance(7);
    assert_eq!((pieces.remaining(), pieces.chunk()), (9, &b"yload"[..]));
    assert_eq!(pieces.copy_to_bytes(9), "yloadtail");
    assert!(!pieces.has_remaining());
}
