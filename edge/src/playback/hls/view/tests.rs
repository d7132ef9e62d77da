//! What a playlist has, what may be asked of it, and how its texts are shared.

use super::*;
use crate::fixture::{FRAMES, Feed};
use crate::playback::hls::layout::Read;

/// A layout of so many groups of one part each (200 ms), and so many frames of the next.
fn layout(groups: usize, rest: usize) -> Layout {
    let mut feed = Feed::new();
    (0..groups).for_each(|_| feed.group());
    let mut open = feed.open();
    (0..rest).for_each(|_| feed.push(&mut open));
    let track = feed.consumer.clone();
    let mut recent = track.recent(groups + 1);
    recent.reverse();
    let mut layout = Layout::new(Duration::from_secs(60), recent[0].header());
    for group in &recent {
        layout.begin(group.header(), Read::Whole);
        group.frames(0).for_each(|frame| {
            layout.push(frame);
        });
    }
    layout
}

fn view(groups: usize, rest: usize, ended: bool, auth: Auth) -> View {
    let layout = layout(groups, rest);
    View::new(&layout, None, ended, Vec::new(), auth)
}

#[test]
fn a_view_knows_what_it_has_and_what_is_too_far() {
    // Segments 1 to 9 are complete, of one part each; of segment 10 one part of ten frames is.
    let view = view(9, 12, false, Auth::None);
    let rows = [
        (None, true, false),
        (Some((3, None)), true, false),
        (Some((9, None)), true, false),
        (Some((9, Some(0))), true, false),
        // Behind the last part of a segment: the first of the next.
        (Some((9, Some(1))), true, false),
        (Some((9, Some(7))), true, false),
        (Some((10, None)), false, false),
        (Some((10, Some(0))), true, false),
        (Some((10, Some(1))), false, false),
        (Some((10, Some(8))), false, false),
        (Some((10, Some(9))), false, true),
        (Some((11, Some(0))), false, false),
        (Some((12, None)), false, true),
        (Some((u64::MAX, Some(u64::MAX))), false, true),
    ];
    for (at, has, ahead) in rows {
        assert_eq!((view.has(at), view.is_ahead(at)), (has, ahead), "{at:?}");
    }
    let last = Last {
        msn: 10,
        part: Some(0),
    };
    assert_eq!(view.last(), Some(last));
}

#[test]
fn a_stream_that_ended_has_all_that_will_be() {
    let view = view(3, 2, true, Auth::None);
    assert!(view.has(Some((100, None))) && !view.is_ahead(Some((100, None))));
    let form = Form {
        skip: false,
        gzip: false,
    };
    let text = view.text(form, "");
    assert!(text.ends_with(b"#EXT-X-ENDLIST\n"), "{text:?}");
}

#[test]
fn a_text_is_written_and_compressed_once() {
    let view = view(20, 12, false, Auth::None);
    for skip in [false, true] {
        for gzip in [false, true] {
            let (one, two) = (
                view.text(Form { skip, gzip }, "a"),
                view.text(Form { skip, gzip }, "b"),
            );
            assert_eq!(one.as_ptr(), two.as_ptr(), "{skip} {gzip}");
        }
    }
}

#[test]
fn with_segment_tokens_a_text_is_the_sessions_own() {
    let view = view(2, 12, false, Auth::Token);
    let form = Form {
        skip: false,
        gzip: false,
    };
    let text = String::from_utf8(view.text(form, "S1").to_vec()).unwrap();
    let uris = text.matches("m4s").count() + text.matches(".mp4").count();
    assert_eq!(text.matches("?token=S1").count(), uris, "{text}");
    assert!(!text.contains('{'), "{text}");
}

#[test]
fn rates_are_those_of_the_segments() {
    let view = view(5, 1, false, Auth::None);
    let bps = (FRAMES * crate::fixture::PICTURE_BYTES) as u64 * 8 * 5 + CONTAINER_BPS;
    assert_eq!(view.rates(), (bps, bps));
}
