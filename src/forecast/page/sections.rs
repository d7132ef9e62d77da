//! The sections of the report, each a function from figures to HTML.

use models::{features, mix::Expert};

use super::{
    figures,
    summary::{Summary, Tally},
};
use crate::{
    forecast::{
        judge::Answer,
        report::{Entry, Report, change, percent},
        time,
    },
    plot::escape,
};

/// Series that get a figure; more would make the page too heavy for a phone.
const MOST_FIGURES: usize = 60;
/// Columns of the importance chart.
const MOST_COLUMNS: usize = 15;

/// What all of it comes to, in words.
pub fn in_short(summary: &Summary) -> String {
    let pairs = &summary.pairs;
    if pairs.judged == 0 {
        return "<p class=\"lead\">No series could be judged; the reasons are below.</p>".into();
    }
    let lost = match pairs.lost {
        0 => "It was nowhere worse by more than 2 %.".to_owned(),
        lost => format!("In {lost} it was worse by more than 2 %; they are marked."),
    };
    let farthest = summary.horizons.iter().next_back();
    let (horizon, far) = farthest.map_or(("".into(), pairs), |(s, t)| (time::length(*s), t));
    let share = |share: Option<f64>| percent(share) + " %";
    let coverage = |nth: usize| share(pairs.coverage[nth][0].value());
    let cards = [
        (
            format!("{} of {}", pairs.won, pairs.judged),
            "better than the best simple method".into(),
        ),
        (
            change(far.best.value()) + " %",
            format!("error at {horizon} against the best simple method of each series"),
        ),
        (
            change(
                far.naive
                    .get(Expert::SeasonalDay.name())
                    .and_then(|mean| mean.value()),
            ) + " %",
            format!("error at {horizon} against “as yesterday”"),
        ),
        (coverage(0), "of values below the line for 90 %".to_owned()),
        (coverage(1), "of values below the line for 95 %".to_owned()),
    ];
    let card = |(number, says): &(String, String)| {
        format!("<div class=\"card\"><b>{number}</b><span>{says}</span></div>")
    };
    format!(
        "<section><p class=\"lead\">{} series were forecast over their second half, \
         {} pairs of series and horizon in all. \
         In <b>{}</b> of them the forecast came nearer to the truth \
         than the best of six simple methods would have, \
         although that best one is picked for each with hindsight. {lost}</p>\
         <div class=\"cards\">{}</div></section>",
        summary.series,
        pairs.judged,
        pairs.won,
        cards.iter().map(card).collect::<String>()
    )
}

/// A line for each horizon.
pub fn by_horizon(summary: &Summary) -> String {
    if summary.horizons.is_empty() {
        return String::new();
    }
    let naive: Vec<&str> = Expert::ALL
        .iter()
        .filter(|e| e.is_naive())
        .map(|e| e.name())
        .collect();
    let row = |(horizon_s, tally): (&u32, &Tally)| {
        let against = |name: &&str| {
            let mean = tally.naive.get(name).and_then(|mean| mean.value());
            cell(&signed(mean), "")
        };
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>{}</tr>",
            time::length(*horizon_s),
            tally.judged,
            tally.won,
            percent(tally.wape.value()),
            signed(tally.best.value()),
            naive.iter().map(against).collect::<String>(),
        )
    };
    format!(
        "<section><h2>By horizon</h2><p class=\"soft\">Means over the series; \
         changes of the error in percent, negative is better.</p>{}</section>",
        table(
            &["ahead", "series", "won", "WAPE %", "against best"],
            &naive,
            &[],
            summary.horizons.iter().map(row)
        )
    )
}

/// A line for each series and horizon.
pub fn all_series(report: &Report) -> String {
    let mut last = None;
    let rows = report.series.iter().enumerate().map(|(nth, entry)| {
        let name = match last.replace(entry.id.as_str()) == Some(&entry.id) {
            true => String::new(),
            false => {
                let name = escape(&entry.id);
                format!(
                    "<tr><td class=\"group\" colspan=\"7\"><a href=\"#s{nth}\">{name}</a></td></tr>"
                )
            }
        };
        let best = entry.best_naive();
        let best = best.map(|(name, wape)| format!("{} {}", words(name), percent(Some(wape))));
        format!(
            "{name}<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"left\">{}</td>{}</tr>",
            time::length(entry.horizon_s),
            signed(entry.against_best()),
            percent(entry.wape),
            best.unwrap_or_default(),
            coverages(entry)
        )
    });
    format!(
        "<section><h2>Every series</h2><p class=\"soft\">The last three columns say how many values were below the 90, 95 and 99 % line; those off by more than two points are marked.</p>{}</section>",
        table(
            &["ahead", "against best", "WAPE %", "⇤best simple method"],
            &[],
            &["90 %", "95 %", "99 %"],
            rows
        )
    )
}

/// Coverage of each line; far off is marked.
fn coverages(entry: &Entry) -> String {
    let far =
        |nth: usize, share: f64| (share - f64::from(models::train::QUANTILES[nth])).abs() > 0.02;
    (0..models::train::QUANTILES.len())
        .map(|nth| {
            let share = entry.coverage_of(nth);
            cell(
                &percent(Some(share)),
                if far(nth, share) { "off" } else { "" },
            )
        })
        .collect()
}

