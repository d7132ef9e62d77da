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
    /// Branches on the way to a leaf at most: trees are walked abreast, and the deepest one sets the pace.
    pub depth: u8,
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
    /// On the real series at hand 150 trees of 16 leaves are as good as LightGBM's 150 of 31; 80 of 8 are up to 7 %
    /// worse, at an hour on the ISP's.
    fn default() -> Self {
        Self {
            trees: 150,
            leaves: 16,
            depth: 6,
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
    /// The longest way from root to leaf among each [`ABREAST`] trees.
    depths: Vec<u8>,
}

/// A branch, or a leaf, which leads to itself: so a walk needs no question whether it has ended. Eight bytes, so that
/// the forests of a model stay in the processor's second cache.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    /// A branch's threshold, a column at most which goes left; what a leaf adds.
    value: f32,
    /// Where the left child is, from the tree's root; the right one follows it.
    left: u8,
    column: u8,
    /// Whether an unknown column goes left.
    unknown_left: bool,
    is_leaf: bool,
}

impl Node {
    fn leaf(at: usize) -> Self {
        Self {
            value: 0.0,
            left: at as u8,
            column: 0,
            unknown_left: true,
            is_leaf: true,
        }
    }

    fn next(&self, value: f32) -> u8 {
        let unknown = self.unknown_left & value.is_nan();
        let left = (value <= self.value) | unknown | self.is_leaf;
        self.left.wrapping_add(u8::from(!left))
    }
}

/// Leaves of a tree at most, so that its nodes have numbers of a byte.
const MAX_LEAVES: usize = 64;

/// Trees that are walked at the same time: their steps do not wait for each other's memory.
const ABREAST: usize = 8;

impl Forest {
    /// The quantile for one row.
    pub fn predict(&self, row: &[f32]) -> f32 {
        let mut sum = self.start;
        for (roots, depth) in self.roots.chunks(ABREAST).zip(&self.depths) {
            let mut places = [0_u8; ABREAST];
            for _ in 0..*depth {
                for (place, root) in places.iter_mut().zip(roots) {
                    let node = &self.nodes[*root as usize + usize::from(*place)];
                    *place = node.next(row[usize::from(node.column)]);
                }
            }
            for (place, root) in places.iter().zip(roots) {
                sum += self.nodes[*root as usize + usize::from(*place)].value;
            }
        }
        sum
    }

    /// Adds a tree.
    fn plant(&mut self, tree: &[Node]) {
        // Children come after their parents.
        let mut depths = [0_u8; 2 * MAX_LEAVES];
        for (at, node) in tree.iter().enumerate().filter(|(_, node)| !node.is_leaf) {
            let child = usize::from(node.left);
            let depth = depths[at] + 1;
            (depths[child], depths[child + 1]) = (depth, depth);
        }
        let depth = depths.into_iter().max().unwrap_or(0);
        if self.roots.len().is_multiple_of(ABREAST) {
            self.depths.push(depth);
        } else if let Some(deepest) = self.depths.last_mut() {
            *deepest = depth.max(*deepest);
        }
        self.roots.push(self.nodes.len() as u32);
        self.nodes.extend(tree);
    }

    /// Whether each index that a prediction follows exists and leads on, for rows of so many columns.
    pub fn is_sound(&self, columns: usize) -> bool {
        let ends = self
            .roots
            .iter()
            .skip(1)
            .copied()
            .chain([self.nodes.len() as u32]);
        let tree = |(root, end): (u32, u32)| {
            let tree = self.nodes.get(root as usize..end as usize);
            tree.is_some_and(|tree| !tree.is_empty() && is_tree(tree, columns))
        };
        self.start.is_finite()
            && self.roots.iter().copied().zip(ends).all(tree)
            && self.depths.len() == self.roots.len().div_ceil(ABREAST)
    }

    /// How often each column is branched on.
    pub fn uses(&self, columns: usize) -> Vec<u32> {
        let mut uses = vec![0; columns];
        for node in self.nodes.iter().filter(|node| !node.is_leaf) {
            uses[usize::from(node.column)] += 1;
        }
        uses
    }
}

/// Whether walks through these nodes stay among them and end.
fn is_tree(tree: &[Node], columns: usize) -> bool {
    let sound = |(at, node): (usize, &Node)| {
        let left = usize::from(node.left);
        let leads_on = if node.is_leaf {
            left == at
        } else {
            left > at && left + 1 < tree.len()
        };
        leads_on && node.value.is_finite() && usize::from(node.column) < columns
    };
    tree.iter().enumerate().all(sound)
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
