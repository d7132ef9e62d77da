//! Real clips through the same cuts, muxer and playlists as a stream's, held against ffmpeg and the
//! rules of rfc8216bis; no node takes part.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use media::{
    codec::Catalog,
    fmp4,
    frame::{Frame, Kind, TrackId},
    mp4,
    playlist::{Content, Edge, Form, Media, Part, Segment, Uris},
    segment::{Cut, Cutter, Terms},
    timestamp::Timestamp,
};

use crate::harness::{
    clips, ffmpeg,
    hls::{Checker, Rule},
};

/// 2026-01-01T00:00:00Z.
const START_US: u64 = 1_767_225_600_000_000;

/// A stream as an edge makes it of a clip: its playlists over time, and its files.
struct Stream {
    catalog: Catalog,
    playlists: Vec<String>,
    deltas: Vec<String>,
    segments: Vec<Vec<u8>>,
    /// The segments that begin a group: a decoder can start there.
    first_of_group: Vec<usize>,
}

struct Names;

impl Uris for Names {
    fn init(&self, _: u32) -> impl std::fmt::Display {
        "init.mp4"
    }
    fn segment(&self, msn: u64) -> impl std::fmt::Display {
        format!("seg.{msn}.m4s")
    }
    fn part(&self, number: u64) -> impl std::fmt::Display {
        format!("part.{number}.m4s")
    }
}

impl Stream {
    /// Of a clip's tracks; time stamps become whole milliseconds, as in RTMP.
    fn of(clip: &Path, tracks: &[TrackId]) -> Self {
        let movie = mp4::read(fs::read(clip).unwrap().into()).unwrap();
        let mut catalog = movie.catalog;
        catalog.tracks.retain(|track| tracks.contains(&track.id));
        let mut stream = Self {
            catalog,
            playlists: Vec::new(),
            deltas: Vec::new(),
            segments: Vec::new(),
            first_of_group: Vec::new(),
        };
        let frames = movie.frames.into_iter();
        let frames = frames.filter(|frame| tracks.contains(&frame.track));
        stream.run(&frames.map(in_milliseconds).collect::<Vec<_>>());
        stream
    }

    fn run(&mut self, frames: &[Frame]) {
        let rate = self.catalog.frame_rate;
        let terms = Terms::for_rate(
            Timestamp::from_millis(6000),
            Timestamp::from_millis(400),
            rate,
        );
        let mut media = Media {
            terms,
            first_msn: 0,
            discontinuities: 0,
            segments: Vec::new(),
            edge: Edge::Complete { hint: None },
            reports: Vec::new(),
        };
        let mut number = 0;
        for group in groups(frames, self.catalog.leading()) {
            let mut cutter = Cutter::new(terms, self.catalog.leading());
            let mut from = 0;
            self.first_of_group.push(self.segments.len());
            self.open(&mut media, group[0].dts);
            for (index, frame) in group.iter().enumerate() {
                let Some(cut) = cutter.push(frame.track, frame.dts) else {
                    continue;
                };
                let ended = part(number, cutter.ended());
                self.push(&mut media, ended, &group[from..index], frame.dts);
                (from, number) = (index, number + 1);
                if cut == Cut::Segment {
                    self.open(&mut media, frame.dts);
                }
            }
            let end = cutter.end(None, rate);
            let last = part(number, cutter.finish(end));
            self.push(&mut media, last, &group[from..], end);
            number += 1;
        }
        media.edge = Edge::Ended;
        self.show(&media);
    }

    fn open(&mut self, media: &mut Media, at: Timestamp) {
        media.segments.push(Segment {
            wallclock_us: START_US + at.as_micros() as u64,
            config_id: 1,
            discontinuities: 0,
            media: Content::Parts(Vec::new()),
        });
        self.segments.push(Vec::new());
    }

    fn push(&mut self, media: &mut Media, mut part: Part, frames: &[Frame], end: Timestamp) {
        let pieces = fmp4::part(&self.catalog, part.number, frames.iter(), end).unwrap();
        for piece in pieces {
            self.segments.last_mut().unwrap().extend_from_slice(&piece);
        }
        let leading = self.catalog.leading();
        part.independent = frames
            .iter()
            .any(|frame| frame.track == leading && frame.kind == Kind::Key);
        let hint = part.number + 1;
        if let Content::Parts(parts) = &mut media.segments.last_mut().unwrap().media {
            parts.push(part);
        }
        media.edge = Edge::Open { hint };
        self.show(media);
    }

