//! Requests to locations: tokens, proxies, queries, refusals, and no open redirect.

mod external;

use cluster::config::Secret;
use cluster::node::{NodeId, Place};
use cluster::plan::Health;
use cluster::token::gate::Audience;
use cluster::token::{self, Keys, Refusal};
use http::{Method, StatusCode, header};
use proptest::prelude::*;
use transport::http::{Body, Peer};

use super::*;
use crate::geo;
use crate::snapshot::fixture::{FRANKFURT, SHANGHAI, VIRGINIA, edge, snapshot};

pub(super) const SECRET: &str = "a secret of the cluster in the tests";
pub(super) const NOW_S: u64 = 1_800_000_000;
const ZONES: &str = "203.0.113.0/24,50.1,8.7,Frankfurt\n198.51.100.0/24,31.2,121.5,Shanghai\n\
                     2001:db8::/32,39.0,-77.5,Virginia\n";

pub(super) fn redirector(snapshot: Snapshot, play: Audience) -> Redirector {
    let dir = tempfile::tempdir().unwrap();
    let zones = dir.path().join("zones.csv");
    std::fs::write(&zones, ZONES).unwrap();
    let config = geo::Config {
        zones: Some(zones),
        ..geo::Config::default()
    };
    let place = Place {
        lat: 39.0,
        lon: -77.5,
        ..Place::default()
    };
    let tokens = token::Config {
        play,
        ..token::Config::default()
    };
    Redirector {
        snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
        geo: Arc::new(Geo::load(config, &place).unwrap()),
        gate: Gate::load(&tokens, &Secret::new(SECRET)).unwrap(),
        sticky: Sticky::new(std::time::Duration::from_secs(300)),
        proxies: Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            allow_override: true,
        },
        meter: Meter::register(&mut Default::default()),
        outside: Arc::new(Outside::new(std::time::Duration::from_secs(60))),
        diary: Diary::new(1),
        clock: Clock::manual(NOW_S * 1_000_000),
    }
}

pub(super) fn world() -> Snapshot {
    snapshot(vec![
        edge(1, "fra", FRANKFURT),
        edge(2, "iad", VIRGINIA),
        edge(3, "sha", SHANGHAI),
    ])
}

pub(super) fn open() -> Redirector {
    redirector(world(), Audience::Redirected)
}

pub(super) fn request<'a>(peer: &str, path: &'a str, query: &'a str) -> Request<'a> {
    Request {
        peer: peer.parse().unwrap(),
        path,
        query,
        forwarded: &[],
        bearer: None,
    }
}

fn split(location: &str) -> (&str, &str) {
    location.split_once("?token=").unwrap()
}

fn verify(token: &str, edge: &str, client: &str) -> Result<Claims, Refusal> {
    let what = Attempt {
        action: Action::Play,
        stream: &StreamKey::parse("live/x").unwrap(),
        node: Some(&edge.parse().unwrap()),
        client: client.parse().unwrap(),
    };
    Keys::derive(SECRET).unwrap().verify(token, &what, NOW_S)
}

#[test]
fn viewers_are_sent_to_the_nearest_edge_by_their_address() {
    let redirector = open();
    for (peer, forwarded, query, expected) in [
        ("203.0.113.7", None, "", "fra"),
        ("198.51.100.7", None, "", "sha"),
        ("2001:db8::7", None, "", "iad"),
        ("::ffff:198.51.100.7", None, "", "sha"),
        ("192.0.2.1", None, "", "iad"),
        ("10.0.0.1", Some("203.0.113.9"), "", "fra"),
        ("192.0.2.1", Some("203.0.113.9"), "", "iad"),
        ("127.0.0.1", None, "ip=198.51.100.1", "sha"),
        ("192.0.2.1", None, "ip=198.51.100.1", "iad"),
        ("203.0.113.7", None, "exclude=fra%2Csha", "iad"),
    ] {
        let forwarded: Vec<&str> = forwarded.into_iter().collect();
        let request = Request {
            forwarded: &forwarded,
            ..request(peer, "/live/x.flv", query)
        };
        let location = redirector.redirect(&request).unwrap();
        let expected = format!("https://{expected}.example.com/live/x.flv");
        assert_eq!(split(&location).0, expected, "{peer} {forwarded:?} {query}");
    }
}

