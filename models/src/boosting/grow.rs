//! Sans-IO: the growing of a forest, tree by tree and leaf by leaf.

use super::rows::{BINS, Rows, UNKNOWN};
use super::{Forest, MAX_LEAVES, Node, Settings, quantile_of};

/// Sums over the rows of a bin.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    gradient: f64,
    weight: f64,
    rows: u32,
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.gradient += other.gradient;
        self.weight += other.weight;
        self.rows += other.rows;
    }

    fn less(self, other: Sums) -> Sums {
        Sums {
            gradient: self.gradient - other.gradient,
            weight: self.weight - other.weight,
            rows: self.rows - other.rows,
        }
    }

    /// How much a leaf of these lowers the loss: the square of the gradient over its weight.
    fn worth(&self) -> f64 {
        self.gradient * self.gradient / (self.weight + LITTLE)
    }
}

/// Keeps a leaf without weight from a division by zero.
const LITTLE: f64 = 1e-9;

type Histogram = Vec<[Sums; BINS]>;

struct Leaf {
    /// Its rows in `Grower::order`.
    from: usize,
    to: usize,
    node: usize,
    depth: u8,
    histogram: Histogram,
    split: Option<Split>,
}

#[derive(Clone, Copy, Debug)]
struct Split {
    gain: f64,
    /// Its place among the tree's columns.
    nth: usize,
    bin: u8,
    unknown_left: bool,
}

pub(super) struct Grower<'a> {
    rows: &'a Rows,
    targets: &'a [f32],
    weights: &'a [f32],
    quantile: f32,
    settings: &'a Settings,
    /// What is left of each target.
    rest: Vec<f32>,
    gradients: Vec<f32>,
    /// The drawn rows, leaf by leaf.
    order: Vec<u32>,
    /// The drawn columns.
    columns: Vec<usize>,
    /// The tree that grows.
    tree: Vec<Node>,
    forest: Forest,
}

impl<'a> Grower<'a> {
    pub(super) fn new(
        rows: &'a Rows,
        targets: &'a [f32],
        weights: &'a [f32],
        quantile: f32,
        settings: &'a Settings,
    ) -> Self {
        let mut pairs: Vec<_> = targets
            .iter()
            .copied()
            .zip(weights.iter().copied())
            .collect();
        let start = quantile_of(&mut pairs, quantile);
        Self {
            rows,
            targets,
            weights,
            quantile,
            settings,
            rest: targets.iter().map(|target| target - start).collect(),
            gradients: vec![0.0; targets.len()],
            order: Vec::new(),
            columns: Vec::new(),
            tree: Vec::new(),
            forest: Forest {
                start,
                nodes: Vec::new(),
                roots: Vec::new(),
                depths: Vec::new(),
            },
        }
    }

    pub(super) fn grow(mut self, seed: u64) -> Forest {
        let mut dice = Dice(seed);
        for _ in 0..self.settings.trees {
            if self.targets.len() < 2 * self.settings.least_rows {
                break;
            }
            for (gradient, (rest, weight)) in self
                .gradients
                .iter_mut()
                .zip(self.rest.iter().zip(self.weights))
            {
                let side = if *rest > 0.0 {
                    self.quantile
                } else {
                    self.quantile - 1.0
                };
                *gradient = side * weight;
            }
            let share = self.settings.row_share;
            self.order = (0..self.targets.len() as u32)
                .filter(|_| dice.roll() < share)
                .collect();
            let share = self.settings.column_share;
            self.columns = (0..self.rows.columns.len())
                .filter(|_| dice.roll() < share)
                .collect();
            self.grow_tree();
            self.forest.plant(&self.tree);
            self.apply();
        }
        self.forest
    }

    /// Grows one tree on the drawn rows.
    fn grow_tree(&mut self) {
        self.tree.clear();
        let root = self.node();
        let histogram = self.histogram(0, self.order.len());
        let split = self.best(&histogram);
        let mut leaves = vec![Leaf {
            from: 0,
            to: self.order.len(),
            node: root,
            depth: 0,
            histogram,
            split,
        }];
        while leaves.len() < self.settings.leaves.min(MAX_LEAVES) {
            let gain = |leaf: &Leaf| leaf.split.map_or(0.0, |split| split.gain);
            let best = leaves
                .iter()
                .enumerate()
                .max_by(|(a, x), (b, y)| gain(x).total_cmp(&gain(y)).then(b.cmp(a)));
            let Some((nth, split)) = best.and_then(|(nth, leaf)| Some((nth, leaf.split?))) else {
                break;
            };
            let leaf = leaves.swap_remove(nth);
            leaves.extend(self.divide(leaf, split));
        }
        for leaf in &leaves {
            let rows = &self.order[leaf.from..leaf.to];
            let mut pairs: Vec<_> = rows
                .iter()
                .map(|row| (self.rest[*row as usize], self.weights[*row as usize]))
                .collect();
            let value = quantile_of(&mut pairs, self.quantile) * self.settings.rate;
            self.tree[leaf.node].value = value;
        }
    }

