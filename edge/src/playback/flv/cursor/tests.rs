//! What viewers of any speed get: whole tags, in order, decodable, told where they go on, and all that is missing
//! counted.

use super::*;
use crate::fixture::av::{Source, Tag, What, tags};
use crate::playback::Options;
use proptest::prelude::*;
use std::time::Duration;

const TERMS: Terms = Terms {
    skip_after: Duration::from_millis(1_000),
    queue: 1 << 20,
    close_after: Duration::from_secs(20),
};

/// A log, and one viewer of it who takes bytes by hand.
struct Play {
    source: Source,
    log: Log,
    cursor: Cursor,
    dropped: Dropped,
    received: Vec<u8>,
}

impl Play {
    fn new(wish: &Options) -> Self {
        Self::of(Source::default(), wish)
    }

    fn of(source: Source, wish: &Options) -> Self {
        let log = Log::new(wish);
        Self {
            cursor: Cursor::join(Pieces::default(), 0, &log),
            source,
            log,
            dropped: Dropped::default(),
            received: Vec::new(),
        }
    }

    /// The source makes so many frames.
    fn grow(&mut self, frames: usize) {
        for _ in 0..frames {
            let (group, number, frame) = self.source.next();
            self.log.append(&group, number, &frame);
        }
    }

    /// The viewer is looked at, and its socket takes so many bytes.
    fn take(&mut self, mut bytes: usize, terms: &Terms) {
        loop {
            self.cursor.judge(&self.log, terms, &mut self.dropped);
            let plan = self.cursor.plan(&self.log);
            let mut slices = Vec::new();
            self.cursor.slices(&self.log, &plan, &mut slices);
            let flat: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
            let taken = flat.len().min(bytes);
            self.received.extend_from_slice(&flat[..taken]);
            self.cursor
                .commit(&self.log, plan, taken, &mut self.dropped);
            self.log.trim(self.cursor.at());
            bytes -= taken;
            if bytes == 0 || taken == 0 {
                return;
            }
        }
    }

    fn tags(&self) -> Vec<Tag> {
        tags(&self.received)
    }

    /// The numbers of the frames received, counted over the whole source.
    fn frames(&self) -> Vec<usize> {
        self.tags().iter().filter_map(Tag::frame).collect()
    }
}

#[test]
fn who_keeps_up_gets_everything() {
    let mut play = Play::new(&Options::default());
    for _ in 0..50 {
        play.grow(7);
        play.take(usize::MAX, &TERMS);
        assert!(play.cursor.is_level(&play.log));
    }
    assert_eq!(play.frames(), (0..350).collect::<Vec<_>>());
    assert_eq!(play.dropped, Dropped::default());
}

#[test]
fn who_is_asked_to_leave_is_asked_between_two_tags() {
    let wish = Options {
        weir: true,
        ..Options::default()
    };
    let patient = Terms {
        skip_after: Duration::from_secs(1_000),
        queue: 1 << 30,
        ..TERMS
    };
    let mut play = Play::new(&wish);
    play.grow(3);
    let asking = play.log.asking();
    let Play { cursor, log, .. } = &mut play;
    assert!(!cursor.say(asking.clone(), log), "nothing was written yet");
    let mut asked = 0;
    for bytes in 1..60 {
        play.grow(1);
        play.take(bytes, &patient);
        let Play { cursor, log, .. } = &mut play;
        asked += usize::from(cursor.say(asking.clone(), log));
    }
    play.take(usize::MAX, &patient);
    assert_eq!(play.frames(), (0..62).collect::<Vec<_>>());
    let said = play.tags().iter().filter(|tag| tag.asks()).count();
    assert!(asked > 50 && said == asked, "{said} of {asked}");
}

#[test]
fn half_the_bound_behind_only_disposable_pictures_go() {
    let mut play = Play::new(&Options::default());
    play.grow(2);
    play.take(usize::MAX, &TERMS);
    // 25 pictures and sounds a second: 0.7 s.
    play.grow(35);
    play.take(usize::MAX, &TERMS);
    let Dropped { disposable, .. } = play.dropped;
    let only = Dropped {
        disposable,
        ..Dropped::default()
    };
    assert!(disposable > 0 && play.dropped == only, "{:?}", play.dropped);
}

