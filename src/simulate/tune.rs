//! `weir simulate tune`: searches policy parameters for an objective under bounds, and writes the policy file.
//!
//! Parameters are found on some worlds or days and judged on others that the search has not seen. Every try is kept
//! like a cell of a run, so that a search that was stopped goes on.

use super::inputs::Inputs;
use super::work::{Done, Found, Job, Plan, Scenes, Stop, progress};
use super::{From, cells, cores};
use crate::admin;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use simulations::policies::Kind;
use simulations::report::{Cell, Saving, lead, mean};
use simulations::study::{Days, Twist};
use simulations::tune::{Bound, KNOBS, Knob, Measure, Score, Search, Settings};
use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

/// What to search for.
#[derive(Args)]
pub struct Tune {
    #[command(flatten)]
    pub from: From,
    /// The policy file to start from; the defaults when left out.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// What to make small: cost (the bill), rtt_p50, rtt_p95, rtt_p99, rtt_extra, overload or moved.
    #[arg(long, default_value = "cost", value_name = "MEASURE")]
    objective: Measure,
    /// What may not be passed in any world: rtt_p95<=40,overload<=0. Milliseconds, edge-minutes, percent a minute;
    /// cost is a share of B1's bill.
    #[arg(long, value_delimiter = ',', value_name = "MEASURE<=MOST,...")]
    subject_to: Vec<Bound>,
    /// Which parameters; all that are searched when left out.
    #[arg(long, value_delimiter = ',', value_name = "KEY,...")]
    keys: Vec<String>,
    /// How many settings to try at most, the ones to start from among them.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1000))]
    trials: u32,
    /// What is random follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Worlds of a scenario to search on; as many others judge what was found. Tables are searched on the first half
    /// of their days and judged on the second.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// A week in place of a month.
    #[arg(long)]
    quick: bool,
    /// The policy file to write.
    #[arg(long, value_name = "FILE", default_value = "policy.toml")]
    out: PathBuf,
    /// A folder for tune.json and what is finished already.
    #[arg(long, value_name = "DIR", default_value = "tuning")]
    pub work: PathBuf,
    /// Cells run at a time; as many as there are cores when left out. The figures are the same for any number.
    #[arg(long)]
    threads: Option<usize>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What was tried and found.
#[derive(Debug, Serialize)]
struct Tuning {
    weir: String,
    objective: String,
    subject_to: Vec<String>,
    /// Hashes of the inputs, by name.
    inputs: BTreeMap<String, String>,
    /// Where it was searched.
    searched_on: Vec<String>,
    /// All tries, in their order; the first is what the search started from.
    trials: Vec<Trial>,
    /// The settings that were best there.
    chosen: BTreeMap<String, f64>,
    /// Where these were judged.
    held_out_on: Vec<String>,
    /// What the search started from comes to there.
    before: Outcome,
    /// What was chosen comes to there.
    after: Outcome,
    /// By how much more of B1's bill is saved there than before, in the mean.
    adds: Saving,
}

/// A try.
#[derive(Debug, Serialize)]
struct Trial {
    /// What differs from where the search started.
    changed: BTreeMap<String, f64>,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What settings come to.
#[derive(Debug, Serialize)]
struct Outcome {
    /// Whether every bound is kept in every world.
    keeps_bounds: bool,
    /// Means of worlds, by measure; cost is a share of B1's bill.
    mean: BTreeMap<String, f64>,
    /// The worst of the worlds.
    worst: BTreeMap<String, f64>,
}

/// A search that is on.
struct Bench<'a> {
    asked: &'a Tune,
    plan: Plan<'a>,
    kept: PathBuf,
    bar: ProgressBar,
    stop: &'a Stop,
    threads: usize,
}

/// The worlds of a part of the study.
struct Part {
    sources: Range<usize>,
    days: Days,
}

/// Does it.
pub fn run(asked: &Tune, stop: &Stop) -> Result<()> {
    ensure!(
        !asked.out.exists(),
        "{} is there already; name another file with --out",
        asked.out.display()
    );
    let seeds = if asked.from.is_scenario() {
        2 * asked.seeds
    } else {
        1
    };
    let seeds = asked.seed..asked.seed.saturating_add(seeds);
    let inputs = Inputs::read(&asked.from, asked.policy.as_deref(), seeds)?;
    let (search, judge) = parts(&inputs, asked);
    let base = Settings::of(inputs.default_policy());
    let kept = cells(&asked.work)?;
    let threads = asked.threads.unwrap_or_else(cores).max(1);
    let plan = Plan {
        inputs: &inputs,
        rules: Vec::new(),
        twists: Vec::new(),
        months: 0,
        quick: asked.quick,
        engine: super::Engine::Fluid,
        seed: asked.seed,
        cores: threads,
        scenes: Scenes::new(&inputs, 0),
    };
    let bench = Bench {
        asked,
        kept,
        bar: progress(0),
        stop,
        threads,
        plan,
    };
    let tuning = bench.tune(base, (&search, &judge))?;
    bench.bar.finish_and_clear();
    let chosen: Vec<(&str, f64)> = KNOBS
        .iter()
        .filter_map(|knob| Some((knob.key, *tuning.chosen.get(knob.key)?)))
        .collect();
    write(&asked.out, &policy(&tuning, &inputs.policy_with(&chosen)?))?;
    write(
        &asked.work.join("tune.json"),
        &serde_json::to_string_pretty(&tuning)?,
    )?;
    match asked.json {
        true => println!("{}", serde_json::to_string(&tuning)?),
        false => print!("{}", tuning.table()),
    }
    eprintln!(
        "{} written; `weir policy check`, `shadow`, `canary` and `apply` take it",
        asked.out.display()
    );
    Ok(())
}

/// Where is searched and where is judged.
fn parts(inputs: &Inputs, asked: &Tune) -> (Part, Part) {
    let all = inputs.sources.len();
    let part = |sources, days| Part { sources, days };
    if asked.from.is_scenario() {
        let half = asked.seeds as usize;
        (part(0..half, Days::All), part(half..all, Days::All))
    } else {
        (part(0..all, Days::First), part(0..all, Days::Last))
    }
}

impl Bench<'_> {
    fn tune(&self, base: Settings, (on, judge): (&Part, &Part)) -> Result<Tuning> {
        let knobs = match self.asked.keys.is_empty() {
            true => Ok((0..KNOBS.len()).collect()),
            false => self.asked.keys.iter().map(|key| Knob::find(key)).collect(),
        };
        let knobs = knobs.map_err(anyhow::Error::msg)?;
        let (chosen, trials) = self.search(base, knobs, on)?;
        self.bar.set_length(self.bar.position());
        self.expect(2, judge);
        let b1 = self.cells(&[base], Kind::B1, judge)?;
        let mut both = vec![base, chosen];
        both.dedup();
        let done = self.cells(&both, Kind::Weir, judge)?;
        let [before, after] = [base, chosen].map(|it| pairs(&done, &b1, it));
        let outcome = |worlds: &[(&Cell, &Cell)]| Outcome::new(self.score(worlds), worlds);
        Ok(Tuning {
            weir: env!("CARGO_PKG_VERSION").to_owned(),
            objective: self.asked.objective.as_str().to_owned(),
            subject_to: self.asked.subject_to.iter().map(Bound::to_string).collect(),
            inputs: self.plan.inputs.hashes.clone(),
            searched_on: self.names(on),
            trials,
            chosen: changed(&chosen, &base),
            held_out_on: self.names(judge),
            before: outcome(&before),
            after: outcome(&after),
            adds: adds(&before, &after),
        })
    }

