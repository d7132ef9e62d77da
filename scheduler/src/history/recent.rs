//! Sans-IO: how many joined in each of the last ten-second bins, by region and by stream.
//!
//! It is what a flash crowd shows in first, long before a step of the history is over, and is kept
//! in memory only. Bins are real time, whatever the calendar's scale. What has been silent for all
//! its bins makes room for what is new; when nothing has, the new is left out.

use std::collections::HashMap;

use cluster::region::Region;
use cluster::sample::Sample;
use cluster::stream::StreamKey;
use models::surge::BIN_S;

/// Length of a bin: what crowds are noticed by.
pub const BIN_MS: u64 = BIN_S as u64 * 1_000;

/// Bins kept: ten minutes, enough to know what is usual.
pub const BINS: usize = 60;

/// Regions and streams told apart: 2,048 of 300 bytes.
pub const MAX_SUBJECTS: usize = 2_048;

/// Whose joins are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Of viewers who are there.
    Region(Region),
    /// Of viewers who watch that.
    Stream(StreamKey),
}

/// Joins by subject.
#[derive(Debug, Default)]
pub struct Recent {
    subjects: HashMap<Subject, Bins>,
    began_bin: Option<u64>,
}

#[derive(Debug)]
struct Bins {
    newest: u64,
    joins: [u32; BINS],
}

impl Bins {
    fn add(&mut self, bin: u64, joins: u32) {
        while self.newest < bin {
            if bin - self.newest >= BINS as u64 {
                *self = Self {
                    newest: bin,
                    joins: [0; BINS],
                };
                break;
            }
            self.newest += 1;
            self.joins[self.newest as usize % BINS] = 0;
        }
        // One of the past lap is nobody's any more.
        if self.newest - bin < BINS as u64 {
            let count = &mut self.joins[bin as usize % BINS];
            *count = count.saturating_add(joins);
        }
    }

    fn at(&self, bin: u64) -> u32 {
        let kept = bin <= self.newest && self.newest - bin < BINS as u64;
        if kept {
            self.joins[bin as usize % BINS]
        } else {
            0
        }
    }
}

impl Recent {
    /// Counts the joins of a sample that was taken at that Unix time.
    pub fn take(&mut self, at_ms: u64, sample: &Sample) {
        for load in &sample.regions {
            self.count(at_ms, Subject::Region(load.region), load.joins);
        }
        for stream in &sample.viewers {
            if stream.joins > 0 {
                self.count(at_ms, Subject::Stream(stream.key.clone()), stream.joins);
            }
        }
    }

    /// Counts joins.
    pub fn count(&mut self, at_ms: u64, subject: Subject, joins: u32) {
        let bin = at_ms / BIN_MS;
        // A clock put back by more than all bins begins anew.
        if self
            .began_bin
            .is_some_and(|began| bin + (BINS as u64) < began)
        {
            *self = Self::default();
        }
        self.began_bin.get_or_insert(bin);
        if joins == 0 {
            return;
        }
        if self.subjects.len() >= MAX_SUBJECTS && !self.subjects.contains_key(&subject) {
            let silent = |bins: &Bins| bins.newest + BINS as u64 <= bin;
            self.subjects.retain(|_, bins| !silent(bins));
            if self.subjects.len() >= MAX_SUBJECTS {
                return;
            }
        }
        let none = || Bins {
            newest: bin,
            joins: [0; BINS],
        };
        self.subjects
            .entry(subject)
            .or_insert_with(none)
            .add(bin, joins);
    }

    /// Joins in each whole bin before a Unix time, oldest first: fewer than [`BINS`] after a start.
    pub fn joins(&self, subject: &Subject, now_ms: u64) -> Vec<u32> {
        let now = now_ms / BIN_MS;
        let Some(began) = self.began_bin else {
            return Vec::new();
        };
        // The bin that the process began in was seen in part only.
        let first = (began + 1)
            .max(now.saturating_sub(BINS as u64 - 1))
            .min(now);
        let bins = self.subjects.get(subject);
        (first..now)
            .map(|bin| bins.map_or(0, |bins| bins.at(bin)))
            .collect()
    }

    /// Whose joins are known.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.subjects.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Subject {
        Subject::Region(Region::named("here"))
    }

    #[test]
    fn bins_fill_and_pass() {
        let mut recent = Recent::default();
        for (at_s, joins) in [(0, 9), (10, 1), (19, 2), (35, 4), (12, 8)] {
            recent.count(at_s * 1000, here(), joins);
        }
        assert_eq!(recent.joins(&here(), 39_999), [11, 0]);
        assert_eq!(recent.joins(&here(), 40_000), [11, 0, 4]);
        let later = 40_000 + BINS as u64 * BIN_MS;
        let joins = recent.joins(&here(), later);
        assert_eq!((joins.len(), joins.iter().sum::<u32>()), (BINS - 1, 0));
        recent.count(later, here(), 3);
        assert_eq!(recent.joins(&here(), later + BIN_MS).last(), Some(&3));
        assert_eq!(recent.joins(&here(), later + BIN_MS).iter().sum::<u32>(), 3);
    }

    #[test]
    fn a_subject_that_is_new_was_at_zero_before() {
        let mut recent = Recent::default();
        recent.count(0, here(), 1);
        let stream = Subject::Stream(StreamKey::parse("live/x").unwrap());
        recent.count(35_000, stream.clone(), 7);
        assert_eq!(recent.joins(&stream, 40_000), [0, 0, 7]);
        assert!(Recent::default().joins(&stream, 40_000).is_empty());
    }

    #[test]
    fn subjects_are_bounded_and_the_silent_make_room() {
        let mut recent = Recent::default();
        let subject = |n| Subject::Region(Region::named(&format!("r{n}")));
        for n in 0..MAX_SUBJECTS + 5 {
            recent.count(10_000, subject(n), 1);
        }
        assert_eq!(recent.subjects().count(), MAX_SUBJECTS);
        let later = 10_000 + BINS as u64 * BIN_MS;
        recent.count(later, here(), 1);
        assert_eq!(recent.subjects().count(), 1);
    }

    #[test]
    fn a_clock_that_is_put_back_begins_anew() {
        let mut recent = Recent::default();
        recent.count(10_000_000, here(), 5);
        recent.count(1_000_000, here(), 5);
        recent.count(1_010_000, here(), 2);
        assert_eq!(recent.joins(&here(), 1_020_000), [2]);
    }
}
