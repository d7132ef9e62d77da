//! Sans-IO: what an overloaded edge gives up, in which order, and when it takes it back.
//!
//! The order is fixed: first the top rung for ordinary viewers who join, then new joins, which go
//! elsewhere, then sessions that can move, and last it refuses, with a time to come back. A step is
//! taken as soon as its share of the capacity is reached, several at once if need be; back it goes
//! one step at a time, when the load has been clearly below the step for a while. Viewers whom the
//! policy protects keep their rungs. Who plays is not cut.

/// How far an edge has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// All is offered.
    #[default]
    Whole,
    /// New viewers are not offered the top rung.
    TopRung,
    /// New viewers are sent elsewhere too.
    Joins,
    /// Running sessions that can move do.
    Sessions,
    /// Who comes nevertheless is refused.
    Refuse,
}

impl Step {
    const ALL: [Self; 5] = [
        Self::Whole,
        Self::TopRung,
        Self::Joins,
        Self::Sessions,
        Self::Refuse,
    ];

    /// The label in counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "nothing",
            Self::TopRung => "top_rung",
            Self::Joins => "joins",
            Self::Sessions => "sessions",
            Self::Refuse => "refuse",
        }
    }

    /// The share of the capacity from which on it is taken, in terms of the share `full_at` at
    /// which an edge is full.
    fn from(self, full_at: f32) -> f32 {
        match self {
            Self::Whole => 0.0,
            Self::TopRung => full_at - BEFORE_FULL,
            Self::Joins => full_at,
            Self::Sessions => full_at.max(1.0),
            Self::Refuse => full_at.max(1.0) + BEFORE_FULL,
        }
    }
}

/// What an edge gives up, and since when it could have taken some of it back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shedding {
    step: Step,
    calm_since_ms: Option<u64>,
}

impl Shedding {
    /// How far it has gone.
    pub fn step(&self) -> Step {
        self.step
    }

    /// What follows when the edge carries that share of its capacity.
    pub fn next(self, now_ms: u64, load: f32, full_at: f32) -> Self {
        let reached = Step::ALL
            .into_iter()
            .rev()
            .find(|step| load >= step.from(full_at));
        let reached = reached.unwrap_or_default();
        if reached > self.step {
            return Self {
                step: reached,
                calm_since_ms: None,
            };
        }
        let calm = self.step > Step::Whole && load < self.step.from(full_at) - MARGIN;
        let since_ms = calm.then(|| self.calm_since_ms.unwrap_or(now_ms));
        match since_ms {
            Some(since_ms) if now_ms.saturating_sub(since_ms) >= DWELL_MS => Self {
                step: Step::ALL[self.step as usize - 1],
                calm_since_ms: Some(now_ms),
            },
            calm_since_ms => Self {
                calm_since_ms,
                ..self
            },
        }
    }
}

/// Whether a viewer may lose rungs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// It may.
    Ordinary,
    /// The policy forbids it.
    Protected,
}

/// Which of a stream's rungs, best first, a viewer who joins is offered at an edge: at least one.
pub fn offered<T>(rungs: &[T], step: Step, viewer: Viewer) -> &[T] {
    match (rungs, viewer) {
        ([_, rest @ ..], Viewer::Ordinary) if step >= Step::TopRung && !rest.is_empty() => rest,
        _ => rungs,
    }
}

/// How far below full an edge stops offering the top rung: viewers who join in the seconds until
/// the next sample count with the rung they get.
const BEFORE_FULL: f32 = 0.05;

/// How far the load must have fallen below a step for the step to be taken back: half of what
/// giving up the top rung of a usual ladder saves.
const MARGIN: f32 = 0.1;

/// For how long it must have.
const DWELL_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps that follow from loads, a second apart but for the numbers of seconds given.
    fn steps(loads: &[(u64, f32)]) -> Vec<Step> {
        let (mut shedding, mut now_ms) = (Shedding::default(), 0);
        let next = |&(seconds, load): &(u64, f32)| {
            for _ in 0..seconds {
                now_ms += 1_000;
                shedding = shedding.next(now_ms, load, 0.92);
            }
            shedding.step()
        };
        loads.iter().map(next).collect()
    }

    #[test]
    fn steps_are_taken_at_once_and_in_order() {
        let rising = [(1, 0.5), (1, 0.88), (1, 0.93), (1, 1.0), (1, 1.2)];
        assert_eq!(steps(&rising), Step::ALL);
        assert_eq!(steps(&[(1, 1.3)]), [Step::Refuse]);
    }

    #[test]
    fn they_are_taken_back_slowly_one_by_one() {
        use Step::{Joins, TopRung, Whole};
        assert_eq!(
            steps(&[(1, 0.93), (59, 0.8), (5, 0.8)]),
            [Joins, Joins, TopRung]
        );
        assert_eq!(
            steps(&[(1, 0.93), (61, 0.8), (300, 0.8)]),
            [Joins, TopRung, TopRung]
        );
        assert_eq!(
            steps(&[(1, 0.93), (61, 0.5), (60, 0.5)]),
            [Joins, TopRung, Whole]
        );
        let trembling = [(1, 0.88), (50, 0.7), (1, 0.85), (50, 0.7)];
        assert_eq!(steps(&trembling), [TopRung; 4]);
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
            assert_eq!(
                offered(rungs, shedding.step(), viewer),
                expect,
                "{shedding:?} {viewer:?}"
            );
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
            for at in 100..700 {
                shedding = shedding.next(at * 1_000, 0.1, 0.92);
            }
            proptest::prop_assert_eq!(shedding.step(), Step::Whole);
        }
    }
}
