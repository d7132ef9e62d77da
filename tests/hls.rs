//! HLS and its low-latency form from real edges: the same bytes everywhere, nothing missing, one viewer per session.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{
    Answer, Cluster, EDGES, clips, eventually,
    ffmpeg::{self, Running},
    get,
    hls::{Ask, Checker},
    request, token,
};

const SHOW: &str = "live/show";

/// A media playlist, as far as these tests look at it.
#[derive(Clone, Debug, Default)]
struct Playlist {
    text: String,
    msn: u64,
    /// Name of each complete segment, in order, and whether it is a gap.
    segments: Vec<(String, bool)>,
    /// Parts of the segment that is not complete.
    open: Vec<String>,
    parts: Vec<String>,
    map: String,
    hint: String,
}

impl Playlist {
    fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8(text.to_vec()).unwrap();
        m3u8_rs::parse_media_playlist_res(text.as_bytes()).unwrap_or_else(|error| {
            panic!("{error:?}: {text}");
        });
        let mut made = Self::default();
        let mut gap = false;
        let uri = |line: &str| {
            let rest = line.split("URI=\"").nth(1).unwrap_or_default();
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        for line in text.lines() {
            match line.split_once(':').unwrap_or((line, "")) {
                ("#EXT-X-MEDIA-SEQUENCE", number) => made.msn = number.parse().unwrap(),
                ("#EXT-X-MAP", _) => made.map = uri(line),
                ("#EXT-X-PART", _) => {
                    made.open.push(uri(line));
                    made.parts.push(uri(line));
                }
                ("#EXT-X-PRELOAD-HINT", _) => made.hint = uri(line),
                ("#EXT-X-GAP", _) => gap = true,
                (tag, _) if tag.starts_with('#') => {}
                _ => {
                    made.segments
                        .push((line.to_owned(), std::mem::take(&mut gap)));
                    made.open.clear();
                }
            }
        }
        Self { text, ..made }
    }

    /// The place after its newest part, as a player asks for it.
    fn next(&self) -> (u64, usize) {
        (self.msn + self.segments.len() as u64, self.open.len())
    }
}

/// A player's session at one edge, or at several.
#[derive(Clone)]
struct Session(String);

impl Session {
    /// Joins at an edge by a token.
    fn join(edge: &str, stream: &str) -> Self {
        let token = token("play", stream);
        let answer = get(edge, &format!("/{stream}.m3u8?token={token}"));
        assert_eq!(answer.status, 200, "{}", answer.head);
        let text = String::from_utf8(answer.body).unwrap();
        m3u8_rs::parse_master_playlist_res(text.as_bytes()).unwrap();
        let uri = text
            .lines()
            .find(|line| line.contains("media.m3u8"))
            .unwrap();
        Self(uri.split_once("session=").unwrap().1.to_owned())
    }

    fn path(&self, stream: &str, directives: &str) -> String {
        format!("/{stream}/media.m3u8?session={}{directives}", self.0)
    }

    fn ask(&self, edge: &str, directives: &str) -> Answer {
        get(edge, &self.path(SHOW, directives))
    }

    fn playlist(&self, edge: &str, directives: &str) -> Playlist {
        let answer = self.ask(edge, directives);
        assert_eq!(answer.status, 200, "{edge} {directives} {}", answer.head);
        Playlist::parse(&answer.body)
    }

    /// The playlist once it has so many segments.
    fn playlist_of(&self, edge: &str, segments: usize) -> Playlist {
        let mut playlist = self.playlist(edge, "");
        eventually("the playlist grows", || {
            playlist = self.playlist(edge, "");
            playlist.segments.len() >= segments
        });
        playlist
    }
}

fn piece(edge: &str, name: &str) -> Answer {
    get(edge, &format!("/{SHOW}/{name}"))
}

fn bytes(edge: &str, name: &str) -> Vec<u8> {
    let answer = piece(edge, name);
    assert_eq!(answer.status, 200, "{name} at {edge}: {}", answer.head);
    answer.body
}

fn on_air(cluster: &Cluster, choice: &[&str]) -> Running {
    let running = ffmpeg::publish(&clips::h264(), &cluster.publish_url(SHOW), choice);
    cluster.wait_on_air(SHOW);
    running
}

