//! Tokens made by hand and by others: what verifies, and why the rest is refused.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken as oracle;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::Secret;
use crate::node::NodeId;
use crate::stream::StreamKey;

const NOW_S: u64 = 1_800_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const OLD_SECRET: &[u8] = b"fedcba9876543210fedcba9876543210";

fn keys() -> Keys {
    Keys::new([("new", SECRET), ("old", OLD_SECRET)]).unwrap()
}

fn key(text: &str) -> StreamKey {
    StreamKey::parse(text).unwrap()
}

fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

/// Tries to play `live/x` at `edge-1` from 203.0.113.7.
fn play(keys: &Keys, token: &str) -> Result<Claims, Refusal> {
    let (stream, node) = (key("live/x"), id("edge-1"));
    let client = "203.0.113.7".parse().unwrap();
    let what = Attempt {
        action: Action::Play,
        stream: &stream,
        node: Some(&node),
        client,
    };
    keys.verify(token, &what, NOW_S)
}

fn claims() -> Claims {
    Claims::new(key("live/x").into(), Action::Play, NOW_S + 300)
}

/// Signs any header and any body with the given secret, by the rules of RFC 7515 alone.
fn raw(header: &Value, body: &Value, secret: &[u8]) -> String {
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let signed = format!("{}.{}", part(header), part(body));
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        signed.as_bytes(),
    );
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[test]
fn a_signed_token_is_verified_with_all_its_claims() {
    let full = Claims {
        nbf_s: NOW_S,
        edges: Some(vec![id("edge-1"), id("edge-2")]),
        client: Some("203.0.113.0/24".parse().unwrap()),
        label: Some("gold".into()),
        sid: Some(new_sid()),
        ..claims()
    };
    for claims in [claims(), full] {
        let token = keys().sign(&claims);
        assert_eq!(play(&keys(), &token), Ok(claims));
    }
}

#[test]
fn claims_decide_what_a_token_allows() {
    let base = json!({"stream": "live/x", "action": "play", "exp": NOW_S + 300});
    let rows = [
        (json!({}), Ok(())),
        (json!({"stream": "live/*"}), Ok(())),
        (json!({"stream": "live/y"}), Err(Refusal::Stream)),
        (json!({"stream": "live/y,live/x"}), Ok(())),
        (json!({"stream": "live/y,live/z"}), Err(Refusal::Stream)),
        (json!({"stream": "live/x,live/x"}), Err(Refusal::Malformed)),
        (json!({"stream": "live/x,"}), Err(Refusal::Malformed)),
        (json!({"stream": "live/x,live/*"}), Err(Refusal::Malformed)),
        (
            json!({"stream": "live/1,live/2,live/3,live/4,live/5,live/6,live/7,live/x"}),
            Ok(()),
        ),
        (
            json!({"stream": "live/0,live/1,live/2,live/3,live/4,live/5,live/6,live/7,live/x"}),
            Err(Refusal::Malformed),
        ),
        (json!({"stream": "vod/*"}), Err(Refusal::Stream)),
        (json!({"stream": "liv/*"}), Err(Refusal::Stream)),
        (json!({"stream": "*"}), Err(Refusal::Malformed)),
        (json!({"stream": "*/*"}), Err(Refusal::Malformed)),
        (json!({"stream": "live/../x"}), Err(Refusal::Malformed)),
        (json!({"stream": null}), Err(Refusal::Malformed)),
        (json!({"action": "publish"}), Err(Refusal::Action)),
        (json!({"action": "Play"}), Err(Refusal::Malformed)),
        (json!({"exp": null}), Err(Refusal::Malformed)),
        (json!({"exp": 0}), Err(Refusal::NoExpiry)),
        (json!({"exp": -1}), Err(Refusal::Malformed)),
        (json!({"exp": "soon"}), Err(Refusal::Malformed)),
        (json!({"exp": NOW_S as f64 + 0.5}), Ok(())),
        (json!({"exp": u64::MAX}), Ok(())),
        (json!({"exp": NOW_S - SKEW_S + 1}), Ok(())),
        (json!({"exp": NOW_S - SKEW_S}), Err(Refusal::Expired)),
        (json!({"nbf": NOW_S + SKEW_S}), Ok(())),
        (json!({"nbf": NOW_S + SKEW_S + 1}), Err(Refusal::NotYet)),
        (json!({"edges": ["edge-2", "edge-1"]}), Ok(())),
        (json!({"edges": ["edge-2"]}), Err(Refusal::Edge)),
        (json!({"edges": []}), Err(Refusal::Edge)),
        (json!({"edges": "edge-1"}), Err(Refusal::Malformed)),
        (json!({"client": "203.0.113.0/24"}), Ok(())),
        (json!({"client": "198.51.100.0/24"}), Err(Refusal::Client)),
        (json!({"client": "2001:db8::/48"}), Err(Refusal::Client)),
        (json!({"client": "anything"}), Err(Refusal::Malformed)),
        (json!({"iat": NOW_S, "sub": "somebody"}), Ok(())),
        (json!({"sid": "a-session_1"}), Ok(())),
        (json!({"sid": "s".repeat(64)}), Ok(())),
        (json!({"sid": "s".repeat(65)}), Err(Refusal::Malformed)),
        (json!({"sid": ""}), Err(Refusal::Malformed)),
        (json!({"sid": "a.b"}), Err(Refusal::Malformed)),
        (json!({"sid": 1}), Err(Refusal::Malformed)),
        (json!({"sid": null}), Ok(())),
    ];
    for (change, expect) in rows {
        let mut body = base.clone();
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let token = raw(&json!({"alg": "HS256", "kid": "new"}), &body, SECRET);
        assert_eq!(play(&keys(), &token).map(drop), expect, "{change}");
    }
    let endless = json!({"stream": "live/x", "action": "play"});
    let token = raw(&json!({"alg": "HS256", "kid": "new"}), &endless, SECRET);
    assert_eq!(play(&keys(), &token), Err(Refusal::NoExpiry));
}

