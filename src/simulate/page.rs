//! `report.html`: one file that says first in plain words what was found, then shows it.
//!
//! No script and nothing from elsewhere: it can be mailed, printed and read on a phone. Names are escaped.

mod charts;
mod quality;

use super::report::{Case, Report, Rule, cells_of, percent};
use super::work::{Done, Job};
use crate::plot::{escape, short};
use simulations::policies::Kind;
use simulations::report::Saving;

/// The page.
pub fn page(report: &Report, done: &[Done]) -> String {
    let body = [
        in_short(report),
        charts::of_first(report, done),
        all_cases(report),
        quality::section(report),
        relay(report),
        sensitivity(report),
        super::forecasts::section(&report.forecasts, &report.starting),
        means(report),
        provenance(report),
        NOTES.to_owned(),
    ];
    let title = "What would this policy save?";
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}{OWN_STYLE}</style></head><body><main>\
         <header><p class=\"over\">Weir {} · simulation of {}</p><h1>{title}</h1></header>\
         {}</main></body></html>\n",
        escape(&report.weir),
        several(
            (report.cases.iter().filter(|case| case.twist.is_none()))
                .count()
                .max(report.quality.len()),
            "case"
        ),
        body.concat()
    )
}

fn several(count: usize, what: &str) -> String {
    match count {
        1 => format!("one {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// The planner of a case.
fn weir(case: &Case) -> Option<&Rule> {
    case.rules
        .iter()
        .find(|rule| rule.rule == Kind::Weir.as_str())
}

fn rule(case: &Case, kind: Kind) -> Option<&Rule> {
    case.rules.iter().find(|rule| rule.rule == kind.as_str())
}

fn in_short(report: &Report) -> String {
    let Some(case) = report.cases.first() else {
        if !report.quality.is_empty() {
            return "<p class=\"lead\">Viewers were played one by one; bills were not asked for.</p>"
                .to_owned();
        }
        return "<p class=\"lead\">There was nothing to run.</p>".to_owned();
    };
    let Some((weir, b1)) = weir(case).zip(rule(case, Kind::B1)) else {
        return "<p class=\"lead\">The planner was not among the rules that were run; the table below compares the \
                others.</p>"
            .to_owned();
    };
    let Some(saved) = weir.saves_against.get("B1") else {
        return String::new();
    };
    let direction = if saved.share >= 0.0 { "less" } else { "more" };
    let place = match is_own(case) {
        true => "With your edges, prices and demand".to_owned(),
        false => format!(
            "In {}, with prices {}",
            escape(&case.world),
            escape(&case.prices)
        ),
    };
    format!(
        "<p class=\"lead\">{place}, following this policy would have cost {:.1} % {direction} than sending \
         everybody to the nearest edge and on to the next when one is 85 % full (B1). {}{}\
         </p>\
         <div class=\"cards\">{}</div>",
        100.0 * saved.share.abs(),
        sure(saved),
        lead(case, weir),
        cards(saved, weir, b1)
    )
}

/// Whether it is of the planner's own tables.
fn is_own(case: &Case) -> bool {
    case.world == "own" && case.prices == "own"
}

/// What a case is called.
fn title(case: &Case) -> String {
    match is_own(case) {
        true => "Your edges, prices and demand".to_owned(),
        false => format!("{}, prices {}", escape(&case.world), escape(&case.prices)),
    }
}

/// Whether the interval tells which is cheaper.
fn sure(saved: &Saving) -> &'static str {
    match (saved.low > 0.0, saved.high < 0.0) {
        (true, _) => "That it saves is certain as far as these days tell.",
        (_, true) => "That it costs more is certain as far as these days tell.",
        _ => "These days are too few to say which is cheaper.",
    }
}

/// What planning adds to sending viewers where it is cheap.
fn lead(case: &Case, weir: &Rule) -> String {
    let b8 = rule(case, Kind::B8).and_then(|b8| b8.saves_against.get("B1"));
    let Some((lead, b8)) = weir.above_b8.zip(b8) else {
        return String::new();
    };
    format!(
        " A rule that only sends viewers to the cheapest edge nearby (B8) saves {:.1} %; the planner is {:.1} points \
         beyond it ({:.1} to {:.1}).",
        100.0 * b8.share,
        100.0 * lead.share,
        100.0 * lead.low,
        100.0 * lead.high
    )
}

fn cards(saved: &Saving, weir: &Rule, b1: &Rule) -> String {
    let (ours, theirs) = (&weir.figures, &b1.figures);
    let cards = [
        (
            format!("{:.1} %", 100.0 * saved.share),
            format!(
                "of the bill saved against B1 ({:.1} to {:.1})",
                100.0 * saved.low,
                100.0 * saved.high
            ),
        ),
        (
            format!("${}", short(ours.usd)),
            format!(
                "in place of ${} for the same {} GB",
                short(theirs.usd),
                short(ours.egress_gb)
            ),
        ),
        (
            format!("{:.1} ms", ours.rtt_ms_p95),
            format!(
                "round trip that 95 % of the traffic has at most; {:.1} with B1",
                theirs.rtt_ms_p95
            ),
        ),
        (
            format!("{:.0} min", ours.overload_edge_min),
            format!(
                "of an edge sent more than it can carry; {:.0} with B1",
                theirs.overload_edge_min
            ),
        ),
    ];
    let card = |(number, says): &(String, String)| {
        format!(
            "<div class=\"card\"><b>{number}</b><span>{}</span></div>",
            escape(says)
        )
    };
    cards.iter().map(card).collect()
}

const HEAD: &str = "<tr><th>Rule</th><th class=\"left\">What it does</th><th>Bill, USD</th><th>Saves against B1, %</th>\
                    <th>Lead over B8, points</th><th>RTT p50</th><th>p95</th><th>p99 ms</th>\
                    <th>Above nearest, ms</th>\
                    <th>Overload, edge-min</th><th>Moved a minute, %</th><th>USD per 1000 viewer-hours</th></tr>";

fn row(rule: &Rule) -> String {
    let it = &rule.figures;
    let saved = rule.saves_against.get("B1").map_or("-".to_owned(), percent);
    let lead = rule.above_b8.as_ref().map_or("-".to_owned(), percent);
    let class = if rule.rule == Kind::Weir.as_str() {
        " class=\"best\""
    } else {
        ""
    };
    format!(
        "<tr><td{class}>{}</td><td class=\"left\">{}</td><td>{:.0}</td><td{class}>{saved}</td><td>{lead}</td>\
         <td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.2}</td><td>{:.0}</td><td>{:.2}</td><td>{:.3}</td></tr>",
        escape(&rule.rule),
        escape(&rule.says),
        it.usd,
        it.rtt_ms_p50,
        it.rtt_ms_p95,
        it.rtt_ms_p99,
        it.extra_rtt_ms,
        it.overload_edge_min,
        100.0 * it.moved_per_min,
        1000.0 * it.usd_per_viewer_hour
    )
}

fn all_cases(report: &Report) -> String {
    let plain = report.cases.iter().filter(|case| case.twist.is_none());
    let section = |case: &Case| {
        let bound = case.o2_bound_usd.map_or(String::new(), |usd| {
            format!(
                "<p class=\"soft\">O2: no policy within this slack can pay less than ${usd:.0}. That is a relaxation: it \
                 knows demand, chooses levels in hindsight and cuts free slots into fractions.</p>"
            )
        });
        format!(
            "<h3>{}</h3><div class=\"scroll\"><table>{HEAD}{}</table></div>{bound}",
            title(case),
            case.rules.iter().map(row).collect::<String>()
        )
    };
    if report.cases.is_empty() {
        return String::new();
    }
    format!(
        "<section><h2>All rules</h2>{}</section>",
        plain.map(section).collect::<String>()
    )
}

const RELAY_HEAD: &str = "<tr><th>Rule</th><th>Relay, GB</th><th>Spares against B0, %</th>\
    <th>against B1, %</th><th>Long haul, GB</th><th>From origins, GB</th><th>Hops</th>\
    <th>Way, ms</th><th>Mean RTT above B0, ms</th><th>USD</th></tr>";

/// What nodes took from nodes: bytes apart from the bill.
fn relay(report: &Report) -> String {
    let plain = report.cases.iter().filter(|case| case.twist.is_none());
    let section = |case: &Case| {
        let b0_ms = rule(case, Kind::B0).and_then(|b0| Some(b0.figures.relay?.rtt_ms_mean));
        let row = |rule: &Rule| {
            let it = rule.figures.relay?;
            let spared = |other: &str| {
                let saved = rule.relay_saves_against.get(other);
                saved.map_or("-".to_owned(), percent)
            };
            let above = b0_ms.map_or("-".to_owned(), |b0| format!("{:.2}", it.rtt_ms_mean - b0));
            Some(format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{:.1}</td>\
                 <td>{above}</td><td>{}</td></tr>",
                escape(&rule.rule),
                short(it.gb),
                spared("B0"),
                spared("B1"),
                short(it.long_haul_gb),
                short(it.origin_gb),
                it.depth,
                it.way_ms,
                it.usd.map_or("-".to_owned(), |usd| format!("{usd:.0}"))
            ))
        };
        let rows: String = case.rules.iter().filter_map(row).collect();
        if rows.is_empty() {
            return rows;
        }
        format!(
            "<h3>{}, prices {}</h3><div class=\"scroll\"><table>{RELAY_HEAD}{rows}</table></div>",
            escape(&case.world),
            escape(&case.prices)
        )
    };
    let sections: String = plain.map(section).collect();
    if sections.is_empty() {
        return sections;
    }
    format!(
        "<section><h2>What nodes take from nodes</h2><p>An edge takes a stream once for all who watch it there. These \
         bytes are in no bill above; they have a price of their own where one is given.</p>{sections}</section>"
    )
}

fn sensitivity(report: &Report) -> String {
    let twisted: Vec<&Case> = report
        .cases
        .iter()
        .filter(|case| case.twist.is_some())
        .collect();
    if twisted.is_empty() {
        return String::new();
    }
    let row = |case: &&Case| {
        let cell = |kind: Kind| {
            let saved = rule(case, kind).and_then(|rule| rule.saves_against.get("B1"));
            saved.map_or("-".to_owned(), percent)
        };
        let relayed = weir(case).and_then(|it| it.relay_saves_against.get("B0"));
        let times = weir(case).map_or((0.0, 0.0), |it| {
            (it.figures.rtt_ms_p95, it.figures.overload_edge_min)
        });
        format!(
            "<tr><td class=\"left\">{}</td><td>{}</td><td class=\"best\">{}</td><td>{:.1}</td><td>{:.0}</td><td>{}</td></tr>",
            escape(case.twist.as_deref().unwrap_or("")),
            cell(Kind::B8),
            cell(Kind::Weir),
            times.0,
            times.1,
            relayed.map_or("-".to_owned(), percent)
        )
    };
    format!(
        "<section><h2>What the result hangs on</h2><p>The same world with one thing changed, each against B1 under the \
         same change.</p><div class=\"scroll\"><table><tr><th class=\"left\">Changed</th><th>B8 saves, %</th>\
         <th>The planner saves, %</th><th>Its RTT p95, ms</th><th>Overload, edge-min</th>\
         <th>Relay spared against B0, %</th></tr>{}</table></div></section>",
        twisted.iter().map(row).collect::<String>()
    )
}

fn means(report: &Report) -> String {
    if report.means.is_empty() {
        return String::new();
    }
    let row = |mean: &super::report::Mean| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.0}</td></tr>",
            escape(&mean.prices),
            escape(&mean.rule),
            mean.worlds,
            percent(&mean.saves_against_b1),
            mean.above_b8.as_ref().map_or("-".to_owned(), percent),
            mean.overload_edge_min
        )
    };
    format!(
        "<section><h2>Over all worlds</h2><p>Means of worlds with the same prices; the intervals are of means of worlds \
         drawn anew.</p><div class=\"scroll\"><table><tr><th>Prices</th><th>Rule</th><th>Worlds</th>\
         <th>Saves against B1, %</th><th>Lead over B8, points</th><th>Overload, edge-min</th></tr>{}</table></div></section>",
        report.means.iter().map(row).collect::<String>()
    )
}

