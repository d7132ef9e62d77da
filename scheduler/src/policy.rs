//! Sans-IO: what the operator asks of planning and steering, by stream, region, tenant and label.
//!
//! [`Policies`] is a checked file, compiled: every policy in it is complete, because what its table
//! leaves out comes from `default`. Exactly one policy holds for a subject: that of the highest
//! priority whose selector fits, then the first by name, and `default` when none fits. During a
//! canary a hashed share of the regions is held by the candidate's policies instead.
//! [`Policies::of`] is called for each request: it allocates nothing and ends at the first fit.

pub mod keys;
pub mod file;
pub mod diff;
pub mod ledger;
pub mod canary;
pub mod shelf;
pub mod follow;
pub mod api;
mod meter;

use std::sync::Arc;

use cluster::region::Region;
use cluster::stream::StreamKey;
use serde::{Deserialize, Serialize};

use crate::glob::Glob;
use crate::snapshot::{hash, mix};

/// What holds for a subject; every key has a value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Policy {
    /// How the goals weigh against each other.
    pub weights: Weights,
    /// How far viewers may be sent.
    pub rtt: Rtt,
    /// How much room is kept.
    pub headroom: Headroom,
    /// How billed levels and bursts are used.
    pub billing: Billing,
    /// What happens to streams with few viewers.
    pub tail: Tail,
    /// How fast viewers are moved.
    pub motion: Motion,
    /// Share of new viewers sent to an edge other than the best, so that paths get measured.
    pub explore: f64,
    /// Where streams may be.
    pub placement: Placement,
    /// Which rungs must stay.
    pub rungs: Rungs,
    /// How much all that the policy selects may use, and its weight when room is short.
    pub caps: Caps,
}

/// Weights of the terms of the plan's cost, in cost units: 1 is the mean price of the edges.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Weights {
    /// Of money.
    pub cost: f64,
    /// Of a millisecond of round-trip time above the target.
    pub rtt_ms: f64,
    /// Of load above what the headroom allows.
    pub risk: f64,
    /// Of a moved viewer.
    pub churn: f64,
    /// Of a relay hop.
    pub hops: f64,
}

/// Bounds of round-trip times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rtt {
    /// Up to here a path costs nothing.
    pub target_ms: f64,
    /// From here on it costs steeply.
    pub slo_ms: f64,
    /// An edge this much farther than the nearest usable one gets no viewers.
    pub max_extra_vs_nearest_ms: f64,
}

/// Room that is kept on edges.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Headroom {
    /// The quantile of the demand forecast that must fit, 0.5 to 0.99.
    pub quantile: f64,
    /// Share of an edge's capacity that plans and steering use.
    pub util_max: f64,
    /// What may fail without overload.
    pub n_plus_one: NPlusOne,
}

/// What may fail without overload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NPlusOne {
    /// Nothing.
    Off,
    /// The largest edge of each metro.
    Metro,
}

/// Use of billed levels and free bursts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Billing {
    /// How much of the free slots a day may use.
    pub burst_credit: Credit,
    /// Share of the free slots kept for the unforeseen until the period's end.
    pub burst_reserve: f64,
    /// Whether a committed level is filled before anything else is paid for.
    pub respect_commit: bool,
    /// Multiplies the billed levels that the plan works out.
    pub level_scale: f64,
}

/// How much of a billing period's free slots a day may use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Credit {
    /// What is left, spread over the days that are left.
    Auto,
    /// This share of the period's free slots.
    #[serde(untagged)]
    Share(f64),
}

/// Streams with few viewers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tail {
    /// A second edge in a metro carries a stream only from so many viewers there on, or from fewer
    /// who are 4 % of what most edges can send.
    pub consolidate_below_viewers: u32,
    /// A stream with fewer viewers in the scope is served from one edge of the scope.
    pub cold_below: u32,
    /// Where cold streams share one edge.
    pub cold_scope: Scope,
}

/// Within what cold streams share one edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// They do not.
    Off,
    /// A metro.
    Metro,
    /// A region.
    Region,
}

/// Bounds of how fast viewers are moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Motion {
    /// Share of the viewers that may be moved each minute, failures aside.
    pub max_moved_per_min: f64,
    /// A split that changed stays for so long, in seconds.
    pub dwell_s: f64,
    /// A split changes only for a gain above this share of its cost.
    pub deadband: f64,
}

