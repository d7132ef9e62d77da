//! `weir forecast train` and `show`: a pooled model from files into a file, and what its card says.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use models::{
    artifact::{Model, Quality},
    calendar::Events,
    pool::{self, Recipe, Sample},
    series::Series,
};
use serde_json::json;
use transport::{config::Duration, http::Client};

use super::{
    data,
    report::{change, percent},
    seconds, time,
};

/// What to learn from, and where to.
#[derive(Args)]
pub struct Train {
    /// The series: CSVs as for `evaluate`; a series in several files is joined.
    #[arg(long, value_name = "FILE.csv", required_unless_present = "scheduler", num_args = 1..)]
    data: Vec<PathBuf>,
    /// The model's file.
    #[arg(long, value_name = "FILE", required_unless_present = "scheduler")]
    out: Option<PathBuf>,
    /// The admin listener of a scheduler that shall learn from its own history now, in the background, instead.
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "out"])]
    pub scheduler: Option<String>,
    /// The token of its `[admin] token`, when one is set.
    #[arg(long, env = "WEIR_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
    /// How far ahead; those that are no multiple of the step are left out.
    #[arg(long, value_delimiter = ',', default_value = "1m,5m,15m,1h")]
    horizons: Vec<Duration>,
    /// Length of a step; series of another step are left out. The commonest when not given.
    #[arg(long)]
    step: Option<Duration>,
    /// How long a day of the series is; a week has seven.
    #[arg(long, default_value = "1d")]
    day: Duration,
    /// Announced shows: a CSV with start, peak, and if known length_s, ramp_s and series.
    #[arg(long, value_name = "EVENTS.csv")]
    events: Option<PathBuf>,
}

/// Which model.
#[derive(Args)]
pub struct Show {
    /// The model's file.
    file: PathBuf,
    /// Print its card as JSON.
    #[arg(long)]
    json: bool,
}

/// `weir forecast train --scheduler`: begins a training there and waits for its end.
pub async fn ask(scheduler: &str, token: Option<&str>) -> Result<()> {
    let (client, url) = (Client::new(), scheduler.trim_end_matches('/'));
    let order = format!("{url}/api/v1/forecast/train");
    let none = serde_json::Value::Null;
    let begun: Result<serde_json::Value, _> =
        client.send_json(Method::POST, &order, token, &none).await;
    begun.context("the scheduler does not begin (is --scheduler its admin listener?)")?;
    let bar = ProgressBar::new_spinner().with_message("the scheduler learns from its history");
    bar.enable_steady_tick(TICK);
    loop {
        tokio::time::sleep(PAUSE).await;
        let state: serde_json::Value = client
            .get_json(&format!("{url}/api/v1/forecast/model"), token)
            .await?;
        if state["training"] == false {
            bar.finish_and_clear();
            let failed = state["failed"].as_str();
            ensure!(
                failed.is_none(),
                "it learned nothing: {}",
                failed.unwrap_or_default()
            );
            println!("{}", serde_json::to_string_pretty(&state["card"])?);
            return Ok(());
        }
    }
}

/// How often the spinner turns, and how often the scheduler is asked.
const TICK: std::time::Duration = std::time::Duration::from_millis(120);
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// `weir forecast train`.
pub fn train(options: &Train) -> Result<()> {
    let data = gather(options)?;
    let announced = match &options.events {
        Some(path) => data::read_events(path)?,
        None => data::Announced::default(),
    };
    let mut series: Vec<(Series, Events)> = Vec::new();
    for (id, samples) in &data.series {
        let made = Series::step_of(samples.iter().map(|(at, _)| *at))
            .and_then(|step_s| Series::from_samples(samples, step_s));
        match made {
            Ok(made) => series.push((made, announced.of(id))),
            Err(error) => eprintln!("weir: {id} is left out: {error}"),
        }
    }
    let recipe = recipe(options, &series)?;
    let samples: Vec<_> = series
        .iter()
        .map(|(series, events)| Sample { series, events })
        .collect();
    let bar = ProgressBar::new(100);
    let style = ProgressStyle::with_template("{bar:32} {percent}%, {elapsed}");
    bar.set_style(style.expect("the template is sound"));
    let model = pool::train(&samples, &recipe, |done| {
        bar.set_position((done * 100.0) as u64)
    });
    bar.finish_and_clear();
    ensure!(
        !model.learned.is_empty(),
        "nothing was learned that beats the naive methods; no model is written\n{}",
        card(&model)
    );
    let out = options
        .out
        .as_ref()
        .context("--out FILE names the model's file")?;
    fs::write(out, model.encode()).with_context(|| format!("cannot write {}", out.display()))?;
    print!("{}", card(&model));
    Ok(())
}

