//! The rules themselves: of one playlist, and of one after another.

use super::{Checker, Playlist, Rule, Segment};

impl Checker {
    /// What a playlist keeps to by itself.
    pub(super) fn alone(&mut self, next: &Playlist) {
        self.server(next);
        for (index, segment) in next.segments.iter().enumerate() {
            self.durations(next, segment);
            self.parts(next, index, segment);
            self.check(Rule::Map, segment.map.is_some(), || {
                format!("segment {} has no init segment", segment.msn)
            });
        }
        for pair in next.segments.windows(2) {
            self.neighbours(&pair[0], &pair[1]);
        }
        let listed = |uri: &String| {
            let mut parts = next.segments.iter().flat_map(|segment| &segment.parts);
            parts.any(|part| part.uri == *uri)
        };
        self.check(Rule::Hint, !next.hint.as_ref().is_some_and(listed), || {
            format!("{:?} is listed already", next.hint)
        });
    }

    fn server(&mut self, next: &Playlist) {
        let needs = if next.skipped > 0 { 9 } else { 6 };
        self.check(Rule::Version, next.version >= needs, || {
            format!("version {}, but {needs} is needed", next.version)
        });
        let blocks = next.control.get("CAN-BLOCK-RELOAD").map(String::as_str);
        let least = [
            ("PART-HOLD-BACK", 3 * next.part_target_us, false),
            ("HOLD-BACK", 3 * next.target_us(), true),
            ("CAN-SKIP-UNTIL", 6 * next.target_us(), true),
        ];
        let enough = least.iter().all(|(name, least, optional)| {
            let value = next.control_us(name);
            value.map_or(*optional, |value| value >= *least)
        });
        self.check(Rule::Control, blocks == Some("YES") && enough, || {
            format!("{:?}", next.control)
        });
    }

    fn durations(&mut self, next: &Playlist, segment: &Segment) {
        let rounded = (segment.us + 500_000) / 1_000_000;
        self.check(Rule::Target, rounded <= next.target as i64, || {
            let (msn, us, target) = (segment.msn, segment.us, next.target);
            format!("segment {msn} lasts {us} µs, the target is {target} s")
        });
    }

    fn parts(&mut self, next: &Playlist, index: usize, segment: &Segment) {
        let target = next.part_target_us;
        for (at, part) in segment.parts.iter().enumerate() {
            let of = || {
                format!(
                    "part {at} of {} lasts {} of {target} µs",
                    segment.msn, part.us
                )
            };
            self.check(Rule::PartTarget, part.us > 0 && part.us <= target, of);
            // Of a segment that grows, the newest part may be the last.
            let is_last = at + 1 == segment.parts.len();
            let full = part.us * 100 >= target * 85;
            self.check(Rule::PartFill, full || is_last || part.independent, of);
        }
        let sum: i64 = segment.parts.iter().map(|part| part.us).sum();
        let complete = segment.uri.is_some() && !segment.parts.is_empty();
        self.check(
            Rule::PartSum,
            !complete || (sum - segment.us).abs() <= 1000,
            || {
                format!(
                    "the parts of {} last {sum} of {} µs",
                    segment.msn, segment.us
                )
            },
        );
        let old = next.us_after(index) > 4 * next.target_us();
        self.check(Rule::Parts, !old || segment.parts.is_empty(), || {
            format!("{} lists parts after four target durations", segment.msn)
        });
    }

    fn neighbours(&mut self, before: &Segment, after: &Segment) {
        let breaks = after.discontinuity != before.discontinuity;
        self.check(Rule::Map, before.map == after.map || breaks, || {
            let (from, to) = (&before.map, &after.map);
            format!("{from:?} becomes {to:?} at {} without a break", after.msn)
        });
        let (Some(from), Some(to)) = (before.date_ms, after.date_ms) else {
            return;
        };
        let off = to - from - before.us / 1000;
        let slack = DATE_SLACK_MS + before.us / 100_000;
        let what = || format!("{} begins {off} ms after {} ends", after.msn, before.msn);
        self.check(Rule::Date, to >= from && (off >= -slack || breaks), what);
        self.check(Rule::DateGap, off <= slack || breaks, what);
    }