/// Where streams may be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Placement {
    /// Only these edges, when there are any.
    pub allow: Vec<Glob>,
    /// Never these.
    pub deny: Vec<Glob>,
    /// Only edges in these countries, when there are any; an edge that names none is not in one.
    #[serde(serialize_with = "as_text")]
    pub countries: Vec<[u8; 2]>,
    /// Only edges that cost at most this, in USD per Mbit/s and month.
    pub max_price: Option<f64>,
    /// Edges that carry a watched stream, at least.
    pub min_replicas: u32,
}

/// Rungs under overload.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rungs {
    /// Whether viewers keep the top rung when their edge sheds it for others.
    pub never_shed: bool,
}

/// What all that a policy selects may use, in the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Caps {
    /// Viewers.
    pub viewers: Option<u64>,
    /// Egress, in bits per second.
    pub egress_bps: Option<u64>,
    /// Share of a short resource in proportion to it.
    pub weight: f64,
}

/// Why a policy keeps streams off an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bar {
    /// It is not among those allowed.
    NotAllowed,
    /// It is among those denied.
    Denied,
    /// It is not in a country of the residency.
    Residency,
    /// It costs more than the most allowed.
    Price,
}

impl Placement {
    /// Why streams may not be on this edge, if so; its price in USD per Mbit/s and month.
    pub fn bars(&self, edge: &str, country: Option<&str>, price: Option<f64>) -> Option<Bar> {
        let named = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(edge));
        let resides = |code: &str| {
            let is = |of: &[u8; 2]| code.as_bytes().eq_ignore_ascii_case(of);
            self.countries.iter().any(is)
        };
        match () {
            () if named(&self.deny) => Some(Bar::Denied),
            () if !self.allow.is_empty() && !named(&self.allow) => Some(Bar::NotAllowed),
            () if !self.countries.is_empty() && !country.is_some_and(resides) => {
                Some(Bar::Residency)
            }
            () if price
                .zip(self.max_price)
                .is_some_and(|(is, most)| is > most) =>
            {
                Some(Bar::Price)
            }
            () => None,
        }
    }

    /// Whether it bars nothing.
    pub fn is_open(&self) -> bool {
        let Self {
            allow,
            deny,
            countries,
            max_price,
            ..
        } = self;
        allow.is_empty() && deny.is_empty() && countries.is_empty() && max_price.is_none()
    }
}

impl Default for Policy {
    /// The values of a file that says nothing.
    fn default() -> Self {
        Self {
            weights: Weights {
                cost: 1.0,
                rtt_ms: 0.02,
                risk: 5.0,
                churn: 0.3,
                hops: 0.1,
            },
            rtt: Rtt {
                target_ms: 40.0,
                slo_ms: 120.0,
                max_extra_vs_nearest_ms: 25.0,
            },
            headroom: Headroom {
                quantile: 0.99,
                util_max: 0.92,
                n_plus_one: NPlusOne::Metro,
            },
            billing: Billing {
                burst_credit: Credit::Auto,
                burst_reserve: 0.1,
                respect_commit: true,
                level_scale: 1.0,
            },
            tail: Tail {
                consolidate_below_viewers: 40,
                cold_below: 3,
                cold_scope: Scope::Off,
            },
            motion: Motion {
                max_moved_per_min: 0.02,
                dwell_s: 60.0,
                deadband: 0.02,
            },
            explore: 0.01,
            placement: Placement {
                allow: Vec::new(),
                deny: Vec::new(),
                countries: Vec::new(),
                max_price: None,
                min_replicas: 1,
            },
            rungs: Rungs { never_shed: false },
            caps: Caps {
                viewers: None,
                egress_bps: None,
                weight: 1.0,
            },
        }
    }
}

fn as_text<S: serde::Serializer>(codes: &[[u8; 2]], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(codes.iter().map(|code| String::from_utf8_lossy(code)))
}

/// What a policy may be selected by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The stream; its app is the tenant.
    pub stream: Option<&'a StreamKey>,
    /// Where the viewers are.
    pub region: Option<Region>,
    /// The viewer's entitlement from its token, `key=value`.
    pub label: Option<&'a str>,
    /// The stream's own labels.
    pub stream_labels: &'a [String],
}

/// Which subjects a policy holds for: all that is given must fit, each list by one of its patterns.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Selector {
    /// Labels of the viewer or the stream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub label: Vec<Glob>,
    /// Streams, `app/name`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stream: Vec<Glob>,
    /// Regions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub region: Vec<Glob>,
    /// Apps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenant: Vec<Glob>,
}

