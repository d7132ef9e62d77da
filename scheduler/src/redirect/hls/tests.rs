//! HLS players: what they are given when they join, and where they are steered afterwards.

use std::collections::HashMap;

use cluster::config::Secret;
use cluster::plan::Health;
use cluster::token::gate::Audience;
use cluster::token::{Claims, Keys, Refusal};
use http::{Method, StatusCode, header};
use transport::http::Peer;

use super::*;
use crate::policy::{Policies, Policy};
use crate::redirect::public;
use crate::redirect::tests::{NOW_S, SECRET, open, redirector, request, world};
use crate::snapshot::fixture::stream;
use crate::steering::Replacement;

const FRANKFURT: &str = "203.0.113.7";
const SHANGHAI: &str = "198.51.100.7";

fn key(text: &str) -> StreamKey {
    StreamKey::parse(text).unwrap()
}

/// `live/x` with two rungs on air, the better one the second, and a third that is not.
fn ladder() -> Snapshot {
    let mut snapshot = world();
    let rung = |name: &str, peak_bps| StreamRecord {
        peak_bps,
        ..stream(name, "origin")
    };
    let records = [rung("live/x", 1_500_000), rung("live/x_1080", 6_000_000)];
    let records = records.map(|record| (record.key.clone(), Arc::new(record)));
    snapshot.streams = Arc::new(HashMap::from(records));
    let rungs = ["live/x", "live/x_1080", "live/x_240"].map(key);
    snapshot.ladders = Arc::new(HashMap::from([(key("live/x"), rungs.to_vec())]));
    snapshot
}

fn join(redirector: &Redirector, peer: &str, query: &str) -> String {
    match redirector
        .join(&request(peer, "/live/x.m3u8", query))
        .unwrap()
    {
        Joined::Playlist(text) => text,
        Joined::Location(location) => panic!("a redirect to {location}"),
    }
}

/// The session in a playlist's first address.
fn session(playlist: &str) -> String {
    let at = playlist.find("media.m3u8?session=").unwrap();
    let rest = &playlist[at + "media.m3u8?session=".len()..];
    rest.lines().next().unwrap().to_owned()
}

fn claims(session: &str, stream: &str, now_s: u64) -> Result<Claims, Refusal> {
    let what = Attempt {
        action: Action::Play,
        stream: &key(stream),
        node: Some(&"any-edge".parse().unwrap()),
        client: SHANGHAI.parse().unwrap(),
    };
    Keys::derive(SECRET).unwrap().verify(session, &what, now_s)
}

/// The query under which the playlist's player asks for steering, and says where it plays.
fn steering_query(playlist: &str, pathway: &str) -> String {
    let uri = playlist.split("SERVER-URI=\"").nth(1).unwrap();
    let uri = uri.split('"').next().unwrap();
    let query = uri.strip_prefix("/steering/live/x?").unwrap();
    format!("{query}&_HLS_pathway={pathway}&_HLS_throughput=8000000")
}

fn steer(redirector: &Redirector, peer: &str, query: &str) -> Result<Manifest, Refused> {
    redirector.steering(&request(peer, "/steering/live/x", query), 0)
}

fn first(redirector: &Redirector, peer: &str, query: &str) -> String {
    steer(redirector, peer, query).unwrap().priority[0].to_string()
}

fn set(redirector: &Redirector, change: impl FnOnce(&mut Snapshot)) {
    let mut snapshot = ladder();
    change(&mut snapshot);
    redirector.snapshot.store(Arc::new(snapshot));
}

#[test]
fn a_player_is_given_the_rungs_on_air_at_the_best_edge_best_first() {
    let redirector = redirector(ladder(), Audience::Redirected);
    let playlist = join(&redirector, FRANKFURT, "");
    let session = session(&playlist);
    let lines: Vec<&str> = playlist
        .lines()
        .filter(|line| line.starts_with("https"))
        .collect();
    let at = |key: &str| format!("https://fra.example.com/{key}/media.m3u8?session={session}");
    assert_eq!(lines, [at("live/x_1080"), at("live/x")]);
    assert_eq!(
        playlist.matches("PATHWAY-ID=\"fra\"").count(),
        3,
        "{playlist}"
    );
    let server = format!("SERVER-URI=\"/steering/live/x?session={session}&base=fra\"");
    assert!(playlist.contains(&server), "{playlist}");
    assert!(
        playlist.contains("BANDWIDTH=6016000,AVERAGE-BANDWIDTH=1016000"),
        "{playlist}"
    );
}

