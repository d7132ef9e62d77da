//! Publishers and viewers of `weir load` beside a cluster.

use super::{Cluster, ffmpeg::Running, signal, weir};
use serde_json::Value;
use std::{io::Read, process::Stdio};

/// Publishes pictures of that bit rate, a key frame each second.
pub fn publish(cluster: &Cluster, stream: &str, rate: &str) -> Running {
    let mut publish = weir();
    publish.args(["load", "publish", &cluster.publish_url(stream)]);
    publish.args(["--synthetic", rate, "--gop", "1s"]);
    Running(publish.stdout(Stdio::null()).spawn().unwrap())
}

/// Viewers of these addresses who stay until they are told that it is over.
pub fn play(urls: &[String], viewers: u64, more: &[&str]) -> Running {
    let mut play = weir();
    play.args(["load", "play", "--json", "--viewers", &viewers.to_string()]);
    play.args(["--duration", "10m"]).args(more).args(urls);
    Running(play.stdout(Stdio::piped()).spawn().unwrap())
}

/// Tells them; what they saw.
pub fn ended(mut play: Running) -> Value {
    signal(&play.0, "INT");
    let mut said = Vec::new();
    let mut out = play.0.stdout.take().unwrap();
    out.read_to_end(&mut said).unwrap();
    assert!(play.wait());
    serde_json::from_slice(&said).unwrap()
}