/// Nominal against observed.
pub fn calibration(report: &Report, summary: &Summary) -> String {
    if summary.horizons.is_empty() {
        return String::new();
    }
    let horizons: Vec<_> = summary
        .horizons
        .iter()
        .map(|(s, tally)| (*s, tally.coverage))
        .collect();
    let key = horizons.iter().enumerate().map(|(nth, (horizon_s, _))| {
        format!(
            "<span><i style=\"background:var(--h{})\"></i>{}</span>",
            nth.min(4),
            time::length(*horizon_s)
        )
    });
    format!(
        "<section><h2>Are the upper lines honest?</h2><p>The line across is what a line promises, the green field what may pass. \
         A large dot is the mean of a horizon, a ring the same before correction, \
         a small dot one series.</p>\
         <div class=\"key\">{}</div><figure style=\"max-width:640px\">{}</figure>{}</section>",
        key.collect::<String>(),
        figures::calibration(report, &horizons),
        upper_lines(summary)
    )
}

/// How many values each line held, and what it cost, with and without correction.
fn upper_lines(summary: &Summary) -> String {
    let row = |(horizon_s, tally): (&u32, &Tally)| {
        let coverage = tally.coverage.iter().map(|[own, raw]| {
            let (own, raw) = (percent(own.value()), percent(raw.value()));
            format!("<td>{own} <span class=\"soft\">({raw})</span></td>")
        });
        let loss = tally
            .pinball
            .iter()
            .map(|mean| cell(&signed(mean.value()), ""));
        let cells: String = coverage.chain(loss).collect();
        format!("<tr><td>{}</td>{cells}</tr>", time::length(*horizon_s))
    };
    format!(
        "<p class=\"soft\">Percent of values below each line, in brackets before correction; \
         and by how much correction changes the pinball loss, negative is better.</p>{}",
        table(
            &["ahead"],
            &[],
            &[
                "90 % line",
                "95 % line",
                "99 % line",
                "loss, 90 %",
                "loss, 95 %",
                "loss, 99 %"
            ],
            summary.horizons.iter().map(row)
        )
    )
}

/// What the trees branch on.
pub fn looks_at(answers: &[Answer]) -> String {
    let mut sums = vec![0_u64; features::width()];
    for answer in answers {
        let uses = answer.uses.iter().map(|uses| u64::from(*uses));
        sums.iter_mut()
            .zip(uses)
            .for_each(|(sum, uses)| *sum += uses);
    }
    let total: u64 = sums.iter().sum();
    if total == 0 {
        return String::new();
    }
    let mut columns: Vec<_> = features::names().into_iter().zip(sums).collect();
    columns.sort_by_key(|(_, uses)| std::cmp::Reverse(*uses));
    let most = columns[0].1 as f64;
    let bars = columns.iter().take(MOST_COLUMNS).map(|(name, uses)| {
        let says = format!("{} %", percent(Some(*uses as f64 / total as f64)));
        figures::bar(name, *uses as f64 / most, "learned", &says)
    });
    format!(
        "<section><h2>What the trees look at</h2><p>Share of all branches that each feature takes, over the last model of every series.</p>\
         <div class=\"bars\" style=\"max-width:640px\">{}</div></section>",
        bars.collect::<String>()
    )
}

/// A card for each series.
pub fn each_series(report: &Report, answers: &[Answer]) -> String {
    let judged = judged(answers);
    if judged.is_empty() {
        return String::new();
    }
    let card = |answer: &&Answer| {
        let first = report
            .series
            .iter()
            .position(|entry| entry.id == answer.id)
            .unwrap_or(0);
        series(first, answer)
    };
    let more = match judged.len().saturating_sub(MOST_FIGURES) {
        0 => String::new(),
        more => format!("<p class=\"soft\">{more} more series are only in the table above.</p>"),
    };
    format!(
        "<section><h2>Series by series</h2><p>Each figure shows the days in which the series moved most: the hardest ones, not the nicest. \
         What was expected is drawn at the time it was expected for.</p>\
         <div class=\"key\"><span><i style=\"background:var(--ink);height:2px;vertical-align:middle\"></i>what came</span>\
         <span><i style=\"background:var(--accent);height:2px;vertical-align:middle\"></i>median</span>\
         <span><i style=\"background:var(--fan1)\"></i>to 90 %</span><span><i style=\"background:var(--fan2)\"></i>to 95 %</span>\
         <span><i style=\"background:var(--fan3)\"></i>to 99 %</span></div>{}{more}</section>",
        judged
            .iter()
            .take(MOST_FIGURES)
            .map(card)
            .collect::<String>()
    )
}