#[test]
fn the_token_says_where_the_viewer_is() {
    let redirector = open();
    for (peer, region) in [
        ("203.0.113.7", "frankfurt"),
        ("2001:db8::7", "virginia"),
        ("192.0.2.1", "unknown"),
    ] {
        let location = redirector
            .redirect(&request(peer, "/live/x.flv", ""))
            .unwrap();
        let (token, edge) = (split(&location).1, &split(&location).0[8..11]);
        let claims = verify(token, edge, peer).unwrap();
        assert_eq!(claims.region.unwrap().as_str(), region, "{peer}");
    }
}

#[test]
fn who_finds_no_edge_waits_until_there_is_one() {
    let redirector = open();
    let ask = |peer, query| {
        redirector
            .redirect(&request(peer, "/live/x.flv", query))
            .is_ok()
    };
    let nowhere = "exclude=fra%2Ciad%2Csha";
    assert!(!ask("203.0.113.7", nowhere) && !ask("203.0.113.7", nowhere));
    assert!(!ask("198.51.100.7", nowhere));
    let waiting = || redirector.outside.by_region(NOW_S * 1000);
    let frankfurt = cluster::region::Region::named("Frankfurt");
    assert_eq!((waiting().len(), waiting()[&frankfurt]), (2, 1));
    assert!(ask("203.0.113.7", ""));
    assert!(!waiting().contains_key(&frankfurt));
}

#[test]
fn the_token_is_for_the_chosen_edge_and_its_fallbacks() {
    let location = open()
        .redirect(&request("203.0.113.7", "/live/x.flv", ""))
        .unwrap();
    let (_, token) = split(&location);
    let claims = verify(token, "fra", "192.0.2.200").unwrap();
    let edges: Vec<_> = claims.edges.iter().flatten().map(NodeId::as_str).collect();
    assert_eq!(edges, ["fra", "iad", "sha"]);
    assert_eq!((claims.exp_s, claims.client), (NOW_S + 300, None));
    assert_eq!(verify(token, "other", "192.0.2.200"), Err(Refusal::Edge));
}

#[test]
fn other_parameters_go_with_the_viewer_and_consumed_ones_do_not() {
    let token = Keys::derive(SECRET).unwrap().sign(&brought(NOW_S + 60));
    let query = format!("hevc=legacy&token={token}&ip=1.2.3.4&exclude=iad&session=s%201");
    let location = open()
        .redirect(&request("203.0.113.7", "/live/x.flv", &query))
        .unwrap();
    assert!(
        location.ends_with("&hevc=legacy&session=s%201"),
        "{location}"
    );
    assert_eq!(location.matches("token=").count(), 1);
    assert!(
        !location.contains("exclude") && !location.contains("ip="),
        "{location}"
    );
}

fn brought(exp_s: u64) -> Claims {
    Claims {
        label: Some("vip".to_owned()),
        client: Some("203.0.113.0/24".parse().unwrap()),
        ..Claims::new(
            StreamKey::parse("live/x").unwrap().into(),
            Action::Play,
            exp_s,
        )
    }
}

#[test]
fn where_playing_needs_a_token_the_new_one_allows_no_more_than_it() {
    let redirector = redirector(world(), Audience::Required);
    let keys = Keys::derive(SECRET).unwrap();
    let good = keys.sign(&brought(NOW_S + 60));
    let plain = request("203.0.113.7", "/live/x.flv", "");
    assert_eq!(
        redirector.redirect(&plain),
        Err(Refused::Token(Refusal::Missing))
    );

    let query = format!("token={good}");
    for request in [
        Request {
            query: &query,
            ..plain
        },
        Request {
            bearer: Some(&good),
            ..plain
        },
    ] {
        let location = redirector.redirect(&request).unwrap();
        let claims = verify(split(&location).1, "fra", "203.0.113.7").unwrap();
        let kept = (claims.exp_s, claims.label.as_deref(), claims.client);
        let net = Some("203.0.113.0/24".parse().unwrap());
        assert_eq!(kept, (NOW_S + 60, Some("vip"), net));
    }

    let bad = [
        (
            keys.sign(&brought(NOW_S - 60)),
            "203.0.113.7",
            Refusal::Expired,
        ),
        (good.clone(), "198.51.100.7", Refusal::Client),
        (format!("{good}x"), "203.0.113.7", Refusal::Signature),
    ];
    for (token, peer, expected) in bad {
        let query = format!("token={token}");
        let refused = redirector
            .redirect(&request(peer, "/live/x.flv", &query))
            .unwrap_err();
        assert_eq!(refused, Refused::Token(expected), "{peer} {token}");
    }
}