fn provenance(report: &Report) -> String {
    let input = |(name, hash): (&String, &String)| {
        format!("<li><code>{}</code> {}</li>", escape(hash), escape(name))
    };
    format!(
        "<section><h2>Where this comes from</h2><p>Weir {}, seed {}: <code>weir {}</code></p>\
         <details><summary>Hashes of the inputs</summary><ul class=\"plain\">{}</ul></details></section>",
        escape(&report.weir),
        report.seed,
        escape(&report.command.join(" ")),
        report.inputs.iter().map(input).collect::<String>()
    )
}

/// The job that the first case's cells belong to.
fn first_job(done: &[Done]) -> Option<&Job> {
    done.first().map(|(job, _)| job)
}

const STYLE: &str = include_str!("../forecast/page/page.css");
const OWN_STYLE: &str = include_str!("page/page.css");
const NOTES: &str = include_str!("page/notes.html");

#[cfg(test)]
mod tests {
    use super::*;
    use simulations::report::Figures;
    use std::collections::BTreeMap;

    #[test]
    fn a_page_of_wicked_names_is_whole_and_harmless() {
        let rule = |rule: &str| Rule {
            rule: rule.to_owned(),
            says: "<b>".to_owned(),
            figures: Figures::default(),
            saves_against: BTreeMap::from([("B1".to_owned(), Default::default())]),
            above_b8: None,
            relay_saves_against: BTreeMap::new(),
        };
        let report = Report {
            weir: "<v>".to_owned(),
            command: vec!["<script>".to_owned()],
            seed: 1,
            inputs: BTreeMap::from([("<file>".to_owned(), "00".to_owned())]),
            cases: vec![Case {
                world: "<w>".to_owned(),
                prices: "\"p\"".to_owned(),
                twist: None,
                o2_bound_usd: None,
                rules: vec![rule("B1"), rule("weir")],
            }],
            means: Vec::new(),
            quality: Vec::new(),
            forecasts: Vec::new(),
            starting: Vec::new(),
        };
        let page = page(&report, &[]);
        for wicked in ["<script>", "<w>", "<b>", "<file>", "<v>", "NaN"] {
            let text = page
                .replace("<b>0.0", "")
                .replace("<b>$0", "")
                .replace("<b>0 ", "");
            assert!(!text.contains(wicked), "{wicked}");
        }
        assert!(page.ends_with("</html>\n") && page.contains("too few to say"));
    }
}