#[test]
fn ordinary_players_are_not_offered_the_top_rung_of_a_nearly_full_edge() {
    let offered = |load: f32, never_shed: bool, query: &str| {
        let mut snapshot = ladder();
        for view in &mut snapshot.nodes {
            view.shedding = view.shedding.next(0, load, 0.92);
        }
        let mut policy = Policy::default();
        policy.rungs.never_shed = never_shed;
        snapshot.policies = Arc::new(Policies::new(Vec::new(), policy));
        let redirector = redirector(snapshot, Audience::Redirected);
        let joined = redirector.join(&request(SHANGHAI, "/live/x.m3u8", query));
        match joined.unwrap() {
            Joined::Playlist(text) => text.contains("x_1080"),
            Joined::Location(url) => {
                let token = url.split("token=").nth(1).unwrap();
                let what = Attempt {
                    action: Action::Play,
                    stream: &key("live/x"),
                    node: None,
                    client: SHANGHAI.parse().unwrap(),
                };
                let claims = Keys::derive(SECRET).unwrap().verify(token, &what, NOW_S);
                !claims.unwrap().sheds_top
            }
        }
    };
    for query in ["", "redirect=1"] {
        let rows = [(0.5, false, true), (0.9, false, false), (0.9, true, true)];
        for (load, never_shed, top) in rows {
            assert_eq!(offered(load, never_shed, query), top, "{load} {never_shed}");
        }
    }
}

#[test]
fn a_session_is_good_for_all_rungs_at_all_edges_for_a_day() {
    let redirector = redirector(ladder(), Audience::Redirected);
    let session = session(&join(&redirector, FRANKFURT, ""));
    for stream in ["live/x", "live/x_1080", "live/x_240"] {
        let claims = claims(&session, stream, NOW_S + 86_399).unwrap();
        assert_eq!((claims.exp_s, claims.edges), (NOW_S + 86_400, None));
        assert!(claims.sid.is_some());
    }
    assert_eq!(claims(&session, "live/y", NOW_S), Err(Refusal::Stream));
}

#[test]
fn a_session_is_kept_while_it_is_good_and_begun_anew_otherwise() {
    let redirector = open();
    let one = session(&join(&redirector, FRANKFURT, ""));
    let again = |query: &str| session(&join(&redirector, FRANKFURT, query));
    assert_eq!(again(&format!("session={one}")), one);
    let sid = |session: &str| claims(session, "live/x", NOW_S).unwrap().sid.unwrap();
    for (query, named) in [
        (String::new(), None),
        (format!("session={one}x"), None),
        ("session=alice".to_owned(), Some("alice")),
        ("session=not%20a%20name".to_owned(), None),
    ] {
        let new = again(&query);
        assert_ne!(sid(&new), sid(&one), "{query}");
        assert!(named.is_none_or(|name| sid(&new) == name), "{query}");
    }
}

#[test]
fn where_playing_needs_a_token_so_does_joining_and_a_session_is_one() {
    let redirector = redirector(world(), Audience::Required);
    let bare = redirector.join(&request(FRANKFURT, "/live/x.m3u8", ""));
    assert_eq!(bare, Err(Refused::Token(Refusal::Missing)));
    let brought = Claims {
        label: Some("vip".to_owned()),
        sid: Some("viewer-1".to_owned()),
        ..Claims::new(key("live/x").into(), Action::Play, NOW_S + 60)
    };
    let token = Keys::derive(SECRET).unwrap().sign(&brought);
    let one = session(&join(&redirector, FRANKFURT, &format!("token={token}")));
    let got = claims(&one, "live/x", NOW_S + 3_600).unwrap();
    let kept = (got.label.as_deref(), got.sid.as_deref());
    assert_eq!(kept, (Some("vip"), Some("viewer-1")));
    let again = join(&redirector, FRANKFURT, &format!("session={one}"));
    assert_eq!(session(&again), one);
}

