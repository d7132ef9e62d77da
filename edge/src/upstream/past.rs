//! Sans-IO: what of a stream's past is not here and worth asking the parent for.
//!
//! A gap is what was before the oldest group here, a group that was aborted, or one that is missing between two others.
//! Each is asked for a bounded number of times of one parent; what the parent does not have either is let be. What the
//! track dropped for lack of room is not asked for again.
//!
//! The past is settled once the parent has answered for every gap: what it left out then is as good as it will be soon,
//! and is asked for again without anybody waiting. Two lives of a stream have such a gap between them for ever.

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
    /// Something is under way: look again after a while.
    Wait,
    /// All is here that the parent has by now: look again after a while, but nobody needs to wait for that.
    Settled,
}

/// What was asked for since the parent became one.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// How often each gap was seen, by the group after it.
    sightings: BTreeMap<(Key, Kind), u32>,
    /// The parent gave all that it has before this group, as far as the window goes.
    told: Option<Key>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
        self.sightings.retain(|(key, _), _| *key >= oldest.key);
        let window_us = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        let from_us = newest.began_us.saturating_sub(window_us);
        let inner = seen.windows(2).filter_map(|pair| between(pair[0], pair[1]));
        let tail = (Kind::Tail, *oldest, millis(oldest.began_us, from_us));
        let (mut next, mut looked) = (Next::Settled, Vec::new());
        for (kind, later, for_ms) in inner.chain([tail]) {
            let before = later.key;
            if later.began_us <= from_us || !open(before.before()) {
                break;
            }
            match self.due(kind, before) {
                Due::Now => {
                    self.count(kind, before);
                    let told = (kind == Kind::Tail).then_some(before);
                    self.told = self.told.max(told);
                    return Next::Ask(Ask { before, for_ms });
                }
                Due::Soon => next = Next::Wait,
                Due::Later => {}
            }
            looked.push((kind, before));
        }
        // There is time before the next look only when nothing is asked for.
        looked
            .into_iter()
            .for_each(|(kind, before)| self.count(kind, before));
        next
    }

    /// What was asked was not answered: it does not count.
    pub(super) fn failed(&mut self, ask: Ask) {
        self.sightings.retain(|(key, _), _| *key != ask.before);
        self.told = self.told.filter(|told| *told != ask.before);
    }

    fn due(&mut self, kind: Kind, before: Key) -> Due {
        let (first, tries) = match kind {
            Kind::Tail => (0, 1),
            Kind::Aborted => (0, TRIES),
            Kind::Missing => (1, TRIES),
        };
        // What was left out of the tail was asked for with it.
        let told = kind == Kind::Missing && self.told.is_some_and(|told| before <= told);
        let unseen = if told { first + 1 } else { 0 };
        let seen = *self.sightings.entry((before, kind)).or_insert(unseen);
        match seen.checked_sub(first) {
            None => Due::Soon,
            Some(since) if since % 2 == 0 && since / 2 < tries => Due::Now,
            Some(_) => Due::Later,
        }
    }

    fn count(&mut self, kind: Kind, before: Key) {
        let sightings = self.sightings.entry((before, kind)).or_default();
        *sightings = sightings.saturating_add(1);
    }
}

/// When a gap is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Now,
    /// At the next look, should it still be there.
    Soon,
    /// The parent was asked before; perhaps once more.
    Later,
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

    /// What comes of looking again and again at the same groups, in short; a look without news is "rest".
    fn looks(numbers: &[i64], window_s: u64, floor: u64) -> String {
        let (seen, mut gaps) = (groups(numbers), Gaps::default());
        let open = |key: Key| key.number > floor;
        let looks = (0..20).map(
            |_| match gaps.next(&seen, Duration::from_secs(window_s), open) {
                Next::Ask(ask) => format!("{} {}", ask.before.number, ask.for_ms),
                Next::Wait => "wait".to_owned(),
                Next::Settled => "rest".to_owned(),
            },
        );
        let looks: Vec<_> = looks.collect();
        looks.join(", ").trim_end_matches(", rest").to_owned()
    }

    #[test]
    fn each_gap_is_asked_for_so_often_and_waited_for_until_the_first_answer() {
        let check = |name: &str, numbers: &[i64], window_s, floor, expect: &str| {
            assert_eq!(looks(numbers, window_s, floor), expect, "{name}");
        };
        check("all is here", &[9, 8, 7, 6], 3, 0, "rest");
        check("the tail, once", &[9], 60, 0, "9 9000");
        check("the rest of the window", &[9, 8], 3, 0, "8 2000");
        check("no room for more", &[9, 8], 3, 7, "rest");
        let thrice = "8 1000, rest, 8 1000, rest, 8 1000";
        check("an aborted one", &[9, 8, -7, 6], 3, 0, thrice);
        let later = "wait, 9 1999, rest, 9 1999, rest, 9 1999";
        check("a missing one, after a while", &[9, 7, 6], 3, 0, later);
        check("not outside the window", &[9, 8, 7, -5], 2, 0, "rest");
        let newest = "9 1000, rest, 9 1000, rest, 9 1000";
        check("the newest first", &[9, -8, -7, 6], 1, 0, newest);
    }

    #[test]
    fn what_was_left_out_of_the_tail_is_not_waited_for() {
        let mut gaps = Gaps::default();
        let minute = Duration::from_secs(60);
        let mut next = |numbers: &[i64]| gaps.next(&groups(numbers), minute, |_| true);
        let ask = |number, for_ms| {
            let before = key(number);
            Next::Ask(Ask { before, for_ms })
        };
        assert_eq!(next(&[9]), ask(9, 9_000));
        // As between two lives of the stream; and the parent may still get it.
        let hole = [9, 8, 5, 4];
        assert_eq!(next(&hole), ask(4, 4_000));
        assert_eq!(next(&hole), Next::Settled);
        assert_eq!(next(&hole), ask(8, 2_999));
        assert_eq!(next(&hole), Next::Settled);
        // What goes missing afterwards may be under way.
        let other = [12, 10, 9, 8, 5, 4];
        assert_eq!(next(&other), ask(8, 2_999));
        assert_eq!(next(&other), Next::Wait);
        assert_eq!(next(&other), ask(12, 1_999));
        assert_eq!(next(&other), Next::Settled);
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