    /// The best settings, and all that were tried.
    fn search(
        &self,
        base: Settings,
        knobs: Vec<usize>,
        on: &Part,
    ) -> Result<(Settings, Vec<Trial>)> {
        let tries = self.asked.trials as usize;
        self.expect(tries, on);
        let mut search = Search::new(base, knobs, tries);
        // Worlds and forecasts are kept for all tries.
        let worlds = on.sources.clone().map(|at| self.plan.scene(at, 0));
        let _worlds = worlds.collect::<Result<Vec<_>>>()?;
        let b1 = self.cells(&[base], Kind::B1, on)?;
        let mut trials = Vec::new();
        loop {
            let round = search.round();
            if round.is_empty() {
                return Ok((search.best(), trials));
            }
            let done = self.cells(&round, Kind::Weir, on)?;
            for settings in round {
                let found = pairs(&done, &b1, settings);
                let score = self.score(&found);
                search.tell(&settings, score);
                trials.push(Trial {
                    changed: changed(&settings, &base),
                    outcome: Outcome::new(score, &found),
                });
            }
        }
    }

    fn score(&self, worlds: &[(&Cell, &Cell)]) -> Score {
        Score::new(self.asked.objective, &self.asked.subject_to, worlds)
    }

    /// Makes room on the bar for so many tries.
    fn expect(&self, tries: usize, part: &Part) {
        let sources = &self.plan.inputs.sources[part.sources.clone()];
        let cases: usize = sources.iter().map(|source| source.prices.len()).sum();
        self.bar.inc_length((1000 * cases * tries) as u64);
    }

