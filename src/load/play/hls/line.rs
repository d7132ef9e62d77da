//! Sans-IO: does each fragment go on where the one before it ended?
//!
//! Fragments are numbered one by one, and no track's time goes back. Time that is missing is counted, not condemned:
//! sources leave gaps.

use super::fmp4::Fragment;
use media::codec::Codec;
use std::collections::HashMap;

/// What a viewer remembers of the fragments so far; anew at each discontinuity.
#[derive(Debug, Default)]
pub struct Line {
    sequence: Option<u32>,
    ends: HashMap<Codec, u64>,
}

/// What cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// `mfhd` does not count.
    #[error("a fragment's number is not the next")]
    Sequence,
    /// `tfdt` lies before the end of what came.
    #[error("a fragment begins before the end of the one before")]
    Overlap,
}

impl Line {
    /// Takes the next fragment; gives how many tracks have a gap before it.
    pub fn follow(&mut self, fragment: &Fragment) -> Result<u64, Fault> {
        let last = self.sequence.replace(fragment.sequence);
        let mut gaps = 0;
        let mut overlaps = false;
        for (codec, span) in &fragment.spans {
            let slack = (span.end - span.start) / SLACK;
            let Some(end) = self.ends.insert(*codec, span.end) else {
                continue;
            };
            overlaps |= span.start + slack < end;
            gaps += u64::from(span.start > end + slack);
        }
        match last.is_none_or(|last| last.wrapping_add(1) == fragment.sequence) {
            false => Err(Fault::Sequence),
            true if overlaps => Err(Fault::Overlap),
            true => Ok(gaps),
        }
    }
}

/// The share of a fragment by which its track may be off: clocks of publishers tick in milliseconds, and the length
/// of a group's last frame is an estimate.
const SLACK: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    fn follow(fragments: &[(u32, Range<u64>)]) -> Vec<Result<u64, Fault>> {
        let mut line = Line::default();
        let fragment = |(sequence, span): &(u32, Range<u64>)| Fragment {
            sequence: *sequence,
            samples: Vec::new(),
            spans: vec![(Codec::H264, span.clone())],
        };
        fragments
            .iter()
            .map(|it| line.follow(&fragment(it)))
            .collect()
    }

    #[test]
    fn fragments_go_on_or_are_told() {
        let next = follow(&[(7, 0..400), (8, 400..800), (9, 810..1200), (10, 1150..1500)]);
        assert_eq!(next, [Ok(0); 4]);
        assert_eq!(follow(&[(7, 0..400), (8, 900..1300)])[1], Ok(1));
        assert_eq!(
            follow(&[(7, 0..400), (8, 200..600)])[1],
            Err(Fault::Overlap)
        );
        for sequence in [7, 9, 6] {
            let said = follow(&[(7, 0..400), (sequence, 400..800)]);
            assert_eq!(said[1], Err(Fault::Sequence));
        }
        assert_eq!(follow(&[(u32::MAX, 0..400), (0, 400..800)])[1], Ok(0));
    }
}
