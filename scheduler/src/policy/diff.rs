//! Sans-IO: what differs between two files of policies, key by key, and what that means.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keys::KEYS;
use super::{Named, Policies, Policy};

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The policy's name.
    pub policy: String,
    /// The key in it, `selector` or `priority`; empty where the whole policy comes or goes.
    pub key: String,
    /// The value before; null where there was none.
    pub before: Value,
    /// The value after; null where there is none.
    pub after: Value,
    /// What the change does.
    pub meaning: String,
}

/// What changes from one to the other: the policies of both by name, each key as it holds, the
/// default's share included. Canaries are left out.
pub fn diff(before: &Policies, after: &Policies) -> Vec<Change> {
    let names = |policies: &Policies| -> BTreeMap<_, _> {
        let own = policies.set.named.iter().chain([&policies.set.default]);
        own.map(|named| (named.name.clone(), named.clone()))
            .collect()
    };
    let (old, new) = (names(before), names(after));
    let mut changes = Vec::new();
    for (name, is) in &new {
        match old.get(name) {
            Some(was) => selection(was, is, &mut changes),
            None => changes.push(comes(is)),
        }
        let was = old
            .get(name)
            .map_or(after.default_policy(), |was| &was.policy);
        values(name, was, &is.policy, &mut changes);
    }
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    changes.extend(gone.map(|(name, was)| Change {
        policy: name.to_string(),
        key: String::new(),
        before: json!(was.selector),
        after: Value::Null,
        meaning: "the policy is removed; what it held for falls to the others".into(),
    }));
    changes
}

fn comes(named: &Named) -> Change {
    Change {
        policy: named.name.to_string(),
        key: String::new(),
        before: Value::Null,
        after: json!(named.selector),
        meaning: "a new policy holds for these".into(),
    }
}

fn selection(was: &Named, is: &Named, changes: &mut Vec<Change>) {
    let rows = [
        (
            "selector",
            json!(was.selector),
            json!(is.selector),
            "it holds for others",
        ),
        (
            "priority",
            json!(was.priority),
            json!(is.priority),
            "where several policies fit, another may hold",
        ),
    ];
    for (key, before, after, meaning) in rows {
        if before != after {
            changes.push(Change {
                policy: is.name.to_string(),
                key: key.into(),
                before,
                after,
                meaning: meaning.into(),
            });
        }
    }
}

fn values(name: &str, was: &Policy, is: &Policy, changes: &mut Vec<Change>) {
    for key in KEYS {
        let (before, after) = ((key.read)(was), (key.read)(is));
        if before != after {
            changes.push(Change {
                policy: name.to_owned(),
                key: key.path.into(),
                meaning: meaning(key.more, key.less, key.meaning, (&before, &after)),
                before,
                after,
            });
        }
    }
}

fn meaning(more: &str, less: &str, of: &str, (before, after): (&Value, &Value)) -> String {
    // No limit is more than any.
    let size = |value: &Value| match value {
        Value::Null => f64::INFINITY,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        other => other.as_f64().unwrap_or(f64::NAN),
    };
    match size(after).partial_cmp(&size(before)) {
        Some(std::cmp::Ordering::Greater) => more.to_owned(),
        Some(_) => less.to_owned(),
        None if more == less && !more.is_empty() => more.to_owned(),
        None => of.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::parse;
    use super::*;

    fn changes(before: &str, after: &str) -> Vec<String> {
        let read = |text: &str| parse(&format!("version = 1\n{text}")).unwrap();
        let line = |change: Change| {
            let Change {
                policy,
                key,
                before,
                after,
                meaning,
            } = change;
            format!("{policy} {key} {before} -> {after}: {meaning}")
        };
        let changes = diff(&read(before), &read(after));
        changes.into_iter().map(line).collect()
    }

    #[test]
    fn each_key_that_differs_is_told_with_what_it_means() {
        let vip = "[policy.vip]\nselector = { label = \"tier=vip\" }\n";
        let check = |before: &str, after: &str, expect: &[&str]| {
            let said = changes(before, after);
            assert_eq!(said.len(), expect.len(), "{said:#?}");
            for (said, expect) in said.iter().zip(expect) {
                assert!(said.starts_with(expect), "{said} is not {expect}");
            }
        };
        check("", "", &[]);
        check(
            "",
            "[policy.default]\nheadroom = { util_max = 0.8 }",
            &["default headroom.util_max 0.92 -> 0.8: edges keep more room"],
        );
        check(
            "[policy.default]\ncaps = { viewers = 10 }",
            "",
            &["default caps.viewers 10 -> null: more viewers may watch"],
        );
        check(
            "",
            &format!("{vip}min_replicas = 2\npriority = 3"),
            &[
                "vip  null -> {\"label\":[\"tier=vip\"]}: a new policy",
                "vip min_replicas 1 -> 2: streams stand on more edges",
            ],
        );
        check(
            vip,
            "",
            &["vip  {\"label\":[\"tier=vip\"]} -> null: the policy is removed"],
        );
        check(
            vip,
            "[policy.vip]\nselector = { tenant = \"vip\" }\npriority = 1\nrungs_never_shed = true\n\
             headroom = { n_plus_one = \"off\" }\nplacement = { deny = [\"a\"] }",
            &[
                "vip selector",
                "vip priority 0 -> 1",
                "vip headroom.n_plus_one \"metro\" -> \"off\": What may fail",
                "vip placement.deny [] -> [\"a\"]: other edges are denied",
                "vip rungs_never_shed false -> true: its viewers keep the top rung",
            ],
        );
    }
}
