//! A player of LL-HLS that keeps all it is given: each playlist goes to the checker, and each part, segment and init
//! section is there for ffmpeg to read.

use std::{collections::BTreeMap, fs, process::Command};

use super::super::{eventually, get, token};
use super::{Ask, Checker};

/// The address in a line of a multivariant playlist that has a session, from the session on.
pub fn session(edge: &str, stream: &str, token: &str) -> String {
    let answer = get(edge, &format!("/{stream}.m3u8?token={token}"));
    assert_eq!(answer.status, 200, "{stream} at {edge}: {}", answer.head);
    let text = String::from_utf8(answer.body).unwrap();
    let (_, session) = text.split_once("media.m3u8?session=").unwrap();
    session.lines().next().unwrap().to_owned()
}

/// What was seen of a stream.
#[derive(Default)]
pub struct Watched {
    pub checker: Checker,
    files: BTreeMap<String, Vec<u8>>,
    /// Of each complete segment: its init section and itself, unless it is a gap.
    segments: BTreeMap<u64, (String, String)>,
    pub gaps: usize,
}

/// What ffprobe says of segments that share an init section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// Codecs, and the size of a picture: `h264 320x180`, `aac`.
    pub tracks: Vec<String>,
    /// Pictures decoded, or packets of sound where there is no picture.
    pub frames: usize,
}

/// Plays a stream at an edge until that is over.
pub fn watch(edge: &str, stream: &str, is_over: impl Fn() -> bool) -> Watched {
    let session = session(edge, stream, &token("play", stream));
    let mut watched = Watched::default();
    let mut delta = false;
    while !is_over() {
        let mut path = format!("/{stream}/media.m3u8?session={session}");
        let ask = watched.next();
        if let Some(Ask { msn, part }) = ask {
            let part = part.unwrap_or(0);
            path += &format!("&_HLS_msn={msn}&_HLS_part={part}");
            path += if delta { "&_HLS_skip=YES" } else { "" };
            delta = !delta;
        }
        let answer = get(edge, &path);
        // Status 0: nobody answered within the client's own patience, as while a publisher pauses.
        if answer.status == 0 {
            continue;
        }
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}\n{text}", answer.head);
        match ask {
            Some(ask) => watched.checker.reloaded(ask, &text),
            None => watched.checker.playlist(&text),
        }
        watched.fetch(edge, stream);
    }
    watched
}

impl Watched {
    /// What a player asks for next: the part after the last one.
    fn next(&self) -> Option<Ask> {
        let (msn, open) = self.checker.last()?.end();
        let (msn, part) = open.map_or((msn + 1, 0), |parts| (msn, parts));
        Some(Ask {
            msn,
            part: Some(part),
        })
    }

    /// Takes what the newest playlist names and was not there before.
    fn fetch(&mut self, edge: &str, stream: &str) {
        let Some(last) = self.checker.last().cloned() else {
            return;
        };
        self.gaps = 0;
        for segment in last.segments {
            let map = segment.map.clone().unwrap_or_default();
            self.file(edge, stream, &map);
            let parts: Vec<_> = segment.parts.iter().map(|part| &part.uri).collect();
            for uri in &parts {
                self.file(edge, stream, uri);
            }
            let Some(uri) = segment.uri else { continue };
            if segment.gap {
                self.gaps += 1;
                continue;
            }
            self.file(edge, stream, &uri);
            if !parts.is_empty() {
                let sum: Vec<u8> = parts
                    .iter()
                    .flat_map(|uri| &self.files[*uri])
                    .copied()
                    .collect();
                assert!(self.files[&uri] == sum, "{uri} is not the sum of {parts:?}");
            }
            self.segments.insert(segment.msn, (map, uri));
        }
    }

    fn file(&mut self, edge: &str, stream: &str, uri: &str) {
        if !self.files.contains_key(uri) {
            let answer = get(edge, &format!("/{stream}/{uri}"));
            assert_eq!(answer.status, 200, "{uri}: {}", answer.head);
            self.files.insert(uri.into(), answer.body);
        }
    }

    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// What ffmpeg decodes, run by run of segments that share an init section; it may not find a fault.
    pub fn decoded(&self) -> Vec<Probed> {
        let mut runs: Vec<(&str, Vec<u8>)> = Vec::new();
        for (map, uri) in self.segments.values() {
            if runs.last().is_none_or(|(of, _)| of != map) {
                runs.push((map, self.files[map].clone()));
            }
            runs.last_mut().unwrap().1.extend(&self.files[uri]);
        }
        runs.iter().map(|(_, bytes)| probe(bytes)).collect()
    }
}

fn probe(bytes: &[u8]) -> Probed {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.mp4");
    fs::write(&file, bytes).unwrap();
    let input = ["-i", file.to_str().unwrap()];
    // In the clock of the file: in whole frames a gap would put two at one time.
    let decode = [
        "-vsync",
        "passthrough",
        "-enc_time_base",
        "-1",
        "-f",
        "null",
        "-",
    ];
    quietly("ffmpeg", &[&["-xerror"], &input[..], &decode].concat());
    let shown = "stream=codec_name,codec_type,width,height,nb_read_frames";
    let ask = ["-count_frames", "-show_entries", shown, "-of", "json"];
    let said = quietly("ffprobe", &[&ask[..], &input].concat());
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let streams = said["streams"].as_array().unwrap();
    let mut probed = Probed::default();
    for stream in streams {
        let codec = stream["codec_name"].as_str().unwrap();
        let is_video = stream["codec_type"] == "video";
        let size = format!(" {}x{}", stream["width"], stream["height"]);
        probed
            .tracks
            .push(codec.to_owned() + if is_video { &size } else { "" });
        if is_video || streams.len() == 1 {
            let frames = stream["nb_read_frames"].as_str().unwrap();
            probed.frames = frames.parse().unwrap();
        }
    }
    probed
}

/// Runs ffmpeg or ffprobe, which may not report an error.
fn quietly(program: &str, arguments: &[&str]) -> String {
    let mut run = Command::new(program);
    let run = run.args(["-v", "error"]).args(arguments);
    let run = run.output().expect("ffmpeg is installed (`make setup`)");
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(
        run.status.success() && errors.is_empty(),
        "{arguments:?}: {errors}"
    );
    String::from_utf8(run.stdout).unwrap()
}

/// Waits until an edge has a playlist of the stream.
pub fn wait_playable(edge: &str, stream: &str) {
    let token = token("play", stream);
    eventually("the edge has the stream", || {
        get(edge, &format!("/{stream}.m3u8?token={token}")).status == 200
    });
}
