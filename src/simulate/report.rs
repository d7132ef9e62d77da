//! What a study found: figures for machines (`report.json`, `--json`) and a table for the terminal.
//!
//! The same command, version and inputs give the same bytes on any number of cores; wall-clock figures are apart, in
//! `timing.json`. A field is added when there is something new to say; none changes its meaning.

use super::forecasts::{self, Started, Told};
use super::inputs::Inputs;
use super::work::{Done, Found, Job, Took};
use crate::plot::short;
use serde::{Deserialize, Serialize};
use simulations::event::Quality;
use simulations::policies::Kind;
use simulations::report::{Cell, Figures, Saving, around, lead, mean, relay_saving, saving};
use simulations::study::Twist;
use std::{collections::BTreeMap, fmt, time::Duration};

/// All of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The version of Weir.
    pub weir: String,
    /// What was asked, without what does not change figures.
    pub command: Vec<String>,
    /// The first seed.
    pub seed: u64,
    /// Hashes of the inputs, by name.
    pub inputs: BTreeMap<String, String>,
    /// A world with prices each.
    pub cases: Vec<Case>,
    /// Over worlds with the same prices, where there are several.
    pub means: Vec<Mean>,
    /// What viewers go through, where they were played one by one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub quality: Vec<Plays>,
    /// What the planner makes of what it is told of demand to come, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub forecasts: Vec<Told>,
    /// The same of edges that are started and stopped for demand to come.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub starting: Vec<Started>,
}

/// A world with prices whose viewers were played one by one.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plays {
    /// The world.
    pub world: String,
    /// The prices.
    pub prices: String,
    /// The rules.
    pub rules: Vec<Played>,
}

/// A rule under which viewers were played.
#[derive(Debug, Serialize, Deserialize)]
pub struct Played {
    /// Its name.
    pub rule: String,
    /// What it does.
    pub says: String,
    /// What viewers went through.
    #[serde(flatten)]
    pub quality: Quality,
}

/// A world with prices.
#[derive(Debug, Serialize, Deserialize)]
pub struct Case {
    /// The world.
    pub world: String,
    /// The prices.
    pub prices: String,
    /// What was changed; nothing in plain cases.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub twist: Option<String>,
    /// USD that no policy within the slack can fall below: demand known, levels chosen in hindsight, free slots in
    /// fractions. A relaxation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub o2_bound_usd: Option<f64>,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A rule in a case.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub rule: String,
    /// What it does.
    pub says: String,
    /// What it comes to.
    pub figures: Figures,
    /// What it saves, by the name of what it is against; intervals hold 95 of 100 months drawn from the same days.
    pub saves_against: BTreeMap<String, Saving>,
    /// By how much more of B1's bill than B8 it saves.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub above_b8: Option<Saving>,
    /// What it spares of relay bytes, by the name of what it is against; no money.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub relay_saves_against: BTreeMap<String, Saving>,
}

/// The mean of several worlds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Mean {
    /// Their prices.
    pub prices: String,
    /// How many.
    pub worlds: usize,
    /// The rule.
    pub rule: String,
    /// The mean of what it saves against B1; the interval is of means of worlds drawn anew.
    pub saves_against_b1: Saving,
    /// The mean lead over B8 in points of B1's bill.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub above_b8: Option<Saving>,
    /// Minutes of overload, in the mean.
    pub overload_edge_min: f64,
    /// The mean of what it spares of B0's relay bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub relay_saves_against_b0: Option<Saving>,
}

/// What took how long; these figures alone differ from run to run.
#[derive(Debug, Serialize)]
pub struct Timing {
    seconds: f64,
    threads: usize,
    /// By cell; 0 of those that were finished before.
    cells: BTreeMap<String, f64>,
}

impl Timing {
    pub fn new(took: Duration, threads: usize, cells: Vec<Took>) -> Self {
        Self {
            seconds: took.as_secs_f64(),
            threads,
            cells: cells.into_iter().collect(),
        }
    }
}

/// The cells of a case, by rule.
pub fn cells_of<'a>(done: &'a [Done], of: &Job) -> Vec<(Kind, &'a Cell)> {
    let same = |job: &Job| {
        let ids = |job: &Job| (job.source, job.prices.clone(), job.month);
        ids(job) == ids(of) && job.twist == of.twist
    };
    let cell = |(job, found): &'a Done| match (job.rule, found) {
        (Some(kind), Found::Cell(cell)) if same(job) => Some((kind, &**cell)),
        _ => None,
    };
    done.iter().filter_map(cell).collect()
}

