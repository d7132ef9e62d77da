//! Sans-IO: rows from the past of many series, and the pooled model of each horizon that comes of them.
//!
//! A row's target is `g = ln(1 + y[t+h]) - ln(1 + y[t])`, its weight the load at `t` over the series' mean, so that the
//! median of `g` is what makes the absolute error of `y` smallest. Rows are sampled evenly in time; which ones depends on
//! the step's number alone, never on what comes after it.

use serde::{Deserialize, Serialize};

use crate::boosting::{self, Forest, Rows};
use crate::calendar::{Calendar, Events};
use crate::features;
use crate::history::History;
use crate::linear::{self, Line};
use crate::series::Series;

/// Upper quantiles that are forecast.
pub const QUANTILES: [f32; 3] = [0.9, 0.95, 0.99];

/// What was learned for one horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// How many steps ahead.
    pub ahead: usize,
    /// The line, where there is one.
    pub line: Option<Line>,
    /// The median.
    pub median: Forest,
    /// One for each of [`QUANTILES`].
    pub quantiles: Vec<Forest>,
}

impl Learned {
    /// Whether it can be applied to rows of so many columns.
    pub fn is_sound(&self, columns: usize) -> bool {
        self.quantiles.len() == QUANTILES.len()
            && self.line.as_ref().is_none_or(|line| line.is_sound(columns))
            && self
                .quantiles
                .iter()
                .chain([&self.median])
                .all(|forest| forest.is_sound(columns))
    }
}

/// Rows of one horizon, oldest first within a series.
#[derive(Clone, Debug)]
pub struct Table {
    /// How many steps ahead.
    pub ahead: usize,
    /// Columns of `features`, row after row.
    pub values: Vec<f32>,
    /// Targets, one a row.
    pub targets: Vec<f32>,
    /// Weights, one a row.
    pub weights: Vec<f32>,
    /// The step at which each row's target was known.
    pub known_at: Vec<i64>,
}

/// How a model is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// How the trees of the median are grown.
    pub median: boosting::Settings,
    /// How those of the quantiles are.
    pub quantiles: boosting::Settings,
    /// What chance depends on.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            median: boosting::Settings::default(),
            quantiles: boosting::Settings::default(),
            seed: 1,
        }
    }
}

impl Table {
    /// Without rows.
    pub fn new(ahead: usize) -> Self {
        Self {
            ahead,
            values: Vec::new(),
            targets: Vec::new(),
            weights: Vec::new(),
            known_at: Vec::new(),
        }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Those of its rows whose targets were known before a step.
    pub fn until(&self, step: i64) -> Self {
        let width = features::width();
        let mut rows = Self::new(self.ahead);
        for nth in (0..self.len()).filter(|nth| self.known_at[*nth] < step) {
            rows.values
                .extend(&self.values[nth * width..(nth + 1) * width]);
            rows.targets.push(self.targets[nth]);
            rows.weights.push(self.weights[nth]);
            rows.known_at.push(self.known_at[nth]);
        }
        rows
    }

    /// Its first rows; all, when there are no more.
    pub fn first(&self, rows: usize) -> Part<'_> {
        let rows = rows.min(self.len());
        Part {
            values: &self.values[..rows * features::width()],
            targets: &self.targets[..rows],
            weights: &self.weights[..rows],
            ahead: self.ahead,
        }
    }
}

/// Rows to learn from.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    values: &'a [f32],
    targets: &'a [f32],
    weights: &'a [f32],
    ahead: usize,
}

/// Adds the rows of a series to the tables, every `every`th step from `offset` on.
pub fn collect(
    series: &Series,
    events: &Events,
    calendar: Calendar,
    (every, offset): (usize, usize),
    tables: &mut [Table],
) {
    let mut past = History::new(calendar.clock(series.step_s));
    let mut shared = Vec::new();
    let (mut sum, mut count) = (0.0, 0.0);
    for (nth, value) in series.values.iter().enumerate() {
        let step = series.step(nth);
        if !past.push(step, *value) || value.is_nan() || past.age() < LEAST_AGE {
            continue;
        }
        (sum, count) = (sum + value, count + 1.0);
        if (step as usize).wrapping_add(offset) % every.max(1) != 0 {
            continue;
        }
        features::shared(&past, &mut shared);
        let mean: f64 = sum / count;
        for table in &mut *tables {
            let then = series.at(step + table.ahead as i64);
            if then.is_nan() {
                continue;
            }
            let mut row = std::mem::take(&mut shared);
            features::own(&past, events, table.ahead, &mut row);
            table.values.extend(&row);
            table.targets.push(libm::log1p(then) as f32 - past.now());
            table
                .weights
                .push(((value + 0.1 * mean + LITTLE) / (mean + LITTLE)) as f32);
            table.known_at.push(step + table.ahead as i64);
            shared = row;
        }
    }
}

/// A series younger than this many steps tells nothing.
const LEAST_AGE: usize = 12;
/// Weighs the rows of a series that is always zero.
const LITTLE: f64 = 1e-9;

/// Learns from rows of one horizon; none where there are too few.
pub fn learn(part: Part<'_>, settings: &Settings) -> Option<Learned> {
    if part.targets.len() < LEAST_ROWS {
        return None;
    }
    let width = features::width();
    let rows = Rows::new(part.values, width);
    let seed = settings
        .seed
        .wrapping_mul(1_000_003)
        .wrapping_add(part.ahead as u64);
    let forest = |quantile: f32, settings: &boosting::Settings| {
        let seed = seed.wrapping_add((quantile * 1e4) as u64);
        boosting::train(
            &rows,
            part.targets,
            part.weights,
            quantile,
            (settings, seed),
        )
    };
    let columns = (width, width - features::EVENT_COLUMNS);
    Some(Learned {
        ahead: part.ahead,
        line: linear::fit(part.values, columns, part.targets, part.weights),
        median: forest(0.5, &settings.median),
        quantiles: QUANTILES
            .iter()
            .map(|q| forest(*q, &settings.quantiles))
            .collect(),
    })
}

/// Fewer rows than this are noise.
const LEAST_ROWS: usize = 300;