#[test]
fn the_header_must_name_our_algorithm_and_a_key() {
    let rows = [
        (json!({"alg": "HS256", "kid": "new"}), SECRET, Ok(())),
        (
            json!({"alg": "HS256", "kid": "old", "typ": "JWT"}),
            OLD_SECRET,
            Ok(()),
        ),
        (
            json!({"alg": "HS256", "kid": "old"}),
            SECRET,
            Err(Refusal::Signature),
        ),
        (
            json!({"alg": "HS256", "kid": "other"}),
            SECRET,
            Err(Refusal::UnknownKey),
        ),
        (json!({"alg": "HS256"}), SECRET, Err(Refusal::UnknownKey)),
        (
            json!({"alg": "none", "kid": "new"}),
            SECRET,
            Err(Refusal::Algorithm),
        ),
        (
            json!({"alg": "None", "kid": "new"}),
            SECRET,
            Err(Refusal::Algorithm),
        ),
        (
            json!({"alg": "hs256", "kid": "new"}),
            SECRET,
            Err(Refusal::Algorithm),
        ),
        (
            json!({"alg": "HS512", "kid": "new"}),
            SECRET,
            Err(Refusal::Algorithm),
        ),
        (
            json!({"alg": "RS256", "kid": "new"}),
            SECRET,
            Err(Refusal::Algorithm),
        ),
        (
            json!({"alg": "EdDSA", "kid": "new"}),
            SECRET,
            Err(Refusal::Algorithm),
        ),
        (json!({"kid": "new"}), SECRET, Err(Refusal::Malformed)),
        (
            json!({"alg": "HS256", "kid": "new", "crit": ["b64"]}),
            SECRET,
            Err(Refusal::Malformed),
        ),
        (json!("HS256"), SECRET, Err(Refusal::Malformed)),
    ];
    let body = serde_json::to_value(claims()).unwrap();
    for (header, secret, expect) in rows {
        let token = raw(&header, &body, secret);
        assert_eq!(play(&keys(), &token).map(drop), expect, "{header}");
    }
}

