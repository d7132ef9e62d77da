//! Sans-IO: Hot: in which order the running viewers of an edge are asked to find another one.
//!
//! Each viewer has a place on a round, by its number; a hand goes round as fast as asking is wanted,
//! and whom it passes is asked. So nobody is asked twice within a round, and nobody is forgotten
//! however seldom somebody looks. Whoever looks remembers where the hand was: a number for all
//! viewers of a row, and one atomic load when nobody is asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::moves::{Moves, Why};
use cluster::plan::mix;

/// The hand; one per node.
#[derive(Debug, Default)]
pub struct Hand {
    /// Rounds since the start, as a fixed-point number of 32 bits behind the point; shifted left
    /// by one, and in the lowest bit for what reason it goes.
    turned: AtomicU64,
}

/// Where the hand is, and why it went there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    at: u64,
    /// Why viewers are asked.
    pub why: Why,
}

/// Where the hand was when somebody looked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked(Option<u64>);

/// What the hand passed between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    from: u32,
    length: u64,
}

impl Hand {
    /// Goes on for as long as that order holds.
    pub fn turn(&self, moves: Moves, time: Duration) {
        let rounds = moves.share() * time.min(LONGEST).as_secs_f64();
        let length = (rounds * ROUND as f64) as u64;
        let at = self.turned.load(Ordering::Relaxed) >> 1;
        let why = u64::from(moves.why == Why::Overload);
        let turned = at.wrapping_add(length) << 1 | why;
        self.turned.store(turned, Ordering::Relaxed);
    }

    /// Where it is.
    pub fn look(&self) -> Turn {
        let turned = self.turned.load(Ordering::Relaxed);
        let why = if turned & 1 == 1 {
            Why::Overload
        } else {
            Why::Drain
        };
        Turn {
            at: turned >> 1,
            why,
        }
    }
}

impl Looked {
    /// What the hand passed since the last look; nothing at the first one.
    pub fn until(&mut self, turn: Turn) -> Option<Passed> {
        let from = self.0.replace(turn.at)?;
        let length = turn.at.saturating_sub(from);
        (length > 0).then_some(Passed {
            from: from as u32,
            length,
        })
    }
}

impl Passed {
    /// Whether the viewer of that number is there.
    pub fn has(&self, viewer: u64) -> bool {
        u64::from(place(viewer).wrapping_sub(self.from)) < self.length
    }
}

/// Neighbours in time are not neighbours on the round.
fn place(viewer: u64) -> u32 {
    (mix(viewer) >> 32) as u32
}

const ROUND: u64 = 1 << 32;

/// An edge that was suspended does not ask everybody when it wakes.
const LONGEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(250);

    fn order(permille: u16) -> Moves {
        Moves {
            permille,
            why: Why::Overload,
        }
    }

    #[test]
    fn each_viewer_is_asked_once_a_round_at_an_even_pace() {
        let (hand, mut looked) = (Hand::default(), Looked::default());
        assert_eq!(looked.until(hand.look()), None);
        let mut asked = vec![0; 10_000];
        for tick in 0..40 {
            hand.turn(order(100), TICK);
            assert_eq!(hand.look().why, Why::Overload);
            let passed = looked.until(hand.look()).unwrap();
            let mut now = 0;
            for (viewer, asked) in asked.iter_mut().enumerate() {
                if passed.has(viewer as u64) {
                    (*asked, now) = (*asked + 1, now + 1);
                }
            }
            assert!((150..350).contains(&now), "{now} in tick {tick}");
        }
        let twice = asked.iter().filter(|asked| **asked != 1).count();
        // Rounding leaves less than a tick's thousandth at the seam of two rounds.
        assert!(twice <= 1, "{twice}");
    }

    #[test]
    fn who_looks_seldom_asks_the_same_viewers_as_who_looks_often() {
        let hand = Hand::default();
        let (mut often, mut seldom) = (Looked::default(), Looked::default());
        often.until(hand.look());
        seldom.until(hand.look());
        let mut asked = Vec::new();
        for _ in 0..12 {
            hand.turn(order(125), TICK);
            let passed = often.until(hand.look()).unwrap();
            asked.extend((0..1000).filter(|viewer| passed.has(*viewer)));
        }
        let passed = seldom.until(hand.look()).unwrap();
        asked.sort_unstable();
        let at_once: Vec<u64> = (0..1000).filter(|viewer| passed.has(*viewer)).collect();
        assert_eq!(asked, at_once);
        assert_eq!(seldom.until(hand.look()), None, "nothing moved");
    }

    #[test]
    fn a_hand_that_went_round_asks_everybody_once() {
        let (hand, mut looked) = (Hand::default(), Looked::default());
        looked.until(hand.look());
        (0..30).for_each(|_| hand.turn(order(200), Duration::from_secs(3600)));
        let passed = looked.until(hand.look()).unwrap();
        assert!((0..1000).all(|viewer| passed.has(viewer)));
    }
}
