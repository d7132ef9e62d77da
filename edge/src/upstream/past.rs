//! Sans-IO: what of a stream's past is not here and worth asking the parent for.
//!
//! A gap is what was before the oldest group here, a group that was aborted, or one that is missing between two others.
//! Each is asked for a bounded number of times of one parent; what the parent does not have either is let be. What the
//! track dropped for lack of room is not asked for again.

use std::collections::BTreeMap;
use std::time::Duration;

use relay::group::{End, Group, Key};

/// A group here, as far as gaps matter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    key: Key,
    /// Unix µs by the origin's clock.
    began_us: u64,
    aborted: bool,
}

impl From<&Group> for Seen {
    fn from(group: &Group) -> Self {
        Self {
            key: group.key(),
            began_us: group.header().wallclock_us,
            aborted: group.end() == Some(End::Aborted),
        }
    }
}

/// What to ask for: the groups before one, as many milliseconds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) before: Key,
    pub(super) for_ms: u64,
}

/// What is to be done about the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask the parent, then look again at once.
    Ask(Ask),
    /// Look again after a while.
    Wait,
    /// All is here that the parent has.
    Settled,
}

/// How often each gap was seen since the parent became one, by the group after the gap.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    sightings: BTreeMap<Key, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Before the oldest: the first answer is all there is.
    Tail,
    /// It will not come by itself; the parent may be fetching it too.
    Aborted,
    /// It may just be under way: late, or overtaken.
    Missing,
}

impl Gaps {
    /// Looks at the groups that are here, newest first, as far back as `window` before the newest began; `open` says
    /// whether the track would take a group of this key.
    pub(super) fn next(
        &mut self,
        seen: &[Seen],
        window: Duration,
        open: impl Fn(Key) -> bool,
    ) -> Next {
        let (Some(newest), Some(oldest)) = (seen.first(), seen.last()) else {
            return Next::Wait;
        };
        self.sightings.retain(|key, _| *key >= oldest.key);
        let window_us = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        let from_us = newest.began_us.saturating_sub(window_us);
        let inner = seen.windows(2).filter_map(|pair| between(pair[0], pair[1]));
        let tail = (Kind::Tail, *oldest, millis(oldest.began_us, from_us));
        let mut next = Next::Settled;
        for (kind, later, for_ms) in inner.chain([tail]) {
            let before = later.key;
            if later.began_us <= from_us || !open(before.before()) {
                break;
            }
            match self.due(kind, before) {
                Some(true) => return Next::Ask(Ask { before, for_ms }),
                Some(false) => next = Next::Wait,
                None => {}
            }
        }
        next
    }

    /// What was asked did not reach the parent: it does not count.
    pub(super) fn failed(&mut self, ask: Ask) {
        self.sightings.remove(&ask.before);
    }

    /// Whether a gap is to be asked for now or later; none once it was asked for often enough.
    fn due(&mut self, kind: Kind, before: Key) -> Option<bool> {
        let (first, tries) = match kind {
            Kind::Tail => (0, 1),
            Kind::Aborted => (0, TRIES),
            Kind::Missing => (1, TRIES),
        };
        let sightings = self.sightings.entry(before).or_default();
        let wanted = *sightings < first + 2 * tries - 1;
        let due = wanted.then_some(*sightings % 2 == first);
        *sightings = sightings.saturating_add(1);
        due
    }
}

/// The gap between a group and the one here before it.
fn between(later: Seen, earlier: Seen) -> Option<(Kind, Seen, u64)> {
    let apart_ms = millis(later.began_us, earlier.began_us);
    let follows = later.key.before() == earlier.key;
    if earlier.aborted {
        Some((Kind::Aborted, later, apart_ms))
    } else if !follows {
        // Not as far as the earlier one, which is here.
        Some((Kind::Missing, later, apart_ms.saturating_sub(1)))
    } else {
        None
    }
}

/// From one time to another, rounded up.
fn millis(later_us: u64, earlier_us: u64) -> u64 {
    later_us.saturating_sub(earlier_us).div_ceil(1000)
}

/// How often a gap is asked for: the parent may just be fetching the group itself.
const TRIES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        Key { epoch: 1, number }
    }

    /// Groups of one second, newest first; a negative number is an aborted one.
    fn groups(numbers: &[i64]) -> Vec<Seen> {
        let seen = |number: &i64| Seen {
            key: key(number.unsigned_abs()),
            began_us: number.unsigned_abs() * 1_000_000,
            aborted: *number < 0,
        };
        numbers.iter().map(seen).collect()
    }

    /// What comes of looking again and again at the same groups, in short.
    fn looks(numbers: &[i64], window_s: u64, floor: u64) -> Vec<String> {
        let (seen, mut gaps) = (groups(numbers), Gaps::default());
        let mut looks = Vec::new();
        while looks.last().is_none_or(|last| last != "settled") && looks.len() < 20 {
            let open = |key: Key| key.number > floor;
            looks.push(
                match gaps.next(&seen, Duration::from_secs(window_s), open) {
                    Next::Ask(ask) => format!("{} {}", ask.before.number, ask.for_ms),
                    Next::Wait => "wait".to_owned(),
                    Next::Settled => "settled".to_owned(),
                },
            );
        }
        looks
    }

    #[test]
    fn each_gap_is_asked_for_so_often_and_no_more() {
        let check = |name: &str, numbers: &[i64], window_s, floor, expect: &str| {
            assert_eq!(looks(numbers, window_s, floor).join(", "), expect, "{name}");
        };
        check("all is here", &[9, 8, 7, 6], 3, 0, "settled");
        check("the tail, once", &[9], 60, 0, "9 9000, settled");
        check("the rest of the window", &[9, 8], 3, 0, "8 2000, settled");
        check("no room for more", &[9, 8], 3, 7, "settled");
        let thrice = "8 1000, wait, 8 1000, wait, 8 1000, settled";
        check("an aborted one", &[9, 8, -7, 6], 3, 0, thrice);
        let later = "wait, 9 1999, wait, 9 1999, wait, 9 1999, settled";
        check("a missing one, after a while", &[9, 7, 6], 3, 0, later);
        check("not outside the window", &[9, 8, 7, -5], 2, 0, "settled");
        let newest = "9 1000, wait, 9 1000, wait, 9 1000, settled";
        check("the newest first", &[9, -8, -7, 6], 1, 0, newest);
    }

    #[test]
    fn what_was_brought_may_end_in_another_gap() {
        let mut gaps = Gaps::default();
        let mut next =
            |numbers: &[i64]| gaps.next(&groups(numbers), Duration::from_secs(60), |_| true);
        let ask = |number, for_ms| {
            Next::Ask(Ask {
                before: key(number),
                for_ms,
            })
        };
        assert_eq!(next(&[99]), ask(99, 60_000));
        assert_eq!(
            next(&[99, 98, 97, 96]),
            ask(96, 57_000),
            "as far as the parent gave it"
        );
        assert_eq!(next(&[99, 98, 97, 96]), Next::Settled);
        assert_eq!(next(&[100, 99, 98, 97, 96]), Next::Settled);
        assert_eq!(next(&[]), Next::Wait, "nothing is here yet");
    }

    #[test]
    fn what_the_parent_never_heard_is_asked_again() {
        let (seen, mut gaps) = (groups(&[9]), Gaps::default());
        for _ in 0..5 {
            let Next::Ask(ask) = gaps.next(&seen, Duration::from_secs(9), |_| true) else {
                panic!("the tail is asked for");
            };
            gaps.failed(ask);
        }
    }
}
