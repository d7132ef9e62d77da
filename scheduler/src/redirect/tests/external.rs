//! Viewers for whom there is no room at our edges, and somebody else's pathway beside them.

use super::*;
use crate::pathway::Pathway;
use crate::redirect::Joined;
use crate::steering::Replacement;

const FRANKFURT_VIEWER: &str = "203.0.113.7";

/// The world with a pathway near everybody; `more` are further keys of its row.
fn clouded(more: &str) -> Snapshot {
    let row = format!(
        "id = \"cloud\"\nurl = \"https://cdn.example.com/{{app}}/{{stream}}.flv\"\n\
         everywhere = true\negress_mbps = 1000\n\
         sign = {{ scheme = \"tencent-live\", key = \"k\", ttl = \"5m\" }}\n{more}"
    );
    let pathway = Pathway::new(toml::from_str(&row).unwrap()).unwrap();
    let mut snapshot = world();
    snapshot.nodes.push(NodeView::external(9, pathway));
    snapshot
}

const HLS: &str = "hls = \"https://cdn.example.com/{app}/{stream}.m3u8\"\n";
const MEDIA: &str = "media = \"https://cdn.example.com/{app}/{stream}/media.m3u8\"\n";

/// Fills the edge in Frankfurt.
fn full(mut snapshot: Snapshot) -> Redirector {
    snapshot.nodes[0].viewers = 970;
    redirector(snapshot, Audience::Redirected)
}

fn location(redirector: &Redirector, query: &str) -> String {
    let request = request(FRANKFURT_VIEWER, "/live/x.flv", query);
    redirector.redirect(&request).unwrap()
}

fn join(redirector: &Redirector, query: &str) -> Joined {
    let request = request(FRANKFURT_VIEWER, "/live/x.m3u8", query);
    redirector.join(&request).unwrap()
}

#[test]
fn a_viewer_goes_there_only_when_the_edge_near_it_is_full() {
    let calm = redirector(clouded(""), Audience::Redirected);
    for nth in 0..200 {
        let location = location(&calm, &format!("session=v{nth}"));
        assert!(
            location.starts_with("https://fra."),
            "nobody explores for money: {location}"
        );
    }
    let full = full(clouded(""));
    let away = location(&full, "session=a&hevc=legacy");
    let (path, query) = away.split_once('?').unwrap();
    assert_eq!(path, "https://cdn.example.com/live/x.flv");
    assert!(
        query.starts_with("txSecret=") && query.contains("&txTime="),
        "{away}"
    );
    assert!(
        !query.contains("token") && !query.contains("hevc"),
        "{away}"
    );

    let request = request(FRANKFURT_VIEWER, "/api/v1/resolve", "stream=live/x");
    let resolved = full.resolve(&request).unwrap();
    assert_eq!((resolved.edge.as_str(), resolved.ttl_s), ("cloud", 300));
    let (_, token) = resolved.fallbacks[0].url.split_once("?token=").unwrap();
    let edge = resolved.fallbacks[0].edge.as_str();
    let edges = verify(token, edge, FRANKFURT_VIEWER)
        .unwrap()
        .edges
        .unwrap();
    assert!(
        edges.iter().all(|edge| edge.as_str() != "cloud"),
        "{edges:?}"
    );
    assert!(!edges.is_empty());
}

#[test]
fn a_viewer_who_was_sent_away_comes_home_when_there_is_room() {
    let redirector = full(clouded(""));
    let away = location(&redirector, "session=a");
    assert!(away.starts_with("https://cdn."), "{away}");
    redirector.snapshot.store(Arc::new(clouded("")));
    let home = location(&redirector, "session=a");
    assert!(home.starts_with("https://fra."), "{home}");
}

#[test]
fn a_full_or_drained_pathway_takes_nobody() {
    for change in [
        (|view: &mut NodeView| view.egress_bps = 970_000_000) as fn(&mut NodeView),
        |view| view.health = Health::Draining,
    ] {
        let mut snapshot = clouded("");
        change(&mut snapshot.nodes[3]);
        let location = location(&full(snapshot), "");
        assert!(location.starts_with("https://iad."), "{location}");
    }
}

#[test]
fn an_hls_player_goes_where_its_format_is() {
    // Without one it stays at an edge of ours, however far.
    assert!(matches!(join(&full(clouded("")), ""), Joined::Playlist(text) if text.contains("iad")));
    let sent = join(&full(clouded(HLS)), "");
    let Joined::Location(location) = sent else {
        panic!("{sent:?}");
    };
    assert!(
        location.starts_with("https://cdn.example.com/live/x.m3u8?txSecret="),
        "{location}"
    );
    // Where the media playlist is known, the player stays in our hands.
    let sent = join(&full(clouded(MEDIA)), "");
    let Joined::Playlist(text) = sent else {
        panic!("{sent:?}");
    };
    assert!(text.contains("PATHWAY-ID=\"cloud\""), "{text}");
    assert!(
        text.contains("https://cdn.example.com/live/x/media.m3u8?txSecret="),
        "{text}"
    );
    // Who wants to be redirected needs all of it there.
    let sent = join(&full(clouded(MEDIA)), "redirect=1");
    assert!(
        matches!(&sent, Joined::Location(it) if it.starts_with("https://iad.")),
        "{sent:?}"
    );
}

#[test]
fn players_there_are_steered_home_some_at_a_time() {
    let full = full(clouded(MEDIA));
    let Joined::Playlist(text) = join(&full, "") else {
        panic!("no playlist");
    };
    let uri = text.split("SERVER-URI=\"/steering/live/x?").nth(1).unwrap();
    let uri = uri.split('"').next().unwrap();
    let query = format!("{uri}&_HLS_pathway=cloud");
    let ask = |redirector: &Redirector, peer: &str| {
        redirector
            .steering(&request(peer, "/steering/live/x", &query), 0)
            .unwrap()
    };
    let manifest = ask(&full, FRANKFURT_VIEWER);
    assert_eq!(
        manifest.priority[0].as_str(),
        "cloud",
        "while there is no room"
    );
    assert!(manifest.priority.len() > 1);
    for clone in &manifest.clones {
        let uris = match &clone.replacement {
            Replacement::PerVariant(uris) => uris,
            Replacement::Host(host) => panic!("{host} has other paths"),
        };
        assert!(
            uris.values()
                .all(|uri| uri.contains("/live/x/media.m3u8?session=")),
            "{uris:?}"
        );
    }

    let mut calm = clouded(MEDIA);
    calm.nodes[0].settled = true;
    full.snapshot.store(Arc::new(calm));
    let mut later = open();
    later.snapshot = full.snapshot.clone();
    let minutes = 0..1_000;
    let home = minutes.filter(|minute| {
        later.clock = Clock::manual((NOW_S + 60 * minute) * 1_000_000);
        let manifest = ask(&later, FRANKFURT_VIEWER);
        manifest.priority[0].as_str() == "fra"
    });
    let home = home.count();
    assert!((1..100).contains(&home), "{home}");
}
