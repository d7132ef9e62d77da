//! A stream from a real encoder to a real player, through the redirect, unchanged.

use crate::harness::{
    Cluster, EDGES, clips,
    ffmpeg::{self, Hashed, Running},
    weir,
};
use std::path::Path;

/// What a player received equals a run of the source's packets or pictures, the clip repeating.
fn assert_is_a_run_of(received: &[String], source: &[String], what: &str) {
    assert!(
        received.len() >= 20,
        "{what}: only {} received",
        received.len()
    );
    let matches = |start: usize| {
        let round = source.iter().cycle().skip(start);
        received.iter().zip(round).all(|(a, b)| a == b)
    };
    assert!(
        (0..source.len()).any(matches),
        "{what}: what was received is no run of the source"
    );
}

fn of_stream(list: &[Hashed], stream: usize) -> Vec<String> {
    list.iter()
        .filter(|h| h.stream == stream)
        .map(|h| h.hash.clone())
        .collect()
}

fn assert_time_goes_on(list: &[Hashed]) {
    for stream in [0, 1] {
        let times: Vec<_> = list
            .iter()
            .filter(|h| h.stream == stream)
            .map(|h| h.dts)
            .collect();
        assert!(
            times.windows(2).all(|pair| pair[0] <= pair[1]),
            "timestamps step back: {times:?}"
        );
    }
}

#[test]
fn each_edge_plays_what_ffmpeg_publishes_bit_for_bit() {
    let cluster = Cluster::start(3);
    let clip = clips::h264();
    let source = clip.to_str().unwrap();
    let _publisher = ffmpeg::publish(&clip, &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let coded = ffmpeg::hashes(source, None, true);
    let pictures = ffmpeg::hashes(source, None, false);
    std::thread::scope(|scope| {
        for (name, _, _, address) in EDGES {
            let (cluster, coded, pictures) = (&cluster, &coded, &pictures);
            scope.spawn(move || {
                assert_eq!(
                    cluster.edge_for("live/show", address).as_deref(),
                    Some(name)
                );
                let url = cluster.play_url("live/show", address);
                let received = ffmpeg::hashes(&url, Some(5), true);
                assert_time_goes_on(&received);
                for stream in [0, 1] {
                    assert_is_a_run_of(
                        &of_stream(&received, stream),
                        &of_stream(coded, stream),
                        name,
                    );
                }
                // Pictures decode from the very first packet on: it is a key frame.
                let shown = of_stream(&ffmpeg::hashes(&url, Some(3), false), 0);
                let keys: Vec<_> = of_stream(pictures, 0).into_iter().step_by(25).collect();
                assert!(
                    keys.contains(&shown[0]),
                    "{name}: the first picture is no key frame"
                );
                assert_is_a_run_of(&shown, &of_stream(pictures, 0), name);
            });
        }
    });
}

#[test]
fn audio_alone_and_video_alone_are_streams_too() {
    let cluster = Cluster::start(1);
    let clip = clips::h264();
    let coded = ffmpeg::hashes(clip.to_str().unwrap(), None, true);
    for (stream, choice, kind, source) in [
        ("live/sound", "-vn", "audio", 1),
        ("live/silent", "-an", "video", 0),
    ] {
        let _publisher = ffmpeg::publish(&clip, &cluster.publish_url(stream), &[choice]);
        cluster.wait_on_air(stream);
        let url = cluster.play_url(stream, EDGES[0].3);
        assert_eq!(ffmpeg::kinds(&url), [kind], "{stream}");
        let received = ffmpeg::hashes(&url, Some(4), true);
        assert_is_a_run_of(&of_stream(&received, 0), &of_stream(&coded, source), stream);
    }
}

/// Published by our own client from MP4 (ffmpeg 5.1 cannot put these codecs into FLV), received as FLV, read by
/// our demuxer, written as MP4, and judged by ffmpeg.
fn passes_through(clip: &Path, arguments: &[&str]) {
    let cluster = Cluster::start(1);
    let mut publish = weir();
    publish
        .args([
            "load",
            "publish",
            &cluster.publish_url("live/show"),
            "--clip",
        ])
        .arg(clip);
    let _publisher = Running(publish.args(arguments).spawn().unwrap());
    cluster.wait_on_air("live/show");
    let out = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap();
    let mut play = weir();
    play.args([
        "load",
        "play",
        &cluster.play_url("live/show", EDGES[0].3),
        "--duration",
        "4s",
        "--out",
    ]);
    let run = play.arg(out.path()).output().unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let pictures = |file: &Path| of_stream(&ffmpeg::hashes(file.to_str().unwrap(), None, false), 0);
    assert_is_a_run_of(&pictures(out.path()), &pictures(clip), "pictures");
}

#[test]
fn h265_passes_as_enhanced_rtmp() {
    passes_through(&clips::h265(), &[]);
}

#[test]
fn h265_passes_as_legacy_codec_id_12() {
    passes_through(&clips::h265(), &["--hevc", "legacy"]);
}

#[test]
fn av1_passes_as_enhanced_rtmp() {
    passes_through(&clips::av1(), &[]);
}

#[test]
fn the_origin_plays_over_rtmp() {
    let cluster = Cluster::start(1);
    let clip = clips::h264();
    let _publisher = ffmpeg::publish(&clip, &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let token = crate::harness::token("play", "live/show");
    let url = format!("rtmp://127.0.0.1:{}/live/show?token={token}", cluster.rtmp);
    let received = ffmpeg::hashes(&url, Some(4), true);
    let source = ffmpeg::hashes(clip.to_str().unwrap(), None, true);
    assert_time_goes_on(&received);
    assert_is_a_run_of(&of_stream(&received, 0), &of_stream(&source, 0), "video");
}