impl Selector {
    /// Whether it fits. What the subject does not know fits only a selector that does not ask.
    pub fn fits(&self, subject: &Subject<'_>) -> bool {
        let one = |globs: &[Glob], name: Option<&str>| {
            globs.is_empty() || name.is_some_and(|name| globs.iter().any(|it| it.matches(name)))
        };
        let region = subject.region;
        let labels = subject.stream_labels.iter().map(String::as_str);
        let mut labels = labels.chain(subject.label);
        one(&self.tenant, subject.stream.map(StreamKey::app))
            && one(&self.stream, subject.stream.map(StreamKey::as_str))
            && one(&self.region, region.as_ref().map(Region::as_str))
            && (self.label.is_empty() || labels.any(|label| one(&self.label, Some(label))))
    }
}

/// A policy of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Named {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Counts all policies of a [`Policies`] from 0, those of its canary too: an index for tallies.
    #[serde(skip)]
    pub number: usize,
    /// For what it holds; nothing given for `default`.
    pub selector: Selector,
    /// Of several that fit the highest holds.
    pub priority: i64,
    /// What holds.
    #[serde(flatten)]
    pub policy: Arc<Policy>,
}

impl Named {
    /// This one as if it held for everybody.
    pub fn alone(&self) -> Policies {
        let mut alone = Policies::default();
        alone.set.default = Self {
            number: 0,
            ..self.clone()
        };
        alone
    }
}

/// A file of policies, compiled, and perhaps a candidate that holds in some regions.
#[derive(Clone, Debug, PartialEq)]
pub struct Policies {
    set: Set,
    canary: Option<Canary>,
}

/// Policies of one file.
#[derive(Clone, Debug, PartialEq)]
struct Set {
    /// By falling priority, then by name.
    named: Vec<Named>,
    default: Named,
}

#[derive(Clone, Debug, PartialEq)]
struct Canary {
    draw: Draw,
    set: Set,
}

/// Which regions a canary holds in: the same ones for the same numbers, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Draw {
    /// Share of all regions, 0 to 1.
    pub share: f64,
    /// Another one draws other regions.
    pub salt: u64,
}

impl Draw {
    /// Whether the region is drawn.
    pub fn has(&self, region: Region) -> bool {
        let drawn = mix(hash(region.as_str().as_bytes()) ^ mix(self.salt));
        (drawn >> 11) as f64 / ((1u64 << 53) as f64) < self.share
    }
}

impl Default for Policies {
    /// The policy `default` with its default values.
    fn default() -> Self {
        Self::new(Vec::new(), Policy::default())
    }
}

impl Policies {
    /// These policies, in any order, beside a default.
    pub fn new(mut named: Vec<Named>, default: Policy) -> Self {
        named.sort_by(|a, b| (b.priority, &a.name).cmp(&(a.priority, &b.name)));
        named
            .iter_mut()
            .enumerate()
            .for_each(|(n, of)| of.number = n);
        let default = Named {
            name: DEFAULT.into(),
            number: named.len(),
            selector: Selector::default(),
            priority: 0,
            policy: Arc::new(default),
        };
        let set = Set { named, default };
        Self { set, canary: None }
    }

    /// The same with a candidate's policies in the regions of the draw.
    pub fn with_canary(&self, candidate: &Self, draw: Draw) -> Self {
        let mut set = candidate.set.clone();
        let first = self.set.named.len() + 1;
        let all = set.named.iter_mut().chain([&mut set.default]);
        all.for_each(|named| named.number += first);
        Self {
            set: self.set.clone(),
            canary: Some(Canary { draw, set }),
        }
    }

    /// Whether a canary's policies hold in the region.
    pub fn is_canary(&self, region: Region) -> bool {
        self.canary.as_ref().is_some_and(|it| it.draw.has(region))
    }

    /// The one policy that holds.
    pub fn of(&self, subject: &Subject<'_>) -> &Named {
        let canary = self.canary.as_ref().filter(|canary| {
            let drawn = |region| canary.draw.has(region);
            subject.region.is_some_and(drawn)
        });
        let set = canary.map_or(&self.set, |canary| &canary.set);
        let first = set.named.iter().find(|named| named.selector.fits(subject));
        first.unwrap_or(&set.default)
    }

    /// What holds where no selector fits, the canary aside.
    pub fn default_policy(&self) -> &Policy {
        &self.set.default.policy
    }

    /// All policies by their numbers, a canary's behind the others; never empty.
    pub fn all(&self) -> impl Iterator<Item = &Named> {
        fn of(set: &Set) -> impl Iterator<Item = &Named> {
            set.named.iter().chain([&set.default])
        }
        of(&self.set).chain(self.canary.iter().flat_map(|canary| of(&canary.set)))
    }
}

/// The policy that holds where no selector fits.
pub const DEFAULT: &str = "default";

#[cfg(test)]
mod tests;
