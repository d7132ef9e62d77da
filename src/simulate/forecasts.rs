//! What the forecast adds: the planner told of demand to come all, some and nothing, in one table.

use super::report::{cells_of, percent};
use super::work::{Done, Found};
use crate::plot::escape;
use serde::{Deserialize, Serialize};
use simulations::policies::Kind;
use simulations::report::{Cell, Figures, Saving, lead, saving};
use simulations::study::{Ground, Twist};
use simulations::warm::Warmth;
use std::fmt;

/// The planner, told something of demand to come.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    /// What was changed so that it may matter.
    pub ground: String,
    /// What it was told: `perfect`, `ours`, `unannounced`, `persistence`, `none`.
    pub told: String,
    /// The same, for people.
    pub says: String,
    /// What it comes to.
    pub figures: Figures,
    /// What it saves of B1's bill on the same ground.
    pub saves_against_b1: Saving,
    /// By how much more of that bill than when it is told nothing.
    pub adds: Saving,
}

/// All that were run.
pub fn of(done: &[Done]) -> Vec<Told> {
    let find = |twist: Twist, kind: Kind| -> Option<&Cell> {
        let (job, _) = done.iter().find(|(job, _)| job.twist == twist)?;
        let mut cells = cells_of(done, job).into_iter();
        cells.find(|(of, _)| *of == kind).map(|(_, cell)| cell)
    };
    let told = |twist: Twist| {
        let Twist::Forecast(told, ground) = twist else {
            return None;
        };
        let nothing = Twist::Forecast(simulations::forecast::Told::Nothing, ground);
        let (cell, b1) = (find(twist, Kind::Weir)?, find(nothing, Kind::B1)?);
        Some(Told {
            ground: ground.says().to_owned(),
            told: told.as_str().to_owned(),
            says: told.says().to_owned(),
            figures: cell.figures,
            saves_against_b1: saving(cell, b1),
            adds: lead(cell, find(nothing, Kind::Weir)?, b1),
        })
    };
    Twist::forecasts().filter_map(told).collect()
}

/// Edges that are started and stopped by the production rule, told something of demand to come.
#[derive(Debug, Serialize, Deserialize)]
pub struct Started {
    /// What was told.
    pub told: String,
    /// The same, for people.
    pub says: String,
    /// What it comes to.
    #[serde(flatten)]
    pub warmth: Warmth,
}

/// All of them.
pub fn starting(done: &[Done]) -> Vec<Started> {
    let started = |(job, found): &Done| match (job.twist, found) {
        (Twist::Forecast(told, _), Found::Warmth(warmth)) => Some(Started {
            told: told.as_str().to_owned(),
            says: told.says().to_owned(),
            warmth: *warmth,
        }),
        _ => None,
    };
    done.iter().filter_map(started).collect()
}

/// For the terminal.
pub struct Table<'a>(pub &'a [Told], pub &'a [Started]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grounds = Ground::BILLED.map(Ground::says);
        for ground in grounds {
            let mut rows = self.0.iter().filter(|it| it.ground == ground).peekable();
            if rows.peek().is_some() {
                writeln!(f, "what a forecast adds: {ground}")?;
            }
            for it in rows {
                writeln!(
                    f,
                    "  {:38} {:>14.2} {:>22} adds {:>22} {:>7.1} {:>5.0} min",
                    it.says,
                    it.figures.usd,
                    percent(&it.saves_against_b1),
                    percent(&it.adds),
                    it.figures.rtt_ms_p95,
                    it.figures.overload_edge_min
                )?;
            }
        }
        if !self.1.is_empty() {
            writeln!(f, "what a forecast adds: {}", Ground::Starting.says())?;
        }
        for it in self.1 {
            let Warmth {
                nodes,
                short_min,
                short,
            } = it.warmth;
            let says = &it.says;
            let percent = 100.0 * short;
            writeln!(
                f,
                "  {says:38} {nodes:>7.1} edges, short for {short_min:.0} min, of {percent:.4} %"
            )?;
        }
        Ok(())
    }
}

/// For the page.
pub fn section(all: &[Told], starting: &[Started]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let row = |it: &Told| {
        let class = if it.told == "ours" {
            " class=\"best\""
        } else {
            ""
        };
        format!(
            "<tr><td class=\"left\">{}</td><td>{:.0}</td><td{class}>{}</td><td{class}>{}</td><td>{:.1}</td><td>{:.0}</td>\
             <td>{:.2}</td></tr>",
            escape(&it.says),
            it.figures.usd,
            percent(&it.saves_against_b1),
            percent(&it.adds),
            it.figures.rtt_ms_p95,
            it.figures.overload_edge_min,
            100.0 * it.figures.moved_per_min
        )
    };
    let ground = |ground: Ground| {
        let rows: Vec<&Told> = all.iter().filter(|it| it.ground == ground.says()).collect();
        if rows.is_empty() {
            return String::new();
        }
        format!(
            "<tr><th class=\"left\" colspan=\"7\">{}</th></tr>{}",
            escape(ground.says()),
            rows.into_iter().map(row).collect::<String>()
        )
    };
    format!(
        "<section><h2>What the forecast adds</h2><p>The planner, told more or less of the slot to come. What it adds is \
         in points of B1's bill over being told nothing.</p><div class=\"scroll\"><table><tr>\
         <th class=\"left\">Told</th><th>Bill, USD</th><th>Saves against B1, %</th><th>Adds, points</th>\
         <th>RTT p95, ms</th><th>Overload, edge-min</th><th>Moved a minute, %</th></tr>{}</table></div>{}</section>",
        Ground::BILLED.map(ground).concat(),
        edges(starting)
    )
}

fn edges(starting: &[Started]) -> String {
    let row = |it: &Started| {
        let class = if it.told == "ours" {
            " class=\"best\""
        } else {
            ""
        };
        format!(
            "<tr><td class=\"left\">{}</td><td{class}>{:.1}</td><td{class}>{:.0}</td><td>{:.4}</td></tr>",
            escape(&it.says),
            it.warmth.nodes,
            it.warmth.short_min,
            100.0 * it.warmth.short
        )
    };
    format!(
        "<h3>Edges that are started for what is to come</h3><p>Each metro's edges in ten small ones, started and stopped \
         by the scheduler's own rule; one that is ordered serves ten minutes later.</p><div class=\"scroll\"><table>\
         <tr><th class=\"left\">Told</th><th>Edges in the mean</th><th>Too few, metro-min</th>\
         <th>Not carried, %</th></tr>{}</table></div>",
        starting.iter().map(row).collect::<String>()
    )
}
