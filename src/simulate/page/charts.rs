//! The charts of the first case.

use super::{Done, Kind, Report, cells_of, escape, first_job};
use crate::plot::{Chart, short, ticks};
use simulations::report::{Cell, Edge};

type Cells<'a> = Vec<(Kind, &'a Cell)>;

/// All of them.
pub fn of_first(report: &Report, done: &[Done]) -> String {
    let (Some(case), Some(job)) = (report.cases.first(), first_job(done)) else {
        return String::new();
    };
    let cells = cells_of(done, job);
    format!(
        "<section><h2>{}</h2><div class=\"figures\">{}{}{}</div></section>{}",
        super::title(case),
        pareto(&cells),
        times(&cells),
        overload(&cells),
        edges(&cells)
    )
}

pub(super) fn marks(low: f64, high: f64, shown: impl Fn(f64) -> String) -> Vec<(f64, String)> {
    ticks(low, high)
        .into_iter()
        .map(|at| (at, shown(at)))
        .collect()
}

pub(super) fn ends(marks: &[(f64, String)]) -> (f64, f64) {
    let at = |mark: Option<&(f64, String)>| mark.map_or(0.0, |mark| mark.0);
    (at(marks.first()), at(marks.last()))
}

pub(super) fn figure(svg: String, says: &str) -> String {
    format!("<figure>{svg}<figcaption>{says}</figcaption></figure>")
}

/// Money and time of each rule: left and low is better.
fn pareto(cells: &Cells<'_>) -> String {
    let of = |cell: &Cell| (cell.figures.rtt_ms_p95, cell.figures.usd);
    let most =
        |pick: fn((f64, f64)) -> f64| cells.iter().map(|it| pick(of(it.1))).fold(0.0, f64::max);
    let (slow, dear) = (most(|it| it.0), most(|it| it.1));
    let (across, up) = (
        marks(0.0, slow, |ms| format!("{ms:.0} ms")),
        marks(0.0, dear, |usd| format!("${}", short(usd))),
    );
    let mut chart = Chart::new(ends(&across), ends(&up));
    chart.rows(&up);
    chart.columns(&across);
    // Rules that come to nearly the same share a word, as words on each other cannot be read.
    let mut words: Vec<((f64, f64), &str, String)> = Vec::new();
    for (kind, cell) in cells {
        let (dot, word) = match kind {
            Kind::Weir => ("c0", "strong"),
            Kind::O1 => ("c2", "name"),
            _ => ("c4", "name"),
        };
        chart.dot(dot, of(cell), 4.0);
        let near = |at: (f64, f64)| {
            let (x, y) = (at.0 - of(cell).0, at.1 - of(cell).1);
            x.abs() < NEAR * slow && y.abs() < NEAR * dear
        };
        match words.iter_mut().find(|(at, ..)| near(*at)) {
            Some((_, shown, names)) => {
                *names += &format!(" {kind}");
                if *kind == Kind::Weir {
                    *shown = word;
                }
            }
            None => words.push((of(cell), word, kind.to_string())),
        }
    }
    for (at, word, names) in words {
        chart.word(word, at, &names);
    }
    figure(
        chart.finish("Bill over round-trip time of 95 % of the traffic, a point for each rule"),
        "What rules cost, and the round-trip time that 95 % of the traffic has at most. Left and low is better.",
    )
}

/// Of the widest and the highest: points whose words would lie on each other.
const NEAR: f64 = 0.05;

/// The rules whose lines are drawn, with their classes.
pub(super) const LINES: [(Kind, &str, &str); 3] = [
    (Kind::B1, "l0", "h4"),
    (Kind::B8, "l1", "h1"),
    (Kind::Weir, "l2", "accent"),
];

pub(super) fn key() -> String {
    let part = |(kind, _, colour): (Kind, &str, &str)| {
        format!("<span><i style=\"background:var(--{colour})\"></i>{kind}</span>")
    };
    format!(
        "<div class=\"key\">{}</div>",
        LINES.into_iter().map(part).collect::<String>()
    )
}

fn times(cells: &Cells<'_>) -> String {
    let line = |(kind, class, _): (Kind, &'static str, &str)| {
        let (_, cell) = cells.iter().find(|it| it.0 == kind)?;
        Some((class, &*cell.times))
    };
    shares(
        LINES.into_iter().filter_map(line).collect(),
        (
            "Share of the traffic up to each round-trip time",
            "Share of the traffic that has at most this round-trip time.",
        ),
    )
}

/// A line for each rule: the share that has at most each round-trip time.
pub(super) fn shares(lines: Vec<(&str, &[(f64, f64)])>, (title, says): (&str, &str)) -> String {
    let far = |times: &[(f64, f64)]| times.iter().find(|it| it.1 >= 0.995).map_or(0.0, |it| it.0);
    let slow = lines.iter().map(|it| far(it.1)).fold(1.0, f64::max);
    let across = marks(0.0, slow, |ms| format!("{ms:.0} ms"));
    let mut chart = Chart::new(ends(&across), (0.0, 1.0));
    chart.rows(&marks(0.0, 1.0, |share| format!("{:.0} %", 100.0 * share)));
    chart.columns(&across);
    for (class, times) in lines {
        let within = times.iter().copied();
        chart.line(class, within.filter(|it| it.0 <= ends(&across).1));
    }
    figure(chart.finish(title) + &key(), says)
}

