//! Sans-IO: what must hold between the keys of one policy.

use crate::policy::{Credit, Policy};

/// A contradiction that a policy may have.
pub(super) struct Rule {
    /// The keys that are part of it; the first one that the table sets is named.
    pub(super) keys: &'static [&'static str],
    /// What is wrong and what to do, when it is broken.
    pub(super) broken: fn(&Policy) -> Option<(String, String)>,
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        keys: &["rtt.target_ms", "rtt.slo_ms"],
        broken: |policy| {
            let (target, slo) = (policy.rtt.target_ms, policy.rtt.slo_ms);
            let problem = format!("target_ms = {target} is above slo_ms = {slo}");
            let remedy = format!("lower target_ms to at most {slo} or raise slo_ms");
            (target > slo).then_some((problem, remedy))
        },
    },
    Rule {
        keys: &["weights.cost", "weights.rtt_ms"],
        broken: |policy| {
            let none = policy.weights.cost == 0.0 && policy.weights.rtt_ms == 0.0;
            let problem = "cost and rtt_ms are both 0, so nothing tells a good edge from a bad one";
            let remedy = "give one of them a weight: cost = 1.0";
            none.then(|| (problem.to_owned(), remedy.to_owned()))
        },
    },
    Rule {
        keys: &["billing.burst_credit", "billing.burst_reserve"],
        broken: |policy| {
            let Credit::Share(credit) = policy.billing.burst_credit else {
                return None;
            };
            let reserve = policy.billing.burst_reserve;
            let problem = format!(
                "burst_credit = {credit} and burst_reserve = {reserve} are more than all free slots"
            );
            let remedy = format!("lower burst_credit to at most {:.2}", 1.0 - reserve);
            (credit + reserve > 1.0).then_some((problem, remedy))
        },
    },
    Rule {
        keys: &["tail.cold_below", "tail.consolidate_below_viewers"],
        broken: |policy| {
            let (cold, small) = (
                policy.tail.cold_below,
                policy.tail.consolidate_below_viewers,
            );
            let problem =
                format!("cold_below = {cold} is above consolidate_below_viewers = {small}");
            let remedy = format!("lower cold_below to at most {small}");
            (cold > small).then_some((problem, remedy))
        },
    },
    Rule {
        keys: &["placement.deny", "placement.allow"],
        broken: |policy| {
            let placement = &policy.placement;
            let denies = |name: &str| placement.deny.iter().any(|glob| glob.matches(name));
            let same = placement.allow.iter().find(|glob| {
                placement.deny.contains(glob) || (glob.is_literal() && denies(glob.as_str()))
            })?;
            let problem = format!("{:?} is allowed and denied", same.as_str());
            let remedy = format!("remove {:?} from allow or from deny", same.as_str());
            Some((problem, remedy))
        },
    },
    Rule {
        keys: &["placement.deny"],
        broken: |policy| {
            let all = policy
                .placement
                .deny
                .iter()
                .any(|glob| glob.as_str() == "*");
            let problem = "\"*\" denies every edge".to_owned();
            let remedy = "name the edges to deny, or those to allow alone".to_owned();
            all.then_some((problem, remedy))
        },
    },
    Rule {
        keys: &["min_replicas", "placement.allow"],
        broken: |policy| {
            let placement = &policy.placement;
            let allow = &placement.allow;
            let literal = !allow.is_empty() && allow.iter().all(|glob| glob.is_literal());
            let (want, have) = (placement.min_replicas, allow.len());
            let problem = format!("min_replicas = {want}, but allow names {have} edges");
            let remedy = format!("lower min_replicas to at most {have} or allow more edges");
            (literal && want as usize > have).then_some((problem, remedy))
        },
    },
];