    fn show(&mut self, media: &Media) {
        self.playlists.push(media.text(Form::Full, &Names));
        self.deltas.push(media.text(Form::Delta, &Names));
    }

    fn init(&self) -> Bytes {
        fmp4::init(&self.catalog).unwrap()
    }

    /// Writes the files of the ended stream; answers with its playlist.
    fn write(&self, dir: &Path) -> PathBuf {
        fs::write(dir.join("init.mp4"), self.init()).unwrap();
        for (msn, bytes) in self.segments.iter().enumerate() {
            fs::write(dir.join(format!("seg.{msn}.m4s")), bytes).unwrap();
        }
        let playlist = dir.join("media.m3u8");
        fs::write(&playlist, self.playlists.last().unwrap()).unwrap();
        playlist
    }
}

fn part(number: u64, duration: Timestamp) -> Part {
    Part {
        number,
        duration,
        independent: false,
    }
}

fn in_milliseconds(frame: Frame) -> Frame {
    let whole = |at: Timestamp| Timestamp::from_millis(at.as_millis());
    let cts = whole(frame.pts()) - whole(frame.dts);
    Frame {
        dts: whole(frame.dts),
        cts,
        duration: None,
        ..frame
    }
}

/// From key frame to key frame; sound alone, every two seconds.
fn groups(frames: &[Frame], leading: TrackId) -> Vec<&[Frame]> {
    let mut cuts = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        let last = cuts.last().map(|at: &usize| frames[*at].dts);
        let due = last.is_none_or(|last| frame.dts - last >= Timestamp::from_millis(2000));
        if frame.track == leading && frame.kind == Kind::Key && (leading == TrackId::VIDEO || due) {
            cuts.push(index);
        }
    }
    let ends = cuts.iter().skip(1).copied().chain([frames.len()]);
    cuts.iter()
        .zip(ends)
        .map(|(from, to)| &frames[*from..to])
        .collect()
}

/// Runs ffmpeg or ffprobe, which may not complain about anything.
fn quietly(program: &str, arguments: &[&str]) -> String {
    let run = Command::new(program)
        .args(["-v", "warning"])
        .args(arguments)
        .output()
        .expect("ffmpeg is installed (`make setup`)");
    let complaint = String::from_utf8_lossy(&run.stderr);
    let complaint: Vec<_> = complaint
        .lines()
        // Said of every stream whose rate is not told in the container.
        .filter(|line| !line.contains("Not enough frames to estimate rate"))
        .collect();
    assert!(
        run.status.success() && complaint.is_empty(),
        "{arguments:?}: {complaint:?}"
    );
    String::from_utf8(run.stdout).unwrap()
}

const BOTH: &[TrackId] = &[TrackId::VIDEO, TrackId::AUDIO];

fn every_clip() -> Vec<(PathBuf, &'static [TrackId])> {
    vec![
        (clips::h264(), BOTH),
        (clips::h265(), BOTH),
        (clips::av1(), BOTH),
        (clips::opus(), BOTH),
        (clips::ntsc(), BOTH),
        (clips::h264(), &[TrackId::VIDEO]),
        (clips::ntsc(), &[TrackId::AUDIO]),
        (clips::opus(), &[TrackId::AUDIO]),
    ]
}

#[test]
fn ffmpeg_finds_no_fault_in_segments_and_plays_every_frame() {
    for (clip, tracks) in every_clip() {
        let stream = Stream::of(&clip, tracks);
        let dir = tempfile::tempdir().unwrap();
        let playlist = stream.write(dir.path());
        let playlist = playlist.to_str().unwrap();
        quietly("ffmpeg", &["-i", playlist, "-f", "null", "-"]);
        let whole = dir.path().join("whole.mp4");
        fs::write(
            &whole,
            [&stream.init()[..], &stream.segments.concat()].concat(),
        )
        .unwrap();
        let whole = whole.to_str().unwrap();
        quietly("ffmpeg", &["-i", whole, "-f", "null", "-"]);
        for number in &stream.first_of_group {
            let path = dir.path().join(format!("{number}.mp4"));
            fs::write(
                &path,
                [&stream.init()[..], &stream.segments[*number]].concat(),
            )
            .unwrap();
            quietly("ffprobe", &["-show_packets", path.to_str().unwrap()]);
        }
        let was = packets(clip.to_str().unwrap());
        let is = packets(whole);
        assert_eq!(is.len(), tracks.len());
        for (kind, is) in is {
            // Sound before the first key frame is no part of a stream.
            let before = was[&kind].len() - is.len();
            let same = was[&kind][before..] == is && before <= usize::from(kind == "audio");
            assert!(
                same,
                "{clip:?}: {kind} packets differ, {before} are missing"
            );
        }
    }
}

