//! One policy holds for each subject, and a canary for its share of the regions.

use super::*;

fn globs(patterns: &[&str]) -> Vec<Glob> {
    let parse = |text: &&str| Glob::parse(text).unwrap();
    patterns.iter().map(parse).collect()
}

fn named(name: &str, priority: i64, selector: Selector) -> Named {
    Named {
        name: name.into(),
        number: 0,
        selector,
        priority,
        policy: Arc::new(Policy::default()),
    }
}

fn table() -> Policies {
    let of = Selector::default;
    let list = vec![
        named(
            "b",
            0,
            Selector {
                stream: globs(&["live/*"]),
                ..of()
            },
        ),
        named(
            "a",
            0,
            Selector {
                stream: globs(&["live/show"]),
                ..of()
            },
        ),
        named(
            "vip",
            10,
            Selector {
                label: globs(&["tier=vip"]),
                ..of()
            },
        ),
        named(
            "german",
            5,
            Selector {
                region: globs(&["DE", "AT"]),
                tenant: globs(&["news"]),
                ..of()
            },
        ),
    ];
    Policies::new(list, Policy::default())
}

#[test]
fn exactly_one_policy_holds_the_highest_priority_first() {
    let policies = table();
    let labels = [String::from("kind=show"), String::from("tier=vip")];
    for (stream, region, label, stream_labels, expect) in [
        ("live/show", None, None, &[][..], "a"),
        ("live/x", None, None, &[], "b"),
        ("live/x", None, Some("tier=vip"), &[], "vip"),
        ("live/x", None, Some("tier=free"), &[], "b"),
        ("news/x", None, None, &labels, "vip"),
        ("news/x", Some("DE"), None, &[], "german"),
        ("news/x", Some("AT"), None, &[], "german"),
        ("news/x", Some("FR"), None, &[], "default"),
        ("news/x", None, None, &[], "default"),
        ("live/show", Some("DE"), None, &[], "a"),
    ] {
        let key = StreamKey::parse(stream).unwrap();
        let subject = Subject {
            stream: Some(&key),
            region: region.and_then(Region::parse),
            label,
            stream_labels,
        };
        assert_eq!(&*policies.of(&subject).name, expect, "{subject:?}");
    }
    assert_eq!(&*policies.of(&Subject::default()).name, "default");
}

#[test]
fn numbers_count_all_policies_once() {
    let policies = table();
    let draw = Draw {
        share: 0.5,
        salt: 1,
    };
    let both = policies.with_canary(&table(), draw);
    let numbers: Vec<usize> = both.all().map(|named| named.number).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert_eq!(policies.all().last().unwrap().number, 4);
}

#[test]
fn a_canary_holds_in_its_share_of_the_regions() {
    let region = |n: usize| Region::named(&format!("r{n}"));
    let curious = Policy {
        explore: 0.5,
        ..Policy::default()
    };
    let candidate = Policies::new(vec![], curious);
    for (share, least, most) in [(0.05, 350, 650), (0.0, 0, 0), (1.0, 10_000, 10_000)] {
        let policies = table().with_canary(&candidate, Draw { share, salt: 7 });
        let drawn = |n: &usize| {
            let subject = Subject {
                region: Some(region(*n)),
                ..Subject::default()
            };
            let held = policies.of(&subject).policy.explore == 0.5;
            assert_eq!(held, policies.is_canary(region(*n)));
            held
        };
        let count = (0..10_000).filter(drawn).count();
        assert!((least..=most).contains(&count), "{share}: {count}");
        let unknown = policies.of(&Subject::default());
        assert_eq!(unknown.policy.explore, 0.01);
    }
}

#[test]
fn a_placement_says_why_an_edge_is_barred() {
    let placement = Placement {
        allow: globs(&["edge-*"]),
        deny: globs(&["edge-old-*"]),
        countries: vec![*b"DE", *b"FR"],
        max_price: Some(2.0),
        min_replicas: 1,
    };
    for (edge, country, price, expect) in [
        ("edge-1", Some("DE"), Some(2.0), None),
        ("edge-1", Some("fr"), None, None),
        ("hub-1", Some("DE"), None, Some(Bar::NotAllowed)),
        ("edge-old-1", Some("DE"), None, Some(Bar::Denied)),
        ("edge-1", Some("US"), None, Some(Bar::Residency)),
        ("edge-1", None, None, Some(Bar::Residency)),
        ("edge-1", Some("DE"), Some(2.1), Some(Bar::Price)),
    ] {
        assert_eq!(placement.bars(edge, country, price), expect, "{edge}");
    }
    let open = Policy::default().placement;
    assert!(open.is_open() && open.bars("any", None, Some(1e9)).is_none());
    assert!(!placement.is_open());
}
