//! Sans-IO: every key of a policy's table: how it is written, what it allows, what it means.
//!
//! One list is what the file is read by, the JSON schema, the operator's page and `diff`.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Policy;
use crate::glob::Glob;

/// A key, by its path in a policy's table: `rtt.slo_ms`.
pub struct Key {
    /// Table and name, or a name alone.
    pub path: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// One sentence for people, with its unit.
    pub meaning: &'static str,
    /// What a larger, longer or true value does.
    pub more: &'static str,
    /// What a smaller, shorter or false value does.
    pub less: &'static str,
    /// The value in an effective policy; null where there is no limit.
    pub read: fn(&Policy) -> Value,
    /// Puts a value that was checked.
    pub(super) write: fn(&mut Policy, &Value),
}

/// What may stand at a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A number from the first to the second.
    Number(f64, f64),
    /// A whole number from the first to the second.
    Count(u64, u64),
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `"auto"`, or a number from the first to the second.
    Auto(f64, f64),
    /// Patterns of edges' ids.
    Edges,
    /// Two-letter codes of countries.
    Countries,
}

impl Key {
    /// The key of that path.
    pub fn find(path: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.path == path)
    }

    /// The table it stands in, when it is in one, and its name.
    pub fn split(&self) -> (Option<&'static str>, &'static str) {
        match self.path.split_once('.') {
            Some((table, name)) => (Some(table), name),
            None => (None, self.path),
        }
    }
}

impl Kind {
    /// What may stand there, in words that end "write ...".
    pub fn words(self) -> String {
        match self {
            Self::Number(least, most) => format!("a number from {least} to {most}"),
            Self::Count(least, most) => format!("a whole number from {least} to {most}"),
            Self::Flag => "true or false".to_owned(),
            Self::Word(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
                quoted.join(" or ")
            }
            Self::Auto(least, most) => format!("\"auto\" or a number from {least} to {most}"),
            Self::Edges => "a list of edges' ids, * for any letters: [\"edge-fra-*\"]".to_owned(),
            Self::Countries => "a list of two-letter codes: [\"DE\", \"FR\"]".to_owned(),
        }
    }

