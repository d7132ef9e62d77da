//! A publisher: a clip over RTMP in real time, once or round and round.

use super::read_clip;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use media::{flv::Hevc, frame::Frame, mp4::Movie, timestamp::Timestamp};
use origin::push::Push;
use std::{path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep_until};

/// What to publish, and where.
#[derive(Args)]
pub struct Options {
    /// Where to: `rtmp://host/app/stream?token=...`
    url: String,
    /// An MP4 with H.264, H.265 or AV1, and AAC or Opus.
    #[arg(long, default_value = "var/clip.mp4")]
    clip: PathBuf,
    /// Publish the clip once instead of round and round.
    #[arg(long)]
    once: bool,
    /// Stop after so long: `30s`, `10m`.
    #[arg(long)]
    duration: Option<transport::config::Duration>,
    /// How H.265 is put into FLV: as enhanced RTMP, or as the older codec id 12.
    #[arg(long, value_enum, default_value = "enhanced")]
    hevc: HevcForm,
}

#[derive(Clone, Copy, ValueEnum)]
enum HevcForm {
    Enhanced,
    Legacy,
}

/// `weir load publish`.
pub async fn run(options: Options) -> Result<()> {
    let movie = read_clip(&options.clip)?;
    let hevc = match options.hevc {
        HevcForm::Enhanced => Hevc::Enhanced,
        HevcForm::Legacy => Hevc::Legacy,
    };
    let rounds = if options.once { 1 } else { usize::MAX };
    let publishing = publish(&options.url, &movie, rounds, hevc);
    match options.duration {
        Some(limit) => tokio::time::timeout(limit.get(), publishing)
            .await
            .unwrap_or(Ok(())),
        None => publishing.await,
    }
}

/// Publishes a movie `rounds` times in real time; the time line goes on from round to round.
pub async fn publish(url: &str, movie: &Movie, rounds: usize, hevc: Hevc) -> Result<()> {
    let mut push = Push::connect(url, hevc).await.context("cannot publish")?;
    push.send_catalog(&movie.catalog).await?;
    let start = Instant::now();
    let length = length(&movie.frames);
    let mut offset = Timestamp::ZERO;
    for _ in 0..rounds {
        for frame in &movie.frames {
            let frame = Frame {
                dts: frame.dts + offset,
                ..frame.clone()
            };
            let due = frame.dts.as_micros().max(0).unsigned_abs();
            sleep_until(start + Duration::from_micros(due)).await;
            let codec = movie
                .catalog
                .track(frame.track)
                .context("a frame of no track")?
                .codec;
            push.send_frame(codec, &frame).await?;
        }
        offset += length;
    }
    Ok(push.close().await?)
}

/// From the first frame to one frame after the last, so that rounds join without a seam.
fn length(frames: &[Frame]) -> Timestamp {
    let end = |frame: &Frame| frame.dts + frame.duration.unwrap_or(Timestamp::from_millis(40));
    let last = frames.iter().map(end).max().unwrap_or_default();
    last - frames
        .iter()
        .map(|frame| frame.dts)
        .min()
        .unwrap_or_default()
}