impl Report {
    pub fn new(asked: &super::Run, inputs: &Inputs, done: &[Done]) -> Self {
        let first = |job: &&Job| {
            let told = matches!(job.twist, Twist::Forecast(..));
            job.rule == Some(Kind::B1) && !job.played && !told && job.month == 0
        };
        let cases: Vec<Case> = (done.iter().map(|(job, _)| job))
            .filter(first)
            .map(|job| case(job, done))
            .collect();
        Self {
            weir: env!("CARGO_PKG_VERSION").to_owned(),
            command: asked.normalised(),
            seed: asked.seed,
            inputs: inputs.hashes.clone(),
            means: means(&cases),
            forecasts: forecasts::of(done),
            starting: forecasts::starting(done),
            cases,
            quality: plays(done),
        }
    }
}

/// Bills of a month that was lived through again, by rule.
type Month = BTreeMap<Kind, f64>;

/// The months of a plain case.
fn months(of: &Job, done: &[Done]) -> Vec<Month> {
    let mut months: BTreeMap<u64, Month> = BTreeMap::new();
    for (job, found) in done {
        let same = (job.source, &job.prices, of.twist) == (of.source, &of.prices, Twist::Plain);
        if let (true, 1.., Some(kind), Found::Cell(cell)) = (same, job.month, job.rule, found) {
            months
                .entry(job.month)
                .or_default()
                .insert(kind, cell.figures.usd);
        }
    }
    months.into_values().collect()
}

fn case(of: &Job, done: &[Done]) -> Case {
    let cells = cells_of(done, of);
    let find = |kind: Kind| cells.iter().find(|it| it.0 == kind).map(|it| it.1);
    let months = months(of, done);
    let again = |saving: Saving, share: &dyn Fn(&Month) -> Option<f64>| {
        let shares: Vec<f64> = months.iter().filter_map(share).collect();
        let widening = cells.first().map_or(1.0, |(_, cell)| cell.widening);
        match shares.len() {
            0..2 => saving,
            _ => around(saving.share, &shares, widening),
        }
    };
    let rule = |(kind, cell): &(Kind, &Cell)| {
        let against = |others: &[Kind]| -> Vec<(Kind, &Cell)> {
            let others = others.iter().filter(|other| *other != kind);
            others
                .filter_map(|other| Some((*other, find(*other)?)))
                .collect()
        };
        let relayed = against(&[Kind::B0, Kind::B1]);
        let relayed = relayed
            .into_iter()
            .filter_map(|(other, of)| Some((other.as_str().to_owned(), relay_saving(cell, of)?)));
        let lead = (find(Kind::B8).zip(find(Kind::B1)))
            .filter(|_| kind.plans())
            .map(|(b8, b1)| {
                let share = |it: &Month| {
                    let (b8, b1) = (it.get(&Kind::B8)?, it.get(&Kind::B1)?);
                    Some((b8 - it.get(kind)?) / b1)
                };
                again(lead(cell, b8, b1), &share)
            });
        Rule {
            rule: kind.as_str().to_owned(),
            says: kind.says().to_owned(),
            figures: cell.figures,
            saves_against: against(&[Kind::B0, Kind::B1, Kind::B8])
                .into_iter()
                .map(|(other, of)| {
                    let share = |it: &Month| Some(1.0 - it.get(kind)? / it.get(&other)?);
                    let saving = again(saving(cell, of), &share);
                    (other.as_str().to_owned(), saving)
                })
                .collect(),
            above_b8: lead,
            relay_saves_against: relayed.collect(),
        }
    };
    let bound = |(job, found): &Done| match found {
        Found::Bound(usd)
            if (job.source, &job.prices, job.twist) == (of.source, &of.prices, of.twist) =>
        {
            *usd
        }
        _ => None,
    };
    Case {
        world: of.world.clone(),
        prices: of.prices.clone(),
        twist: (of.twist != Twist::Plain).then(|| of.twist.says()),
        o2_bound_usd: done.iter().find_map(bound),
        rules: cells.iter().map(rule).collect(),
    }
}

/// Those who were played, by world and prices.
fn plays(done: &[Done]) -> Vec<Plays> {
    let mut all: Vec<Plays> = Vec::new();
    for (job, found) in done {
        let (Some(kind), Found::Played(quality)) = (job.rule, found) else {
            continue;
        };
        let played = Played {
            rule: kind.as_str().to_owned(),
            says: kind.says().to_owned(),
            quality: (**quality).clone(),
        };
        match all.last_mut() {
            Some(last) if (&last.world, &last.prices) == (&job.world, &job.prices) => {
                last.rules.push(played);
            }
            _ => all.push(Plays {
                world: job.world.clone(),
                prices: job.prices.clone(),
                rules: vec![played],
            }),
        }
    }
    all
}

