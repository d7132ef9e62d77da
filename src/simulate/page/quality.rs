//! What viewers go through, as the event engine played it: a table of the rules, then pictures of the first case.

use super::charts::{LINES, ends, figure, key, marks, shares};
use super::{escape, several};
use crate::plot::{Chart, short};
use crate::simulate::report::{Played, Plays, Report};
use simulations::event::{EdgeLine, Minute};
use simulations::policies::Kind;

/// The section; nothing where nobody was played.
pub fn section(report: &Report) -> String {
    let Some(first) = report.quality.first() else {
        return String::new();
    };
    format!(
        "<section><h2>What viewers go through</h2>{}{}<div class=\"figures\">{}{}{}</div>{}</section>",
        in_short(first),
        report.quality.iter().map(table).collect::<String>(),
        times(first),
        minutes(
            first,
            ("What edges could not send in each minute", UNSENT),
            |it| it.unsent_mbps
        ),
        minutes(first, ("Who watches", WATCHING), |it| it.watching),
        edges(first)
    )
}

const UNSENT: &str =
    "What viewers asked their edges for and these could not send, Mbit/s: their pictures stop.";
const WATCHING: &str =
    "Viewers who watch: when an edge dies, some are out until they are in again elsewhere.";

fn of(plays: &Plays, kind: Kind) -> Option<&Played> {
    plays.rules.iter().find(|it| it.rule == kind.as_str())
}

fn in_short(plays: &Plays) -> String {
    let Some((weir, b1)) = of(plays, Kind::Weir).zip(of(plays, Kind::B1)) else {
        return String::new();
    };
    let (ours, theirs) = (&weir.quality.figures, &b1.quality.figures);
    let again = |it: &Played| {
        let kill = it.quality.kills.first();
        kill.and_then(|kill| kill.again_s_p99)
            .map_or("-".to_owned(), |s| format!("{s:.1} s"))
    };
    format!(
        "<p>{} viewers one by one, in the window of the scenario: under the planner 95 % have their first picture within \
         {:.1} s (B1 {:.1}) and {:.2} % of the watched time is without one (B1 {:.2}). \
         {} of them were thrown out for good (B1 {}); when the busiest edge died, 99 % played again after {} (B1 {}).</p>",
        ours.viewers,
        ours.start_up_s_p95,
        theirs.start_up_s_p95,
        100.0 * ours.rebuffer_ratio,
        100.0 * theirs.rebuffer_ratio,
        several(ours.lost as usize, "viewer"),
        theirs.lost,
        again(weir),
        again(b1)
    )
}

fn table(plays: &Plays) -> String {
    format!(
        "<h3>{}, prices {}</h3><div class=\"scroll\"><table>{HEAD}{}</table></div>",
        escape(&plays.world),
        escape(&plays.prices),
        plays.rules.iter().map(row).collect::<String>()
    )
}

const HEAD: &str = "<tr><th>Rule</th><th>Viewers</th><th>Refused</th><th>Lost</th><th>First picture p50</th><th>p95 s</th>\
                    <th>No picture, %</th><th>s a viewer</th><th>RTT p50</th>\
                    <th>p95</th><th>p99 ms</th>\
                    <th>Above nearest, ms</th><th>Moved a minute, %</th><th>Overload, edge-s</th>\
                    <th>99 % back after, s</th><th>Fullest edge over mean</th><th>Relayed, % of egress</th></tr>";

