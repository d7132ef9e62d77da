//! Sans-IO: a trained model as bytes, with the card that says what it learned from and how good it is.
//!
//! Bytes are a magic, the format's number, a checksum and postcard. What is damaged, of another format or learned from
//! other columns is refused; the answer is always to train again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calendar::Calendar;
use crate::features;
use crate::train::{Learned, Settings};

/// What was learned for series of one step, and how good that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Length of a step, seconds.
    pub step_s: u32,
    /// The calendar of its series.
    pub calendar: Calendar,
    /// The names of the columns it reads.
    pub columns: Vec<String>,
    /// One for each horizon where it beats the best naive method.
    pub learned: Vec<Learned>,
    /// What it learned from and how good it is.
    pub card: Card,
}

/// What a model learned from and how good it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Unix seconds at which it was trained.
    pub trained_at_s: i64,
    /// Series it learned from.
    pub series: usize,
    /// Unix seconds of the oldest and the newest step.
    pub from_s: i64,
    /// See `from_s`.
    pub to_s: i64,
    /// How it was trained.
    pub settings: Option<Settings>,
    /// How good it was on the last part of the series, which it had not seen then.
    pub horizons: Vec<Quality>,
}

/// How good a model is at one horizon, on what it had not seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// The horizon, seconds.
    pub horizon_s: u32,
    /// Rows it learned from.
    pub rows: usize,
    /// Forecasts judged.
    pub judged: usize,
    /// Weighted absolute percentage error, a share, mean over series.
    pub wape: f64,
    /// Mean absolute scaled error against yesterday's value, mean over series.
    pub mase: f64,
    /// WAPE of each naive method.
    pub naive: BTreeMap<String, f64>,
    /// The best of those.
    pub best_naive: String,
    /// Share of what came that was at most the forecast quantile, by quantile.
    pub coverage: BTreeMap<String, f64>,
    /// Mean pinball loss over the mean load, by quantile.
    pub pinball: BTreeMap<String, f64>,
    /// Whether it beats the best naive method; where it does not, nothing learned is used.
    pub is_used: bool,
}

/// Why bytes are no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They are something else.
    #[error("this is no forecast model: it does not begin with {MAGIC:?}")]
    Other,
    /// They are of another version of this program.
    #[error("the model has format {0}, this version reads {FORMAT}: train it again")]
    Format(u32),
    /// They were changed.
    #[error("the model is damaged: train it again or take a copy")]
    Damaged,
    /// Its columns are not those of this version.
    #[error("the model reads columns that this version does not make: train it again")]
    Columns,
}

const MAGIC: &[u8; 8] = b"weirfcst";
/// The format's number.
pub const FORMAT: u32 = 1;

impl Model {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let body = postcard::to_stdvec(self).expect("a model is plain data");
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(checksum(&body).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Error::Other)?;
        let (format, rest) = rest.split_first_chunk::<4>().ok_or(Error::Damaged)?;
        let format = u32::from_le_bytes(*format);
        if format != FORMAT {
            return Err(Error::Format(format));
        }
        let (sum, body) = rest.split_first_chunk::<8>().ok_or(Error::Damaged)?;
        if u64::from_le_bytes(*sum) != checksum(body) {
            return Err(Error::Damaged);
        }
        let model: Self = postcard::from_bytes(body).map_err(|_| Error::Damaged)?;
        if model.columns != features::names() {
            return Err(Error::Columns);
        }
        let sound = model
            .learned
            .iter()
            .all(|learned| learned.is_sound(model.columns.len()));
        sound.then_some(model).ok_or(Error::Damaged)
    }
}

/// FNV-1a: it tells a torn file, not a forged one.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
