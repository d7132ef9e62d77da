//! Holds the rules of rfc8216bis over all the playlists that one player was given, in their order.
//!
//! It shares nothing with the code that writes playlists. A response is parsed here and by m3u8-rs,
//! a delta update is put together with what the player has, and the whole is held against itself
//! and against everything that was said before. A fault names its rule, so that a test of input
//! that cannot keep one (a clock that jumps, frames at any time) can leave that one out.

use std::collections::BTreeMap;

mod parse;
mod rules;
// Benchmarks share the harness and run no tests.
#[allow(unused_imports)]
mod tests;
pub mod watch;

pub use parse::{Playlist, Segment};

/// What a playlist can break; sections are those of draft-pantos-hls-rfc8216bis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// It parses, here and by m3u8-rs (4.1, 4.2).
    Syntax,
    /// A feature has the version that it needs (8).
    Version,
    /// EXT-X-SERVER-CONTROL: blocking reload, hold-backs and skip boundary large enough (4.4.3.8).
    Control,
    /// Target duration, part target and server control never change (6.2.1).
    Fixed,
    /// EXTINF rounded is at most the target duration (4.4.3.1).
    Target,
    /// A part is at most the part target (4.4.3.7).
    PartTarget,
    /// A part is at least 85 % of it, but for a segment's last and independent ones (4.4.4.9).
    PartFill,
    /// The parts of a complete segment sum up to it.
    PartSum,
    /// Parts are only added, and stay until three target durations have passed (6.2.2).
    Parts,
    /// The media sequence number never goes back, nor does the playlist's end (6.2.2).
    Sequence,
    /// The new playlist begins where the old one ends, or before.
    Jump,
    /// A segment's discontinuity sequence number never changes, nor goes back (6.2.2).
    Discontinuity,
    /// What was said of a segment stays: URI, duration, date, init segment, gap (6.2.1).
    Changed,
    /// A URI belongs to one segment or part.
    Uri,
    /// Each segment has an init segment, which only changes at a discontinuity (4.4.4.5).
    Map,
    /// Program date times go forward, and not slower than durations (4.4.4.6).
    Date,
    /// Nor faster: nothing is missing between two segments.
    DateGap,
    /// Segments are only removed while three target durations stay (6.2.2).
    Window,
    /// The part that was hinted at is the next one (4.4.5.3).
    Hint,
    /// A delta update leaves out only what is past the skip boundary and known (6.2.5.1).
    Skip,
    /// A delta update says what the full playlist of the same moment says.
    Delta,
    /// A blocking reload is answered with what was asked for, or later (6.2.5.2).
    Blocking,
    /// Other renditions' playlists go forward (4.4.5.4).
    Report,
    /// Nothing comes after EXT-X-ENDLIST (4.4.3.4).
    Ended,
}

/// A rule that was broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub rule: Rule,
    pub what: String,
}

/// What a blocking reload asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub msn: u64,
    pub part: Option<usize>,
}

/// What one player has seen.
#[derive(Default)]
pub struct Checker {
    faults: Vec<Fault>,
    /// The newest playlist, whole.
    last: Option<Playlist>,
    /// All complete segments by number.
    segments: BTreeMap<u64, Segment>,
    /// To which segment, or part of it, a URI belongs.
    uris: BTreeMap<String, (u64, Option<usize>)>,
    reports: BTreeMap<String, (u64, Option<u64>)>,
}

impl Checker {
    pub fn new() -> Self {
        Self::default()
    }

