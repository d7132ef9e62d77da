//! The forecast: what a step costs and a training, what a series takes in memory, and how accurate it is.
//!
//! The series are made: a daily shape of each series' own, weekends, shows at full and half hours, noise that lasts.
//! `-- accuracy FILE.csv` judges a file's series beside it (columns: series, Unix seconds, value).

// Of the process' own memory one function is used.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "rig/process.rs"]
mod process;

use models::{
    artifact::Model,
    calendar::{Calendar, Events},
    evaluate::{Plan, evaluate},
    forecast::{Context, Forecaster},
    mix::Expert,
    pool::{Recipe, Sample, train},
    series::Series,
    train::Learned,
};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

const STEP_S: u32 = 300;
const DAY: usize = 288;
/// 5, 15 and 60 minutes.
const AHEADS: [usize; 3] = [1, 3, 12];
const SERIES: usize = 2_000;
const DAYS: usize = 14;

fn main() {
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    if wanted("memory") {
        memory();
    }
    if wanted("train") || wanted("update") {
        let model = training();
        updates(&model);
    }
    if wanted("sampling") {
        sampling();
    }
    if wanted("accuracy") {
        accuracy();
    }
}

/// Numbers between 0 and 1 by a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
    }

    /// Roughly normal, of deviation one.
    fn noise(&mut self) -> f64 {
        (0..12).map(|_| self.roll()).sum::<f64>() - 6.0
    }
}

fn world(seed: u64, days: usize) -> Series {
    let mut dice = Dice(seed);
    let size = 10_f64.powf(1.0 + 3.0 * dice.roll());
    let (peak, depth) = (dice.roll(), 0.3 + 0.6 * dice.roll());
    let (mut drift, mut show) = (0.0, 0.0);
    let value = |step: usize| {
        let phase = (step as f64 / DAY as f64 - peak) * std::f64::consts::TAU;
        let weekend = if step / DAY % 7 >= 5 { 1.2 } else { 1.0 };
        drift = 0.98 * drift + 0.02 * dice.noise();
        if step.is_multiple_of(6) && dice.roll() < 0.05 {
            show = 0.5 + dice.roll();
        }
        show *= 0.95;
        let usual = size * weekend * (1.0 + depth * phase.cos()) * (1.0 + show);
        let mean = usual * drift.exp();
        (mean + mean.sqrt() * dice.noise()).max(0.0).round()
    };
    Series {
        first: 5_600_000,
        step_s: STEP_S,
        values: (0..days * DAY).map(value).collect(),
    }
}

fn trained(worlds: &[Series], most_rows: usize) -> (Model, Duration) {
    let events = Events::default();
    let samples: Vec<Sample<'_>> = worlds
        .iter()
        .map(|series| Sample {
            series,
            events: &events,
        })
        .collect();
    let recipe = Recipe {
        most_rows,
        ..Recipe::new(Calendar::default(), STEP_S, AHEADS.to_vec(), 0)
    };
    let began = Instant::now();
    let model = train(&samples, &recipe, |_| {});
    (model, began.elapsed())
}

fn training() -> Model {
    let worlds: Vec<Series> = (0..SERIES as u64).map(|seed| world(seed, DAYS)).collect();
    let rows = Recipe::new(Calendar::default(), STEP_S, AHEADS.to_vec(), 0).most_rows;
    let (model, took) = trained(&worlds, rows);
    println!(
        "training {SERIES} series x {DAYS} days of 5 minutes, {rows} rows a horizon, one core"
    );
    println!(
        "  {:.1} s, model of {} kB",
        took.as_secs_f64(),
        model.encode().len() / 1000
    );
    show(&model);
    model
}

fn show(model: &Model) {
    for quality in &model.card.horizons {
        let naive = quality.naive[&quality.best_naive];
        println!(
            "  {:>2} min: WAPE {:.4}, best naive {} {naive:.4}; 0.9 covers {:.3}, 0.95 {:.3}",
            quality.horizon_s / 60,
            quality.wape,
            quality.best_naive,
            quality.coverage["0.9"],
            quality.coverage["0.95"],
        );
    }
}

/// Series that are updated in turn, so that each finds its state out of the nearest cache.
const MEASURED: usize = 200;

/// What forecasters of twelve days take, before anything else has.
fn memory() {
    let before = process::resident(std::process::id());
    let (forecasters, _) = updated(&[]);
    let kept = process::resident(std::process::id()).saturating_sub(before);
    println!(
        "memory of {} forecasters of {} horizons after 12 days",
        forecasters.len(),
        AHEADS.len()
    );
    println!(
        "  {} kB resident a series, its made values among them",
        kept / 1000 / MEASURED as u64
    );
}

