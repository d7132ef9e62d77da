//! A sample of the decisions that were made, with their reasons, for the question why a viewer was
//! sent somewhere.
//!
//! One decision in so many is written down as it is explained, the newest [`KEEP`] are kept. Who
//! writes waits for nobody: while the diary is read a decision goes unwritten.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::explain::Explanation;

/// The diary of a scheduler.
#[derive(Debug)]
pub struct Diary {
    every: u64,
    seen: AtomicU64,
    entries: Mutex<VecDeque<Entry>>,
}

/// A decision that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number: decisions since the scheduler's start.
    pub id: u64,
    /// When it was made, Unix milliseconds.
    pub at_ms: u64,
    /// What was decided, and why.
    #[serde(flatten)]
    pub explanation: Explanation,
}

/// How much is kept: some megabytes, a few minutes to hours of a busy scheduler.
pub const KEEP: usize = 1_000;

/// Edges of a decision that are kept: the chosen one, its fallbacks and the nearest that lost.
const CANDIDATES: usize = 16;

impl Diary {
    /// Writes one decision in `every` down; none at 0.
    pub fn new(every: u64) -> Self {
        Self {
            every,
            seen: AtomicU64::new(0),
            entries: Mutex::default(),
        }
    }

    /// Counts a decision, and writes it down when it is its turn.
    pub fn note(&self, at_ms: u64, explain: impl FnOnce() -> Explanation) {
        let id = self.seen.fetch_add(1, Ordering::Relaxed);
        if self.every == 0 || !id.is_multiple_of(self.every) {
            return;
        }
        let Some(mut entries) = self.entries.try_lock() else {
            return;
        };
        let mut explanation = explain();
        explanation.candidates.truncate(CANDIDATES);
        if entries.len() == KEEP {
            entries.pop_front();
        }
        entries.push_back(Entry {
            id,
            at_ms,
            explanation,
        });
    }

    /// The decision of that number, if it was written down and is kept.
    pub fn find(&self, id: u64) -> Option<Entry> {
        let entries = self.entries.lock();
        let at = entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        Some(entries[at].clone())
    }

    /// The newest decisions first, of one stream if one is named.
    pub fn newest(&self, stream: Option<&str>, count: usize) -> Vec<Entry> {
        let entries = self.entries.lock();
        let of = |entry: &&Entry| stream.is_none_or(|stream| entry.explanation.stream == stream);
        entries
            .iter()
            .rev()
            .filter(of)
            .take(count)
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Source;
    use crate::redirect::ViewerPlace;

    fn explanation(stream: &str) -> Explanation {
        Explanation {
            stream: stream.to_owned(),
            on_air: true,
            place: ViewerPlace {
                address: [192, 0, 2, 1].into(),
                lat: 0.0,
                lon: 0.0,
                name: String::new(),
                country: String::new(),
                source: Source::Default,
                approximate: true,
            },
            policy: "default".to_owned(),
            reason: None,
            candidates: Vec::new(),
        }
    }

    #[test]
    fn one_decision_in_so_many_is_kept_and_the_oldest_make_room() {
        let diary = Diary::new(3);
        for nth in 0..3 * (KEEP as u64 + 10) {
            let stream = if nth % 2 == 0 { "live/a" } else { "live/b" };
            diary.note(nth, || explanation(stream));
        }
        let newest = diary.newest(None, 2);
        assert_eq!(
            (newest[0].id, newest[1].id),
            (3 * (KEEP as u64 + 9), 3 * (KEEP as u64 + 8))
        );
        assert_eq!(diary.newest(None, usize::MAX).len(), KEEP);
        let of_a = diary.newest(Some("live/a"), usize::MAX);
        assert!(
            of_a.iter()
                .all(|entry| entry.explanation.stream == "live/a")
        );
        assert_eq!(of_a.len(), KEEP / 2);
        assert_eq!(diary.find(30).map(|entry| entry.at_ms), Some(30));
        assert!(diary.find(27).is_none(), "it made room");
        assert!(diary.find(31).is_none(), "it was not its turn");
    }

    #[test]
    fn nothing_is_written_when_the_operator_wants_nothing() {
        let diary = Diary::new(0);
        diary.note(0, || unreachable!());
        assert!(diary.newest(None, 1).is_empty());
    }
}
