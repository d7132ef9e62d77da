//! `weir simulate compare`: what differs between two reports.

use super::report::{Case, Report, Rule};
use crate::admin;
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Two reports.
#[derive(Args)]
pub struct Compare {
    /// A report.json, or the folder it is in.
    before: PathBuf,
    /// Another.
    after: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A rule of a case in both.
#[derive(Debug, Serialize)]
struct Row {
    world: String,
    prices: String,
    twist: Option<String>,
    rule: String,
    usd: [f64; 2],
    saves_against_b1: [Option<f64>; 2],
    rtt_ms_p95: [f64; 2],
    overload_edge_min: [f64; 2],
}

/// Does it.
pub fn run(asked: &Compare) -> Result<()> {
    let (before, after) = (read(&asked.before)?, read(&asked.after)?);
    for (name, report) in [(&asked.before, &before), (&asked.after, &after)] {
        eprintln!(
            "{}: Weir {}, {}",
            name.display(),
            report.weir,
            report.command.join(" ")
        );
    }
    let mut changed: Vec<&String> = after.inputs.keys().collect();
    changed.retain(|name| {
        before
            .inputs
            .get(*name)
            .is_some_and(|hash| after.inputs[*name] != *hash)
    });
    changed
        .iter()
        .for_each(|name| eprintln!("{name} is not the same file"));
    let rows = rows(&before, &after);
    if asked.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    if rows.is_empty() {
        println!("the reports have no case and rule in common");
        return Ok(());
    }
    let head = [
        "CASE",
        "RULE",
        "USD",
        "",
        "CHANGE",
        "SAVES %",
        "",
        "RTT P95",
        "",
        "OVERLOAD MIN",
        "",
    ];
    print!("{}", admin::table(&head, rows.iter().map(Row::cells)));
    Ok(())
}

fn read(path: &Path) -> Result<Report> {
    let path = match path.is_dir() {
        true => path.join("report.json"),
        false => path.to_owned(),
    };
    let text = std::fs::read_to_string(&path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is no report of `weir simulate run`", path.display()))
}

fn rows(before: &Report, after: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    let key = |case: &Case| (case.world.clone(), case.prices.clone(), case.twist.clone());
    for case in &before.cases {
        let Some(other) = after.cases.iter().find(|it| key(it) == key(case)) else {
            continue;
        };
        for rule in &case.rules {
            let same = other.rules.iter().find(|it| it.rule == rule.rule);
            rows.extend(same.map(|same| row(case, rule, same)));
        }
    }
    rows
}

fn row(case: &Case, before: &Rule, after: &Rule) -> Row {
    let both = |of: fn(&Rule) -> f64| [of(before), of(after)];
    let saved = |rule: &Rule| rule.saves_against.get("B1").map(|it| it.share);
    Row {
        world: case.world.clone(),
        prices: case.prices.clone(),
        twist: case.twist.clone(),
        rule: before.rule.clone(),
        usd: both(|it| it.figures.usd),
        saves_against_b1: [saved(before), saved(after)],
        rtt_ms_p95: both(|it| it.figures.rtt_ms_p95),
        overload_edge_min: both(|it| it.figures.overload_edge_min),
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let [was, is] = self.usd;
        let change = if was > 0.0 {
            100.0 * (is / was - 1.0)
        } else {
            0.0
        };
        let saved =
            |share: Option<f64>| share.map_or("-".to_owned(), |it| format!("{:.1}", 100.0 * it));
        let twist = self
            .twist
            .as_ref()
            .map_or(String::new(), |it| format!(", {it}"));
        vec![
            format!("{} {}{twist}", self.world, self.prices),
            self.rule.clone(),
            format!("{was:.0}"),
            format!("{is:.0}"),
            format!("{change:+.1} %"),
            saved(self.saves_against_b1[0]),
            saved(self.saves_against_b1[1]),
            format!("{:.1}", self.rtt_ms_p95[0]),
            format!("{:.1}", self.rtt_ms_p95[1]),
            format!("{:.0}", self.overload_edge_min[0]),
            format!("{:.0}", self.overload_edge_min[1]),
        ]
    }
}