fn updates(model: &Model) {
    let (_, took) = updated(&model.learned);
    println!(
        "update with forecasts of {} horizons, {MEASURED} series in turn",
        AHEADS.len()
    );
    println!(
        "  {:.1} us of a core a series and step",
        took.as_secs_f64() * 1e6
    );
}

/// Forecasters after twelve days, and the time of a core that an update took on the last day.
fn updated(learned: &[Learned]) -> (Vec<Forecaster>, Duration) {
    let worlds: Vec<Series> = (0..MEASURED as u64).map(|seed| world(seed, 12)).collect();
    let events = Events::default();
    let clock = Calendar::default().clock(STEP_S);
    let forecaster = |_| Forecaster::new(clock, &AHEADS);
    let mut forecasters: Vec<Forecaster> = (0..MEASURED).map(forecaster).collect();
    let context = Context {
        flow: None,
        events: &events,
        learned,
    };
    let (mut took, mut count) = (Duration::ZERO, 0_u32);
    let steps = worlds[0].values.len();
    for nth in 0..steps {
        let began = process::used();
        for (forecaster, series) in forecasters.iter_mut().zip(&worlds) {
            let step = series.first + nth as i64;
            black_box(forecaster.update((step, series.values[nth]), context));
        }
        if nth >= steps - DAY {
            took += process::used() - began;
            count += MEASURED as u32;
        }
    }
    (forecasters, took / count)
}

/// What the sampling of rows costs in accuracy, on as many series as fit unsampled.
fn sampling() {
    let worlds: Vec<Series> = (0..100).map(|seed| world(seed, DAYS)).collect();
    for rows in [60_000, usize::MAX] {
        let (model, took) = trained(&worlds, rows);
        let rows = model.card.horizons[0].rows;
        println!(
            "100 series x {DAYS} days, {rows} rows a horizon: {:.1} s",
            took.as_secs_f64()
        );
        show(&model);
    }
}

fn accuracy() {
    let file = std::env::args().skip_while(|a| a != "accuracy").nth(1);
    let all = file
        .filter(|file| file != "--bench")
        .map_or_else(made, |file| read(&file));
    println!(
        "rolling origin over the second half of {} series",
        all.len()
    );
    for (id, series) in all {
        let steps = [60, 300, 900, 3600]
            .into_iter()
            .filter(|h| h % series.step_s == 0);
        let plan = Plan::new(
            Calendar::default(),
            steps.map(|h| (h / series.step_s) as usize).collect(),
        );
        let began = Instant::now();
        let scores = evaluate(&series, &Events::default(), &plan, |_| {});
        println!("  {id}, {:.1} s", began.elapsed().as_secs_f64());
        for score in scores {
            let naive = Expert::ALL.iter().filter(|expert| expert.is_naive());
            let best = naive.filter_map(|expert| Some((score.wape_of(*expert)?, expert.name())));
            let Some((best, name)) = best.min_by(|a, b| a.0.total_cmp(&b.0)) else {
                continue;
            };
            let minutes = score.ahead as u32 * series.step_s / 60;
            println!(
                "    {minutes:>2} min: WAPE {:.4}, best naive {name} {best:.4}; 0.9 covers {:.3}, 0.95 {:.3}",
                score.wape(),
                score.coverage(0),
                score.coverage(1),
            );
        }
    }
}

fn made() -> Vec<(String, Series)> {
    (0..3)
        .map(|seed| (format!("made {seed}"), world(seed, 40)))
        .collect()
}

fn read(file: &str) -> Vec<(String, Series)> {
    let text = std::fs::read_to_string(file).expect("the file is there");
    let mut all = std::collections::BTreeMap::<String, Vec<(i64, f64)>>::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split(',');
        let mut field = || fields.next().expect("three columns");
        let (id, time, value) = (field(), field(), field());
        let sample = (
            time.parse().expect("Unix seconds"),
            value.parse().unwrap_or(f64::NAN),
        );
        all.entry(id.to_owned()).or_default().push(sample);
    }
    let series = |(id, samples): (String, Vec<(i64, f64)>)| {
        let step = Series::step_of(samples.iter().map(|sample| sample.0)).ok()?;
        Some((id, Series::from_samples(&samples, step).ok()?))
    };
    all.into_iter().filter_map(series).collect()
}