    fn jobs(&self, tries: &[Settings], kind: Kind, part: &Part) -> Vec<Job> {
        let mut jobs = Vec::new();
        for settings in tries {
            for at in part.sources.clone() {
                let source = &self.plan.inputs.sources[at];
                let job = |prices: &String| Job {
                    source: at,
                    world: source.name.clone(),
                    seeded: source.seeded,
                    prices: prices.clone(),
                    twist: Twist::Tuned(*settings, part.days),
                    rule: Some(kind),
                    month: 0,
                    played: false,
                };
                jobs.extend(source.prices.iter().map(job));
            }
        }
        jobs
    }

    fn cells(&self, tries: &[Settings], kind: Kind, part: &Part) -> Result<Vec<Done>> {
        let jobs = self.jobs(tries, kind, part);
        let how = (self.threads, &*self.kept);
        let Some((done, _)) = self.plan.run(jobs, how, (&self.bar, self.stop))? else {
            bail!("stopped; the same command goes on from here");
        };
        Ok(done)
    }

    fn names(&self, part: &Part) -> Vec<String> {
        let days = match part.days {
            Days::All => "",
            Days::First => ", first half of its days",
            Days::Last => ", second half of its days",
        };
        let sources = &self.plan.inputs.sources[part.sources.clone()];
        sources
            .iter()
            .map(|source| format!("{}{days}", source.name))
            .collect()
    }
}

fn changed(settings: &Settings, base: &Settings) -> BTreeMap<String, f64> {
    let changed = settings.beside(base);
    changed.map(|(key, it)| (key.to_owned(), it)).collect()
}

/// The planner's cells under these settings, each with B1's of the same case.
fn pairs<'a>(done: &'a [Done], b1: &'a [Done], of: Settings) -> Vec<(&'a Cell, &'a Cell)> {
    let cell = |(_, found): &'a Done| match found {
        Found::Cell(cell) => Some(&**cell),
        _ => None,
    };
    let same = |(job, _): &&Done| matches!(job.twist, Twist::Tuned(settings, _) if settings == of);
    let pair = |done: &'a Done| {
        let job = &done.0;
        let against = b1
            .iter()
            .find(|(it, _)| (it.source, &it.prices) == (job.source, &job.prices))?;
        Some((cell(done)?, cell(against)?))
    };
    done.iter().filter(same).filter_map(pair).collect()
}