fn overload(cells: &Cells<'_>) -> String {
    let drawn = || {
        LINES
            .iter()
            .filter_map(|line| Some((line, cells.iter().find(|it| it.0 == line.0)?.1)))
    };
    let minutes = |cell: &Cell| {
        cell.days
            .iter()
            .map(|day| day.overload_edge_min)
            .fold(0.0, f64::max)
    };
    let most = drawn().map(|(_, cell)| minutes(cell)).fold(1.0, f64::max);
    let days = drawn().map(|(_, cell)| cell.days.len()).max().unwrap_or(1) as f64;
    let up = marks(0.0, most, |min| format!("{min:.0}"));
    let mut chart = Chart::new((1.0, days.max(2.0)), ends(&up));
    chart.rows(&up);
    let across = marks(0.0, days, |day| format!("day {day:.0}"));
    let across: Vec<(f64, String)> = across
        .into_iter()
        .filter(|it| (1.0..=days).contains(&it.0))
        .collect();
    chart.columns(&across);
    for ((_, class, _), cell) in drawn() {
        let days = cell.days.iter().enumerate();
        chart.line(
            class,
            days.map(|(at, day)| (at as f64 + 1.0, day.overload_edge_min)),
        );
    }
    let svg = chart.finish("Minutes of overload each day");
    figure(
        svg + &key(),
        "Minutes a day in which an edge was sent more than it can carry, added over edges.",
    )
}

/// The dearest edges under the planner, and a table of all.
fn edges(cells: &Cells<'_>) -> String {
    let Some((_, cell)) = cells.iter().find(|it| it.0 == Kind::Weir) else {
        return String::new();
    };
    let mut dearest: Vec<&Edge> = cell.edges.iter().collect();
    dearest.sort_by(|a, b| b.usd.total_cmp(&a.usd).then_with(|| a.name.cmp(&b.name)));
    let row = |edge: &&Edge| {
        format!(
            "<tr><td class=\"left\">{}</td><td>{:.0}</td><td>{:.0}</td><td>{:.0}</td><td>{:.0}</td><td>{}</td><td>{:.0}</td></tr>",
            escape(&edge.name),
            edge.mean_mbps,
            edge.level_mbps,
            edge.peak_mbps,
            edge.capacity_mbps,
            edge.burst_slots,
            edge.usd
        )
    };
    format!(
        "<section><h2>Edges under the planner</h2><p>An edge is billed at its level (dashed): one slot in twenty may lie \
         above it for nothing. The dotted line is what it can carry.</p><div class=\"figures\">{}</div>\
         <details><summary>All edges</summary><div class=\"scroll\"><table><tr><th class=\"left\">Edge</th><th>Mean Mbit/s</th>\
         <th>Level</th><th>Peak</th><th>Capacity</th><th>Slots well above the level</th><th>USD</th></tr>{}</table></div></details></section>",
        dearest
            .iter()
            .take(DRAWN)
            .map(|edge| load(edge))
            .collect::<String>(),
        dearest.iter().map(row).collect::<String>()
    )
}

fn load(edge: &Edge) -> String {
    let slots = edge.two_hours_mbps.len().max(2) as f64;
    let up = marks(0.0, edge.peak_mbps.max(edge.level_mbps).max(1.0), |mbps| {
        short(mbps * 1e6)
    });
    let mut chart = Chart::new((0.0, slots), ends(&up));
    chart.rows(&up);
    let days = slots / 12.0;
    let across = ticks(0.0, days).into_iter().filter(|day| *day <= days);
    chart.columns(
        &across
            .map(|day| (day * 12.0, format!("day {day:.0}")))
            .collect::<Vec<_>>(),
    );
    let loads = edge.two_hours_mbps.iter().enumerate();
    chart.line(
        "median",
        loads.map(|(at, mbps)| (at as f64, f64::from(*mbps))),
    );
    chart.line("level", [(0.0, edge.level_mbps), (slots, edge.level_mbps)]);
    if edge.capacity_mbps <= ends(&up).1 {
        chart.line(
            "full",
            [(0.0, edge.capacity_mbps), (slots, edge.capacity_mbps)],
        );
    }
    let svg = chart.finish(&format!(
        "Load of {} in means of two hours, with its level",
        edge.name
    ));
    let says = format!(
        "{}: ${}, level {} bit/s, {} slots well above it",
        escape(&edge.name),
        short(edge.usd),
        short(edge.level_mbps * 1e6),
        edge.burst_slots
    );
    figure(svg, &says)
}

const DRAWN: usize = 6;
