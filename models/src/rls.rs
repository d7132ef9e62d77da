//! Sans-IO: a line that follows each new step: recursive least squares with forgetting, guarded.
//!
//! Haykin, Adaptive Filter Theory, chapter 10. With columns that hardly differ the plain form diverges, so the covariance
//! is bounded and regularised anew where it winds up, and a surprise counts for a few deviations at most.

/// A line that learns.
#[derive(Clone, Debug)]
pub struct Rls {
    slopes: Vec<f64>,
    /// Inverse of the weighted Gram matrix, row after row.
    inverse: Vec<f64>,
    gain: Vec<f64>,
    /// Mean absolute surprise of late.
    surprise: f64,
    seen: u64,
}

const FORGET: f64 = 0.9995;
/// The inverse's diagonal at the start: little is believed of the slopes being zero.
const START: f64 = 10.0;
/// A diagonal beyond this has wound up.
const MOST: f64 = 1e4;
/// Deviations that a surprise counts for at most.
const CLIP: f64 = 4.0;

impl Rls {
    /// Over so many columns.
    pub fn new(columns: usize) -> Self {
        let mut line = Self {
            slopes: vec![0.0; columns],
            inverse: vec![0.0; columns * columns],
            gain: vec![0.0; columns],
            surprise: 0.0,
            seen: 0,
        };
        line.begin_covariance();
        line
    }

    fn begin_covariance(&mut self) {
        let columns = self.slopes.len();
        self.inverse.fill(0.0);
        (0..columns).for_each(|nth| self.inverse[nth * columns + nth] = START);
    }

    /// How many columns.
    pub fn columns(&self) -> usize {
        self.slopes.len()
    }

    /// The forecast for a row, once enough rows were seen.
    pub fn predict(&self, row: &[f64]) -> Option<f64> {
        let enough = self.seen > 3 * self.slopes.len() as u64;
        enough.then(|| dot(&self.slopes, row))
    }

    /// Learns that a row had a target.
    pub fn learn(&mut self, row: &[f64], target: f64) {
        let columns = self.slopes.len();
        let lines = self.inverse.chunks_exact(columns);
        self.gain
            .iter_mut()
            .zip(lines)
            .for_each(|(gain, line)| *gain = dot(line, row));
        let norm = FORGET + dot(&self.gain, row);
        let surprise = target - dot(&self.slopes, row);
        let bound = if self.seen > 50 {
            CLIP * self.surprise.max(1e-9)
        } else {
            f64::MAX
        };
        let clipped = surprise.clamp(-bound, bound);
        let weight = if self.seen == 0 { 1.0 } else { 0.01 };
        self.surprise += weight * (surprise.abs().min(2.0 * bound) - self.surprise);
        self.seen += 1;
        let mut largest = 0.0_f64;
        for i in 0..columns {
            let gain = self.gain[i] / norm;
            self.slopes[i] += gain * clipped;
            let line = &mut self.inverse[i * columns..(i + 1) * columns];
            for (value, other) in line.iter_mut().zip(&self.gain) {
                *value = (*value - gain * other) / FORGET;
            }
            largest = largest.max(line[i]);
        }
        let sound = largest.is_finite() && self.slopes.iter().all(|slope| slope.abs() < MOST);
        if !sound {
            self.slopes.fill(0.0);
        }
        if !sound || largest > MOST {
            self.begin_covariance();
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (chunks, others) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = chunks
        .remainder()
        .iter()
        .zip(others.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in chunks.zip(others) {
        (0..4).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_learned_and_outliers_do_little() {
        let mut line = Rls::new(3);
        for nth in 0..2000 {
            let x = f64::from(nth % 17) / 17.0;
            let outlier = if nth % 100 == 99 { 100.0 } else { 0.0 };
            line.learn(&[1.0, x, x], 2.0 * x + 1.0 + outlier);
        }
        let found = line.predict(&[1.0, 0.5, 0.5]).unwrap();
        assert!((found - 2.0).abs() < 0.2, "{found}");
    }

    #[test]
    fn columns_that_never_move_do_not_wind_it_up() {
        let mut line = Rls::new(4);
        for nth in 0..200_000 {
            let x = f64::from(nth % 5);
            line.learn(&[1.0, x, 0.0, x], x);
        }
        let found = line.predict(&[1.0, 2.0, 1.0, 2.0]).unwrap();
        assert!(found.is_finite() && (found - 2.0).abs() < 0.1, "{found}");
    }

    #[test]
    fn it_is_silent_until_it_saw_enough() {
        let mut line = Rls::new(2);
        assert_eq!(line.predict(&[1.0, 1.0]), None);
        (0..7).for_each(|_| line.learn(&[1.0, 1.0], 1.0));
        assert!(line.predict(&[1.0, 1.0]).is_some());
    }
}