fn edge(cluster: &Cluster, nth: usize) -> String {
    cluster.node(EDGES[nth].0).public.clone()
}

#[test]
fn any_edge_gives_the_same_bytes_for_the_same_name() {
    let mut cluster = Cluster::start(3);
    let _publisher = on_air(&cluster, &[]);
    let [one, two, late] = [0, 1, 2].map(|nth| edge(&cluster, nth));
    let session = Session::join(&one, SHOW);
    let first = session.playlist_of(&one, 5);
    let other = session.playlist(&two, "");
    assert!(
        other
            .segments
            .iter()
            .any(|segment| first.segments.contains(segment))
    );
    // The third edge joins only now, and has what the others had.
    let seen = session.playlist(&late, "");
    assert!(
        seen.msn <= first.msn,
        "late: {} first: {}",
        seen.text,
        first.text
    );
    let names = first.segments.iter().map(|(name, _)| name.clone());
    let names: Vec<String> = names.collect();
    let made = names.iter().chain(&first.parts).chain([&first.map]);
    let made: BTreeMap<_, _> = made.map(|name| (name.clone(), bytes(&one, name))).collect();
    for (name, expected) in &made {
        for edge in [&two, &late] {
            assert!(bytes(edge, name) == *expected, "{name} differs at {edge}");
        }
    }
    // A segment is its parts, one after the other.
    let parts: Vec<u8> = first
        .parts
        .iter()
        .flat_map(|name| made[name].clone())
        .collect();
    let segments: Vec<u8> = names.iter().flat_map(|name| made[name].clone()).collect();
    let whole = first.parts.len() - first.open.len();
    let closed: Vec<u8> = first.parts[..whole]
        .iter()
        .flat_map(|name| made[name].clone())
        .collect();
    assert!(!parts.is_empty() && segments.ends_with(&closed));
    cluster.kill(EDGES[0].0);
    cluster.restart(EDGES[0].0);
    for (name, expected) in &made {
        assert!(
            bytes(&one, name) == *expected,
            "{name} differs after a restart"
        );
    }
    assert_plays(&made[&first.map], &segments, names.len());
}

/// Whether ffprobe finds nothing wrong, and frames of both kinds for so many seconds.
fn assert_plays(init: &[u8], segments: &[u8], seconds: usize) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.mp4");
    fs::write(&file, [init, segments].concat()).unwrap();
    let probe = Command::new("ffprobe")
        .args(["-v", "warning", "-count_frames", "-show_entries"])
        .args(["stream=codec_type,nb_read_frames", "-of", "csv=p=0"])
        .arg(&file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&probe.stderr).into_owned();
    assert!(probe.status.success() && errors.is_empty(), "{errors}");
    let said = String::from_utf8_lossy(&probe.stdout).into_owned();
    let video = said.lines().find_map(|line| line.strip_prefix("video,"));
    assert_eq!(video, Some((seconds * 25).to_string().as_str()), "{said}");
    assert!(said.contains("audio,"), "{said}");
}

#[test]
fn a_player_that_goes_round_finds_everything_everywhere() {
    goes_round(Duration::from_secs(6));
}

#[test]
#[ignore = "takes a minute; run by `make soak`"]
fn soak_a_player_that_goes_round_for_a_minute_finds_everything_everywhere() {
    goes_round(Duration::from_secs(60));
}

