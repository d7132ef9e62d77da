//! `weir load`: publishers and viewers by the thousand, to size a node and to check what it sends.

pub mod play;
pub mod publish;
mod source;

use anyhow::{Context, Result};
use clap::Subcommand;
use media::mp4::Movie;
use std::path::Path;

/// `weir load ...`.
#[derive(Subcommand)]
pub enum Command {
    /// Watch HTTP-FLV URLs with many viewers, look at every frame, and report joins, delays and errors.
    Play(play::Options),
    /// Publish a clip over RTMP in real time.
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
