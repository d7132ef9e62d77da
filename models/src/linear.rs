//! Sans-IO: a line through the rows of a horizon by least absolute errors, kept small by an elastic net.
//!
//! Columns are standardised. Least absolute errors come of iteratively re-weighted least squares (Schlossmacher, 1973).
//! The weighted rows are first compressed to as many rows as columns: with `G = X'WX = LL'`, `|y - Xb|^2` and
//! `|L^-1 X'Wy - L'b|^2` differ by a constant, so linfa's elastic net sees a few dozen rows however many there were.

use linfa::Dataset;
use linfa::traits::Fit as _;
use linfa_elasticnet::ElasticNet;
use linfa_linalg::cholesky::CholeskyInplace as _;
use linfa_linalg::triangular::{SolveTriangularInplace as _, UPLO};
use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    start: f32,
    slopes: Vec<f32>,
}

/// Passes of re-weighting, each the whole work again.
const PASSES: usize = 4;
/// Weight of the penalty beside the squared error of standardised columns.
const PENALTY: f64 = 1e-4;
/// Share of the penalty on absolute values.
const L1: f64 = 0.1;
/// Absolute errors below this share of their mean count as equal.
const SMALL: f64 = 0.1;

impl Line {
    /// The forecast for a row; what is not known counts as the mean.
    pub fn predict(&self, row: &[f32]) -> f32 {
        let terms = self.slopes.iter().zip(row);
        let (mut sums, mut nth) = ([0.0_f32; 4], 0);
        for (slope, value) in terms {
            sums[nth % 4] += if value.is_nan() { 0.0 } else { slope * value };
            nth += 1;
        }
        self.start + (sums[0] + sums[1]) + (sums[2] + sums[3])
    }

    /// Whether it can be applied to rows of at least so many columns.
    pub fn is_sound(&self, columns: usize) -> bool {
        self.start.is_finite()
            && self.slopes.len() <= columns
            && self.slopes.iter().all(|slope| slope.is_finite())
    }
}

/// Fits the first `columns` of `width` columns, row after row, to a target and a weight a row.
///
/// None where the rows do not determine anything.
pub fn fit(
    values: &[f32],
    (width, columns): (usize, usize),
    targets: &[f32],
    weights: &[f32],
) -> Option<Line> {
    let rows = targets.len();
    let (means, deviations) = moments(values, (width, columns), rows);
    let mut standard = Array2::<f64>::zeros((rows, columns + 1));
    for (nth, mut row) in standard.axis_iter_mut(Axis(0)).enumerate() {
        row[columns] = 1.0;
        for column in 0..columns {
            let value = values[nth * width + column];
            if !value.is_nan() && deviations[column] > 0.0 {
                row[column] = (f64::from(value) - means[column]) / deviations[column];
            }
        }
    }
    let mut factors: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
    let mut slopes = Array1::zeros(columns + 1);
    for _ in 0..PASSES {
        slopes = solve(&standard, targets, &factors)?;
        reweigh(&standard, targets, weights, (&slopes, &mut factors));
    }
    let slope = |column| {
        let deviation: f64 = deviations[column];
        if deviation > 0.0 {
            slopes[column] / deviation
        } else {
            0.0
        }
    };
    let slopes_of: Vec<f64> = (0..columns).map(slope).collect();
    let start = slopes[columns]
        - slopes_of
            .iter()
            .zip(&means)
            .map(|(s, m)| s * m)
            .sum::<f64>();
    let line = Line {
        start: start as f32,
        slopes: slopes_of.iter().map(|slope| *slope as f32).collect(),
    };
    line.is_sound(columns).then_some(line)
}

/// Mean and standard deviation of each column over the rows where it is known; unknown ones count as zero.
fn moments(values: &[f32], (width, columns): (usize, usize), rows: usize) -> (Vec<f64>, Vec<f64>) {
    let moment = |column: usize| {
        let known = (0..rows)
            .map(|row| values[row * width + column])
            .filter(|v| !v.is_nan());
        let (mut sum, mut square, mut count) = (0.0, 0.0, 0.0_f64);
        for value in known.map(f64::from) {
            (sum, square, count) = (sum + value, square + value * value, count + 1.0);
        }
        let mean = sum / count.max(1.0);
        let deviation = (square / count.max(1.0) - mean * mean).max(0.0).sqrt();
        // What hardly ever moves is no help, and dividing by it is harm.
        (mean, if deviation > 1e-6 { deviation } else { 0.0 })
    };
    (0..columns).map(moment).unzip()
}

