//! Sans-IO: samples that no scheduler has taken yet, the newest [`MAX_BATCH`] of them.

use std::collections::VecDeque;

use crate::sample::{MAX_BATCH, Sample};

/// Samples to report, oldest first.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    samples: VecDeque<Sample>,
    next_seq: u64,
}

impl Backlog {
    /// Numbers and adds a sample, bounded. The oldest is dropped when too many wait; only the
    /// newest lists the streams taken in, since older lists say nothing that it does not.
    pub(super) fn push(&mut self, mut sample: Sample) {
        sample.seq = self.next_seq;
        self.next_seq += 1;
        sample.trim();
        if let Some(older) = self.samples.back_mut() {
            older.streams.clear();
        }
        if self.samples.len() == MAX_BATCH {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// What waits, oldest first.
    pub(super) fn batch(&self) -> Vec<Sample> {
        self.samples.iter().cloned().collect()
    }

    /// Forgets the samples up to this one: they were taken.
    pub(super) fn taken(&mut self, seq: u64) {
        self.samples.retain(|sample| sample.seq > seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::{record, sample};

    fn seqs(backlog: &Backlog) -> Vec<u64> {
        backlog.batch().iter().map(|s| s.seq).collect()
    }

    #[test]
    fn samples_wait_in_order_until_taken() {
        let mut backlog = Backlog::default();
        for _ in 0..4 {
            backlog.push(sample());
        }
        assert_eq!(seqs(&backlog), [0, 1, 2, 3]);
        backlog.taken(1);
        assert_eq!(seqs(&backlog), [2, 3]);
        backlog.taken(3);
        backlog.push(sample());
        assert_eq!(seqs(&backlog), [4]);
    }

    #[test]
    fn the_oldest_is_dropped_when_nobody_listens() {
        let mut backlog = Backlog::default();
        for _ in 0..MAX_BATCH + 5 {
            backlog.push(sample());
        }
        let expect: Vec<u64> = (5..MAX_BATCH as u64 + 5).collect();
        assert_eq!(seqs(&backlog), expect);
    }

    #[test]
    fn only_the_newest_lists_the_streams() {
        let mut backlog = Backlog::default();
        for _ in 0..3 {
            let mut sample = sample();
            sample.streams = vec![record("live/x")];
            backlog.push(sample);
        }
        let listed: Vec<usize> = backlog.batch().iter().map(|s| s.streams.len()).collect();
        assert_eq!(listed, [0, 0, 1]);
    }
}