#[test]
fn returning_viewers_do_not_flap_and_leave_a_dead_edge_at_once() {
    let nodes: Vec<_> = (1..=8)
        .map(|n| edge(n, &format!("e{n}"), FRANKFURT))
        .collect();
    let redirector = redirector(snapshot(nodes.clone()), Audience::Redirected);
    let again = request("203.0.113.7", "/live/x.flv", "");
    let go = || split(&redirector.redirect(&again).unwrap()).0.to_owned();
    let first = go();
    for other in 0..2_000u32 {
        let address = IpAddr::from((0x0a00_0000 + other).to_be_bytes()).to_string();
        let query = format!("ip=203.0.113.9&session={address}");
        redirector
            .redirect(&request("127.0.0.1", "/live/x.flv", &query))
            .unwrap();
        assert_eq!(go(), first);
    }
    let dead = nodes.iter().map(|view| {
        let mut view = view.clone();
        if first.contains(&format!("//{}.", view.node().id)) {
            view.health = Health::Down;
        }
        view
    });
    redirector
        .snapshot
        .store(Arc::new(snapshot(dead.collect())));
    assert_ne!(go(), first);
}

#[test]
fn a_player_that_plays_stays_until_its_edge_wants_it_to_leave() {
    let redirector = open();
    let ask = |path, query| request("203.0.113.7", path, query);
    let playing = "weir=1&resume=5.7.2&playing=fra";
    let again = || redirector.redirect(&ask("/live/x.flv", playing));
    assert_eq!(again(), Err(Refused::Stays));
    let query = "stream=live%2Fx&playing=fra";
    let resolved = redirector.resolve(&ask("/api/v1/resolve", query)).unwrap();
    assert_eq!(resolved.edge.as_str(), "fra");
    assert_eq!(resolved.reason, Why::Playing);
    let mut snapshot = world();
    let sent = |snapshot: &Snapshot| snapshot.nodes[0].sent.count().viewers;
    assert_eq!(sent(&redirector.snapshot.load()), 0, "it was there already");
    snapshot.nodes[0].health = Health::Draining;
    redirector.snapshot.store(Arc::new(snapshot));
    let location = again().unwrap();
    assert!(location.starts_with("https://iad.example.com/live/x.flv?token="));
    assert!(location.ends_with("&weir=1&resume=5.7.2"), "{location}");
    let gone = redirector.redirect(&ask("/live/x.flv", "playing=nobody"));
    assert!(gone.is_ok(), "an edge that nobody knows holds nobody");
}

#[test]
fn only_new_viewers_count_as_sent() {
    let redirector = open();
    for _ in 0..3 {
        redirector
            .redirect(&request("203.0.113.7", "/live/x.flv", ""))
            .unwrap();
    }
    let (snapshot, address) = (world(), "203.0.113.8".parse().unwrap());
    let (_, decision) = redirector.explain(&snapshot, "live/x", address, &IfSo::default());
    assert!(decision.chosen().is_some());
    let sent = redirector.snapshot.load().node("fra").unwrap().sent.count();
    assert_eq!((sent.viewers, sent.egress_bps), (1, 1_000_000));
}

#[test]
fn resolving_names_fallbacks_place_and_reason() {
    let query = "stream=live%2Fx";
    let resolved = open()
        .resolve(&request("203.0.113.7", "/api/v1/resolve", query))
        .unwrap();
    assert!(
        resolved
            .url
            .starts_with("https://fra.example.com/live/x.flv?token=")
    );
    let fallbacks: Vec<_> = resolved
        .fallbacks
        .iter()
        .map(|it| it.edge.as_str())
        .collect();
    assert_eq!(
        (resolved.edge.as_str(), fallbacks),
        ("fra", vec!["iad", "sha"])
    );
    for fallback in &resolved.fallbacks {
        let (target, token) = split(&fallback.url);
        assert_eq!(
            target,
            format!("https://{}.example.com/live/x.flv", fallback.edge)
        );
        assert!(verify(token, fallback.edge.as_str(), "203.0.113.7").is_ok());
    }
    assert_eq!((resolved.ttl_s, resolved.reason), (300, Why::Nearest));
    let place = resolved.place;
    assert_eq!(
        (place.name.as_str(), place.approximate),
        ("Frankfurt", false)
    );
}

fn get(method: Method, uri: &str) -> http::Response<Body> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(uri)
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(Peer("203.0.113.7:5000".parse().unwrap()));
    public::answer(&open(), &request)
}

