//! Each rule broken once is reported, and nothing else is; a legal run is not.

use super::{Ask, Checker, Rule};

const HEAD: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
    #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12,PART-HOLD-BACK=1.2\n\
    #EXT-X-PART-INF:PART-TARGET=0.4\n";

/// A stream of segments of 2 s with 5 parts each, and a discontinuity every tenth, after `parts`
/// parts; the window begins at `first`, and the newest `listed` segments list their parts.
fn playlist(first: usize, parts: usize) -> String {
    let mut text = format!(
        "{HEAD}#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
        first.saturating_sub(1) / 10
    );
    body(&mut text, first, parts, first);
    text
}

/// The same without the segments before `from`, which the player has.
fn delta(first: usize, parts: usize, from: usize) -> String {
    let mut text = format!(
        "{HEAD}#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:{}\n\
         #EXT-X-SKIP:SKIPPED-SEGMENTS={}\n",
        first.saturating_sub(1) / 10,
        from - first
    );
    body(&mut text, from, parts, first);
    text
}

fn body(text: &mut String, from: usize, parts: usize, first: usize) {
    let complete = parts / 5;
    for msn in from..=complete {
        if msn % 10 == 0 && msn > 0 {
            *text += "#EXT-X-DISCONTINUITY\n";
        }
        if msn == first || (msn % 10 == 0 && msn > 0) {
            *text += &format!("#EXT-X-MAP:URI=\"init.{}.mp4\"\n", msn / 10);
        }
        let count = if msn < complete { 5 } else { parts % 5 };
        if count > 0 {
            let (minute, second) = (msn * 2 / 60, msn * 2 % 60);
            *text +=
                &format!("#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:{minute:02}:{second:02}.000Z\n");
        }
        for part in (0..count).filter(|_| msn + 3 >= complete) {
            *text += &format!(
                "#EXT-X-PART:DURATION=0.4,URI=\"part.{}.m4s\"\n",
                msn * 5 + part
            );
        }
        if msn < complete {
            *text += &format!("#EXTINF:2.0,\nseg.{msn}.m4s\n");
        }
    }
    *text += &format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part.{parts}.m4s\"\n");
    *text += &format!("#EXT-X-RENDITION-REPORT:URI=\"x.m3u8\",LAST-MSN={complete},LAST-PART=0\n");
}

fn faults(texts: &[String]) -> Vec<Rule> {
    let mut checker = Checker::new();
    texts.iter().for_each(|text| checker.playlist(text));
    let mut rules: Vec<_> = checker.faults().iter().map(|fault| fault.rule).collect();
    rules.sort();
    rules.dedup();
    rules
}

#[test]
fn a_legal_run_has_no_fault() {
    let mut checker = Checker::new();
    for parts in 1..200 {
        let first = (parts / 5usize).saturating_sub(12);
        let skip = (parts / 5).saturating_sub(6);
        let ask = Ask {
            msn: (parts as u64 - 1) / 5,
            part: Some((parts - 1) % 5),
        };
        let text = if skip > first && parts % 3 != 0 {
            delta(first, parts, skip)
        } else {
            playlist(first, parts)
        };
        checker.reloaded(ask, &text);
        if skip > first {
            checker.playlist(&playlist(first, parts));
        }
    }
    checker.assert_kept(&[]);
    assert_eq!(checker.last().unwrap().end(), (39, Some(4)));
}

/// What replaces what in a playlist of three segments and two parts, and the rule that it breaks.
#[test]
fn each_rule_of_one_playlist_is_held() {
    let rows: [(&str, &str, Rule); 21] = [
        ("#EXTM3U\n", "", Rule::Syntax),
        ("#EXTINF:2.0,\nseg.1.m4s", "seg.1.m4s", Rule::Syntax),
        (
            "DURATION=0.4,URI=\"part.0.",
            "DURATION=x,URI=\"part.0.",
            Rule::Syntax,
        ),
        ("#EXT-X-PART-INF:PART-TARGET=0.4\n", "", Rule::Syntax),
        ("VERSION:9", "VERSION:5", Rule::Version),
        ("CAN-BLOCK-RELOAD=YES", "CAN-BLOCK-RELOAD=NO", Rule::Control),
        ("PART-HOLD-BACK=1.2", "PART-HOLD-BACK=1.1", Rule::Control),
        ("CAN-SKIP-UNTIL=12", "CAN-SKIP-UNTIL=11", Rule::Control),
        ("CAN-SKIP-UNTIL=12", "HOLD-BACK=5", Rule::Control),
        ("TARGETDURATION:2", "TARGETDURATION:1", Rule::Target),
        ("0.4,URI=\"part.1.", "0.401,URI=\"part.1.", Rule::PartTarget),
        ("0.4,URI=\"part.1.", "0.0,URI=\"part.1.", Rule::PartTarget),
        ("0.4,URI=\"part.1.", "0.339,URI=\"part.1.", Rule::PartFill),
        ("EXTINF:2.0,\nseg.1", "EXTINF:1.9,\nseg.1", Rule::PartSum),
        ("#EXT-X-MAP:URI=\"init.0.mp4\"\n", "", Rule::Map),
        (
            "00:00:02.000Z",
            "00:00:02.000Z\n#EXT-X-MAP:URI=\"i\"",
            Rule::Map,
        ),
        ("00:00:02.000Z", "00:00:01.900Z", Rule::Date),
        ("00:00:02.000Z", "00:00:02.100Z", Rule::DateGap),
        ("00:00:02.000Z", "00:02.000Z", Rule::Syntax),
        ("PART,URI=\"part.17", "PART,URI=\"part.16", Rule::Hint),
        ("part.3.m4s", "part.2.m4s", Rule::Uri),
    ];
    for (from, to, rule) in rows {
        let legal = playlist(0, 17);
        assert!(legal.contains(from), "{from}");
        let broken = legal.replacen(from, to, 1);
        let found = faults(&[broken]);
        assert!(found.contains(&rule), "{from} to {to}: {found:?}");
    }
}

