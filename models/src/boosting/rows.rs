//! Sans-IO: training rows, each column cut into bins once, so that a split is found by adding up a histogram.

/// Bins of a column, the last of which is for what is not known.
pub(super) const BINS: usize = 64;
/// The bin of what is not known.
pub(super) const UNKNOWN: u8 = 63;

/// Rows in bins, column by column.
#[derive(Clone, Debug)]
pub struct Rows {
    pub(super) count: usize,
    pub(super) columns: Vec<Column>,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    /// A bin a row.
    pub(super) bins: Vec<u8>,
    /// Upper bounds of the bins but the last.
    pub(super) cuts: Vec<f32>,
    pub(super) has_unknown: bool,
}

impl Rows {
    /// Cuts `values` of `width` columns, row after row.
    pub fn new(values: &[f32], width: usize) -> Self {
        let count = values.len() / width.max(1);
        let column = |nth| column(values, width, nth);
        Self {
            count,
            columns: (0..width).map(column).collect(),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn column(values: &[f32], width: usize, nth: usize) -> Column {
    let of_row = values.iter().skip(nth).step_by(width);
    let mut known: Vec<f32> = of_row
        .clone()
        .copied()
        .filter(|value| !value.is_nan())
        .collect();
    known.sort_unstable_by(f32::total_cmp);
    let mut cuts: Vec<f32> = Vec::with_capacity(BINS);
    let most = BINS - 3;
    for nth in 1..=most {
        let Some(at) = (known.len() * nth / (most + 1)).checked_sub(1) else {
            continue;
        };
        let (low, high) = (known[at], known[(at + 1).min(known.len() - 1)]);
        // Between two values, so that a little noise does not change the side.
        let cut = low + (high - low) / 2.0;
        if low < high && cuts.last().is_none_or(|last| *last < cut) {
            cuts.push(cut);
        }
    }
    let has_unknown = known.len() * width < values.len();
    if has_unknown {
        // All that is known on one side, the unknown on the other.
        cuts.push(f32::MAX);
    }
    let bins = of_row
        .map(|value| match value.is_nan() {
            true => UNKNOWN,
            false => cuts.partition_point(|cut| cut < value) as u8,
        })
        .collect();
    Column {
        bins,
        cuts,
        has_unknown,
    }
}
