//! Sans-IO: exponential smoothing with a damped trend (Gardner and McKenzie, 1985) over a grid of settings, of which the
//! one with the smallest recent error is taken, for each horizon by itself. All in `ln(1 + y)`.

use std::collections::VecDeque;

const ALPHAS: [f32; 5] = [0.1, 0.3, 0.5, 0.7, 0.95];
const BETAS: [f32; 4] = [0.0, 0.05, 0.15, 0.4];
const PHIS: [f32; 2] = [0.85, 0.97];
const GRID: usize = ALPHAS.len() * BETAS.len() * PHIS.len();

/// What of older errors counts a step later.
const DECAY: f32 = 0.995;

/// All settings of the grid, for some horizons.
#[derive(Clone, Debug)]
pub struct Grid {
    levels: [f32; GRID],
    trends: [f32; GRID],
    aheads: Vec<Ahead>,
    /// Levels and trends of the last steps, oldest first.
    before: VecDeque<Box<[[f32; GRID]; 2]>>,
    is_begun: bool,
}

#[derive(Clone, Debug)]
struct Ahead {
    steps: usize,
    /// The sum of the trend's dampings until then, by setting of phi.
    reach: [f32; PHIS.len()],
    errors: [f32; GRID],
}

fn setting(nth: usize) -> (f32, f32, usize) {
    let (phi, rest) = (nth % PHIS.len(), nth / PHIS.len());
    (ALPHAS[rest / BETAS.len()], BETAS[rest % BETAS.len()], phi)
}

impl Grid {
    /// For horizons of so many steps.
    pub fn new(aheads: &[usize]) -> Self {
        let ahead = |steps: &usize| {
            let reach = |phi: f32| {
                let (mut sum, mut power) = (0.0, 1.0);
                for _ in 0..*steps {
                    power *= phi;
                    sum += power;
                }
                sum
            };
            Ahead {
                steps: *steps,
                reach: PHIS.map(reach),
                errors: [0.0; GRID],
            }
        };
        Self {
            levels: [0.0; GRID],
            trends: [0.0; GRID],
            aheads: aheads.iter().map(ahead).collect(),
            before: VecDeque::new(),
            is_begun: false,
        }
    }

    /// Takes the next step's value; `known` says whether it was measured.
    pub fn push(&mut self, value: f32, known: bool) {
        if !self.is_begun {
            (self.levels, self.is_begun) = ([value; GRID], true);
        }
        if known {
            self.judge(value);
        }
        for nth in 0..GRID {
            let (alpha, beta, phi) = setting(nth);
            let trend = self.trends[nth] * PHIS[phi];
            let level = self.levels[nth] + trend + alpha * (value - self.levels[nth] - trend);
            self.trends[nth] = trend + beta * (level - self.levels[nth] - trend);
            self.levels[nth] = level;
        }
        let most = self
            .aheads
            .iter()
            .map(|ahead| ahead.steps)
            .max()
            .unwrap_or(0);
        let mut oldest = if self.before.len() >= most {
            self.before.pop_front()
        } else {
            None
        };
        if most > 0 {
            let slot = oldest.get_or_insert_with(|| Box::new([[0.0; GRID]; 2]));
            **slot = [self.levels, self.trends];
            self.before.extend(oldest);
        }
    }

    /// Adds what each setting would have been wrong by.
    fn judge(&mut self, value: f32) {
        for ahead in &mut self.aheads {
            let Some(nth) = self.before.len().checked_sub(ahead.steps) else {
                continue;
            };
            let [levels, trends] = &*self.before[nth];
            for nth in 0..GRID {
                let reach = ahead.reach[nth % PHIS.len()];
                let error = (value - levels[nth] - trends[nth] * reach).abs();
                ahead.errors[nth] = DECAY * ahead.errors[nth] + error;
            }
        }
    }

    /// The forecast for the `nth` horizon.
    pub fn forecast(&self, nth: usize) -> f32 {
        let ahead = &self.aheads[nth];
        let mut best = 0;
        for nth in 1..GRID {
            if ahead.errors[nth] < ahead.errors[best] {
                best = nth;
            }
        }
        self.levels[best] + self.trends[best] * ahead.reach[best % PHIS.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_is_followed_and_a_constant_kept() {
        let mut grid = Grid::new(&[1, 10]);
        (0..500).for_each(|step| grid.push(step as f32 * 0.01, true));
        assert!(
            (grid.forecast(0) - 5.0).abs() < 0.01,
            "{}",
            grid.forecast(0)
        );
        assert!(
            (grid.forecast(1) - 5.09).abs() < 0.03,
            "{}",
            grid.forecast(1)
        );
        let mut grid = Grid::new(&[3]);
        (0..50).for_each(|_| grid.push(2.0, true));
        assert!((grid.forecast(0) - 2.0).abs() < 1e-6);
        assert_eq!(grid.before.len(), 3);
    }

    #[test]
    fn noise_is_smoothed() {
        let mut grid = Grid::new(&[1]);
        (0..2000).for_each(|step| grid.push(if step % 2 == 0 { 1.0 } else { 2.0 }, true));
        assert!(
            (grid.forecast(0) - 1.5).abs() < 0.35,
            "{}",
            grid.forecast(0)
        );
    }
}