/// Hashes of all packets by the kind of their stream.
fn packets(input: &str) -> BTreeMap<String, Vec<String>> {
    let kinds = ffmpeg::kinds(input);
    let mut out: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for packet in ffmpeg::hashes(input, None, true) {
        out.entry(kinds[packet.stream].clone())
            .or_default()
            .push(packet.hash);
    }
    out
}

#[test]
fn sound_neither_overlaps_nor_has_holes() {
    for (clip, tracks) in every_clip() {
        if !tracks.contains(&TrackId::AUDIO) {
            continue;
        }
        let stream = Stream::of(&clip, tracks);
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole.mp4");
        fs::write(
            &whole,
            [&stream.init()[..], &stream.segments.concat()].concat(),
        )
        .unwrap();
        let shown = [
            "-select_streams",
            "a",
            "-show_entries",
            "packet=pts",
            "-of",
            "csv=p=0",
            whole.to_str().unwrap(),
        ];
        let text = quietly("ffprobe", &shown);
        let starts = text.lines().map(|line| line.trim_matches(','));
        let starts: Vec<i64> = starts.map(|start| start.parse().unwrap()).collect();
        let mut steps: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        steps.sort_unstable();
        let packet = steps[steps.len() / 2];
        assert!(
            packet == 1024 || packet == 960,
            "{clip:?}: {packet} samples"
        );
        // A millisecond, which only parts of one or two packets are off by.
        let seams = [steps[0] - packet, steps[steps.len() - 1] - packet];
        assert!(
            seams.iter().all(|seam| seam.abs() <= 48),
            "{clip:?}: {seams:?}"
        );
    }
}

#[test]
fn playlists_of_real_clips_keep_every_rule() {
    for (clip, tracks) in every_clip() {
        let stream = Stream::of(&clip, tracks);
        let mut checker = Checker::new();
        for (full, delta) in stream.playlists.iter().zip(&stream.deltas) {
            checker.playlist(delta);
            checker.playlist(full);
        }
        checker.assert_kept(&[]);
        let last = checker.last().unwrap();
        assert!(last.ended && last.segments.len() == stream.segments.len());
    }
}

#[test]
fn what_a_stream_is_made_of_follows_from_its_frames_alone() {
    let clip = clips::h264();
    let (one, other) = (Stream::of(&clip, BOTH), Stream::of(&clip, BOTH));
    assert!(one.segments == other.segments && one.init() == other.init());
    assert_eq!(one.playlists, other.playlists);
}

#[test]
fn irregular_pictures_keep_playlists_legal() {
    let clip = clips::h264();
    let movie = mp4::read(fs::read(clip).unwrap().into()).unwrap();
    // Pictures that stop for seconds, come in bursts, and a clock that stands still.
    let warp = |frame: Frame| {
        let ms = frame.dts.as_millis();
        let moved = match ms {
            0..3000 => ms,
            3000..4000 => 3000 + (ms - 3000) / 10,
            4000..6000 => ms + 4200,
            6000..7000 => 10_300,
            _ => ms + 9000,
        };
        Frame {
            dts: Timestamp::from_millis(moved),
            ..frame
        }
    };
    let mut stream = Stream {
        catalog: movie.catalog,
        playlists: Vec::new(),
        deltas: Vec::new(),
        segments: Vec::new(),
        first_of_group: Vec::new(),
    };
    stream.run(&movie.frames.into_iter().map(warp).collect::<Vec<_>>());
    let mut checker = Checker::new();
    for text in &stream.playlists {
        checker.playlist(text);
    }
    checker.assert_kept(&[Rule::DateGap, Rule::PartFill]);
    let dir = tempfile::tempdir().unwrap();
    let playlist = stream.write(dir.path());
    let shown = ffmpeg::hashes(playlist.to_str().unwrap(), None, false);
    assert!(shown.len() > 300, "{} pictures and packets", shown.len());
}