#[test]
fn what_is_not_a_token_is_refused() {
    let good = keys().sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let (head, body, tag) = (parts[0], parts[1], parts[2]);
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let rows = [
        (String::new(), Refusal::Malformed),
        ("..".into(), Refusal::Malformed),
        (format!("{head}.{body}"), Refusal::Malformed),
        (format!("{head}.{body}."), Refusal::Signature),
        (format!("{head}.{body}.{tag}."), Refusal::Signature),
        (format!("{head}.{body}.{tag}="), Refusal::Malformed),
        (format!("{head}.{body}.{}", &tag[..42]), Refusal::Malformed),
        (format!("{head}.{body}.{}", &tag[..40]), Refusal::Signature),
        (format!("{head}.{body}.+/{}", &tag[2..]), Refusal::Malformed),
        (format!("{head}..{body}.{tag}"), Refusal::Signature),
        (format!("{none}.{body}."), Refusal::Algorithm),
        (format!(" {good}"), Refusal::Malformed),
        ("a".repeat(MAX_BYTES + 1), Refusal::TooLong),
    ];
    for (token, expect) in rows {
        assert_eq!(play(&keys(), &token), Err(expect), "{token}");
    }
}

#[test]
fn the_old_key_verifies_until_it_is_removed() {
    let before = Keys::new([("old", OLD_SECRET)]).unwrap();
    let token = before.sign(&claims());
    assert!(play(&keys(), &token).is_ok());
    let after = Keys::new([("new", SECRET)]).unwrap();
    assert_eq!(play(&after, &token), Err(Refusal::UnknownKey));
    assert_eq!(
        play(&before, &keys().sign(&claims())),
        Err(Refusal::UnknownKey)
    );
}

#[test]
fn keys_are_one_or_two_named_and_long_enough() {
    let long = "k".repeat(65);
    type Pairs = &'static [(&'static str, &'static [u8])];
    let rows: [(Pairs, Result<(), KeyError>); 6] = [
        (&[("a", SECRET)], Ok(())),
        (&[], Err(KeyError::Count(0))),
        (
            &[("a", SECRET), ("b", SECRET), ("c", SECRET)],
            Err(KeyError::Count(3)),
        ),
        (
            &[("a", SECRET), ("a", OLD_SECRET)],
            Err(KeyError::Kid("a".into())),
        ),
        (&[("", SECRET)], Err(KeyError::Kid("".into()))),
        (
            &[("a", b"31 bytes are not enough for us.")],
            Err(KeyError::Secret("a".into())),
        ),
    ];
    for (pairs, expect) in rows {
        assert_eq!(Keys::new(pairs.iter().copied()).map(drop), expect);
    }
    assert!(Keys::new([(long.as_str(), SECRET)]).is_err());
}

#[test]
fn every_node_with_the_secret_derives_the_same_key() {
    let token = Keys::derive("a cluster").unwrap().sign(&claims());
    assert!(play(&Keys::derive("a cluster").unwrap(), &token).is_ok());
    let other = Keys::derive("another cluster").unwrap();
    assert_eq!(play(&other, &token), Err(Refusal::Signature));
    assert_eq!(Keys::derive("").map(drop), Err(KeyError::NoSecret));
}

#[test]
fn another_implementation_reads_our_tokens() {
    let token = keys().sign(&claims());
    let mut rules = oracle::Validation::new(oracle::Algorithm::HS256);
    rules.required_spec_claims = ["exp".to_owned()].into();
    let read: oracle::TokenData<Value> =
        oracle::decode(&token, &oracle::DecodingKey::from_secret(SECRET), &rules).unwrap();
    assert_eq!(read.header.kid.as_deref(), Some("new"));
    assert_eq!(read.claims, serde_json::to_value(claims()).unwrap());
}

#[test]
fn we_read_the_tokens_of_another_implementation() {
    let header = oracle::Header {
        kid: Some("old".into()),
        ..oracle::Header::default()
    };
    let signer = oracle::EncodingKey::from_secret(OLD_SECRET);
    let token = oracle::encode(&header, &claims(), &signer).unwrap();
    assert_eq!(play(&keys(), &token), Ok(claims()));
}

