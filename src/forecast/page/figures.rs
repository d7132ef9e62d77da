//! The charts of the report.

use models::{mix::Expert, train::QUANTILES};

use crate::{
    forecast::{
        fan::{Fan, Point},
        page::summary::Mean,
        report::{Entry, Report, percent},
        time,
    },
    plot::{self, Chart, escape},
};

/// Bounds of seconds between labels of an axis of time.
const TIME_STEPS_S: [i64; 10] = [
    60, 300, 900, 3600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
];

/// What was expected and what came.
pub fn fan(fan: &Fan, horizon: &str) -> String {
    let points = &fan.shown;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return String::new();
    };
    let known = |point: &Point| {
        [point.truth, point.expected[3]].map(|v| if v.is_finite() { v } else { 0.0 })
    };
    // One wild quantile is cut off rather than that it flattens everything else.
    let truth = points
        .iter()
        .map(|point| known(point)[0])
        .fold(0.0, f64::max);
    let highest = points
        .iter()
        .flat_map(known)
        .fold(truth, f64::max)
        .min(2.0 * truth.max(1e-9));
    let ticks = plot::ticks(0.0, highest);
    let top = ticks.last().copied().unwrap_or(1.0).max(1e-9);
    let range = (first.at_s as f64, last.at_s as f64);
    let mut chart = Chart::new(range, (0.0, top));
    chart.rows(&labelled(&ticks));
    chart.columns(&times(first.at_s, last.at_s));
    let low = |point: &Point, nth: usize| point.expected[nth].min(top);
    for (nth, class) in ["f1", "f2", "f3"].into_iter().enumerate() {
        let band = |p: &Point| (p.at_s as f64, low(p, nth), low(p, nth + 1));
        chart.band(class, &points.iter().map(band).collect::<Vec<_>>());
    }
    chart.line("median", points.iter().map(|p| (p.at_s as f64, low(p, 0))));
    chart.line(
        "actual",
        points.iter().map(|p| (p.at_s as f64, p.truth.min(top))),
    );
    chart.finish(&format!(
        "What came, and what was expected {horizon} before"
    ))
}

fn labelled(ticks: &[f64]) -> Vec<(f64, String)> {
    ticks
        .iter()
        .map(|tick| (*tick, plot::short(*tick)))
        .collect()
}

fn times(first: i64, last: i64) -> Vec<(f64, String)> {
    let step = TIME_STEPS_S
        .into_iter()
        .find(|step| (last - first) / step <= 7);
    let step = step.unwrap_or(((last - first) / 5).max(1));
    let from = first.div_euclid(step) + i64::from(first.rem_euclid(step) != 0);
    let marks = (from * step..=last).step_by(step as usize);
    marks.map(|at| (at as f64, time::label(at))).collect()
}

/// How often what came was below each line: a dot a series, the mean of each horizon, and the raw mean.
pub fn calibration(report: &Report, horizons: &[(u32, [[Mean; 2]; QUANTILES.len()])]) -> String {
    let found = report.series.iter().map(|entry| entry.coverage_of(0));
    let raw = horizons.iter().filter_map(|(_, means)| means[0][1].value());
    let lowest = found.chain(raw).fold(0.85, f64::min).max(0.5);
    let lowest = (lowest * 20.0).floor() / 20.0;
    let mut chart = Chart::new((-0.5, QUANTILES.len() as f64 - 0.5), (lowest, 1.0));
    let allowed = [(0.88, 0.92), (0.93, 0.97), (0.98, 1.0)];
    for (nth, (low, high)) in allowed.into_iter().enumerate() {
        let x = nth as f64;
        chart.band("allowed", &[(x - 0.42, low, high), (x + 0.42, low, high)]);
    }
    let rows = (0..=((1.0 - lowest) * 20.0).round() as usize).map(|nth| 1.0 - nth as f64 / 20.0);
    let rows = rows.map(|share| (share, format!("{:.0} %", share * 100.0)));
    chart.rows(&rows.collect::<Vec<_>>());
    let names = QUANTILES.iter().enumerate();
    let names = names.map(|(nth, q)| (nth as f64, format!("{:.0} % line", q * 100.0)));
    chart.columns(&names.collect::<Vec<_>>());
    let lanes = horizons.len().max(1) as f64;
    for (nth, quantile) in QUANTILES.into_iter().map(f64::from).enumerate() {
        let aim = [-0.42, 0.42].map(|dx| (nth as f64 + dx, quantile));
        chart.line("aim", aim);
        for (lane, (horizon_s, means)) in horizons.iter().enumerate() {
            let x = nth as f64 + 0.76 * ((lane as f64 + 0.5) / lanes - 0.5);
            let color = color(lane);
            for entry in report
                .series
                .iter()
                .filter(|entry| entry.horizon_s == *horizon_s)
            {
                let y = entry.coverage_of(nth).max(lowest);
                chart.dot(&format!("one {color}"), (x, y), 2.0);
            }
            if let [Some(own), Some(raw)] = means[nth].map(Mean::value) {
                chart.dot(&format!("raw {color}"), (x, raw.max(lowest)), 4.5);
                chart.dot(&format!("mean {color}"), (x, own.max(lowest)), 5.0);
            }
        }
    }
    chart.finish("Share of values below each upper quantile, by horizon")
}

/// The class of the nth horizon's colour.
pub fn color(nth: usize) -> String {
    format!("c{}", nth.min(4))
}

/// Errors of all experts beside that of their mixture, the smallest first.
pub fn experts(entry: &Entry) -> String {
    let learned = |name: &str| {
        Expert::ALL
            .iter()
            .any(|e| e.name() == name && !e.is_naive())
    };
    let class = |name: &str| if learned(name) { "learned" } else { "" };
    let mut rows: Vec<(f64, &str, &str)> = entry
        .experts
        .iter()
        .filter_map(|(name, wape)| Some(((*wape)?, *name, class(name))))
        .collect();
    rows.extend(entry.wape.map(|wape| (wape, "the mixture", "own")));
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let least = rows.first().map_or(0.0, |row| row.0);
    // Methods that are far off end at the edge: what matters is who is near the best.
    let widest = rows
        .last()
        .map_or(1.0, |row| row.0)
        .min(least * 4.0)
        .max(1e-12);
    let row = |(wape, name, class): &(f64, &str, &str)| {
        bar(
            name,
            wape / widest,
            class,
            &format!("{} %", percent(Some(*wape))),
        )
    };
    format!(
        "<div class=\"bars\">{}</div>",
        rows.iter().map(row).collect::<String>()
    )
}

/// A row of a bar chart; `share` of the width.
pub fn bar(name: &str, share: f64, class: &str, says: &str) -> String {
    let bold = if class == "own" {
        " class=\"own-name\""
    } else {
        ""
    };
    format!(
        "<span{bold}>{}</span><i class=\"{class}\" style=\"width:{:.1}%\"></i><span{bold}>{says}</span>",
        escape(&name.replace('_', " ")),
        (share * 100.0).clamp(0.0, 100.0)
    )
}