impl Plays {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, prices {}, viewer by viewer",
            self.world, self.prices
        )?;
        writeln!(
            f,
            "  {:5} {:>9} {:>8} {:>6} {:>9} {:>6} {:>12} {:>8} {:>7} {:>9} {:>7}",
            "rule",
            "viewers",
            "refused",
            "lost",
            "picture",
            "p95",
            "no picture",
            "RTT p95",
            "moved",
            "overload",
            "back"
        )?;
        for played in &self.rules {
            let it = &played.quality.figures;
            let again = played
                .quality
                .kills
                .first()
                .and_then(|kill| kill.again_s_p99);
            let again = again.map_or("-".to_owned(), |s| format!("{s:.1} s"));
            writeln!(
                f,
                "  {:5} {:>9} {:>8} {:>6} {:>7.2} s {:>6.2} {:>10.3} % {:>8.1} {:>5.2} % {:>7} s {again:>7}",
                played.rule,
                it.viewers,
                it.refused,
                it.lost,
                it.start_up_s_p50,
                it.start_up_s_p95,
                100.0 * it.rebuffer_ratio,
                it.rtt_ms_p95,
                100.0 * it.moved_per_min,
                it.overload_edge_s
            )?;
        }
        Ok(())
    }
}

/// Over plain cases of the same prices, in the order of the first.
fn means(cases: &[Case]) -> Vec<Mean> {
    let mut means = Vec::new();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let plain: Vec<&Case> = cases.iter().filter(|case| case.twist.is_none()).collect();
    for case in &plain {
        for rule in &case.rules {
            let key = (case.prices.as_str(), rule.rule.as_str());
            if seen.contains(&key) {
                continue;
            }
            seen.push(key);
            let same = plain.iter().filter(|it| it.prices == case.prices);
            let same: Vec<&Rule> = same
                .filter_map(|it| it.rules.iter().find(|it| it.rule == rule.rule))
                .collect();
            if same.len() < 2 {
                continue;
            }
            let saved = |it: &&Rule| it.saves_against.get("B1").map(|it| it.share);
            let saved: Vec<f64> = same.iter().filter_map(saved).collect();
            let lead: Vec<f64> = same
                .iter()
                .filter_map(|it| Some(it.above_b8?.share))
                .collect();
            let relay = |it: &Rule| Some(it.relay_saves_against.get("B0")?.share);
            let relay: Vec<f64> = same.iter().filter_map(|it| relay(it)).collect();
            let minutes = same.iter().map(|it| it.figures.overload_edge_min);
            means.push(Mean {
                prices: case.prices.clone(),
                worlds: same.len(),
                rule: rule.rule.clone(),
                saves_against_b1: mean(&saved),
                above_b8: (!lead.is_empty()).then(|| mean(&lead)),
                overload_edge_min: minutes.sum::<f64>() / same.len() as f64,
                relay_saves_against_b0: (!relay.is_empty()).then(|| mean(&relay)),
            });
        }
    }
    means
}

/// A saving in percent with its interval.
pub fn percent(saving: &Saving) -> String {
    let Saving { share, low, high } = saving;
    format!(
        "{:.1} ({:.1} to {:.1})",
        100.0 * share,
        100.0 * low,
        100.0 * high
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            let twist = case
                .twist
                .as_ref()
                .map_or(String::new(), |it| format!(", {it}"));
            writeln!(f, "{}, prices {}{twist}", case.world, case.prices)?;
            writeln!(
                f,
                "  {:5} {:>14} {:>22} {:>7} {:>7} {:>7} {:>9} {:>8} {:>9}",
                "rule",
                "USD",
                "saves against B1, %",
                "RTT p50",
                "p95",
                "extra",
                "overload",
                "moved",
                "relay GB"
            )?;
            for rule in &case.rules {
                let it = &rule.figures;
                let saved = rule.saves_against.get("B1").map_or("-".to_owned(), percent);
                writeln!(
                    f,
                    "  {:5} {:>14.2} {saved:>22} {:>7.1} {:>7.1} {:>7.2} {:>5.0} min {:>6.2} % {:>9}",
                    rule.rule,
                    it.usd,
                    it.rtt_ms_p50,
                    it.rtt_ms_p95,
                    it.extra_rtt_ms,
                    it.overload_edge_min,
                    100.0 * it.moved_per_min,
                    it.relay.map_or("-".to_owned(), |it| short(it.gb))
                )?;
            }
            if let Some(usd) = case.o2_bound_usd {
                writeln!(
                    f,
                    "  O2    {usd:>14.2} a bound that no policy within the slack falls below"
                )?;
            }
        }
        for plays in &self.quality {
            plays.show(f)?;
        }
        write!(f, "{}", forecasts::Table(&self.forecasts, &self.starting))?;
        for mean in &self.means {
            let saved = percent(&mean.saves_against_b1);
            let Mean {
                prices,
                rule,
                worlds,
                ..
            } = mean;
            if rule != "B1" {
                writeln!(
                    f,
                    "mean of {worlds}, prices {prices}: {rule} saves {saved} % of B1's bill"
                )?;
            }
        }
        Ok(())
    }
}