    fn node(&mut self) -> usize {
        self.tree.push(Node::leaf(self.tree.len()));
        self.tree.len() - 1
    }

    /// The sums of each drawn column's bins over rows `from..to` of the order.
    fn histogram(&self, from: usize, to: usize) -> Histogram {
        let order = &self.order[from..to];
        let of = |column: &usize| {
            let bins = &self.rows.columns[*column].bins;
            let mut sums = [Sums::default(); BINS];
            for row in order {
                let row = *row as usize;
                let bin = &mut sums[usize::from(bins[row])];
                bin.gradient += f64::from(self.gradients[row]);
                bin.weight += f64::from(self.weights[row]);
                bin.rows += 1;
            }
            sums
        };
        self.columns.iter().map(of).collect()
    }

    /// The split that lowers the loss most; none where no leaf would have enough rows.
    fn best(&self, histogram: &Histogram) -> Option<Split> {
        let mut best: Option<Split> = None;
        for (nth, sums) in histogram.iter().enumerate() {
            let column = &self.rows.columns[self.columns[nth]];
            let mut all = Sums::default();
            sums.iter().for_each(|bin| all.add(*bin));
            let unknown = sums[usize::from(UNKNOWN)];
            let sides: &[bool] = if column.has_unknown {
                &[false, true]
            } else {
                &[false]
            };
            for unknown_left in sides.iter().copied() {
                let mut left = if unknown_left {
                    unknown
                } else {
                    Sums::default()
                };
                for (bin, sums) in sums.iter().enumerate().take(column.cuts.len()) {
                    left.add(*sums);
                    let right = all.less(left);
                    let least = left.rows.min(right.rows) as usize;
                    if least < self.settings.least_rows {
                        continue;
                    }
                    let gain = left.worth() + right.worth() - all.worth();
                    if gain > best.map_or(LITTLE, |best| best.gain) {
                        best = Some(Split {
                            gain,
                            nth,
                            bin: bin as u8,
                            unknown_left,
                        });
                    }
                }
            }
        }
        best
    }

    /// Makes a leaf a branch with two leaves; the larger one's histogram is the difference.
    fn divide(&mut self, leaf: Leaf, split: Split) -> [Leaf; 2] {
        let column = self.columns[split.nth];
        let bins = &self.rows.columns[column].bins;
        let goes_left = |row: &u32| {
            let bin = bins[*row as usize];
            if bin == UNKNOWN {
                split.unknown_left
            } else {
                bin <= split.bin
            }
        };
        let rows = &self.order[leaf.from..leaf.to];
        let (mut left, right): (Vec<u32>, Vec<u32>) = rows.iter().partition(|row| goes_left(row));
        let middle = leaf.from + left.len();
        left.extend(right);
        self.order[leaf.from..leaf.to].copy_from_slice(&left);
        let cut = self.rows.columns[column].cuts[usize::from(split.bin)];
        let (first, second) = (self.node(), self.node());
        self.tree[leaf.node] = Node {
            value: cut,
            left: first as u8,
            column: column as u8,
            unknown_left: split.unknown_left,
            is_leaf: false,
        };
        let left_is_smaller = middle - leaf.from < leaf.to - middle;
        let smaller = if left_is_smaller {
            leaf.from..middle
        } else {
            middle..leaf.to
        };
        let small = self.histogram(smaller.start, smaller.end);
        let mut large = leaf.histogram;
        for (large, small) in large.iter_mut().zip(&small) {
            large
                .iter_mut()
                .zip(small)
                .for_each(|(large, small)| *large = large.less(*small));
        }
        let (on_left, on_right) = if left_is_smaller {
            (small, large)
        } else {
            (large, small)
        };
        let make = |from, to, node, histogram| {
            let may_split = leaf.depth + 1 < self.settings.depth;
            let split = may_split.then(|| self.best(&histogram)).flatten();
            Leaf {
                from,
                to,
                node,
                depth: leaf.depth + 1,
                histogram,
                split,
            }
        };
        [
            make(leaf.from, middle, first, on_left),
            make(middle, leaf.to, second, on_right),
        ]
    }

    /// Takes a tree's values off what is left of every row.
    fn apply(&mut self) {
        for (row, rest) in self.rest.iter_mut().enumerate() {
            let mut node = &self.tree[0];
            while !node.is_leaf {
                let column = &self.rows.columns[usize::from(node.column)];
                let left = match column.bins[row] {
                    UNKNOWN => node.unknown_left,
                    bin => column
                        .cuts
                        .get(usize::from(bin))
                        .is_some_and(|cut| *cut <= node.value),
                };
                node = &self.tree[usize::from(node.left) + usize::from(!left)];
            }
            *rest -= node.value;
        }
    }
}

/// The generator splitmix64 (Steele, Lea and Flood, 2014).
struct Dice(u64);

impl Dice {
    /// 0 to 1.
    fn roll(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    }
}