#[test]
fn a_gate_demands_tokens_by_configuration() {
    use Audience::{Open, Redirected, Required};
    let good = keys().sign(&claims());
    let good = Some(good.as_str());
    // (who may watch, token, said by a scheduler, said by an edge)
    let rows = [
        (Open, None, Ok(false), Ok(false)),
        (Open, good, Ok(true), Ok(true)),
        (
            Open,
            Some("junk"),
            Err(Refusal::Malformed),
            Err(Refusal::Malformed),
        ),
        (Redirected, None, Ok(false), Err(Refusal::Missing)),
        (Redirected, good, Ok(true), Ok(true)),
        (
            Redirected,
            Some("junk"),
            Err(Refusal::Malformed),
            Err(Refusal::Malformed),
        ),
        (Required, None, Err(Refusal::Missing), Err(Refusal::Missing)),
        (Required, good, Ok(true), Ok(true)),
        (
            Required,
            Some("junk"),
            Err(Refusal::Malformed),
            Err(Refusal::Malformed),
        ),
    ];
    let (stream, edge) = (key("live/x"), id("edge-1"));
    let client = "2001:db8::1".parse().unwrap();
    for (play, token, at_scheduler, at_edge) in rows {
        let config = Config {
            keys: configured(),
            play,
            ..Config::default()
        };
        let gate = Gate::load(&config, &Secret::default()).unwrap();
        for (node, expect) in [(None, at_scheduler), (Some(&edge), at_edge)] {
            let what = Attempt {
                action: Action::Play,
                stream: &stream,
                node,
                client,
            };
            let answer = gate.check(token, &what, NOW_S);
            assert_eq!(
                answer.map(|c| c.is_some()),
                expect,
                "{play:?} {token:?} {node:?}"
            );
        }
    }
}

fn configured() -> Vec<KeyConfig> {
    let secret = String::from_utf8(SECRET.into()).unwrap();
    vec![KeyConfig {
        kid: "new".into(),
        secret: Secret::new(secret),
    }]
}

#[test]
fn a_redirect_may_bind_the_viewers_network() {
    let rows = [
        (false, "203.0.113.7", "198.51.100.1", true),
        (true, "203.0.113.7", "203.0.113.200", true),
        (true, "203.0.113.7", "203.0.114.7", false),
        (true, "::ffff:203.0.113.7", "203.0.113.8", true),
        (true, "203.0.113.7", "::ffff:203.0.113.8", true),
        (true, "2001:db8:1::1", "2001:db8:1:ffff::1", true),
        (true, "2001:db8:1::1", "2001:db8:2::1", false),
        (true, "2001:db8:1::1", "203.0.113.7", false),
    ];
    let stream = key("live/x");
    for (bind_client, from, to, allowed) in rows {
        let config = Config {
            bind_client,
            ..Config::default()
        };
        let gate = Gate::load(&config, &Secret::new("a cluster")).unwrap();
        let from: IpAddr = from.parse().unwrap();
        let token = gate.sign(&gate.redirect_claims(&stream, from, NOW_S));
        let client = to.parse().unwrap();
        let what = Attempt {
            action: Action::Play,
            stream: &stream,
            node: None,
            client,
        };
        let answer = gate.check(Some(&token), &what, NOW_S + 299);
        assert_eq!(answer.is_ok(), allowed, "{from} {to}");
    }
}