/// What the chosen settings save beyond those before: of one world with its days drawn anew, of several with worlds
/// drawn anew.
fn adds(before: &[(&Cell, &Cell)], after: &[(&Cell, &Cell)]) -> Saving {
    let lead =
        |((before, b1), (after, _)): (&(&Cell, &Cell), &(&Cell, &Cell))| lead(after, before, b1);
    let leads: Vec<Saving> = before.iter().zip(after).map(lead).collect();
    match leads[..] {
        [one] => one,
        _ => mean(&leads.iter().map(|it| it.share).collect::<Vec<_>>()),
    }
}

impl Outcome {
    fn new(score: Score, worlds: &[(&Cell, &Cell)]) -> Self {
        let all = |of: fn(&[f64]) -> f64| {
            let measure = |measure: Measure| {
                let values: Vec<f64> = worlds
                    .iter()
                    .map(|(cell, b1)| measure.of(cell, b1))
                    .collect();
                (measure.as_str().to_owned(), of(&values))
            };
            Measure::ALL.into_iter().map(measure).collect()
        };
        Self {
            keeps_bounds: score.broken <= 0.0,
            mean: all(|values| values.iter().sum::<f64>() / values.len().max(1) as f64),
            worst: all(|values| values.iter().copied().fold(0.0, f64::max)),
        }
    }

    fn cells(&self) -> [String; 5] {
        let mean = |measure: Measure| self.mean.get(measure.as_str()).copied().unwrap_or(0.0);
        [
            format!("{:.2}", 100.0 * (1.0 - mean(Measure::Cost))),
            format!("{:.1}", mean(Measure::RttP95)),
            format!("{:.0}", mean(Measure::Overload)),
            format!("{:.2}", mean(Measure::Moved)),
            (if self.keeps_bounds { "yes" } else { "no" }).to_owned(),
        ]
    }
}

impl Tuning {
    fn table(&self) -> String {
        let head = [
            "TRIAL",
            "CHANGED",
            "SAVES %",
            "RTT P95",
            "OVERLOAD MIN",
            "MOVED %",
            "IN BOUNDS",
        ];
        let row = |name: String, changed: String, outcome: &Outcome| {
            [vec![name, changed], outcome.cells().to_vec()].concat()
        };
        let trials = self.trials.iter().enumerate();
        let trials =
            trials.map(|(at, it)| row((at + 1).to_string(), words(&it.changed), &it.outcome));
        let held = [
            row("before".to_owned(), "-".to_owned(), &self.before),
            row("chosen".to_owned(), words(&self.chosen), &self.after),
        ];
        format!(
            "Tried on {}:\n{}\nJudged on {}, which the search has not seen:\n{}\nThe chosen settings save {} points of \
             B1's bill more there{}.\n",
            self.searched_on.join("; "),
            admin::table(&head, trials),
            self.held_out_on.join("; "),
            admin::table(&head, held.into_iter()),
            super::report::percent(&self.adds),
            if self.doubtful() {
                ": no gain is proven, and the policy that you have is as good"
            } else {
                ""
            },
        )
    }

    /// Whether what was found may be chance.
    fn doubtful(&self) -> bool {
        let same = |outcome: &Outcome| outcome.mean.get(&self.objective).copied().unwrap_or(0.0);
        same(&self.after) >= same(&self.before)
            || (self.objective == "cost" && self.adds.low <= 0.0)
    }
}

fn words(changed: &BTreeMap<String, f64>) -> String {
    if changed.is_empty() {
        return "-".to_owned();
    }
    let all: Vec<String> = changed
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    all.join(", ")
}

/// The file, with what it was found by.
fn policy(tuning: &Tuning, text: &str) -> String {
    let mut head = format!(
        "# Found by `weir simulate tune` {}: least {}",
        tuning.weir, tuning.objective
    );
    if !tuning.subject_to.is_empty() {
        head += &format!(" with {}", tuning.subject_to.join(", "));
    }
    format!(
        "{head}, in {} trials.\n# On worlds or days that the search has not seen it saves {} points of B1's bill more than \
         before.\n{text}",
        tuning.trials.len(),
        super::report::percent(&tuning.adds)
    )
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
