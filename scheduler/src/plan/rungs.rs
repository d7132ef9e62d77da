//! Sans-IO: when an edge gives up the top rung of its streams, and when it takes it back.
//!
//! It is the first that an overloaded edge sheds, and hits only ordinary viewers who join; new
//! joins, sessions that can move and refusals follow by what [`crate::steer`] and the edge itself
//! decide. It is shed as soon as the load is near what makes the edge full, and offered again when
//! the load has been clearly lower for a while. Viewers whom the policy protects keep their rungs.
//! Who plays is not cut.

/// Whether an edge sheds the top rung, and since when it could have offered it again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shedding {
    sheds: bool,
    calm_since_ms: Option<u64>,
}

impl Shedding {
    /// What follows when the edge carries that share of its capacity, and is full at another.
    pub fn next(self, now_ms: u64, load: f32, full_at: f32) -> Self {
        let from = full_at - BEFORE_FULL;
        if load >= from || !self.sheds {
            return Self {
                sheds: load >= from,
                calm_since_ms: None,
            };
        }
        let calm = load < from - MARGIN;
        let since_ms = calm.then(|| self.calm_since_ms.unwrap_or(now_ms));
        let over = since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= DWELL_MS);
        Self {
            sheds: !over,
            calm_since_ms: since_ms,
        }
    }

    /// Which of a stream's rungs, best first, a viewer who joins is offered there: at least one.
    pub fn offered<T>(self, rungs: &[T], viewer: Viewer) -> &[T] {
        match (rungs, viewer) {
            ([_, rest @ ..], Viewer::Ordinary) if self.sheds && !rest.is_empty() => rest,
            _ => rungs,
        }
    }
}

/// Whether a viewer may lose rungs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// It may.
    Ordinary,
    /// The policy forbids it, or it plays already.
    Protected,
}

/// How far below full an edge stops offering the top rung: viewers who join in the seconds until
/// the next sample count with the rung they get.
const BEFORE_FULL: f32 = 0.05;

/// How far the load must have fallen below that for it to be offered again: half of what giving up
/// the top rung of a usual ladder saves.
const MARGIN: f32 = 0.1;

/// For how long it must have.
const DWELL_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it sheds after so many seconds of each load.
    fn sheds(loads: &[(u64, f32)]) -> Vec<bool> {
        let (mut shedding, mut now_ms) = (Shedding::default(), 0);
        let next = |&(seconds, load): &(u64, f32)| {
            for _ in 0..seconds {
                now_ms += 1_000;
                shedding = shedding.next(now_ms, load, 0.92);
            }
            shedding.sheds
        };
        loads.iter().map(next).collect()
    }

    #[test]
    fn it_is_shed_at_once_and_offered_again_after_a_calm_minute() {
        let rising = [(1, 0.5), (1, 0.86), (1, 0.88), (1, 1.2)];
        assert_eq!(sheds(&rising), [false, false, true, true]);
        let falling = [(1, 0.93), (60, 0.76), (1, 0.76)];
        assert_eq!(sheds(&falling), [true, true, false]);
        let hardly = [(1, 0.93), (300, 0.8)];
        assert_eq!(sheds(&hardly), [true; 2]);
        let trembling = [(1, 0.88), (50, 0.7), (1, 0.85), (50, 0.7)];
        assert_eq!(sheds(&trembling), [true; 4]);
    }

    #[test]
    fn the_top_rung_is_what_ordinary_viewers_lose() {
        let calm = Shedding::default();
        let full = calm.next(0, 0.9, 0.92);
        let rungs = ["high", "middle", "low"];
        let rows: [(&[&str], Shedding, Viewer, &[&str]); 5] = [
            (&rungs, calm, Viewer::Ordinary, &rungs),
            (&rungs, full, Viewer::Ordinary, &rungs[1..]),
            (&rungs, full, Viewer::Protected, &rungs),
            (&rungs[..1], full, Viewer::Ordinary, &rungs[..1]),
            (&[], full, Viewer::Ordinary, &[]),
        ];
        for (rungs, shedding, viewer, expect) in rows {
            let offered = shedding.offered(rungs, viewer);
            assert_eq!(offered, expect, "{shedding:?} {viewer:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_edge_at_rest_offers_all_again(
            loads in proptest::collection::vec(0.0f32..2.0, 0..50)
        ) {
            let mut shedding = Shedding::default();
            for (at, load) in (0..).zip(&loads) {
                shedding = shedding.next(at * 1_000, *load, 0.92);
            }
            for at in 100..170 {
                shedding = shedding.next(at * 1_000, 0.1, 0.92);
            }
            proptest::prop_assert!(!shedding.sheds);
        }
    }
}
