//! `weir load`: publishers and viewers by the thousand, to size a node and to check what it sends.

mod delays;
mod profile;
pub mod play;
pub mod publish;
pub mod report;
mod source;
mod stamp;
mod visits;

use anyhow::{Context, Result};
use clap::Subcommand;
use media::mp4::Movie;
use std::path::Path;

/// `weir load ...`.
#[derive(Subcommand)]
pub enum Command {
    /// Watch HTTP-FLV or HLS URLs with many viewers; report joins, latency, stalls and errors.
    Play(play::Options),
    /// Publish streams over RTMP in real time: a clip or made-up frames, stamped for `play`.
    Publish(publish::Options),
}

/// Does it.
pub async fn run(command: Command) -> Result<()> {
    match command {
        Command::Play(options) => play::run(options).await,
        Command::Publish(options) => publish::run(options).await,
    }
}

/// Reads an MP4 whole into memory; its frames refer to that memory.
pub fn read_clip(path: &Path) -> Result<Movie> {
    let bytes = std::fs::read(path).with_context(|| {
        format!(
            "cannot read the clip {}: `make setup` makes var/clip.mp4",
            path.display()
        )
    })?;
    media::mp4::read(bytes.into()).with_context(|| {
        format!(
            "{} is not an MP4 that can be published (H.264, H.265 or AV1 with AAC or Opus)",
            path.display()
        )
    })
}
