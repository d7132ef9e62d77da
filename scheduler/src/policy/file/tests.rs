//! What policy files may say, and what is said of broken ones.

use cluster::region::Region;
use cluster::stream::StreamKey;
use proptest::prelude::*;

use super::*;
use crate::policy::{Credit, NPlusOne, Scope, Subject};

/// The file, the key, the line, and words of the problem and of the remedy.
type Row = (
    &'static str,
    &'static str,
    usize,
    &'static str,
    &'static str,
);

const VIP: &str = "[policy.vip]\nselector = { label = \"tier=vip\" }\n";

#[rustfmt::skip]
const BROKEN: &[Row] = &[
    ("", "version", 1, "it is missing", "write version = 1"),
    ("[policy.default]\n", "version", 1, "it is missing", "write version = 1"),
    ("version = 2\n", "version", 1, "version 2 is not known", "write version = 1"),
    ("\nversion = \"1\"\n", "version", 2, "it is text", "write version = 1"),
    ("version = 1\n[polices.default]\n", "polices", 2, "unknown key", "did you mean `policy`?"),
    ("version = 1\nexplore = 0.1\n", "explore", 2, "unknown key", "[policy.NAME]"),
    ("version = 1\npolicy = 3\n", "policy", 2, "it is a number", "write [policy.default]"),
    ("version = 1\n[policy]\nexplore = 0.1\n", "policy.explore", 3, "not a table", "under [policy.default]"),
    ("version = 1\n[policy.default]\nweigths = { cost = 1 }\n", "policy.default.weigths", 3, "unknown key", "did you mean `weights`?"),
    ("version = 1\n[policy.default]\nweights = { cots = 1 }\n", "policy.default.weights.cots", 3, "unknown key", "did you mean `cost`?"),
    ("version = 1\n[policy.default]\nutil_max = 0.9\n", "policy.default.util_max", 3, "unknown key", "headroom = { util_max"),
    ("version = 1\n[policy.default]\nplacement = { min_replicas = 2 }\n", "policy.default.placement.min_replicas", 3, "unknown key", "outside of a table"),
    ("version = 1\n[policy.default]\nrtt = { util_mx = 0.9 }\n", "policy.default.rtt.util_mx", 3, "unknown key", "headroom.util_max"),
    ("version = 1\n[policy.default]\nrtt = 40\n", "policy.default.rtt", 3, "not a table", "write rtt = { target_ms"),
    ("version = 1\n[policy.default]\nexplore = \"1%\"\n", "policy.default.explore", 3, "it is text", "a number from 0 to 0.2"),
    ("version = 1\n[policy.default]\nexplore = 0.5\n", "policy.default.explore", 3, "0.5 is out of range", "from 0 to 0.2"),
    ("version = 1\n[policy.default]\nexplore = nan\n", "policy.default.explore", 3, "nan is out of range", "from 0 to 0.2"),
    ("version = 1\n[policy.default]\nweights = { cost = -1 }\n", "policy.default.weights.cost", 3, "-1 is out of range", "from 0 to 1000"),
    ("version = 1\n[policy.default]\nheadroom = { quantile = 0.3 }\n", "policy.default.headroom.quantile", 3, "0.3 is out of range", "from 0.5 to 0.99"),
    ("version = 1\n[policy.default.headroom]\nutil_max = 0.9\n\nn_plus_one = \"all\"\n", "policy.default.headroom.n_plus_one", 5, "\"all\" is not known", "\"off\" or \"metro\""),
    ("version = 1\n[policy.default]\nbilling = { burst_credit = \"much\" }\n", "policy.default.billing.burst_credit", 3, "\"much\" is not known", "\"auto\" or a number"),
    ("version = 1\n[policy.default]\nbilling = { respect_commit = 1 }\n", "policy.default.billing.respect_commit", 3, "it is a number", "true or false"),
    ("version = 1\n[policy.default]\ntail = { cold_below = 2.5 }\n", "policy.default.tail.cold_below", 3, "2.5 is not a whole number", "a whole number"),
    ("version = 1\n[policy.default]\ntail = { cold_below = -1 }\n", "policy.default.tail.cold_below", 3, "-1 is out of range", "a whole number"),
    ("version = 1\n[policy.default]\nmin_replicas = 0\n", "policy.default.min_replicas", 3, "0 is out of range", "from 1 to 100"),
    ("version = 1\n[policy.default]\nplacement = { deny = \"edge-1\" }\n", "policy.default.placement.deny", 3, "it is text, not a list", "[\"edge-fra-*\"]"),
    ("version = 1\n[policy.default]\nplacement = { deny = [\"\"] }\n", "policy.default.placement.deny", 3, "\"\" cannot stand in it", "a list of edges"),
    ("version = 1\n[policy.default]\nplacement = { countries = [\"Germany\"] }\n", "policy.default.placement.countries", 3, "\"Germany\" cannot stand in it", "two-letter codes"),
    ("version = 1\n[policy.default]\nplacement = { countries = [\"DE\", \"de\"] }\n", "policy.default.placement.countries", 3, "stands in it twice", "two-letter codes"),
    ("version = 1\n[policy.default]\nrtt = { target_ms = 200, slo_ms = 100 }\n", "policy.default.rtt.target_ms", 3, "target_ms = 200 is above slo_ms = 100", "lower target_ms"),
    ("version = 1\n[policy.default]\nrtt = { slo_ms = 30 }\n", "policy.default.rtt.slo_ms", 3, "target_ms = 40 is above", "raise slo_ms"),
    ("version = 1\n[policy.default]\nweights = { cost = 0, rtt_ms = 0 }\n", "policy.default.weights.cost", 3, "both 0", "cost = 1.0"),
    ("version = 1\n[policy.default]\nbilling = { burst_credit = 0.95 }\n", "policy.default.billing.burst_credit", 3, "more than all", "at most 0.90"),
    ("version = 1\n[policy.default]\ntail = { cold_below = 50 }\n", "policy.default.tail.cold_below", 3, "cold_below = 50 is above", "at most 40"),
    ("version = 1\n[policy.default]\nplacement = { allow = [\"edge-1\"], deny = [\"edge-*\"] }\n", "policy.default.placement.deny", 3, "\"edge-1\" is allowed and denied", "remove \"edge-1\""),
    ("version = 1\n[policy.default]\nplacement = { deny = [\"*\"] }\n", "policy.default.placement.deny", 3, "denies every edge", "name the edges"),
    ("version = 1\n[policy.default]\nmin_replicas = 3\nplacement = { allow = [\"a\", \"b\"] }\n", "policy.default.min_replicas", 3, "allow names 2 edges", "at most 2"),
    ("version = 1\n[policy.default]\nselector = { label = \"x\" }\n", "policy.default.selector", 3, "holds wherever no other does", "remove it"),
    ("version = 1\n[policy.default]\npriority = 1\n", "policy.default.priority", 3, "only where no other does", "remove it"),
    ("version = 1\n[policy.vip]\nmin_replicas = 2\n", "policy.vip.selector", 2, "it is missing", "write selector ="),
    ("version = 1\n[policy.vip]\nselector = {}\n", "policy.vip.selector", 3, "it is empty", "[policy.default]"),
    ("version = 1\n[policy.vip]\nselector = \"tier=vip\"\n", "policy.vip.selector", 3, "it is text", "selector = { label"),
    ("version = 1\n[policy.vip]\nselector = { lable = \"tier=vip\" }\n", "policy.vip.selector.lable", 3, "unknown key", "did you mean `label`?"),
    ("version = 1\n[policy.vip]\nselector = { stream = \"show\" }\n", "policy.vip.selector.stream", 3, "\"show\" cannot be a stream", "\"live/*\""),
    ("version = 1\n[policy.vip]\nselector = { tenant = \"live/show\" }\n", "policy.vip.selector.tenant", 3, "names a stream", "write stream = \"live/show\""),
    ("version = 1\n[policy.vip]\nselector = { region = [] }\n", "policy.vip.selector.region", 3, "it lists 0", "\"DE\" or \"US-*\""),
    ("version = 1\n[policy.vip]\nselector = { region = 49 }\n", "policy.vip.selector.region", 3, "it is a number", "\"DE\""),
    ("version = 1\n[policy.vip]\nselector = { label = \"x\" }\npriority = 1.5\n", "policy.vip.priority", 4, "1.5 is no priority", "a whole number"),
    ("version = 1\n[policy.\"v i p\"]\nselector = { label = \"x\" }\n", "policy.v i p", 2, "cannot be a policy's name", "A-Z a-z 0-9"),
    ("version = 1\n[policy.a]\nselector = { label = \"x\" }\n[policy.b]\nselector = { label = [\"x\"] }\n", "policy.b.selector", 5, "policy.a has the same selector", "another priority"),
    ("version = 1\n[policy.default]\nexplore = 0.1\nexplore = 0.2\n", "explore", 4, "duplicate key", "as TOML"),
    ("version = 1\n[policy.default\nexplore = 0.1\n", "policy.default", 2, "", "as TOML"),
    ("version = 1\n[policy.default]\nexplore =\n", "explore", 3, "", "as TOML"),
];

