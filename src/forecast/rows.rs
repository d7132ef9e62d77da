//! The rows that models learn from, as files that other learners can read: the yardstick trains on the same features
//! and is judged on the same folds.
//!
//! `index.json` lists the series and horizons; beside it a file each of little-endian records: the step at which the
//! target was known (i64, from the series' first), the value when the forecast was made, the target's value and the
//! row's weight (f64), then the features (f32).

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use models::{evaluate, features, series::Series, train};
use serde::Serialize;

use super::{How, data, judge};

/// What to write, and where.
#[derive(Args)]
pub struct Options {
    /// The series, as for `evaluate`.
    #[arg(long, value_name = "FILE.csv")]
    data: PathBuf,
    #[command(flatten)]
    how: How,
    /// The folder to write into.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// A file of rows.
#[derive(Serialize)]
struct Listed {
    id: String,
    file: String,
    ahead: usize,
    horizon_s: u32,
    /// The step from which forecasts are judged.
    half: usize,
    /// Features of a row.
    width: usize,
    /// The steps before which models are trained anew.
    folds: Vec<i64>,
}

/// `weir forecast rows`.
pub fn write(options: &Options) -> Result<()> {
    let question = options.how.question()?;
    fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make {}", options.out.display()))?;
    let mut index = Vec::new();
    for (id, samples) in &data::read(&options.data)?.series {
        let Ok(series) = judge::series(samples) else {
            continue;
        };
        let ahead = |horizon_s: &u32| judge::ahead(&series, *horizon_s).ok();
        let aheads: Vec<usize> = question.horizons_s.iter().filter_map(ahead).collect();
        let plan = question.plan(aheads);
        let mut tables: Vec<_> = plan.aheads.iter().map(|a| train::Table::new(*a)).collect();
        train::collect(
            &series,
            &Default::default(),
            plan.calendar,
            (1, 0),
            &mut tables,
        );
        let folds = evaluate::trainings(&series, &plan);
        for table in &tables {
            let file = format!("{}.rows", index.len());
            let path = options.out.join(&file);
            fs::write(&path, records(&series, table))
                .with_context(|| format!("cannot write {}", path.display()))?;
            index.push(Listed {
                id: id.clone(),
                file,
                ahead: table.ahead,
                horizon_s: table.ahead as u32 * series.step_s,
                half: series.values.len() / 2,
                width: features::width(),
                folds: folds.iter().map(|fold| fold - series.first).collect(),
            });
        }
    }
    let path = options.out.join("index.json");
    fs::write(&path, serde_json::to_vec_pretty(&index)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn records(series: &Series, table: &train::Table) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(table.len() * (32 + 4 * features::width()));
    let rows = table.values.chunks(features::width());
    for ((known_at, weight), row) in table.known_at.iter().zip(&table.weights).zip(rows) {
        let made = known_at - table.ahead as i64;
        bytes.extend((known_at - series.first).to_le_bytes());
        for value in [series.at(made), series.at(*known_at), f64::from(*weight)] {
            bytes.extend(value.to_le_bytes());
        }
        row.iter()
            .for_each(|value| bytes.extend(value.to_le_bytes()));
    }
    bytes
}