    /// The next response, to a plain request or one for a delta update.
    pub fn playlist(&mut self, text: &str) {
        if let Err(error) = m3u8_rs::parse_media_playlist_res(text.as_bytes()) {
            self.fault(Rule::Syntax, format!("m3u8-rs: {error:?}"));
        }
        let next = match parse::parse(text) {
            Ok(next) => next,
            Err(what) => return self.fault(Rule::Syntax, what),
        };
        let is_delta = next.skipped > 0;
        let next = match self.whole(next) {
            Ok(next) => next,
            Err(what) => return self.fault(Rule::Skip, what),
        };
        self.alone(&next);
        if let Some(last) = self.last.take() {
            self.since(&last, &next);
            self.hinted(&last, &next);
            if is_delta != (last.skipped > 0) && last.end() == next.end() {
                self.same(&last, &next);
            }
        }
        self.remember(&next);
        self.last = Some(next);
    }

    /// The response to a blocking reload.
    pub fn reloaded(&mut self, ask: Ask, text: &str) {
        self.playlist(text);
        let Some(last) = &self.last else { return };
        if !last.ended && !last.has(ask) {
            let what = format!("{ask:?} was answered with an end at {:?}", last.end());
            self.fault(Rule::Blocking, what);
        }
    }

    /// The newest playlist, put together.
    pub fn last(&self) -> Option<&Playlist> {
        self.last.as_ref()
    }

    /// What was broken so far.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Fails the test unless every rule was kept but these.
    pub fn assert_kept(&self, but: &[Rule]) {
        let faults: Vec<_> = self
            .faults
            .iter()
            .filter(|fault| !but.contains(&fault.rule))
            .map(|fault| format!("  {:?}: {}", fault.rule, fault.what))
            .collect();
        assert!(
            faults.is_empty(),
            "{} faults:\n{}",
            faults.len(),
            faults[..faults.len().min(20)].join("\n")
        );
    }

    fn fault(&mut self, rule: Rule, what: String) {
        self.faults.push(Fault { rule, what });
    }

    fn check(&mut self, rule: Rule, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fault(rule, what());
        }
    }

    /// A delta update with what it leaves out, as the player has it (6.2.5.1).
    fn whole(&mut self, mut next: Playlist) -> Result<Playlist, String> {
        if next.skipped == 0 {
            return Ok(next);
        }
        let known: Option<Vec<_>> = (next.first_msn..next.first_msn + next.skipped)
            .map(|msn| self.segments.get(&msn).cloned())
            .collect();
        let mut segments = known.ok_or("it skips segments that this player does not have")?;
        if let Some(before) = segments.last() {
            for segment in &mut next.segments {
                segment.discontinuity += before.discontinuity - next.discontinuity;
                segment.map = segment.map.take().or(before.map.clone());
            }
        }
        segments.append(&mut next.segments);
        next.segments = segments;
        let boundary = next.control_us("CAN-SKIP-UNTIL").unwrap_or(0);
        let newest_skipped = next.skipped as usize - 1;
        let kept = next.us_after(newest_skipped);
        self.check(Rule::Skip, boundary > 0 && kept >= boundary, || {
            format!("{kept} µs are kept, the boundary is at {boundary}")
        });
        Ok(next)
    }

    fn remember(&mut self, next: &Playlist) {
        for segment in &next.segments {
            for (index, part) in segment.parts.iter().enumerate() {
                self.own(&part.uri, (segment.msn, Some(index)));
            }
            if let Some(uri) = &segment.uri {
                self.own(uri, (segment.msn, None));
                self.segments
                    .entry(segment.msn)
                    .and_modify(|known| {
                        known.parts = segment.parts.clone();
                    })
                    .or_insert_with(|| segment.clone());
            }
        }
        for report in &next.reports {
            let at = (report.msn, report.part);
            let before = self.reports.insert(report.uri.clone(), at);
            self.check(Rule::Report, before.is_none_or(|b| b <= at), || {
                format!("{} goes from {before:?} back to {at:?}", report.uri)
            });
        }
    }

    fn own(&mut self, uri: &str, place: (u64, Option<usize>)) {
        let owner = *self.uris.entry(uri.into()).or_insert(place);
        self.check(Rule::Uri, owner == place, || {
            format!("{uri} is both {owner:?} and {place:?}")
        });
    }
}