#[test]
fn a_broken_file_is_told_by_line_key_and_remedy() {
    assert!(BROKEN.len() >= 30);
    for (text, key, line, problem, remedy) in BROKEN {
        let faults = parse(text).expect_err(text);
        let [fault] = &faults[..] else {
            panic!("{text}\nsaid\n{}", lines("policy.toml", &faults));
        };
        assert_eq!((fault.line, &*fault.key), (*line, *key), "{text}\n{fault}");
        assert!(fault.problem.contains(problem), "{text}\n{fault}");
        assert!(fault.remedy.contains(remedy), "{text}\n{fault}");
    }
}

#[test]
fn all_faults_of_a_file_are_told_at_once() {
    let text = "version = 3\n[policy.default]\nexplor = 1\nmin_replicas = \"two\"\n[policy.x]\n";
    let faults = parse(text).unwrap_err();
    let said: Vec<_> = faults
        .iter()
        .map(|fault| (fault.line, &*fault.key))
        .collect();
    let expect = [
        (1, "version"),
        (3, "policy.default.explor"),
        (4, "policy.default.min_replicas"),
        (5, "policy.x.selector"),
    ];
    assert_eq!(said, expect);
    assert_eq!(
        lines("p.toml", &faults[..1]),
        "p.toml: line 1: version: version 3 is not known here; write version = 1\n"
    );
}