fn series(nth: usize, answer: &Answer) -> String {
    let farthest = answer.entries.last();
    let horizon = farthest.map_or(String::new(), |entry| time::length(entry.horizon_s));
    let fan = answer
        .fan
        .as_ref()
        .map_or(String::new(), |fan| figures::fan(fan, &horizon));
    let experts = farthest.map_or(String::new(), figures::experts);
    format!(
        "<article class=\"series\" id=\"s{nth}\"><h3>{}</h3><div class=\"figures\">\
         <figure>{fan}<figcaption>Expected {horizon} before, UTC</figcaption></figure>\
         <figure>{experts}<figcaption>Error (WAPE) at {horizon} of each method; the simple ones in grey</figcaption></figure></div>{}</article>",
        escape(&answer.id),
        methods(&answer.entries)
    )
}

/// Those of which something could be judged.
fn judged(answers: &[Answer]) -> Vec<&Answer> {
    let judged = |answer: &&Answer| !answer.entries.is_empty();
    answers.iter().filter(judged).collect()
}

/// Errors of the mixture and of each simple method; the smallest is marked, and where a simple one has it.
fn methods(entries: &[Entry]) -> String {
    let naive: Vec<&str> = Expert::ALL
        .iter()
        .filter(|e| e.is_naive())
        .map(|e| e.name())
        .collect();
    let row = |entry: &Entry| {
        let won = entry.against_best().is_some_and(|change| change <= 0.0);
        let best = entry.best_naive().map(|(name, _)| name);
        let own = cell(&percent(entry.wape), if won { "best" } else { "" });
        let others = naive.iter().map(|name| {
            let wape = entry.naive.get(name).copied().flatten();
            cell(
                &percent(wape),
                if !won && best == Some(name) {
                    "best"
                } else {
                    ""
                },
            )
        });
        format!(
            "<tr><td>{}</td>{own}{}<td>{}</td><td>{}</td><td>{}</td>{}</tr>",
            time::length(entry.horizon_s),
            others.collect::<String>(),
            signed(entry.against_best()),
            entry.mase.map_or("–".into(), |mase| format!("{mase:.3}")),
            entry.n,
            coverages(entry)
        )
    };
    table(
        &["WAPE %", "<b>forecast</b>"],
        &naive,
        &["against best", "MASE", "forecasts", "90 %", "95 %", "99 %"],
        entries.iter().map(row),
    )
}

/// How long it took.
pub fn timing(answers: &[Answer]) -> String {
    let judged = judged(answers);
    if judged.is_empty() {
        return String::new();
    }
    let row = |answer: &&Answer| {
        let timing = answer.timing;
        format!(
            "<tr><td>{}</td><td>{:.0}</td><td>{:.2}</td><td>{}</td><td>{:.1}</td></tr>",
            escape(&answer.id),
            timing.update_us,
            timing.train_s,
            timing.train_rows,
            timing.evaluate_s
        )
    };
    let head = [
        "series",
        "a step, all horizons, µs",
        "a training, s",
        "its rows",
        "the evaluation, s",
    ];
    format!(
        "<section><h2>How long it took</h2><p class=\"soft\">Wall-clock time of one core, on the machine that made this page, beside whatever else ran there.</p>{}</section>",
        table(&head, &[], &[], judged.iter().take(MOST_FIGURES).map(row))
    )
}

/// What was asked for and is not here.
pub fn left_out(report: &Report) -> String {
    let row = |skipped: &crate::forecast::report::Skipped| {
        format!(
            "<tr><td>{}</td><td>{}</td><td class=\"left\">{}</td></tr>",
            escape(&skipped.id),
            time::length(skipped.horizon_s),
            escape(&skipped.reason)
        )
    };
    let skipped = match report.skipped.is_empty() {
        true => String::new(),
        false => table(
            &["series", "ahead", "⇤why"],
            &[],
            &[],
            report.skipped.iter().map(row),
        ),
    };
    format!(
        "<section><h2>What was left out</h2><p>{}.</p>{skipped}</section>",
        escape(&report.data.to_string())
    )
}

/// Begins the name of a column of words.
const LEFT: char = '⇤';

fn table(
    before: &[&str],
    names: &[&str],
    after: &[&str],
    rows: impl Iterator<Item = String>,
) -> String {
    let names = names.iter().map(|name| words(name));
    let head = before.iter().map(ToString::to_string).chain(names);
    let head = head.chain(after.iter().map(ToString::to_string));
    let head = head.map(|name| match name.strip_prefix(LEFT) {
        Some(name) => format!("<th class=\"left\">{name}</th>"),
        None => format!("<th>{name}</th>"),
    });
    let head: String = head.collect();
    format!(
        "<div class=\"scroll\"><table><thead><tr>{head}</tr></thead><tbody>{}</tbody></table></div>",
        rows.collect::<String>()
    )
}

/// A method's name as people write it.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn cell(text: &str, class: &str) -> String {
    match class {
        "" => format!("<td>{text}</td>"),
        class => format!("<td class=\"{class}\">{text}</td>"),
    }
}

/// A change in percent, marked by its sign and not by colour alone.
fn signed(share: Option<f64>) -> String {
    let text = change(share);
    match share {
        Some(share) if share <= -0.0005 => format!("<span class=\"won\">{text}</span>"),
        Some(share) if share >= 0.0005 => format!("<span class=\"lost\">▲ {text}</span>"),
        _ => text,
    }
}