    /// The JSON schema of a value.
    pub fn schema(self) -> Value {
        match self {
            Self::Number(least, most) => {
                json!({ "type": "number", "minimum": least, "maximum": most })
            }
            Self::Count(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Self::Flag => json!({ "type": "boolean" }),
            Self::Word(words) => json!({ "enum": words }),
            Self::Auto(least, most) => {
                json!({ "anyOf": [{ "const": "auto" }, Self::Number(least, most).schema()] })
            }
            Self::Edges => list(json!({ "type": "string", "minLength": 1 })),
            Self::Countries => list(json!({ "type": "string", "pattern": "^[A-Za-z]{2}$" })),
        }
    }
}

fn list(item: Value) -> Value {
    json!({ "type": "array", "items": item, "maxItems": MAX_LIST })
}

/// Entries of a list: more edges or countries than that are better said by a pattern.
pub const MAX_LIST: usize = 256;

fn set<T: DeserializeOwned>(field: &mut T, value: &Value) {
    if let Ok(value) = serde_json::from_value(value.clone()) {
        *field = value;
    }
}

fn globs(value: &Value) -> Vec<Glob> {
    let texts = value.as_array().into_iter().flatten();
    texts
        .filter_map(|text| Glob::parse(text.as_str()?))
        .collect()
}

fn countries(value: &Value) -> Vec<[u8; 2]> {
    let texts = value.as_array().into_iter().flatten();
    let code = |text: &Value| {
        text.as_str()?
            .to_ascii_uppercase()
            .into_bytes()
            .try_into()
            .ok()
    };
    texts.filter_map(code).collect()
}

/// In the file, rates are in Mbit/s as in price lists.
const BPS: u64 = 1_000_000;

macro_rules! key {
    (
        $path:literal, $kind:expr, $($field:ident).+,
        $meaning:literal, $more:literal, $less:literal
    ) => {
        Key {
            path: $path,
            kind: $kind,
            meaning: $meaning,
            more: $more,
            less: $less,
            read: |policy| json!(policy.$($field).+),
            write: |policy, value| set(&mut policy.$($field).+, value),
        }
    };
}

use Kind::{Auto, Count, Countries, Edges, Flag, Number, Word};

/// All keys, in the order of the operator's page.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key!("weights.cost", Number(0.0, 1_000.0), weights.cost,
        "Weight of money in the plan's cost; 1 is the mean price of the edges.",
        "money counts more against distance and motion", "money counts less against distance and motion"),
    key!("weights.rtt_ms", Number(0.0, 1_000.0), weights.rtt_ms,
        "Weight of each millisecond of round-trip time above `rtt.target_ms`, in mean prices.",
        "viewers stay nearer, at higher prices", "viewers go farther to cheaper edges"),
    key!("weights.risk", Number(0.0, 1_000.0), weights.risk,
        "Weight of load above what `headroom` allows, in mean prices.",
        "full edges are avoided sooner", "edges are filled further before others are paid for"),
    key!("weights.churn", Number(0.0, 1_000.0), weights.churn,
        "Weight of moving a viewer, in mean prices.",
        "splits change less often", "splits follow prices and demand more closely"),
    key!("weights.hops", Number(0.0, 1_000.0), weights.hops,
        "Weight of each relay hop of a stream, in mean prices.",
        "relay trees are flatter", "relay trees may be deeper where that is cheaper"),
    key!("rtt.target_ms", Number(0.0, 10_000.0), rtt.target_ms,
        "Round-trip time in milliseconds up to which each costs two fifths of its weight.",
        "more edges count as near enough", "distance counts sooner"),
    key!("rtt.slo_ms", Number(1.0, 10_000.0), rtt.slo_ms,
        "Round-trip time in milliseconds from which a path costs steeply.",
        "far edges are used sooner", "far edges are used only in need"),
    key!("rtt.max_extra_vs_nearest_ms", Number(1.0, 10_000.0), rtt.max_extra_vs_nearest_ms,
        "An edge this many milliseconds farther than the nearest usable one gets no viewers while a nearer one has room.",
        "cheaper edges farther away get viewers", "viewers stay at the nearest edges"),
    key!("headroom.quantile", Number(0.5, 0.99), headroom.quantile,
        "Quantile of the demand forecast that must fit.",
        "more room is kept for what may come", "less room is kept for what may come"),
    key!("headroom.util_max", Number(0.1, 1.0), headroom.util_max,
        "Share of an edge's capacity at which it gets no new viewers.",
        "edges are filled further", "edges keep more room"),
    key!("headroom.n_plus_one", Word(&["off", "metro"]), headroom.n_plus_one,
        "What may fail without overload: nothing, or the largest edge of each metro.", "", ""),
    key!("billing.burst_credit", Auto(0.0, 1.0), billing.burst_credit,
        "Share of a billing period's free slots that first levels count on; `\"auto\"` is a fifth, and past slots played again say what lasts.",
        "levels begin lower", "levels begin higher"),
    key!("billing.burst_reserve", Number(0.0, 1.0), billing.burst_reserve,
        "Share of the free slots kept for the unforeseen.",
        "fewer planned bursts", "more planned bursts, less for surprises"),
    key!("billing.respect_commit", Flag, billing.respect_commit,
        "Whether committed levels are filled before anything else is paid for.",
        "committed levels are filled first", "committed levels are treated like any price"),
    key!("billing.level_scale", Number(0.1, 10.0), billing.level_scale,
        "Multiplies the billed levels that the plan works out.",
        "more is paid for, and fewer bursts are needed", "less is paid for, and bursts are used sooner"),
    key!("tail.consolidate_below_viewers", Count(0, 100_000), tail.consolidate_below_viewers,
        "A second edge in a metro carries a stream only from so many viewers there on, or from fewer who are 4 % of what most edges can send.",
        "less relay traffic, fewer edges for small streams", "small streams are spread over more edges"),
    key!("tail.cold_below", Count(0, 100_000), tail.cold_below,
        "A stream with fewer viewers than this in `tail.cold_scope` is served from one edge of it.",
        "more streams count as cold", "fewer streams count as cold"),
    key!("tail.cold_scope", Word(&["off", "metro", "region"]), tail.cold_scope,
        "Within what cold streams share one edge: not at all, a metro, or a region.", "", ""),
    key!("motion.max_moved_per_min", Number(0.0, 1.0), motion.max_moved_per_min,
        "Share of the viewers that may be moved each minute, failures aside.",
        "load moves faster", "fewer viewers are moved at a time"),
    key!("motion.dwell_s", Number(0.0, 3_600.0), motion.dwell_s,
        "Seconds for which a split that changed stays as it is.",
        "splits are steadier", "splits may change sooner again"),
    key!("motion.deadband", Number(0.0, 1.0), motion.deadband,
        "A split changes only for a gain above this share of its cost.",
        "small gains are left alone", "smaller gains move viewers"),
    key!("explore", Number(0.0, 0.2), explore,
        "Share of new viewers sent to another edge than the best, so that its path gets measured.",
        "paths are known better, more viewers are off their best edge", "fewer viewers are off their best edge"),
    Key {
        path: "placement.allow", kind: Edges,
        meaning: "Only these edges, by id or pattern; all when left out.",
        more: "other edges are allowed", less: "other edges are allowed",
        read: |policy| json!(policy.placement.allow),
        write: |policy, value| policy.placement.allow = globs(value),
    },
    Key {
        path: "placement.deny", kind: Edges,
        meaning: "Never these edges, by id or pattern, whatever is allowed.",
        more: "other edges are denied", less: "other edges are denied",
        read: |policy| json!(policy.placement.deny),
        write: |policy, value| policy.placement.deny = globs(value),
    },
    Key {
        path: "placement.countries", kind: Countries,
        meaning: "Only edges whose place is in these countries; an edge that names no country is in none of them.",
        more: "streams reside elsewhere", less: "streams reside elsewhere",
        read: |policy| {
            let text = |code: &[u8; 2]| String::from_utf8_lossy(code).into_owned();
            json!(policy.placement.countries.iter().map(text).collect::<Vec<_>>())
        },
        write: |policy, value| policy.placement.countries = countries(value),
    },
    key!("placement.max_price", Number(0.0, 100_000.0), placement.max_price,
        "Only edges that cost at most this, in USD per Mbit/s and month; no limit when left out.",
        "dearer edges may be used", "dear edges are not used"),
    key!("min_replicas", Count(1, 100), placement.min_replicas,
        "Edges that carry a watched stream, at least.",
        "streams stand on more edges, at more relay traffic", "streams stand on fewer edges"),
    key!("rungs_never_shed", Flag, rungs.never_shed,
        "Whether viewers keep the top rung when an overloaded edge takes it from others.",
        "its viewers keep the top rung", "its viewers may lose the top rung"),
    key!("caps.viewers", Count(1, 1_000_000_000), caps.viewers,
        "Viewers whom the policy selects that there may be in the whole cluster; new ones are refused beyond; no limit when left out.",
        "more viewers may watch", "fewer viewers may watch"),
    Key {
        path: "caps.egress_mbps", kind: Count(1, 1_000_000_000),
        meaning: "Mbit/s that viewers whom the policy selects may be sent in the whole cluster, by their streams' bit rates; new ones are refused beyond; no limit when left out.",
        more: "more may be sent", less: "less may be sent",
        read: |policy| json!(policy.caps.egress_bps.map(|bps| bps / BPS)),
        write: |policy, value| {
            let bps = value.as_u64().map(|rate| rate.saturating_mul(BPS));
            policy.caps.egress_bps = bps;
        },
    },
    key!("caps.weight", Number(0.01, 100.0), caps.weight,
        "Who gets an edge's last room: its viewers are sent there until all but (1 - util_max) / (2 weight) is used.",
        "it is served before others when room is short", "others are served before it when room is short"),
];

/// The tables a policy may have, each once, in the order of their keys.
pub fn tables() -> Vec<&'static str> {
    let mut tables: Vec<_> = KEYS.iter().filter_map(|key| key.split().0).collect();
    tables.dedup();
    tables
}

/// The keys as a table of the operator's page.
pub fn table() -> String {
    let mut table =
        String::from("| key | default | what may stand there | meaning |\n|---|---|---|---|\n");
    let defaults = Policy::default();
    for key in KEYS {
        let default = match (key.read)(&defaults) {
            Value::Null => String::new(),
            value => format!("`{value}`"),
        };
        let words = key.kind.words();
        table += &format!(
            "| `{}` | {default} | {words} | {} |\n",
            key.path, key.meaning
        );
    }
    table
}