/// A response, and what is changed in the next one.
#[test]
fn each_rule_over_time_is_held() {
    let rows: [(&str, &str, Rule); 16] = [
        ("PART-TARGET=0.4", "PART-TARGET=0.41", Rule::Fixed),
        ("PART-HOLD-BACK=1.2", "PART-HOLD-BACK=1.3", Rule::Fixed),
        ("TARGETDURATION:2", "TARGETDURATION:3", Rule::Fixed),
        ("MEDIA-SEQUENCE:2", "MEDIA-SEQUENCE:1", Rule::Sequence),
        ("MEDIA-SEQUENCE:2", "MEDIA-SEQUENCE:90", Rule::Jump),
        (
            "DISCONTINUITY-SEQUENCE:0",
            "DISCONTINUITY-SEQUENCE:1",
            Rule::Discontinuity,
        ),
        ("seg.3.m4s", "seg.x.m4s", Rule::Changed),
        ("EXTINF:2.0,\nseg.3", "EXTINF:1.9,\nseg.3", Rule::Changed),
        (
            "#EXTINF:2.0,\nseg.3",
            "#EXT-X-GAP\n#EXTINF:2.0,\nseg.3",
            Rule::Changed,
        ),
        ("00:00:06.000Z", "00:00:06.001Z", Rule::Changed),
        ("init.0", "init.9", Rule::Changed),
        ("seg.3.m4s", "seg.4.m4s", Rule::Uri),
        ("part.40.m4s", "part.x.m4s", Rule::Parts),
        ("part.51.m4s", "part.x.m4s", Rule::Hint),
        ("LAST-MSN=10", "LAST-MSN=9", Rule::Report),
        ("init.1", "init.0", Rule::Changed),
    ];
    for (from, to, rule) in rows {
        let (before, after) = (playlist(2, 51), playlist(2, 52));
        let (before, after) = match rule {
            Rule::Changed if from == "init.1" => (playlist(2, 57), playlist(2, 58)),
            _ => (before, after),
        };
        assert!(after.contains(from), "{from} in {after}");
        let found = faults(&[before, after.replacen(from, to, 1)]);
        assert!(found.contains(&rule), "{from} to {to}: {found:?}");
    }
}

#[test]
fn parts_that_vanish_early_or_stay_for_long_are_faults() {
    let strip = |text: &str, parts: std::ops::Range<usize>| -> String {
        let hidden = |line: &&str| {
            parts
                .clone()
                .any(|part| line.contains(&format!("PART:DURATION=0.4,URI=\"part.{part}.")))
        };
        let kept: Vec<_> = text.lines().filter(|line| !hidden(line)).collect();
        kept.join("\n") + "\n"
    };
    let early = strip(&playlist(2, 52), 40..45);
    assert_eq!(faults(&[playlist(2, 51), early]), [Rule::Parts]);
    let part = "#EXT-X-PART:DURATION=2.0,URI=\"old\"\n#EXTINF:2.0,\nseg.2.m4s";
    let long = playlist(2, 52).replace("#EXTINF:2.0,\nseg.2.m4s", part);
    assert!(faults(&[long]).contains(&Rule::Parts));
}

#[test]
fn a_window_that_becomes_too_short_is_a_fault() {
    assert_eq!(faults(&[playlist(0, 16), playlist(1, 16)]), [Rule::Window]);
    assert_eq!(faults(&[playlist(0, 20), playlist(1, 20)]), []);
}

#[test]
fn what_comes_after_the_end_is_a_fault() {
    let hint = "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part.50.m4s\"\n";
    let ended = playlist(2, 50).replace(hint, "") + "#EXT-X-ENDLIST\n";
    assert_eq!(faults(&[ended.clone(), ended.clone()]), []);
    assert_eq!(faults(&[ended.clone(), playlist(2, 55)]), [Rule::Ended]);
    assert_eq!(faults(&[ended, playlist(2, 50)]), [Rule::Ended]);
}

#[test]
fn delta_updates_are_held_against_what_the_player_has() {
    let full = || playlist(2, 50);
    assert_eq!(faults(&[full(), delta(2, 51, 4)]), []);
    assert_eq!(faults(&[full(), delta(2, 50, 4)]), []);
    assert_eq!(faults(&[delta(2, 51, 4)]), [Rule::Skip], "nothing is known");
    assert_eq!(faults(&[full(), delta(2, 51, 5)]), [Rule::Skip], "too new");
    let old = delta(2, 51, 4).replace("VERSION:9", "VERSION:8");
    assert_eq!(faults(&[full(), old]), [Rule::Version]);
    let other = delta(2, 50, 4).replace("seg.5.m4s", "seg.5.x");
    assert!(faults(&[full(), other]).contains(&Rule::Delta));
}

#[test]
fn a_blocking_reload_that_is_answered_early_is_a_fault() {
    let rows = [
        (10, Some(1), true),
        (10, Some(2), false),
        (10, None, false),
        (9, None, true),
        (9, Some(7), true),
        (11, Some(0), false),
    ];
    for (msn, part, answered) in rows {
        let mut checker = Checker::new();
        checker.reloaded(Ask { msn, part }, &playlist(2, 52));
        let rules: Vec<_> = checker.faults().iter().map(|fault| fault.rule).collect();
        let expect: &[Rule] = if answered { &[] } else { &[Rule::Blocking] };
        assert_eq!(rules, expect, "{msn} {part:?}");
    }
}