#[test]
fn at_the_bound_pictures_go_to_the_newest_key_frame_and_sound_stays() {
    let mut play = Play::new(&Options::default());
    play.grow(2);
    play.take(usize::MAX, &TERMS);
    play.grow(80);
    play.take(usize::MAX, &TERMS);
    assert_eq!((play.dropped.skips, play.dropped.sound), (1, 0));
    let kinds: Vec<_> = play.frames().iter().map(|n| play.source.made[*n]).collect();
    let sounds = play
        .source
        .made
        .iter()
        .filter(|w| **w == What::Sound)
        .count();
    assert_eq!(kinds.iter().filter(|w| **w == What::Sound).count(), sounds);
    let newest = play
        .source
        .made
        .iter()
        .rposition(|w| *w == What::Key)
        .unwrap();
    let mut pictures = play
        .frames()
        .into_iter()
        .filter(|n| play.source.made[*n] != What::Sound);
    assert_eq!(pictures.nth(1), Some(newest));
}

#[test]
fn without_a_newer_key_frame_pictures_wait_for_the_next() {
    let mut play = Play::of(Source::with_groups_of(200), &Options::default());
    play.grow(10);
    play.take(usize::MAX, &TERMS);
    play.grow(80);
    play.take(usize::MAX, &TERMS);
    play.grow(80);
    play.take(usize::MAX, &TERMS);
    let last_picture = |play: &Play| {
        let frames = play.frames();
        frames
            .into_iter()
            .rfind(|n| play.source.made[*n] != What::Sound)
    };
    assert!(last_picture(&play).unwrap() < 10);
    play.grow(40);
    play.take(usize::MAX, &TERMS);
    // 207 and 209 are sound; 208 is spared by a viewer who is still 0.8 s behind.
    assert_eq!(last_picture(&play), Some(206));
    assert!(play.frames().contains(&200) && play.cursor.is_level(&play.log));
}

#[test]
fn sound_that_is_too_far_behind_goes_too() {
    let mut play = Play::new(&Options::default());
    play.grow(2);
    play.take(usize::MAX, &TERMS);
    for _ in 0..200 {
        play.grow(1);
        play.take(0, &TERMS);
        let floor = play.log.lag(play.cursor.at());
        assert!(floor.ms <= 2 * 1_000 + 40, "{floor:?}");
    }
    play.take(usize::MAX, &TERMS);
    assert!(play.dropped.sound > 0 && play.cursor.is_level(&play.log));
}

#[test]
fn sound_alone_is_bounded() {
    let mut play = Play::of(Source::of_sound(), &Options::default());
    play.grow(10);
    play.take(usize::MAX, &TERMS);
    for _ in 0..200 {
        play.grow(1);
        play.take(0, &TERMS);
        assert!(play.log.lag(play.cursor.at()).ms <= 2_040);
    }
    assert!(play.dropped.sound > 0 && play.dropped.skips > 0);
}

#[test]
fn bytes_are_bounded_as_time_is() {
    let terms = Terms {
        queue: 8 << 10,
        skip_after: Duration::from_secs(60),
        ..TERMS
    };
    let mut play = Play::new(&Options::default());
    play.grow(2);
    play.take(usize::MAX, &terms);
    for _ in 0..1_000 {
        play.grow(1);
        play.take(0, &terms);
    }
    let before = play.received.len();
    play.take(usize::MAX, &terms);
    let (owed, group) = (play.received.len() - before, 25 * 800);
    assert!(
        play.dropped.skips > 0 && owed <= 2 * (8 << 10) + group,
        "{owed}"
    );
}

#[test]
fn what_a_viewer_came_with_does_not_count() {
    let mut play = Play::of(Source::with_groups_of(200), &Options::default());
    play.grow(150);
    play.cursor = Cursor::join(Pieces::default(), 0, &play.log);
    while !play.cursor.is_level(&play.log) {
        play.take(2_000, &TERMS);
    }
    assert_eq!(play.frames().len(), 150);
    // From then on it does.
    play.grow(45);
    play.take(usize::MAX, &TERMS);
    assert!(play.dropped.disposable > 0);
}