fn goes_round(length: Duration) {
    let cluster = Cluster::start(3);
    let _publisher = on_air(&cluster, &[]);
    let edges = [0, 1, 2].map(|nth| edge(&cluster, nth));
    let session = Session::join(&edges[0], SHOW);
    let mut turn = edges.iter().cycle();
    let mut playlist = session.playlist_of(turn.next().unwrap(), 2);
    let mut seen = BTreeSet::new();
    let mut checker = Checker::new();
    checker.playlist(&playlist.text);
    let start = Instant::now();
    let mut buffer = Buffer::new(start);
    while start.elapsed() < length {
        // The hint is asked for before it is there, at another edge than the playlist.
        let hint = playlist.hint.clone();
        assert!(!bytes(turn.next().unwrap(), &hint).is_empty());
        let (msn, part) = playlist.next();
        let directives = format!("&_HLS_msn={msn}&_HLS_part={part}");
        playlist = session.playlist(turn.next().unwrap(), &directives);
        let part = Some(part);
        checker.reloaded(Ask { msn, part }, &playlist.text);
        buffer.fill(&playlist);
        assert!(
            playlist.parts.contains(&hint),
            "{hint} is not in {}",
            playlist.text
        );
        for name in playlist.open.iter().chain(Some(&playlist.map)) {
            bytes(turn.next().unwrap(), name);
        }
        for (name, gap) in &playlist.segments {
            assert!(!gap, "{}", playlist.text);
            if seen.insert(name.clone()) {
                bytes(turn.next().unwrap(), name);
            }
        }
    }
    assert!(seen.len() as u64 > length.as_secs(), "{seen:?}");
    checker.assert_kept(&[]);
    assert_eq!(buffer.stalls, 0);
    let muxed: f64 = EDGES
        .iter()
        .map(|edge| cluster.node(edge.0).metric("weir_edge_hls_muxed_total", ""))
        .sum();
    assert!(muxed > 0.0);
    for (name, ..) in EDGES {
        assert_eq!(
            cluster.node(name).metric("weir_edge_viewers", ""),
            1.0,
            "{name}"
        );
    }
}

/// How long a player could go on, that began three parts behind the newest.
struct Buffer {
    start: Instant,
    /// Of the stream, since the start.
    have: Duration,
    known: BTreeSet<String>,
    stalls: usize,
}

impl Buffer {
    fn new(start: Instant) -> Self {
        Self {
            start,
            have: HOLD_BACK,
            known: BTreeSet::new(),
            stalls: 0,
        }
    }

    /// The parts of a playlist have come, those of the first one before the start.
    fn fill(&mut self, playlist: &Playlist) {
        let first = self.known.is_empty();
        for line in playlist.text.lines() {
            let Some(rest) = line.strip_prefix("#EXT-X-PART:DURATION=") else {
                continue;
            };
            let (seconds, uri) = rest.split_once(',').unwrap();
            if self.known.insert(uri.to_owned()) && !first {
                self.have += Duration::from_secs_f64(seconds.parse().unwrap());
            }
        }
        if first {
            self.start = Instant::now();
        }
        self.stalls += usize::from(self.start.elapsed() > self.have);
    }
}

/// PART-HOLD-BACK: three parts.
const HOLD_BACK: Duration = Duration::from_millis(1200);

