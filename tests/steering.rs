//! Running HLS players as the scheduler steers them: what it tells them while edges drain, die and
//! come back. A player here is its requests; browsers are elsewhere.

use crate::harness::{
    Answer, Cluster, EDGES, clips, eventually, ffmpeg, get, signal, token, weir_says, within,
};
use m3u8_rs::{MasterPlaylist, Playlist};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    time::Duration,
};

const STREAM: &str = "live/show";

/// A player that asks as hls.js does, and goes where it is told.
struct Player<'a> {
    cluster: &'a Cluster,
    steering: String,
    pathway: String,
    playlist: MasterPlaylist,
}

impl<'a> Player<'a> {
    fn join(cluster: &'a Cluster, address: &str) -> Self {
        let answer = get(&cluster.scheduler, &format!("/{STREAM}.m3u8?ip={address}"));
        let playlist = multivariant(&answer);
        let mut steering = playlist.unknown_tags.iter();
        let steering = steering.find(|tag| tag.tag == "X-CONTENT-STEERING");
        let steering = steering.and_then(|tag| tag.rest.clone()).unwrap();
        let attribute = |name: &str| {
            let value = steering.split(&format!("{name}=\"")).nth(1).unwrap();
            value.split('"').next().unwrap().to_string()
        };
        Self {
            cluster,
            steering: attribute("SERVER-URI"),
            pathway: attribute("PATHWAY-ID"),
            playlist,
        }
    }

    /// Asks once, and goes to the first pathway.
    fn ask(&mut self) -> Value {
        let question = format!(
            "{}&_HLS_pathway={}&_HLS_throughput=5000000",
            self.steering, self.pathway
        );
        let answer = get(&self.cluster.scheduler, &question);
        assert_eq!(answer.status, 200, "{question}: {}", answer.head);
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
        let manifest: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(manifest["VERSION"], 1);
        self.steering = manifest["RELOAD-URI"].as_str().unwrap().to_string();
        self.pathway = manifest["PATHWAY-PRIORITY"][0]
            .as_str()
            .unwrap()
            .to_string();
        manifest
    }

    fn names(manifest: &Value) -> Vec<String> {
        let ids = manifest["PATHWAY-PRIORITY"].as_array().unwrap().iter();
        ids.map(|id| id.as_str().unwrap().to_string()).collect()
    }
}

fn multivariant(answer: &Answer) -> MasterPlaylist {
    assert_eq!(answer.status, 200, "{}", answer.head);
    let media_type = answer.header("content-type");
    assert_eq!(media_type.as_deref(), Some("application/vnd.apple.mpegurl"));
    match m3u8_rs::parse_playlist_res(&answer.body).unwrap() {
        Playlist::MasterPlaylist(playlist) => playlist,
        Playlist::MediaPlaylist(_) => panic!("a media playlist"),
    }
}

#[test]
fn a_drain_moves_running_players_and_an_undrain_does_not_pull_them_back() {
    let cluster = Cluster::start(3);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    cluster.wait_on_air(STREAM);
    let (name, _, _, address) = EDGES[1];
    let mut player = Player::join(&cluster, address);
    assert_eq!(player.pathway, name);
    let manifest = player.ask();
    assert_eq!(Player::names(&manifest).len(), 3);
    assert!(
        (6..=9).contains(&manifest["TTL"].as_u64().unwrap()),
        "{manifest}"
    );

    // Every other pathway is described well enough to be used.
    for clone in manifest["PATHWAY-CLONES"].as_array().unwrap() {
        let node = cluster.node(clone["ID"].as_str().unwrap());
        let uri = clone["URI-REPLACEMENT"]["PER-VARIANT-URIS"][STREAM].as_str();
        let at = format!("http://{}/{STREAM}/media.m3u8?session=", node.public);
        assert!(uri.is_some_and(|uri| uri.starts_with(&at)), "{clone}");
        assert_eq!(clone["BASE-ID"], name);
    }

    let admin = format!("http://{}", cluster.scheduler_admin);
    weir_says(&["drain", name, "--admin", &admin]);
    let manifest = player.ask();
    assert!(
        !Player::names(&manifest).contains(&name.to_string()),
        "{manifest}"
    );
    assert!(
        (2..=3).contains(&manifest["TTL"].as_u64().unwrap()),
        "{manifest}"
    );
    let moved = player.pathway.clone();
    let manifest = player.ask();
    assert_eq!(player.pathway, moved);
    assert!(
        (6..=9).contains(&manifest["TTL"].as_u64().unwrap()),
        "{manifest}"
    );

    weir_says(&["drain", name, "--undo", "--admin", &admin]);
    eventually("the edge is offered again, and the player stays", || {
        let manifest = player.ask();
        assert_eq!(player.pathway, moved);
        Player::names(&manifest).contains(&name.to_string())
    });
    let scheduler = cluster.node("scheduler");
    let moves = scheduler.metric("weir_scheduler_steered_total", "outcome=\"move\"");
    assert_eq!(moves, 1.0);
    let heard = scheduler.metric("weir_scheduler_pathway_requests_total", name);
    assert_eq!(heard, 2.0);
}

