//! Values, and the texts that must come of them; rules over time are held by `tests/harness/hls.rs`.

use super::*;

struct Names;

impl Uris for Names {
    fn init(&self, config_id: u32) -> impl Display {
        format!("init.{config_id}.mp4")
    }
    fn segment(&self, msn: u64) -> impl Display {
        format!("seg.{msn}.m4s")
    }
    fn part(&self, number: u64) -> impl Display {
        format!("part.{number}.m4s")
    }
}

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// 2026-01-01T00:00:00Z.
const NEW_YEAR_US: u64 = 1_767_225_600_000_000;

/// A segment of parts that last this long, the first of them numbered `first`.
fn segment(at_ms: u64, first: u64, parts: &[i64]) -> Segment {
    let parts = parts.iter().zip(first..).map(|(part, number)| Part {
        number,
        duration: ms(*part),
        independent: number == first,
    });
    Segment {
        wallclock_us: NEW_YEAR_US + at_ms * 1000,
        config_id: 1,
        discontinuities: 0,
        media: Content::Parts(parts.collect()),
    }
}

fn media(segments: Vec<Segment>, edge: Edge) -> Media {
    Media {
        terms: Terms {
            segment_max: ms(1500),
            part_target: ms(400),
        },
        first_msn: 100,
        discontinuities: 7,
        segments,
        edge,
        reports: Vec::new(),
    }
}

/// The text after the tags that are always there.
fn body(media: &Media, form: Form) -> String {
    let text = media.text(form, &Names);
    let (head, body) = text.split_once("#EXT-X-DISCONTINUITY-SEQUENCE:").unwrap();
    assert_eq!(
        head,
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12,HOLD-BACK=6,\
         PART-HOLD-BACK=1.2\n#EXT-X-PART-INF:PART-TARGET=0.4\n#EXT-X-MEDIA-SEQUENCE:100\n"
    );
    body.to_owned()
}

#[test]
fn a_segment_that_grows_lists_its_parts_and_hints_at_the_next() {
    let segments = vec![segment(0, 30, &[400, 333]), segment(733, 32, &[400])];
    let expect = "7\n#EXT-X-MAP:URI=\"init.1.mp4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000Z\n\
        #EXT-X-PART:DURATION=0.4,URI=\"part.30.m4s\",INDEPENDENT=YES\n\
        #EXT-X-PART:DURATION=0.333,URI=\"part.31.m4s\"\n\
        #EXTINF:0.733,\nseg.100.m4s\n\
        #EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.733Z\n\
        #EXT-X-PART:DURATION=0.4,URI=\"part.32.m4s\",INDEPENDENT=YES\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part.33.m4s\"\n";
    assert_eq!(
        body(&media(segments, Edge::Open { hint: 33 }), Form::Full),
        expect
    );
}

#[test]
fn other_renditions_are_reported_after_the_hint() {
    let mut media = media(
        vec![segment(0, 1, &[400])],
        Edge::Complete { hint: Some(2) },
    );
    let report = |uri: &str, part| Report {
        uri: uri.into(),
        msn: 9,
        part,
    };
    media.reports = vec![
        report("../x/media.m3u8", Some(3)),
        report("../y/media.m3u8", None),
    ];
    let text = body(&media, Form::Full);
    let expect = "seg.100.m4s\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part.2.m4s\"\n\
        #EXT-X-RENDITION-REPORT:URI=\"../x/media.m3u8\",LAST-MSN=9,LAST-PART=3\n\
        #EXT-X-RENDITION-REPORT:URI=\"../y/media.m3u8\",LAST-MSN=9\n";
    assert!(text.ends_with(expect), "{text}");
}

#[test]
fn a_stream_that_ended_has_segments_alone() {
    let text = body(
        &media(vec![segment(0, 1, &[400, 400])], Edge::Ended),
        Form::Full,
    );
    assert!(
        text.ends_with("#EXTINF:0.8,\nseg.100.m4s\n#EXT-X-ENDLIST\n"),
        "{text}"
    );
    assert!(!text.contains("PART") && !text.contains("HINT"), "{text}");
}

