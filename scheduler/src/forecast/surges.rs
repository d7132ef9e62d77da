//! Sans-IO: unannounced crowds, by the joins of each region and stream in bins of ten seconds.
//!
//! A bin is looked at once it is over and the samples of its last second are there, so that a crowd
//! that begins in it is known within 20 s.

use std::collections::HashMap;

use models::surge::Surge;

use crate::history::{BIN_MS, Recent, Subject};

/// All that is watched; bounded by what [`Recent`] keeps.
#[derive(Debug, Default)]
pub(super) struct Surges {
    watched: HashMap<Subject, Watched>,
    /// The next bin to look at.
    next: u64,
}

#[derive(Debug, Default)]
struct Watched {
    surge: Surge,
    began_ms: u64,
}

/// After the end of a bin, until the samples of its last second are there.
const GRACE_MS: u64 = 1_500;

impl Surges {
    /// Looks at the bins that are over at a Unix time; whose crowds have just begun, and whether
    /// any bin was new.
    pub(super) fn look(&mut self, recent: &Recent, now_ms: u64) -> (Vec<Subject>, bool) {
        let at_ms = now_ms.saturating_sub(GRACE_MS);
        let now = at_ms / BIN_MS;
        if now <= self.next {
            // A clock that was put back begins anew.
            if now + MOST_BACK < self.next {
                *self = Self::default();
            }
            return (Vec::new(), false);
        }
        let mut begun = Vec::new();
        let known: Vec<&Subject> = recent.subjects().collect();
        self.watched.retain(|subject, _| known.contains(&subject));
        for subject in known {
            let joins = recent.joins(subject, at_ms);
            let first = now - joins.len() as u64;
            let is_new = !self.watched.contains_key(subject);
            let watched = self.watched.entry(subject.clone()).or_default();
            for (bin, joins) in (first..).zip(joins) {
                if !is_new && bin < self.next {
                    continue;
                }
                // Of a subject that was silent so far, older bins tell only what is usual.
                if watched.surge.push(f64::from(joins)) && bin + 1 >= now {
                    watched.began_ms = bin * BIN_MS;
                    begun.push(subject.clone());
                }
            }
        }
        self.next = now;
        (begun, true)
    }

    /// Whose crowds are coming, and since when in Unix time.
    pub(super) fn on(&self) -> HashMap<Subject, u64> {
        let on = self
            .watched
            .iter()
            .filter(|(_, watched)| watched.surge.is_on());
        on.map(|(subject, watched)| (subject.clone(), watched.began_ms))
            .collect()
    }
}

/// Bins by which a clock may be steered back.
const MOST_BACK: u64 = 6;

#[cfg(test)]
mod tests {
    use cluster::region::Region;

    use super::*;

    fn here() -> Subject {
        Subject::Region(Region::named("here"))
    }

    /// Joins in each second, looked at each second; the second in which a crowd is noticed.
    fn noticed(seconds: u64, joins: impl Fn(u64) -> u32) -> Option<u64> {
        let (mut recent, mut surges) = (Recent::default(), Surges::default());
        let mut found = None;
        for second in 0..seconds {
            // A sample comes a second later.
            recent.count(second * 1000, here(), joins(second));
            let (begun, _) = surges.look(&recent, (second + 1) * 1000);
            if begun == [here()] {
                found.get_or_insert(second + 1);
            }
            assert_eq!(surges.on().contains_key(&here()), found.is_some());
        }
        found
    }

    #[test]
    fn a_crowd_is_known_within_twenty_seconds_whenever_it_begins() {
        for begins in 601..611 {
            for (before, during) in [(0, 5), (1, 6), (10, 30)] {
                let joins = |second| if second < begins { before } else { during };
                let at = noticed(700, joins).expect("it is noticed");
                assert!(at > begins && at - begins <= 20, "{begins} {during}: {at}");
            }
        }
    }

    #[test]
    fn even_joins_and_a_start_are_no_crowd() {
        assert_eq!(noticed(2_000, |_| 3), None);
        assert_eq!(
            noticed(2_000, |second| u32::from(second % 7 == 0) * 2),
            None
        );
    }

    #[test]
    fn a_clock_put_back_is_survived() {
        let (mut recent, mut surges) = (Recent::default(), Surges::default());
        for at_ms in [9_000_000, 9_020_000, 1_000_000, 1_020_000] {
            recent.count(at_ms, here(), 1);
            surges.look(&recent, at_ms);
        }
        assert!(surges.on().is_empty());
    }
}
