//! `weir forecast`: trains and judges the models of `models/` on files of series.
//!
//! Reads files and writes reports; what a forecast is lies in `models/`. Standard output is the answer (a table or
//! JSON), progress and remarks go to standard error.

mod backtest;
mod data;
mod fan;
mod judge;
mod model;
mod page;
mod report;
mod rows;
mod time;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use models::calendar::Calendar;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use transport::config::Duration;

/// `weir forecast ...`.
#[derive(Subcommand)]
pub enum Command {
    /// Say how good forecasts of these series would have been: a rolling origin over the second half of each.
    Evaluate(Evaluate),
    /// The same for what a running scheduler remembers of its own cluster.
    Backtest(backtest::Backtest),
    /// Learn a model from series and write it, with a card that says how good it is; or let a scheduler learn from its
    /// own history now.
    Train(model::Train),
    /// Say what a model learned from and how good it is.
    Show(model::Show),
    /// Write the rows that models are trained on, for a comparison with other learners (benches/forecast_lightgbm.py).
    #[command(hide = true)]
    Rows(rows::Options),
}

/// What to evaluate.
#[derive(Args)]
pub struct Evaluate {
    /// The series: a CSV, plain or gzip, with columns series (or series_id), time (or ts, ts_utc) and value.
    #[arg(long, value_name = "FILE.csv")]
    data: PathBuf,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    output: Output,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What is announced, and where the answer goes.
#[derive(Args)]
pub struct Output {
    /// Announced shows: a CSV with start, peak, and if known length_s, ramp_s and series.
    #[arg(long, value_name = "EVENTS.csv")]
    events: Option<PathBuf>,
    /// A folder for report.html, report.json, timing.json and forecasts.csv.gz.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Series judged at a time; as many as there are cores when not given. The figures are the same for any number.
    #[arg(long)]
    threads: Option<usize>,
}

/// How far ahead, and how models are trained.
#[derive(Args)]
pub struct How {
    /// How far ahead, in whole steps of a series; others are skipped and listed.
    #[arg(long, value_delimiter = ',', default_value = "5m,15m,1h")]
    horizons: Vec<Duration>,
    /// How long a day of the series is; a week has seven.
    #[arg(long, default_value = "1d")]
    day: Duration,
    /// Rows of a horizon that a model is trained on at most, taken evenly.
    #[arg(long, default_value_t = 34_000)]
    rows: usize,
    /// How often models are trained anew in the second half at most, and no more than daily.
    #[arg(long, default_value_t = 8)]
    trainings: usize,
}

/// Does it.
pub async fn run(command: Command) -> Result<()> {
    match command {
        Command::Evaluate(options) => tokio::task::block_in_place(|| evaluate(&options)),
        Command::Backtest(options) => backtest::run(options).await,
        Command::Train(options) => match &options.scheduler {
            Some(url) => model::ask(url, options.admin_token.as_deref()).await,
            None => tokio::task::block_in_place(|| model::train(&options)),
        },
        Command::Show(options) => model::show(&options),
        Command::Rows(options) => tokio::task::block_in_place(|| rows::write(&options)),
    }
}

fn evaluate(options: &Evaluate) -> Result<()> {
    options.how.question()?;
    let data = data::read(&options.data)?;
    let source = options
        .data
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    judge_and_tell(&source, data, &options.how, (&options.output, options.json))
}

/// Judges series that came from `source`; prints and writes what was found.
fn judge_and_tell(
    source: &str,
    data: data::Data,
    how: &How,
    (output, json): (&Output, bool),
) -> Result<()> {
    let question = how.question()?;
    if let Some(out) = &output.out {
        // Before minutes of work rather than after.
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    }
    let events = match &output.events {
        Some(path) => data::read_events(path)?,
        None => data::Announced::default(),
    };
    let bar = progress(&data);
    let answers = judge::all(&data, &events, &question, threads(output.threads), &bar);
    bar.finish_and_clear();
    let report = report::Report {
        series: answers
            .iter()
            .flat_map(|answer| answer.entries.clone())
            .collect(),
        skipped: answers
            .iter()
            .flat_map(|answer| answer.skipped.clone())
            .collect(),
        data: data.counts,
    };
    if let Some(out) = &output.out {
        write(out, source, &report, &answers)?;
    }
    match json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{report}"),
    }
    if report.data.bad > 0 && json {
        eprintln!("weir: {}", report.data);
    }
    if report.series.is_empty() {
        let why = report
            .skipped
            .first()
            .map_or("no series", |skipped| &skipped.reason);
        bail!("nothing could be judged; the first reason: {why}");
    }
    Ok(())
}

impl How {
    fn question(&self) -> Result<judge::Question> {
        let horizons: Option<BTreeSet<u32>> = self.horizons.iter().map(|h| seconds(*h)).collect();
        let horizons = horizons.context("--horizons are whole seconds, one at least: 5m,15m,1h")?;
        ensure!(
            self.rows > 0 && self.trainings > 0,
            "--rows and --trainings are at least 1"
        );
        Ok(judge::Question {
            horizons_s: horizons.into_iter().collect(),
            calendar: calendar(self.day)?,
            most_rows: self.rows,
            most_trainings: self.trainings,
        })
    }
}

fn calendar(day: Duration) -> Result<Calendar> {
    let day_s = seconds(day).context("--day is no whole number of seconds")?;
    let week_s = day_s.saturating_mul(7);
    Ok(Calendar { day_s, week_s })
}

/// Whole seconds, one at least.
fn seconds(length: Duration) -> Option<u32> {
    let length = length.get();
    let whole = length.subsec_nanos() == 0 && length.as_secs() > 0;
    u32::try_from(length.as_secs()).ok().filter(|_| whole)
}

fn threads(asked: Option<usize>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    asked.unwrap_or_else(cores).max(1)
}

fn progress(data: &data::Data) -> ProgressBar {
    let samples = data
        .series
        .values()
        .map(|samples| samples.len() as u64)
        .sum();
    let bar = ProgressBar::new(samples);
    let style = "{bar:32} {percent}% of {human_len} samples, {elapsed}, about {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is sound"));
    bar.enable_steady_tick(std::time::Duration::from_millis(500));
    bar
}

fn write(
    out: &Path,
    source: &str,
    report: &report::Report,
    answers: &[judge::Answer],
) -> Result<()> {
    let file = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    let timings = answers
        .iter()
        .map(|answer| (answer.id.as_str(), answer.timing));
    let timings: std::collections::BTreeMap<_, _> = timings.collect();
    let mut forecasts = judge::forecasts_header();
    answers
        .iter()
        .for_each(|answer| forecasts.extend(&answer.forecasts));
    file("report.json", &serde_json::to_vec_pretty(report)?)?;
    file("timing.json", &serde_json::to_vec_pretty(&timings)?)?;
    file("forecasts.csv.gz", &forecasts)?;
    file(
        "report.html",
        page::page(source, report, answers).as_bytes(),
    )
}
