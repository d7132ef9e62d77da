//! Groups of every length, whole and lost, and the windows that they make.

use super::*;
use crate::fixture::{catalog, picture};
use bytes::Bytes;
use proptest::prelude::*;

const FRAME_MS: i64 = 40;

/// Decides numbers as an origin does, and makes the groups.
struct Source {
    header: Header,
    at_ms: i64,
}

impl Source {
    fn new() -> Self {
        let header = Header {
            epoch: 7,
            number: 1,
            wallclock_us: 1_700_000_000_000_000,
            first_msn: 100,
            first_part: 1_000,
            discontinuities: 50,
            segment_max: Timestamp::from_millis(6_000),
            part_target: Timestamp::from_millis(400),
            config_id: 3,
            discontinuity: false,
            catalog: catalog(1),
        };
        Self { header, at_ms: 0 }
    }

    /// A group of so many pictures; the header of the next one follows from it.
    fn group(&mut self, pictures: usize) -> (Header, Vec<Frame>) {
        let frames = (0..pictures as i64).map(|nth| {
            let kind = if nth == 0 { Kind::Key } else { Kind::Reference };
            picture(kind, self.at_ms + nth * FRAME_MS)
        });
        let (header, frames) = (self.header.clone(), frames.collect::<Vec<_>>());
        let mut outline = Outline::new(&header);
        frames.iter().for_each(|frame| {
            outline.push(frame);
        });
        outline.finish();
        let segments = outline.complete_segments();
        let parts: usize = segments.iter().map(|segment| segment.parts.len()).sum();
        let length_ms = pictures as i64 * FRAME_MS;
        self.at_ms += length_ms;
        self.header = Header {
            number: header.number + 1,
            wallclock_us: header.wallclock_us + length_ms as u64 * 1_000,
            first_msn: header.first_msn + segments.len() as u64,
            first_part: header.first_part + parts as u64,
            ..header.clone()
        };
        (header, frames)
    }
}

fn feed(layout: &mut Layout, (header, frames): &(Header, Vec<Frame>), before: Read) {
    layout.begin(header, before);
    frames.iter().for_each(|frame| {
        layout.push(frame);
    });
}

fn window_of(seconds: u64) -> Layout {
    Layout::new(Duration::from_secs(seconds), &Source::new().header)
}

/// (number, milliseconds, is a gap) of each complete segment.
fn segments(layout: &Layout) -> Vec<(u64, i64, bool)> {
    let segments = layout.segments().iter();
    segments
        .map(|s| (s.msn, s.duration.as_millis(), s.gap))
        .collect()
}

#[test]
fn a_group_is_a_segment_of_parts() {
    let mut source = Source::new();
    let (header, frames) = source.group(25);
    let mut outline = Outline::new(&header);
    let completed = frames.iter().filter(|frame| outline.push(frame)).count();
    assert_eq!((completed, outline.next_part()), (2, 1_002));
    assert!(outline.complete_segments().is_empty());
    outline.finish();
    let [segment] = outline.complete_segments() else {
        panic!("{outline:?}");
    };
    let parts: Vec<_> = segment
        .parts
        .iter()
        .map(|part| {
            let (from, to) = (part.frames.start, part.frames.end);
            (
                part.number,
                from,
                to,
                part.duration.as_millis(),
                part.independent,
            )
        })
        .collect();
    assert_eq!(
        parts,
        [
            (1_000, 0, 10, 400, true),
            (1_001, 10, 20, 400, false),
            (1_002, 20, 25, 200, false)
        ]
    );
    assert_eq!((segment.msn, segment.duration.as_millis()), (100, 1_000));
    assert_eq!((outline.next_part(), outline.next_msn()), (1_003, 101));
    assert_eq!(outline.open_segment(), None);
}

#[test]
fn a_long_group_is_several_segments_with_their_own_times() {
    let mut source = Source::new();
    let (header, frames) = source.group(250);
    let mut outline = Outline::new(&header);
    frames.iter().for_each(|frame| {
        outline.push(frame);
    });
    let complete = outline.complete_segments();
    assert_eq!(complete.len(), 1);
    assert_eq!(complete[0].duration.as_millis(), 6_000);
    outline.finish();
    let segments = outline.complete_segments();
    let times: Vec<_> = segments
        .iter()
        .map(|s| {
            (
                s.msn,
                s.wallclock_us - header.wallclock_us,
                s.duration.as_millis(),
            )
        })
        .collect();
    assert_eq!(times, [(100, 0, 6_000), (101, 6_000_000, 4_000)]);
    assert!(!segments[1].parts[0].independent);
}