#[test]
fn who_asks_for_a_redirect_gets_one_to_the_edges_own_playlist() {
    let request = request(FRANKFURT, "/live/x.m3u8", "redirect=1&session=alice&a=b");
    let Ok(Joined::Location(location)) = open().join(&request) else {
        panic!("no redirect");
    };
    let (target, rest) = location.split_once("?token=").unwrap();
    assert_eq!(target, "https://fra.example.com/live/x.m3u8");
    assert!(rest.ends_with("&session=alice&a=b"), "{location}");
}

#[test]
fn a_rung_goes_on_when_the_stream_itself_is_off_air() {
    let redirector = redirector(ladder(), Audience::Redirected);
    set(&redirector, |snapshot| {
        Arc::make_mut(&mut snapshot.streams).remove("live/x");
    });
    let playlist = join(&redirector, FRANKFURT, "");
    assert!(playlist.contains("/live/x_1080/media.m3u8"), "{playlist}");
    assert!(!playlist.contains("/live/x/media.m3u8"), "{playlist}");
}

#[test]
fn a_running_player_follows_drains_deaths_and_comes_back_only_for_a_reason() {
    let redirector = redirector(ladder(), Audience::Redirected);
    let playlist = join(&redirector, FRANKFURT, "");
    let at = |pathway: &str| steering_query(&playlist, pathway);
    assert_eq!(first(&redirector, FRANKFURT, &at("fra")), "fra");
    for health in [Health::Draining, Health::Down] {
        set(&redirector, |snapshot| snapshot.nodes[0].health = health);
        let manifest = steer(&redirector, FRANKFURT, &at("fra")).unwrap();
        assert_eq!(manifest.priority[0].as_str(), "iad");
        assert!(manifest.ttl_s <= 3 && manifest.reload_uri.contains("&asked=1"));
        assert!(!manifest.priority.iter().any(|id| id.as_str() == "fra"));
    }
    // Back up, but not for long: the player stays where it went.
    set(&redirector, |snapshot| snapshot.nodes[0].settled = false);
    assert_eq!(first(&redirector, FRANKFURT, &at("iad")), "iad");
    set(&redirector, |_| ());
    assert_eq!(first(&redirector, FRANKFURT, &at("iad")), "fra");
}

#[test]
fn a_player_is_steered_by_the_place_that_it_joined_from() {
    let redirector = redirector(ladder(), Audience::Redirected);
    let playlist = join(&redirector, "127.0.0.1", "ip=198.51.100.1&exclude=sha");
    let query = steering_query(&playlist, "fra");
    assert!(query.contains("&ip=198.51.100.1&exclude=sha&"), "{query}");
    let manifest = steer(&redirector, "127.0.0.1", &query).unwrap();
    assert!(
        !manifest.priority.iter().any(|id| id.as_str() == "sha"),
        "{manifest:?}"
    );
    let (_, reload) = manifest.reload_uri.split_once('?').unwrap();
    assert!(reload.contains("&ip=198.51.100.1&exclude=sha"), "{reload}");
}

#[test]
fn a_player_that_moves_counts_as_sent_once_and_one_that_stays_never() {
    let redirector = redirector(ladder(), Audience::Redirected);
    let playlist = join(&redirector, FRANKFURT, "");
    let sent = |id: &str| {
        let snapshot = redirector.snapshot.load();
        snapshot.node(id).unwrap().sent.count().viewers
    };
    assert_eq!(sent("fra"), 1);
    for _ in 0..3 {
        first(&redirector, FRANKFURT, &steering_query(&playlist, "fra"));
    }
    assert_eq!((sent("fra"), sent("iad")), (1, 0));
    set(&redirector, |snapshot| {
        snapshot.nodes[0].health = Health::Draining
    });
    for pathway in ["fra", "fra", "iad", "iad"] {
        first(&redirector, FRANKFURT, &steering_query(&playlist, pathway));
    }
    assert_eq!(sent("iad"), 1);
}