#[test]
fn a_session_covers_the_rungs_at_every_edge_until_its_own_maximum() {
    let config = Config {
        session_max: transport::config::Duration::from_secs(7200),
        ..Config::default()
    };
    let gate = Gate::load(&config, &Secret::new("a cluster")).unwrap();
    let join = Claims {
        edges: Some(vec![id("edge-9")]),
        client: Some("203.0.113.0/24".parse().unwrap()),
        label: Some("gold".into()),
        ..claims()
    };
    let streams = Pattern::with_rungs(&key("live/x"), &[key("live/x"), key("live/x_480")]);
    let claims = gate.session_claims(streams, new_sid(), Some(&join), NOW_S);
    let token = gate.sign(&claims);
    let rows = [
        ("live/x", "203.0.113.7", 7199, Ok(())),
        ("live/x_480", "203.0.113.7", 0, Ok(())),
        ("live/x_240", "203.0.113.7", 0, Err(Refusal::Stream)),
        ("live/x", "198.51.100.7", 0, Err(Refusal::Client)),
        (
            "live/x",
            "203.0.113.7",
            7200 + SKEW_S,
            Err(Refusal::Expired),
        ),
    ];
    for (stream, client, after_s, expect) in rows {
        let (stream, node) = (key(stream), id("edge-1"));
        let what = Attempt {
            action: Action::Play,
            stream: &stream,
            node: Some(&node),
            client: client.parse().unwrap(),
        };
        let session = gate.session(&token, &what, NOW_S + after_s);
        let said =
            session.map(|s| assert_eq!((s.sid, s.label), (claims.sid.clone(), join.label.clone())));
        assert_eq!(said, expect, "{stream} {client} {after_s}");
    }
}

#[test]
fn a_token_that_names_no_session_is_none() {
    let gate = Gate::load(&Config::default(), &Secret::new("a cluster")).unwrap();
    let stream = key("live/x");
    let what = Attempt {
        action: Action::Play,
        stream: &stream,
        node: None,
        client: "203.0.113.7".parse().unwrap(),
    };
    let token = gate.sign(&claims());
    assert_eq!(gate.session(&token, &what, NOW_S), Err(Refusal::NoSession));
}

#[test]
fn session_ids_are_valid_and_differ() {
    let (one, two) = (new_sid(), new_sid());
    assert!(is_sid(&one) && is_sid(&two) && one != two, "{one} {two}");
}

#[test]
fn a_session_with_the_longest_rungs_is_not_too_long() {
    let rungs: Vec<_> = (0..9)
        .map(|i| key(&format!("{}/{i:064}", "a".repeat(64))))
        .collect();
    let streams = Pattern::with_rungs(&rungs[0], &rungs);
    assert_eq!(Pattern::parse(&streams.to_string()), Ok(streams.clone()));
    let claims = Claims {
        stream: streams,
        client: Some("2001:db8::/48".parse().unwrap()),
        sid: Some("s".repeat(MAX_SID)),
        ..claims()
    };
    assert!(keys().sign(&claims).len() <= MAX_BYTES);
}

#[test]
fn a_redirects_token_with_twelve_edges_is_not_too_long() {
    let edges = (0..12).map(|i| id(&format!("{i:064}"))).collect();
    let claims = Claims {
        edges: Some(edges),
        ..claims()
    };
    assert!(keys().sign(&claims).len() <= MAX_BYTES);
}

proptest! {
    #[test]
    fn any_mutation_of_a_token_is_refused(at in 0usize..1000, byte in 0u8..128) {
        let token = keys().sign(&claims());
        let at = at % token.len();
        let mut bytes = token.clone().into_bytes();
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert!(play(&keys(), &changed).is_err());
        prop_assert!(play(&keys(), &token[..at]).is_err());
    }

    #[test]
    fn any_insertion_into_a_token_is_refused(at in 0usize..1000, more in "[A-Za-z0-9._=-]{1,8}") {
        let mut token = keys().sign(&claims());
        token.insert_str(at % (token.len() + 1), &more);
        prop_assert!(play(&keys(), &token).is_err());
    }

    #[test]
    fn any_text_is_refused_without_panic(text in "[ -~]{0,40}(\\.[A-Za-z0-9_-]{0,200}){0,4}") {
        prop_assert!(play(&keys(), &text).is_err());
    }

    #[test]
    fn any_pattern_reads_as_it_was_written(text in "[a-c./*,-]{0,12}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(pattern.to_string(), text);
        }
    }
}