    /// What stays true from one playlist to the next.
    pub(super) fn since(&mut self, last: &Playlist, next: &Playlist) {
        let fixed = |p: &Playlist| (p.target, p.part_target_us, p.control.clone());
        self.check(Rule::Fixed, fixed(last) == fixed(next), || {
            format!("{:?} becomes {:?}", fixed(last), fixed(next))
        });
        let back = next.first_msn < last.first_msn || end(next) < end(last);
        self.check(Rule::Sequence, !back, || {
            let of = |p: &Playlist| (p.first_msn, p.end());
            format!("{:?} becomes {:?}", of(last), of(next))
        });
        let gone = |p: &Playlist| p.first_msn > last.end().0 + 1;
        self.check(Rule::Jump, !gone(next), || {
            format!("from {:?} to a start at {}", last.end(), next.first_msn)
        });
        let length: i64 = next.segments.iter().map(|segment| segment.us).sum();
        let removed = next.first_msn > last.first_msn && !gone(next);
        self.check(
            Rule::Window,
            !removed || length >= 3 * next.target_us(),
            || format!("{length} µs are left before {}", next.first_msn),
        );
        let forward = next.discontinuity >= last.discontinuity;
        self.check(Rule::Discontinuity, forward, || {
            format!("{} becomes {}", last.discontinuity, next.discontinuity)
        });
        let more = end(next) != end(last) || !next.ended;
        self.check(Rule::Ended, !last.ended || !more, || {
            format!("an end at {:?} goes on to {:?}", last.end(), next.end())
        });
        for (index, segment) in next.segments.iter().enumerate() {
            self.kept(segment);
            let older = last.segments.iter().find(|old| old.msn == segment.msn);
            if let Some(older) = older.filter(|_| !next.ended) {
                let recent = next.us_after(index) < 3 * next.target_us();
                self.grown(older, segment, recent);
            }
        }
    }

    /// A segment that was complete before stays as it was.
    fn kept(&mut self, segment: &Segment) {
        let Some(known) = self.segments.get(&segment.msn).cloned() else {
            return;
        };
        let what = || format!("{known:?} becomes {segment:?}");
        let same = known.discontinuity == segment.discontinuity;
        self.check(Rule::Discontinuity, same, what);
        let of = |s: &Segment| (s.uri.clone(), s.us, s.map.clone(), s.date_ms, s.gap);
        self.check(Rule::Changed, of(&known) == of(segment), what);
    }

    /// Parts are only added, and go together with their segment's age.
    fn grown(&mut self, older: &Segment, newer: &Segment, recent: bool) {
        let begins = newer.parts.starts_with(&older.parts);
        let gone = newer.parts.is_empty() && !recent;
        self.check(Rule::Parts, begins || gone, || {
            let of = |s: &Segment| s.parts.iter().map(|p| p.uri.clone()).collect::<Vec<_>>();
            format!("{} has {:?} after {:?}", newer.msn, of(newer), of(older))
        });
        let grew = older.uri.is_some() && newer.parts.len() > older.parts.len();
        self.check(Rule::Changed, !grew, || {
            format!("{} grows after its end", newer.msn)
        });
    }

    /// The part after the last one that was known is the one that was hinted at.
    pub(super) fn hinted(&mut self, last: &Playlist, next: &Playlist) {
        let (Some(hint), false) = (&last.hint, next.ended) else {
            return;
        };
        let newest = |p: &Playlist| {
            let parts = p.segments.iter().flat_map(|segment| &segment.parts);
            parts.map(|part| part.uri.clone()).collect::<Vec<_>>()
        };
        let (known, parts) = (newest(last), newest(next));
        let Some(at) = known
            .last()
            .and_then(|uri| parts.iter().position(|p| p == uri))
        else {
            return;
        };
        let came = parts.get(at + 1).or(next.hint.as_ref());
        self.check(Rule::Hint, came == Some(hint), || {
            format!("{hint} was hinted at, {came:?} came")
        });
    }

    /// Two playlists of one moment, of which one was a delta update.
    pub(super) fn same(&mut self, last: &Playlist, next: &Playlist) {
        let content = |p: &Playlist| {
            let mut content = p.clone();
            (content.skipped, content.hint, content.reports) = (0, None, Vec::new());
            // A window may lose its oldest meanwhile.
            let from = last.first_msn.max(next.first_msn);
            content.segments.retain(|segment| segment.msn >= from);
            // Old parts are in what was kept, but no longer listed.
            for segment in &mut content.segments {
                segment.parts.clear();
            }
            (content.first_msn, content.discontinuity) = (0, 0);
            content
        };
        let (one, other) = (content(last), content(next));
        self.check(Rule::Delta, one == other, || {
            format!("{one:?} and {other:?}")
        });
    }
}

/// The playlist's end as something that only grows: a complete segment is more than any part of it.
fn end(playlist: &Playlist) -> (u64, usize) {
    let (msn, open) = playlist.end();
    (msn, open.unwrap_or(usize::MAX))
}

/// Dates are in milliseconds, as RTMP's time stamps are; 1 % of the duration is allowed beside.
const DATE_SLACK_MS: i64 = 50;