/// The elastic net of weighted rows; the last column is the constant.
fn solve(rows: &Array2<f64>, targets: &[f32], weights: &[f64]) -> Option<Array1<f64>> {
    let width = rows.ncols();
    let mut gram = Array2::<f64>::zeros((width, width));
    let mut moment = Array2::<f64>::zeros((width, 1));
    let mut total = 0.0;
    for (nth, row) in rows.axis_iter(Axis(0)).enumerate() {
        let (row, weight) = (row.to_slice()?, weights[nth]);
        let target = f64::from(targets[nth]) * weight;
        total += weight;
        for (i, left) in row.iter().enumerate() {
            let scaled = left * weight;
            moment[[i, 0]] += left * target;
            let line = gram.row_mut(i).into_slice()?;
            for (sum, right) in line[..=i].iter_mut().zip(&row[..=i]) {
                *sum += scaled * right;
            }
        }
    }
    if total <= 0.0 {
        return None;
    }
    for i in 0..width {
        for j in 0..i {
            gram[[j, i]] = gram[[i, j]];
        }
        gram[[i, i]] += total * RIDGE;
    }
    let lower = gram.cholesky_into().ok()?;
    let upper = lower.t().to_owned();
    lower
        .solve_triangular_inplace(&mut moment, UPLO::Lower)
        .ok()?;
    // linfa divides the squared error by the number of rows it sees.
    let scale = (width as f64 / total).sqrt();
    let data = Dataset::new(upper * scale, moment.column(0).to_owned() * scale);
    let net = ElasticNet::params()
        .penalty(PENALTY)
        .l1_ratio(L1)
        .with_intercept(false)
        .max_iterations(300)
        .tolerance(1e-6)
        .fit(&data)
        .ok()?;
    Some(net.hyperplane().to_owned())
}

/// Keeps columns that hardly differ from fighting each other; relative to standardised columns.
const RIDGE: f64 = 1e-4;

/// Weights by which squares count as absolute errors.
fn reweigh(
    rows: &Array2<f64>,
    targets: &[f32],
    weights: &[f32],
    (slopes, factors): (&Array1<f64>, &mut Vec<f64>),
) {
    let errors: Vec<f64> = rows
        .axis_iter(Axis(0))
        .zip(targets)
        .map(|(row, target)| (f64::from(*target) - row.dot(slopes)).abs())
        .collect();
    let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
    let least = (SMALL * mean).max(1e-9);
    for ((factor, error), weight) in factors.iter_mut().zip(&errors).zip(weights) {
        *factor = f64::from(*weight) * mean.max(1e-9) / error.max(least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_among_copies_outliers_and_unknowns() {
        let (mut values, mut targets) = (Vec::new(), Vec::new());
        let mut state = 1_u32;
        for nth in 0..2000_u32 {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            let x = (state >> 8) as f32 / (1 << 24) as f32;
            let unknown = if nth % 7 == 0 { f32::NAN } else { 1.0 };
            values.extend([x, x, unknown, 99.0]);
            let outlier = if nth % 10 == 0 { 50.0 } else { 0.0 };
            targets.push(3.0 * x + 1.0 + outlier);
        }
        let line = fit(&values, (4, 3), &targets, &vec![1.0; 2000]).unwrap();
        for x in [0.0, 0.5, 1.0] {
            let found = line.predict(&[x, x, 1.0, f32::NAN]);
            assert!((found - 3.0 * x - 1.0).abs() < 0.1, "{x}: {found}");
        }
    }

    #[test]
    fn rows_that_determine_nothing_make_no_line() {
        assert_eq!(fit(&[], (1, 1), &[], &[]), None);
        let constant = fit(&[2.0; 50], (1, 1), &[7.0; 50], &[1.0; 50]).unwrap();
        assert!((constant.predict(&[2.0]) - 7.0).abs() < 1e-2);
    }
}