fn gather(options: &Train) -> Result<data::Data> {
    let mut all = data::Data::default();
    for path in &options.data {
        let data = data::read(path)?;
        if data.counts.bad > 0 {
            eprintln!("weir: {}: {}", path.display(), data.counts);
        }
        for (id, samples) in data.series {
            all.series.entry(id).or_default().extend(samples);
        }
    }
    Ok(all)
}

fn recipe(options: &Train, series: &[(Series, Events)]) -> Result<Recipe> {
    let calendar = super::calendar(options.day)?;
    let step_s = match options.step {
        Some(step) => seconds(step).context("--step is no whole number of seconds")?,
        None => commonest(series).context("no series has two samples at different times")?,
    };
    let horizons: Option<Vec<u32>> = options.horizons.iter().map(|h| seconds(*h)).collect();
    let mut horizons = horizons.context("--horizons are whole seconds, one at least: 5m,15m,1h")?;
    horizons.retain(|horizon_s| horizon_s.is_multiple_of(step_s));
    horizons.sort_unstable();
    horizons.dedup();
    ensure!(
        !horizons.is_empty(),
        "no horizon is a multiple of the step of {step_s} s"
    );
    let aheads = horizons
        .iter()
        .map(|horizon_s| (horizon_s / step_s) as usize)
        .collect();
    let now_s = i64::try_from(transport::clock::unix_ms() / 1000).unwrap_or(i64::MAX);
    Ok(Recipe::new(calendar, step_s, aheads, now_s))
}

/// The step of most series; of equally many the shorter.
fn commonest(series: &[(Series, Events)]) -> Option<u32> {
    let mut counts = std::collections::BTreeMap::<u32, usize>::new();
    for (series, _) in series {
        *counts.entry(series.step_s).or_default() += 1;
    }
    let most = counts
        .into_iter()
        .max_by_key(|(step_s, count)| (*count, std::cmp::Reverse(*step_s)));
    most.map(|(step_s, _)| step_s)
}

/// `weir forecast show`.
pub fn show(options: &Show) -> Result<()> {
    let name = options.file.display();
    let bytes = fs::read(&options.file).with_context(|| format!("cannot read {name}"))?;
    let model = Model::decode(&bytes).with_context(|| name.to_string())?;
    match options.json {
        true => println!("{}", json!({ "step_s": model.step_s, "card": model.card })),
        false => print!("{}", card(&model)),
    }
    Ok(())
}

/// What a model says of itself.
fn card(model: &Model) -> String {
    let card = &model.card;
    let mut text = format!(
        "trained {} on {} series from {} to {}, a step of {}\n",
        time::moment(card.trained_at_s),
        card.series,
        time::moment(card.from_s),
        time::moment(card.to_s),
        time::length(model.step_s)
    );
    text += "judged on the last fifth, by a model that had not seen it:\n";
    text += &format!(
        "{:>7} {:>8} {:>8} {:>8} {:>7}  {:<22} {:>8} {:>7} {:>7}\n",
        "ahead",
        "rows",
        "judged",
        "WAPE %",
        "MASE",
        "best simple method",
        "against",
        "90 %",
        "95 %"
    );
    card.horizons
        .iter()
        .for_each(|quality| text += &line(quality));
    text
}

fn line(quality: &Quality) -> String {
    let best = quality.naive.get(&quality.best_naive).copied();
    let against = best
        .filter(|best| *best > 0.0)
        .map(|best| quality.wape / best - 1.0);
    let coverage = |quantile: &str| percent(quality.coverage.get(quantile).copied());
    format!(
        "{:>7} {:>8} {:>8} {:>8} {:>7.3}  {:<22} {:>8} {:>7} {:>7}{}\n",
        time::length(quality.horizon_s),
        quality.rows,
        quality.judged,
        percent(Some(quality.wape)),
        quality.mase,
        format!("{} {}", quality.best_naive, percent(best)),
        change(against),
        coverage("0.9"),
        coverage("0.95"),
        if quality.is_used { "" } else { "  not used" }
    )
}