#[test]
fn a_responses_head_goes_first() {
    let mut play = Play::new(&Options::default());
    play.grow(2);
    let mut head = Pieces::default();
    head.push(Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n"));
    play.cursor = Cursor::join(head, 0, &play.log);
    play.take(5, &TERMS);
    play.take(usize::MAX, &TERMS);
    assert!(play.received.starts_with(b"HTTP/1.1 200 OK\r\n\r\nFLV"));
}

#[test]
fn sound_goes_on_over_a_link_of_half_the_bitrate() {
    for group in [25, 100, 200] {
        let mut play = Play::of(Source::with_groups_of(group), &Options::default());
        let made = |play: &Play| {
            let sizes = play.source.made.iter().map(|what| match what {
                What::Key => 3_019,
                What::Reference => 719,
                What::Disposable => 319,
                What::Sound => 77,
            });
            sizes.sum::<usize>()
        };
        let mut most = 0;
        let mut offered = 0;
        for _ in 0..25 * 120 {
            play.grow(2);
            let share = made(&play) / 2;
            play.take(share - offered, &TERMS);
            offered = share;
            most = most.max(play.log.lag(play.cursor.at()).ms);
        }
        assert_eq!(play.dropped.sound, 0, "{group}: {:?}", play.dropped);
        assert!(most < 2_000, "{most}");
    }
}

fn wish(weir: bool) -> Options {
    Options {
        weir,
        ..Options::default()
    }
}

/// Checks all that must hold of what a viewer received.
fn check(play: &Play) {
    let made = &play.source.made;
    let frames = play.frames();
    assert!(frames.is_sorted_by(|a, b| a < b), "in order");
    let mut times = [0; 2];
    for tag in play.tags() {
        if let Some(number) = tag.frame() {
            let time = &mut times[usize::from(made[number] == What::Sound)];
            assert!(tag.at_ms >= *time, "time steps back at {number}");
            *time = tag.at_ms;
        }
    }
    let mut intact = None;
    let mut expected = 0;
    for &number in &frames {
        let lost = &made[expected..number];
        if lost
            .iter()
            .any(|w| matches!(w, What::Key | What::Reference))
        {
            intact = None;
        }
        match made[number] {
            What::Key => intact = Some(()),
            What::Reference | What::Disposable => assert!(intact.is_some(), "{number} refers"),
            What::Sound => {}
        }
        expected = number + 1;
    }
    let dropped: u64 = play.dropped.by_kind().iter().map(|(_, n)| n).sum();
    assert_eq!(
        dropped as usize + frames.len(),
        made.len(),
        "all are counted"
    );
}

/// Checks that a viewer who asked for it is told of each group and after each gap.
fn check_marks(play: &Play) {
    let (mut told, mut expected) = (None, 0);
    for tag in play.tags() {
        if let Some(place) = tag.mark() {
            told = Some(place);
        } else if let Some(number) = tag.frame() {
            let (place, first) = (play.source.place(number), number == 0);
            let must = first || number != expected || place.2 == 0;
            assert!(!must || told.is_some(), "{number} comes untold");
            assert!(
                told.is_none_or(|told| told == place),
                "{told:?} is not {place:?}"
            );
            (told, expected) = (None, number + 1);
        }
    }
}

proptest! {
    #[test]
    fn any_viewer_gets_whole_decodable_tags(
        weir: bool,
        group in 3usize..60,
        skip_ms in 100u64..2_000,
        queue in 2_000u64..60_000,
        steps in proptest::collection::vec((0usize..20, 0usize..9_000), 1..80),
    ) {
        let terms = Terms { skip_after: Duration::from_millis(skip_ms), queue, ..TERMS };
        let mut play = Play::of(Source::with_groups_of(group), &wish(weir));
        for (frames, bytes) in steps {
            play.grow(frames);
            play.take(bytes, &terms);
        }
        play.take(usize::MAX, &terms);
        prop_assert!(play.cursor.is_through(&play.log));
        check(&play);
        if weir {
            check_marks(&play);
        }
    }
}