#[test]
fn an_edge_told_to_stop_serves_its_players_until_they_are_told_to_leave() {
    let mut cluster = Cluster::start(2);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    cluster.wait_on_air(STREAM);
    let (name, _, _, address) = EDGES[1];
    let edge = cluster.node(name).public.clone();
    let uri = Player::join(&cluster, address).playlist.variants[0]
        .uri
        .clone();
    let playlist = uri
        .split_once(&edge)
        .expect("it is at the edge")
        .1
        .to_owned();
    eventually("it plays", || get(&edge, &playlist).status == 200);
    let mut player = Player::join(&cluster, address);
    assert_eq!(player.pathway, name);

    signal(&cluster.node(name).process, "TERM");
    eventually("the player is told to leave", || {
        assert_eq!(get(&edge, &playlist).status, 200, "until then it is served");
        player.ask();
        player.pathway != name
    });
    // It comes back for what it has not yet had.
    assert_eq!(get(&edge, &playlist).status, 200);
    let other = format!("/{STREAM}.m3u8?token={}", token("play", STREAM));
    assert_eq!(get(&edge, &other).status, 503);
    assert!(cluster.node_mut(name).is_running());
    assert!(
        cluster.terminate(name).success(),
        "a second signal stops it"
    );
}

#[test]
fn a_dead_edge_leaves_the_answers_within_three_seconds() {
    let mut cluster = Cluster::start(3);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    cluster.wait_on_air(STREAM);
    let (name, _, _, address) = EDGES[1];
    let mut player = Player::join(&cluster, address);
    let (steering, pathway) = (player.steering.clone(), player.pathway.clone());
    assert_eq!(player.pathway, name);
    let playlist = player.playlist.clone();
    cluster.kill(name);
    player = Player {
        cluster: &cluster,
        steering,
        pathway,
        playlist,
    };
    within(
        Duration::from_secs(3),
        "a player is told to leave a killed edge",
        || {
            let manifest = player.ask();
            !Player::names(&manifest).contains(&name.to_string())
        },
    );
    assert_ne!(player.pathway, name);
}

#[test]
fn rungs_are_offered_while_they_are_on_air() {
    let mut cluster = Cluster::start(1);
    let file = cluster.node("scheduler").config.clone();
    let rungs = "[[stream]]\nname = \"live/show\"\nrungs = [\"live/show\", \"live/show_low\"]\n";
    append(&file, rungs);
    cluster.terminate("scheduler");
    cluster.restart("scheduler");
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    let low = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show_low"), &[]);
    cluster.wait_on_air(STREAM);
    cluster.wait_on_air("live/show_low");

    let player = Player::join(&cluster, EDGES[0].3);
    let uris: Vec<&str> = player
        .playlist
        .variants
        .iter()
        .map(|variant| variant.uri.as_str())
        .collect();
    assert_eq!(uris.len(), 2, "{uris:?}");
    for (stream, edge) in [(STREAM, EDGES[0].0), ("live/show_low", EDGES[0].0)] {
        let at = format!(
            "http://{}/{stream}/media.m3u8?session=",
            cluster.node(edge).public
        );
        assert!(uris.iter().any(|uri| uri.starts_with(&at)), "{uris:?}");
    }
    for variant in &player.playlist.variants {
        assert!(variant.bandwidth > 16_000, "{variant:?}");
        assert!(
            variant
                .codecs
                .as_deref()
                .is_some_and(|it| it.starts_with("avc1."))
        );
        assert!(variant.resolution.is_some(), "{variant:?}");
    }
    drop(low);
    cluster.wait_off_air("live/show_low");
    let player = Player::join(&cluster, EDGES[0].3);
    assert_eq!(player.playlist.variants.len(), 1);
}

fn append(file: &std::path::Path, text: &str) {
    let mut file: File = fs::File::options().append(true).open(file).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
