//! Sans-IO: gradient boosting of small trees over binned columns, for one quantile.
//!
//! The loss is the pinball loss (Koenker and Bassett, 1978), for the median half the absolute error. Trees grow leaf by
//! leaf, the best split first, on histograms of the gradient (as LightGBM does: Ke et al., 2017); a leaf's value is the
//! weighted quantile of what is left there (Friedman, 2001, section 4.3), times the rate. A column that is not known goes
//! to the side where it does better. Rows and columns of a tree are drawn by a seed.

use serde::{Deserialize, Serialize};

mod grow;
mod rows;

pub use rows::Rows;

/// How a forest is grown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Trees.
    pub trees: usize,
    /// Leaves of a tree.
    pub leaves: usize,
    /// Share of a leaf's value that is added.
    pub rate: f32,
    /// Rows that a leaf has at least.
    pub least_rows: usize,
    /// Share of the rows drawn for each tree.
    pub row_share: f32,
    /// Share of the columns drawn for each tree.
    pub column_share: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trees: 80,
            leaves: 8,
            rate: 0.1,
            least_rows: 20,
            row_share: 0.7,
            column_share: 0.5,
        }
    }
}

/// Trees whose sum is the forecast of one quantile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forest {
    start: f32,
    nodes: Vec<Node>,
    /// Where each tree begins in `nodes`.
    roots: Vec<u32>,
}

/// A branch or a leaf; both in 12 bytes, so that a forest stays in the processor's cache.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    /// A branch's threshold: a column at most this goes left; a leaf's value.
    value: f32,
    /// Where the left child is; the right one follows it; 0 for a leaf.
    left: u32,
    column: u16,
    /// Whether an unknown column goes left.
    unknown_left: bool,
}

impl Forest {
    /// The quantile for one row.
    pub fn predict(&self, row: &[f32]) -> f32 {
        let of = |root: &u32| {
            let mut node = &self.nodes[*root as usize];
            while node.left != 0 {
                let value = row[usize::from(node.column)];
                let left = value <= node.value || (node.unknown_left && value.is_nan());
                node = &self.nodes[node.left as usize + usize::from(!left)];
            }
            node.value
        };
        self.roots
            .iter()
            .map(of)
            .fold(self.start, |sum, value| sum + value)
    }

    /// Whether each index that a prediction follows exists and leads on, for rows of so many columns.
    pub fn is_sound(&self, columns: usize) -> bool {
        let count = self.nodes.len();
        let node = |(at, node): (usize, &Node)| {
            node.value.is_finite()
                && (node.left == 0
                    || (node.left as usize > at
                        && (node.left as usize) < count - 1
                        && usize::from(node.column) < columns))
        };
        self.start.is_finite()
            && self.nodes.iter().enumerate().all(node)
            && self.roots.iter().all(|root| (*root as usize) < count)
    }

    /// How often each column is branched on.
    pub fn uses(&self, columns: usize) -> Vec<u32> {
        let mut uses = vec![0; columns];
        for node in self.nodes.iter().filter(|node| node.left != 0) {
            uses[usize::from(node.column)] += 1;
        }
        uses
    }
}

/// Grows a forest for the quantile `quantile` of `targets`, a target and a weight a row.
pub fn train(
    rows: &Rows,
    targets: &[f32],
    weights: &[f32],
    quantile: f32,
    (settings, seed): (&Settings, u64),
) -> Forest {
    grow::Grower::new(rows, targets, weights, quantile, settings).grow(seed)
}

/// The smallest value below which at least the share `quantile` of the weight lies; pairs of value and weight.
fn quantile_of(pairs: &mut [(f32, f32)], quantile: f32) -> f32 {
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let total: f64 = pairs.iter().map(|pair| f64::from(pair.1)).sum();
    let (wanted, mut sum) = (total * f64::from(quantile), 0.0);
    for (value, weight) in pairs.iter() {
        sum += f64::from(*weight);
        if sum >= wanted {
            return *value;
        }
    }
    pairs.last().map_or(0.0, |pair| pair.0)
}

#[cfg(test)]
mod tests;
