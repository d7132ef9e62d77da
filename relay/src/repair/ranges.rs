//! Sans-IO: which bytes of a stream are there.

use std::ops::Range;

/// Disjoint ranges in order, none touching the next.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range, joining what it touches.
    pub(super) fn insert(&mut self, mut range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|held| held.end < range.start);
        let touched = self.0[first..].partition_point(|held| held.start <= range.end);
        if touched > 0 {
            range.start = range.start.min(self.0[first].start);
            range.end = range.end.max(self.0[first + touched - 1].end);
        }
        self.0.splice(first..first + touched, [range]);
    }

    /// Where the run of bytes that holds `at` ends; `at` itself when it is not there.
    pub(super) fn end_of_run(&self, at: u64) -> u64 {
        let next = self.0.partition_point(|held| held.end <= at);
        self.0
            .get(next)
            .filter(|held| held.start <= at)
            .map_or(at, |held| held.end)
    }

    /// What is missing of `range`, in order.
    pub(super) fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let first = self.0.partition_point(|held| held.end <= range.start);
        let mut at = range.start;
        let mut missing = Vec::new();
        for held in self.0[first..]
            .iter()
            .take_while(|held| held.start < range.end)
        {
            if held.start > at {
                missing.push(at..held.start);
            }
            at = held.end;
        }
        if at < range.end {
            missing.push(at..range.end);
        }
        missing
    }

    /// Forgets what stands before `at`.
    pub(super) fn forget(&mut self, at: u64) {
        let gone = self.0.partition_point(|held| held.end <= at);
        self.0.drain(..gone);
        if let Some(first) = self.0.first_mut() {
            first.start = first.start.max(at);
        }
    }

    /// How many runs there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_say_what_a_set_of_bytes_says(
            inserted in prop::collection::vec((0..60_u64, 0..9_u64), 0..20),
            forgotten in 0..20_u64,
        ) {
            let mut ranges = Ranges::default();
            let mut bytes = [false; 80];
            for (start, length) in inserted {
                ranges.insert(start..start + length);
                bytes[start as usize..(start + length) as usize].fill(true);
            }
            ranges.forget(forgotten);
            bytes[..forgotten as usize].fill(false);
            let missing: Vec<u64> = ranges.missing(5..75).into_iter().flatten().collect();
            let expected: Vec<u64> = (5..75).filter(|at| !bytes[*at as usize]).collect();
            prop_assert_eq!(missing, expected);
            for at in 0..70 {
                let end = (at..80).find(|at| !bytes[*at as usize]).unwrap_or(80);
                prop_assert_eq!(ranges.end_of_run(at), end);
            }
            prop_assert!(ranges.0.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
