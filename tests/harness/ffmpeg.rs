//! Real programs at both ends: ffmpeg publishes, ffmpeg plays, ffmpeg hashes.

use super::wait_exit;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// A program that is killed when the test is done with it.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub fn wait(&mut self) -> bool {
        wait_exit(&mut self.0).success()
    }
}

/// Publishes a clip in real time, as it is coded, round and round; `choice` picks tracks: `-an`, `-vn`.
pub fn publish(clip: &Path, url: &str, choice: &[&str]) -> Running {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg
        .args(["-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i"])
        .arg(clip);
    ffmpeg.args(choice).args(["-c", "copy", "-f", "flv", url]);
    Running(
        ffmpeg
            .stdin(Stdio::null())
            .spawn()
            .expect("ffmpeg is installed (`make setup`)"),
    )
}

/// One packet or picture of a `framehash`: stream index, dts, and the hash of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    pub stream: usize,
    pub dts: i64,
    pub hash: String,
}

/// Hashes of packets (`coded`) or of decoded pictures and samples of an input, for at most `seconds`.
pub fn hashes(input: &str, seconds: Option<u32>, coded: bool) -> Vec<Hashed> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin"]);
    if input.starts_with("http") || input.starts_with("rtmp") {
        ffmpeg.args(["-rw_timeout", "15000000"]);
    }
    ffmpeg.args(["-copyts", "-i", input]);
    if let Some(seconds) = seconds {
        ffmpeg.args(["-t", &seconds.to_string()]);
    }
    if coded {
        ffmpeg.args(["-c", "copy"]);
    }
    let run = ffmpeg
        .args(["-vsync", "passthrough", "-f", "framehash", "-"])
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{input}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    let text = String::from_utf8(run.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(hashed)
        .collect()
}

fn hashed(line: &str) -> Hashed {
    let fields: Vec<_> = line.split(',').map(str::trim).collect();
    Hashed {
        stream: fields[0].parse().unwrap(),
        dts: fields[1].parse().unwrap(),
        hash: fields[5].to_string(),
    }
}

/// Codec types of an input's streams by index: `video`, `audio`.
pub fn kinds(input: &str) -> Vec<String> {
    let probe = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-rw_timeout",
            "15000000",
            "-show_entries",
            "stream=codec_type",
            "-of",
            "csv=p=0",
            input,
        ])
        .output()
        .unwrap();
    String::from_utf8(probe.stdout)
        .unwrap()
        .lines()
        .map(|l| l.trim_matches(',').into())
        .collect()
}