#[test]
fn what_players_measure_is_heard_of_the_edge_that_they_play_from() {
    let redirector = redirector(ladder(), Audience::Redirected);
    let playlist = join(&redirector, FRANKFURT, "");
    for pathway in ["fra", "fra", "iad", "origin", "nobody", "%00"] {
        first(&redirector, FRANKFURT, &steering_query(&playlist, pathway));
    }
    let snapshot = redirector.snapshot.load();
    let heard = |id: &str| &snapshot.node(id).unwrap().heard;
    assert_eq!((heard("fra").asked(), heard("iad").asked()), (2, 1));
    assert_eq!(heard("fra").throughput(), (2, 16_000_000));
}

#[test]
fn clones_name_every_rung_where_an_edge_has_another_port() {
    let redirector = redirector(ladder(), Audience::Redirected);
    set(&redirector, |snapshot| {
        let sample = Arc::make_mut(&mut snapshot.nodes[1].sample);
        sample.node.public_url = "https://iad.example.com:8443".to_owned();
    });
    let query = steering_query(&join(&redirector, FRANKFURT, ""), "fra");
    let manifest = steer(&redirector, FRANKFURT, &query).unwrap();
    let clone = |id: &str| {
        let clone = manifest.clones.iter().find(|clone| clone.id.as_str() == id);
        clone.unwrap().replacement.clone()
    };
    assert_eq!(
        clone("sha"),
        Replacement::Host("sha.example.com".to_owned())
    );
    let Replacement::PerVariant(uris) = clone("iad") else {
        panic!("{manifest:?}");
    };
    // A rung that is off air may come on air again while the player plays.
    assert_eq!(uris.len(), 3);
    assert!(uris["live/x_240"].starts_with("https://iad.example.com:8443/live/x_240/media.m3u8?"));
}

#[test]
fn a_session_that_is_not_good_is_refused_by_kind() {
    let mut config = cluster::token::Config::default();
    config.session_max = transport::config::Duration::from_secs(60);
    let gate = cluster::token::Gate::load(&config, &Secret::new(SECRET)).unwrap();
    let sign = |stream: &str, sid: bool, now_s: u64| {
        let mut claims = gate.session_claims(key(stream).into(), new_sid(), None, now_s);
        claims.sid = claims.sid.filter(|_| sid);
        gate.sign(&claims)
    };
    let good = sign("live/x", true, NOW_S);
    for (query, status) in [
        (format!("session={good}"), StatusCode::OK),
        (String::new(), StatusCode::BAD_REQUEST),
        ("session=alice".to_owned(), StatusCode::FORBIDDEN),
        (format!("session={good}x"), StatusCode::FORBIDDEN),
        (
            format!("session={}", sign("live/x", false, NOW_S)),
            StatusCode::FORBIDDEN,
        ),
        (
            format!("session={}", sign("live/y", true, NOW_S)),
            StatusCode::FORBIDDEN,
        ),
        (
            format!("session={}", sign("live/x", true, NOW_S - 3_600)),
            StatusCode::GONE,
        ),
    ] {
        let mut request = http::Request::builder()
            .method(Method::GET)
            .uri(format!("/steering/live/x?{query}"))
            .body(())
            .unwrap();
        let peer = Peer("203.0.113.7:5000".parse().unwrap());
        request.extensions_mut().insert(peer);
        let response = public::answer(&open(), &request);
        assert_eq!(response.status(), status, "{query}");
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
}

#[test]
fn without_edges_a_player_is_told_to_ask_again() {
    let redirector = redirector(ladder(), Audience::Redirected);
    let query = steering_query(&join(&redirector, FRANKFURT, ""), "fra");
    set(&redirector, |snapshot| {
        let all = snapshot.nodes.iter_mut();
        all.for_each(|node| node.health = Health::Down);
    });
    assert_eq!(steer(&redirector, FRANKFURT, &query), Err(Refused::NoEdge));
    redirector.snapshot.store(Arc::new(Snapshot::default()));
    assert_eq!(
        steer(&redirector, FRANKFURT, &query),
        Err(Refused::UnknownStream)
    );
}