#[test]
fn every_answer_can_be_read_by_any_page_and_is_kept_by_no_cache() {
    let rows = [
        (Method::GET, "/live/x.flv", StatusCode::FOUND),
        (Method::HEAD, "/live/x.flv", StatusCode::FOUND),
        (Method::OPTIONS, "/live/x.flv", StatusCode::NO_CONTENT),
        (Method::GET, "/api/v1/resolve?stream=live/x", StatusCode::OK),
        (Method::GET, "/api/v1/resolve", StatusCode::NOT_FOUND),
        (Method::GET, "/live/gone.flv", StatusCode::NOT_FOUND),
        (Method::GET, "/live/x", StatusCode::NOT_FOUND),
        (Method::GET, "/live/../live/x.flv", StatusCode::NOT_FOUND),
        (Method::GET, "/live%2fx.flv", StatusCode::NOT_FOUND),
        (
            Method::GET,
            "//evil.example.com/live/x.flv",
            StatusCode::NOT_FOUND,
        ),
        (Method::GET, "/live/x.flv?token=bad", StatusCode::FORBIDDEN),
        (
            Method::GET,
            "/live/x.flv?exclude=fra,iad,sha",
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (Method::POST, "/live/x.flv", StatusCode::METHOD_NOT_ALLOWED),
    ];
    can_be_read_and_are_not_kept(&rows);
}

#[test]
fn every_answer_to_an_hls_player_can_be_read_by_any_page_and_is_kept_by_no_cache() {
    can_be_read_and_are_not_kept(&[
        (Method::GET, "/live/x.m3u8", StatusCode::OK),
        (Method::HEAD, "/live/x.m3u8", StatusCode::OK),
        (Method::GET, "/live/x.m3u8?redirect=1", StatusCode::FOUND),
        (Method::OPTIONS, "/live/x.m3u8", StatusCode::NO_CONTENT),
        (Method::GET, "/live/gone.m3u8", StatusCode::NOT_FOUND),
        (Method::GET, "/live/x.m3u8?token=bad", StatusCode::FORBIDDEN),
        (
            Method::GET,
            "/live/x.m3u8?exclude=fra,iad,sha",
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (Method::GET, "/steering/live/x", StatusCode::BAD_REQUEST),
        (
            Method::GET,
            "/steering/live/x?session=a.b.c",
            StatusCode::FORBIDDEN,
        ),
        (
            Method::GET,
            "/steering/live/x/y?session=a.b.c",
            StatusCode::NOT_FOUND,
        ),
        (
            Method::POST,
            "/steering/live/x",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
    ]);
}

fn can_be_read_and_are_not_kept(rows: &[(Method, &str, StatusCode)]) {
    for (method, uri, status) in rows {
        let status = *status;
        let response = get(method.clone(), uri);
        let has = |name: header::HeaderName| response.headers().get(name).is_some();
        assert_eq!(response.status(), status, "{method} {uri}");
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(
            has(header::LOCATION),
            status == StatusCode::FOUND,
            "{method} {uri}"
        );
        assert_eq!(
            has(header::RETRY_AFTER),
            status == StatusCode::SERVICE_UNAVAILABLE
        );
        let names_methods = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NO_CONTENT];
        assert_eq!(has(header::ALLOW), names_methods.contains(&status));
        assert_eq!(
            has(header::ACCESS_CONTROL_MAX_AGE),
            *method == Method::OPTIONS
        );
    }
}

proptest! {
    #[test]
    fn no_request_leads_off_the_node_table(
        path in "/[!-~]{0,40}|/live/x\\.flv",
        query in "[!-~]{0,60}",
        forwarded in "[ -~]{0,40}",
    ) {
        let redirector = open();
        let forwarded = [forwarded.as_str()];
        let request = Request { forwarded: &forwarded, ..request("10.0.0.1", &path, &query) };
        if let Ok(location) = redirector.redirect(&request) {
            let known = ["fra", "iad", "sha"]
                .map(|id| format!("https://{id}.example.com/live/x.flv?"));
            prop_assert!(known.iter().any(|known| location.starts_with(known)), "{}", location);
        }
        let _ = redirector.steering(&request, 0);
        let request = Request { path: "/live/x.m3u8", ..request };
        if let Ok(Joined::Playlist(text)) = redirector.join(&request) {
            let addresses: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
            prop_assert_eq!(addresses.len(), 1);
            let known = ["fra", "iad", "sha"]
                .map(|id| format!("https://{id}.example.com/live/x/media.m3u8?session="));
            prop_assert!(known.iter().any(|known| addresses[0].starts_with(known)), "{}", text);
        }
    }
}