#[test]
fn a_policy_lies_over_the_default() {
    let text = format!(
        "version = 1\n[policy.default]\nexplore = 0.1\nheadroom.quantile = 0.9\n\
         billing = {{ burst_credit = 0.5 }}\n{VIP}min_replicas = 2\nrungs_never_shed = true\n\
         rtt = {{ slo_ms = 200 }}\npriority = -3\n\
         caps = {{ viewers = 10, egress_mbps = 5, weight = 2 }}\n[policy.vip.tail]\n\
         cold_scope = \"region\"\n[policy.vip.headroom]\nn_plus_one = \"off\"\n\
         [policy.vip.placement]\nallow = [\"edge-*\", \"b\"]\ncountries = [\"de\"]\nmax_price = 2\n"
    );
    let policies = parse(&text).unwrap();
    let subject = Subject {
        label: Some("tier=vip"),
        ..Subject::default()
    };
    let vip = policies.of(&subject);
    assert_eq!((&*vip.name, vip.priority), ("vip", -3));
    let policy = &vip.policy;
    assert_eq!((policy.explore, policy.headroom.quantile), (0.1, 0.9));
    assert_eq!(policy.billing.burst_credit, Credit::Share(0.5));
    assert_eq!((policy.rtt.slo_ms, policy.rtt.target_ms), (200.0, 40.0));
    assert_eq!(
        (policy.tail.cold_scope, policy.tail.cold_below),
        (Scope::Region, 3)
    );
    assert_eq!(policy.headroom.n_plus_one, NPlusOne::Off);
    assert_eq!(
        (policy.caps.viewers, policy.caps.egress_bps),
        (Some(10), Some(5_000_000))
    );
    assert!(policy.rungs.never_shed && policy.caps.weight == 2.0);
    let placement = &policy.placement;
    assert_eq!(
        (placement.min_replicas, placement.max_price),
        (2, Some(2.0))
    );
    assert_eq!(
        (placement.countries[..].to_vec(), placement.allow.len()),
        (vec![*b"DE"], 2)
    );
    assert!(!policies.default_policy().rungs.never_shed);
}