fn row(played: &Played) -> String {
    let it = &played.quality.figures;
    let class = if played.rule == Kind::Weir.as_str() {
        " class=\"best\""
    } else {
        ""
    };
    let kill = played.quality.kills.first();
    let again = kill
        .and_then(|kill| kill.again_s_p99)
        .map_or("-".to_owned(), |s| format!("{s:.1}"));
    format!(
        "<tr><td{class}>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{:.2}</td><td>{:.3}</td><td>{:.3}</td>\
         <td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.2}</td><td>{:.2}</td><td>{}</td>\
         <td>{again}</td><td>{:.2}</td>\
         <td>{:.1}</td></tr>",
        escape(&played.rule),
        it.viewers,
        it.refused,
        it.lost,
        it.start_up_s_p50,
        it.start_up_s_p95,
        100.0 * it.rebuffer_ratio,
        it.rebuffer_s_per_viewer,
        it.rtt_ms_p50,
        it.rtt_ms_p95,
        it.rtt_ms_p99,
        it.extra_rtt_ms,
        100.0 * it.moved_per_min,
        it.overload_edge_s,
        it.max_over_mean,
        100.0 * it.relay_gb / it.egress_gb.max(1e-9)
    )
}

fn drawn(plays: &Plays) -> Vec<(&'static str, &Played)> {
    let line = |(kind, class, _): (Kind, &'static str, &str)| Some((class, of(plays, kind)?));
    LINES.into_iter().filter_map(line).collect()
}

fn times(plays: &Plays) -> String {
    let lines = drawn(plays).into_iter();
    let lines = lines.map(|(class, it)| (class, &*it.quality.times));
    shares(
        lines.collect(),
        (
            "Share of the watched time up to each round-trip time",
            "Share of the watched time that has at most this round-trip time.",
        ),
    )
}

fn minutes(plays: &Plays, (title, says): (&str, &str), of: fn(&Minute) -> f64) -> String {
    let lines = drawn(plays);
    let all = || lines.iter().flat_map(|(_, it)| &it.quality.minutes);
    let most = all().map(of).fold(1.0, f64::max);
    let last = lines.iter().map(|(_, it)| it.quality.minutes.len()).max();
    let last = last.unwrap_or(1).max(2) as f64;
    let up = marks(0.0, most, short);
    let mut chart = Chart::new((0.0, last), ends(&up));
    chart.rows(&up);
    chart.columns(&minutes_across(last));
    for (class, it) in &lines {
        let points = it.quality.minutes.iter().enumerate();
        chart.line(
            class,
            points.map(|(at, minute)| (at as f64 + 0.5, of(minute))),
        );
    }
    figure(chart.finish(title) + &key(), says)
}

/// The edges that sent most under the planner.
fn edges(plays: &Plays) -> String {
    let Some(weir) = of(plays, Kind::Weir) else {
        return String::new();
    };
    let lines = weir.quality.edges.iter().take(DRAWN);
    format!(
        "<h3>Edges that sent most under the planner</h3><div class=\"figures\">{}</div>",
        lines
            .map(|line| edge(line, weir.quality.edge_step_min))
            .collect::<String>()
    )
}

fn edge(line: &EdgeLine, step_min: usize) -> String {
    let step = step_min as f64;
    let last = (line.steps_mbps.len() as f64 * step).max(2.0);
    let up = marks(0.0, line.capacity_mbps.max(1.0), |mbps| short(mbps * 1e6));
    let mut chart = Chart::new((0.0, last), ends(&up));
    chart.rows(&up);
    chart.columns(&minutes_across(last));
    let points = line.steps_mbps.iter().enumerate();
    let points = points.map(|(at, mbps)| ((at as f64 + 0.5) * step, f64::from(*mbps)));
    chart.line("median", points);
    let most = line.capacity_mbps;
    chart.line("full", [(0.0, most), (last, most)]);
    let svg = chart.finish(&format!("What {} sent over time", line.edge));
    let most = short(most * 1e6);
    figure(
        svg,
        &format!("{}, {most} bit/s at most", escape(&line.edge)),
    )
}

fn minutes_across(last: f64) -> Vec<(f64, String)> {
    let across = marks(0.0, last, |minute| format!("{minute:.0} min"));
    across.into_iter().filter(|it| it.0 <= last).collect()
}

const DRAWN: usize = 6;