#[test]
fn the_window_slides() {
    let (mut source, mut layout) = (Source::new(), window_of(20));
    for _ in 0..30 {
        let group = source.group(50);
        feed(&mut layout, &group, Read::Whole);
    }
    layout.close(Read::Whole);
    let found = segments(&layout);
    let expected: Vec<_> = (120..130).map(|msn| (msn, 2_000, false)).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_is_lost_is_a_gap_and_numbers_go_on() {
    let (mut source, mut layout) = (Source::new(), window_of(60));
    feed(&mut layout, &source.group(50), Read::Whole);
    let (header, frames) = source.group(50);
    feed(&mut layout, &(header, frames[..20].to_vec()), Read::Whole);
    // The rest of that group is lost, and the next two.
    source.group(50);
    source.group(25);
    feed(&mut layout, &source.group(50), Read::Lost);
    layout.close(Read::Whole);
    assert_eq!(
        segments(&layout),
        [
            (100, 2_000, false),
            (101, 400, true),
            (102, 2_300, true),
            (103, 2_300, true),
            (104, 2_000, false)
        ]
    );
    let parts: Vec<_> = layout.segments()[4]
        .parts
        .iter()
        .map(|part| part.number)
        .collect();
    assert_eq!(parts[0], 1_000 + 5 + 5 + 5 + 3);
}

#[test]
fn a_window_starts_anew_where_too_much_is_missing() {
    let (mut source, mut layout) = (Source::new(), window_of(60));
    feed(&mut layout, &source.group(50), Read::Whole);
    (0..40).for_each(|_| {
        source.group(50);
    });
    feed(&mut layout, &source.group(50), Read::Whole);
    layout.close(Read::Whole);
    assert_eq!(segments(&layout), [(141, 2_000, false)]);
}

#[test]
fn discontinuities_among_the_lost_are_counted() {
    let (mut source, mut layout) = (Source::new(), window_of(60));
    feed(&mut layout, &source.group(50), Read::Whole);
    source.group(50);
    source.header.discontinuities += 2;
    source.header.discontinuity = true;
    feed(&mut layout, &source.group(50), Read::Whole);
    layout.close(Read::Whole);
    let said: Vec<_> = layout
        .segments()
        .iter()
        .map(|s| (s.discontinuity, s.discontinuities, s.gap))
        .collect();
    assert_eq!(
        said,
        [(false, 50, false), (true, 51, true), (true, 52, false)]
    );
}

#[test]
fn sound_alone_is_cut_as_well() {
    let mut source = Source::new();
    let mut catalog = (*source.header.catalog).clone();
    catalog.tracks[0].id = TrackId::AUDIO;
    source.header.catalog = Arc::new(catalog);
    let mut outline = Outline::new(&source.header);
    for nth in 0..50 {
        let frame = Frame {
            track: TrackId::AUDIO,
            payload: Bytes::from_static(b"sound"),
            ..picture(Kind::Key, nth * FRAME_MS)
        };
        outline.push(&frame);
    }
    outline.finish();
    let [segment] = outline.complete_segments() else {
        panic!("{outline:?}");
    };
    assert_eq!(segment.parts.len(), 5);
    assert!(segment.parts.iter().all(|part| part.independent));
    assert_eq!(segment.bytes(), 250);
}

proptest! {
    /// However groups are long, lost or cut off: numbers follow each other, sums are right, nothing exceeds its limit.
    #[test]
    fn a_window_is_legal(groups in prop::collection::vec((1_usize..400, 0_u8..6), 1..40)) {
        let (mut source, mut layout) = (Source::new(), window_of(60));
        let mut read = Read::Whole;
        for (pictures, fate) in groups {
            let (header, frames) = source.group(pictures);
            match fate {
                0 => {}
                1 => {
                    feed(&mut layout, &(header, frames[..pictures / 2].to_vec()), read);
                    read = Read::Lost;
                }
                _ => {
                    feed(&mut layout, &(header, frames), read);
                    read = Read::Whole;
                }
            }
            let msns: Vec<_> = layout.segments().iter().map(|s| s.msn).collect();
            prop_assert!(msns.windows(2).all(|two| two[0] + 1 == two[1]), "{msns:?}");
            for segment in layout.segments() {
                let sum = segment.parts.iter().fold(Timestamp::ZERO, |sum, p| sum + p.duration);
                prop_assert!(segment.gap || sum == segment.duration);
                prop_assert!(segment.duration <= Timestamp::from_millis(6_000));
                let short = |p: &Part| p.duration <= Timestamp::from_millis(400);
                prop_assert!(segment.parts.iter().all(short));
            }
            let open = layout.open().and_then(Outline::open_segment).map(|s| s.msn);
            prop_assert!(open.is_none_or(|open| msns.last().is_none_or(|last| last + 1 == open)));
        }
    }
}