#[test]
fn playlists_are_answered_as_the_specification_says() {
    let cluster = Cluster::start(1);
    let _publisher = on_air(&cluster, &[]);
    let edge = edge(&cluster, 0);
    let session = Session::join(&edge, SHOW);
    let playlist = session.playlist_of(&edge, 3);
    let newest = playlist.msn + playlist.segments.len() as u64;
    let rows = [
        (format!("&_HLS_msn={}", newest + 5), 400),
        (format!("&_HLS_msn={}&_HLS_part=90", newest + 1), 400),
        ("&_HLS_part=1".into(), 400),
        ("&_HLS_msn=x".into(), 400),
        (format!("&_HLS_msn={}", playlist.msn), 200),
        ("&_HLS_skip=YES".into(), 200),
    ];
    for (directives, status) in rows {
        assert_eq!(
            session.ask(&edge, &directives).status,
            status,
            "{directives}"
        );
    }
    // Blocked until the segment is there, and then kept for long: its address says which it is.
    let blocked = session.ask(&edge, &format!("&_HLS_msn={newest}"));
    assert_eq!(
        blocked.header("cache-control").as_deref(),
        Some("public, max-age=36")
    );
    assert!(Playlist::parse(&blocked.body).msn + 3 <= newest + 1);
    let plain = session.ask(&edge, "");
    assert_eq!(
        plain.header("cache-control").as_deref(),
        Some("public, max-age=1")
    );
    assert_eq!(
        plain.header("content-type").as_deref(),
        Some("application/vnd.apple.mpegurl")
    );
    assert_eq!(
        plain.header("access-control-allow-origin").as_deref(),
        Some("*")
    );
    let path = session.path(SHOW, "");
    let zipped = request(&edge, "GET", &path, "Accept-Encoding: br, gzip\r\n");
    assert_eq!(zipped.header("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(zipped.header("vary").as_deref(), Some("accept-encoding"));
    assert!(zipped.body.starts_with(&[0x1F, 0x8B]) && zipped.body.len() < plain.body.len() / 2);
    let head = request(&edge, "HEAD", &path, "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let init = piece(&edge, &playlist.map);
    assert_eq!(
        init.header("cache-control").as_deref(),
        Some("public, max-age=31536000, immutable")
    );
    let status = init.header("cache-status").unwrap();
    assert!(status.contains("fwd=uri-miss"), "{status}");
    let again = piece(&edge, &playlist.map);
    assert!(again.header("cache-status").unwrap().ends_with("; hit"));
    assert_eq!(request(&edge, "OPTIONS", &path, "").status, 204);
    assert_eq!(request(&edge, "POST", &path, "").status, 405);
    for gone in ["seg.1.1.m4s", "part.1.1.m4s", "init.1.0.mp4", "other.mp4"] {
        assert_eq!(piece(&edge, gone).status, 404, "{gone}");
    }
}

#[test]
fn a_player_is_one_viewer_however_much_it_asks() {
    let cluster = Cluster::start(1);
    let _publisher = on_air(&cluster, &[]);
    let node = cluster.node(EDGES[0].0);
    let token = token("play", SHOW);
    let url = format!("http://{}/{SHOW}.m3u8?token={token}", node.public);
    let received = ffmpeg::hashes(&url, Some(4), true);
    assert!(received.len() > 4 * 25, "{}", received.len());
    assert_eq!(node.metric("weir_edge_joins_total", "hls"), 1.0);
    assert_eq!(node.metric("weir_edge_viewers", ""), 1.0);
    // By the media playlist alone: one redirect to a session of its own.
    let answer = get(&node.public, &format!("/{SHOW}/media.m3u8?token={token}"));
    assert_eq!(answer.status, 302);
    let location = answer.header("location").unwrap();
    assert_eq!(get(&node.public, &location).status, 200);
    assert_eq!(get(&node.public, &location).status, 200);
    assert_eq!(node.metric("weir_edge_viewers", ""), 2.0);
    assert!(node.metric("weir_edge_egress_bytes_total", "") > 100_000.0);
    for wrong in ["", "?token=x", "?session=x", &format!("?session={token}")] {
        let path = format!("/{SHOW}/media.m3u8{wrong}");
        assert_eq!(get(&node.public, &path).status, 403, "{wrong}");
    }
    assert_eq!(
        node.metric("weir_edge_refused_total", "token_no_session"),
        1.0
    );
}

#[test]
fn segments_may_be_for_sessions_alone() {
    let cluster = Cluster::with(1, "[edge.hls]\nsegment_auth = \"token\"");
    let _publisher = on_air(&cluster, &[]);
    let edge = edge(&cluster, 0);
    let session = Session::join(&edge, SHOW);
    let answer = session.ask(&edge, "");
    assert_eq!(
        answer.header("cache-control").as_deref(),
        Some("private, max-age=1")
    );
    let playlist = Playlist::parse(&answer.body);
    let (name, _) = playlist.segments.last().unwrap();
    for name in [name, &playlist.map] {
        assert!(name.ends_with(&format!("?token={}", session.0)), "{name}");
        assert_eq!(piece(&edge, name).status, 200);
        let bare = name.split('?').next().unwrap();
        assert_eq!(piece(&edge, bare).status, 403);
        let join = token("play", SHOW);
        assert_eq!(piece(&edge, &format!("{bare}?token={join}")).status, 403);
    }
}

#[test]
fn sound_or_pictures_alone_play_as_well() {
    for choice in ["-vn", "-an"] {
        let cluster = Cluster::start(1);
        let _publisher = on_air(&cluster, &[choice]);
        let token = token("play", SHOW);
        let url = format!("http://{}/{SHOW}.m3u8?token={token}", edge(&cluster, 0));
        let received = ffmpeg::hashes(&url, Some(3), true);
        assert!(received.len() > 50, "{choice}: {}", received.len());
    }
}