#[test]
fn discontinuities_gaps_and_configurations_are_told_where_they_are() {
    let mut segments = vec![
        segment(0, 1, &[1000]),
        segment(1000, 2, &[]),
        segment(2000, 2, &[1000]),
    ];
    segments[0].discontinuities = 1;
    segments[1].media = Content::Gap(ms(1000));
    segments[2].discontinuities = 2;
    segments[2].config_id = 4;
    let text = body(&media(segments, Edge::Complete { hint: None }), Form::Full);
    let tags: Vec<_> = text
        .lines()
        .filter(|line| !line.contains("PART") && !line.contains("DATE"))
        .collect();
    let expect = [
        "6",
        "#EXT-X-DISCONTINUITY",
        "#EXT-X-MAP:URI=\"init.1.mp4\"",
        "#EXTINF:1.0,",
        "seg.100.m4s",
        "#EXT-X-GAP",
        "#EXTINF:1.0,",
        "seg.101.m4s",
        "#EXT-X-DISCONTINUITY",
        "#EXT-X-DISCONTINUITY",
        "#EXT-X-MAP:URI=\"init.4.mp4\"",
        "#EXTINF:1.0,",
        "seg.102.m4s",
    ];
    assert_eq!(tags, expect);
}

/// Segments of a second; how many a delta leaves out, and how many list their parts.
#[test]
fn a_delta_leaves_out_what_is_past_the_skip_boundary() {
    for (count, skipped) in [(1, 0), (12, 0), (13, 1), (20, 8)] {
        let segments: Vec<_> = (0..count).map(|n| segment(n * 1000, n, &[1000])).collect();
        let media = media(segments, Edge::Complete { hint: None });
        let (full, delta) = (body(&media, Form::Full), body(&media, Form::Delta));
        if skipped == 0 {
            assert_eq!(delta, full);
            continue;
        }
        let tag = format!("7\n#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}\n");
        let kept = delta.strip_prefix(&tag).unwrap();
        let from = full.find(&format!("seg.{}.m4s\n", 99 + skipped)).unwrap();
        assert_eq!(kept, &full[from + "seg.000.m4s\n".len()..]);
        assert_eq!(
            full.matches("#EXT-X-PART:").count(),
            6,
            "three target durations"
        );
    }
}

#[test]
fn a_delta_names_a_configuration_only_where_it_changes() {
    let mut segments: Vec<_> = (0..20).map(|n| segment(n * 1000, n, &[1000])).collect();
    segments[19].config_id = 2;
    let delta = body(&media(segments, Edge::Complete { hint: None }), Form::Delta);
    let maps: Vec<_> = delta.lines().filter(|line| line.contains("MAP")).collect();
    assert_eq!(maps, ["#EXT-X-MAP:URI=\"init.2.mp4\""]);
}

#[test]
fn an_empty_window_is_a_playlist() {
    let text = body(
        &media(Vec::new(), Edge::Complete { hint: Some(1) }),
        Form::Delta,
    );
    assert_eq!(
        text,
        "7\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part.1.m4s\"\n"
    );
}

#[test]
fn durations_are_exact_decimals() {
    let rows = [
        (0, "0.0"),
        (1, "0.000001"),
        (400_000, "0.4"),
        (333_334, "0.333334"),
        (6_000_000, "6.0"),
        (12_050_000, "12.05"),
        (-5, "0.0"),
    ];
    for (us, expect) in rows {
        assert_eq!(Seconds(Timestamp::from_micros(us)).to_string(), expect);
    }
}

#[test]
fn the_target_duration_is_whole_seconds_and_never_less() {
    for (segment_max, expect) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (6000, 6)] {
        let terms = Terms {
            segment_max: ms(segment_max),
            part_target: ms(400),
        };
        assert_eq!(Media::target(terms), expect);
    }
}

#[test]
fn dates_are_those_of_the_calendar() {
    let rows = [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
        (NEW_YEAR_US - 1, "2025-12-31T23:59:59.999Z"),
        (4_107_542_400_000_000, "2100-03-01T00:00:00.000Z"),
    ];
    for (us, expect) in rows {
        assert_eq!(Date(us).to_string(), expect);
    }
}
