//! A log's bytes by place: any stretch is the same bytes, payloads are the groups' own, and a resumed stream goes on.

use super::*;
use crate::fixture::av::{Source, Tag, tags};
use crate::playback::Resume;
use proptest::prelude::*;

fn flat(log: &Log, range: Range<u64>) -> Vec<u8> {
    let mut slices = Vec::new();
    log.slices(range, &mut slices);
    slices.iter().flat_map(|s| s.iter().copied()).collect()
}

fn grown(wish: &Options, frames: usize) -> (Source, Log) {
    let (mut source, mut log) = (Source::default(), Log::new(wish));
    for _ in 0..frames {
        let (group, number, frame) = source.next();
        log.append(&group, number, &frame);
    }
    (source, log)
}

fn weir(resume: Option<Resume>) -> Options {
    Options {
        weir: true,
        resume,
        ..Options::default()
    }
}

#[test]
fn payloads_are_the_groups_own_and_heads_lie_together() {
    let (mut source, mut log) = (Source::default(), Log::new(&Options::default()));
    let mut payloads = Vec::new();
    for _ in 0..10 {
        let (group, number, frame) = source.next();
        payloads.push(frame.payload.as_ptr());
        log.append(&group, number, &frame);
    }
    let mut slices = Vec::new();
    log.slices(0..log.end(), &mut slices);
    // One before each payload and one at the end.
    assert_eq!(slices.len(), 2 * payloads.len() + 1);
    let given: Vec<_> = slices
        .iter()
        .skip(1)
        .step_by(2)
        .map(|s| s.as_ptr())
        .collect();
    assert_eq!(given, payloads);
}

#[test]
fn a_plain_stream_starts_at_zero_and_a_marked_one_at_the_streams_time() {
    let (_, plain) = grown(&Options::default(), 30);
    let times = |log: &Log| -> Vec<u32> {
        let tags = tags(&flat(log, 0..log.end()));
        tags.iter().map(|tag| tag.at_ms).collect()
    };
    assert_eq!(times(&plain)[0], 0);
    let (source, marked) = grown(&weir(None), 30);
    assert!(
        times(&marked)
            .iter()
            .all(|at| *at >= source.first_ms as u32)
    );
    let first = tags(&flat(&marked, 0..marked.end()));
    assert_eq!(first.iter().find_map(Tag::mark), Some(source.place(0)));
    assert_eq!(marked.lag(0).ms, plain.lag(0).ms);
}

#[test]
fn a_resumed_stream_goes_on_with_the_next_frame() {
    for last in [0usize, 3, 24, 25, 40, 59] {
        let mut source = Source::default();
        let made: Vec<_> = (0..60).map(|_| source.next()).collect();
        let (epoch, group, frame) = source.place(last);
        let resume = Resume {
            epoch,
            group,
            frame,
        };
        let mut log = Log::new(&weir(Some(resume)));
        for (group, number, frame) in &made {
            log.append(group, *number, frame);
        }
        let tags = tags(&flat(&log, 0..log.end()));
        let frames: Vec<_> = tags.iter().filter_map(Tag::frame).collect();
        assert_eq!(frames, (last + 1..60).collect::<Vec<_>>(), "after {last}");
        if last < 59 {
            let told = tags.iter().find_map(Tag::mark);
            assert_eq!(told, Some(source.place(last + 1)), "after {last}");
            let time = tags.iter().find(|tag| tag.frame().is_some()).unwrap().at_ms;
            assert!(
                tags.iter().all(|tag| tag.at_ms >= time),
                "headers have the first time"
            );
        }
    }
}

#[test]
fn the_time_of_a_marked_stream_starts_anew_with_an_epoch() {
    let (mut source, mut log) = grown(&weir(None), 30);
    source.restart();
    let from = log.end();
    for _ in 0..10 {
        let (group, number, frame) = source.next();
        log.append(&group, number, &frame);
    }
    let all = flat(&log, 0..log.end());
    let after = tags(&all)
        .into_iter()
        .skip_while(|tag| tag.frame() != Some(30));
    assert_eq!(
        after.map(|tag| tag.at_ms).next(),
        Some(source.first_ms as u32)
    );
    assert!(log.lag(from).ms < 1_000 && log.lag(0).ms < 3_000);
}

#[test]
fn what_is_trimmed_is_let_go() {
    let (mut source, mut log) = grown(&Options::default(), 100);
    log.trim(log.end());
    assert_eq!((log.floor(), log.groups.len()), (log.end(), 1));
    let from = log.end();
    let (group, number, frame) = source.next();
    log.append(&group, number, &frame);
    assert!(flat(&log, from..log.end()).len() > frame.payload.len());
    log.shrink();
    assert!(log.entries.capacity() < 100 && log.heads.bytes.capacity() < 1_000);
}

proptest! {
    #[test]
    fn any_stretches_are_the_whole(
        weir: bool,
        mut cuts in proptest::collection::vec(0.0..1.0f64, 0..12),
        frames in 1usize..80,
        trim: bool,
    ) {
        let wish = Options { weir, ..Options::default() };
        let (_, mut log) = grown(&wish, frames);
        let end = log.end();
        let all = flat(&log, 0..end);
        prop_assert_eq!(all.len() as u64, end);
        cuts.sort_by(f64::total_cmp);
        let mut at = 0;
        for to in cuts.iter().map(|cut| (cut * end as f64) as u64).chain([end]) {
            prop_assert_eq!(&flat(&log, at..to)[..], &all[at as usize..to as usize]);
            if let Some((pieces, next)) = log.tear(to) {
                prop_assert_eq!(pieces.concat(), &all[to as usize..next as usize]);
            }
            if trim {
                log.trim(to);
            }
            at = to;
        }
    }
}