#[test]
fn selectors_take_one_pattern_or_several() {
    let text = "version = 1\n[policy.a]\nselector = { stream = [\"news/*\", \"live/n?\"], \
                region = \"US-*\", tenant = \"*\" }\n";
    let policies = parse(text).unwrap();
    for (stream, region, holds) in [
        ("news/x", "US-CA", true),
        ("live/n1", "US-NY", true),
        ("live/x", "US-NY", false),
        ("news/x", "DE", false),
    ] {
        let key = StreamKey::parse(stream).unwrap();
        let subject = Subject {
            stream: Some(&key),
            region: Region::parse(region),
            ..Subject::default()
        };
        assert_eq!(
            &*policies.of(&subject).name == "a",
            holds,
            "{stream} {region}"
        );
    }
}

#[test]
fn the_example_says_the_defaults_and_a_file_may_say_nothing() {
    let policies = parse(EXAMPLE).unwrap();
    assert_eq!(*policies.default_policy(), Policy::default());
    assert_eq!(policies.all().count(), 5);
    assert_eq!(parse("version = 1\n").unwrap(), Policies::default());
}

#[test]
fn the_schema_lists_every_key_with_its_default() {
    let schema = schema();
    let default = &schema["properties"]["policy"]["properties"]["default"];
    let named = &schema["properties"]["policy"]["additionalProperties"];
    for key in KEYS {
        let path = key.path.replace('.', "/properties/");
        let read = (key.read)(&Policy::default());
        for table in [default, named] {
            let found = table.pointer(&format!("/properties/{path}")).unwrap();
            assert_eq!(found["default"], read, "{}", key.path);
            assert_eq!(found["description"], key.meaning);
        }
    }
    assert!(default["properties"].get("selector").is_none());
    assert!(named["properties"].get("selector").is_some());
}

/// Every key takes back what it reads, so that none is wired to another's field.
#[test]
fn a_key_writes_what_it_reads() {
    let text = format!(
        "version = 1\n{VIP}placement = {{ allow = [\"a\"], deny = [\"b\"], countries = [\"DE\"], \
         max_price = 1 }}\ncaps = {{ viewers = 1, egress_mbps = 2, weight = 3 }}\n"
    );
    let policies = parse(&text).unwrap();
    let full = &policies.all().next().unwrap().policy;
    let mut empty = Policy::default();
    for key in KEYS {
        (key.write)(&mut empty, &(key.read)(full));
        assert_eq!((key.read)(&empty), (key.read)(full), "{}", key.path);
    }
    assert_eq!(empty, **full);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(version = 1\n)?[\\[\\]a-z.{}=\"0-9\n -]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn a_damaged_example_is_read_or_refused_with_a_line(
        at in 0..EXAMPLE.len(), length in 1..40usize, put in "[a-z=\"{}\\[\\]\n0-9.-]{0,6}",
    ) {
        let mut text = EXAMPLE.to_owned();
        let end = (at + length).min(text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(end) {
            text.replace_range(at..end, &put);
            let lines = text.lines().count();
            for fault in parse(&text).err().unwrap_or_default() {
                prop_assert!((1..=lines.max(1) + 1).contains(&fault.line), "{fault}");
                prop_assert!(!fault.key.is_empty() && !fault.remedy.is_empty(), "{fault}");
            }
        }
    }
}
