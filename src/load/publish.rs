//! `weir load publish`: streams over RTMP in real time, each frame stamped as it is sent.
//!
//! A stream is a task; all share one clip in memory. A stream that fails is reported and the
//! others go on: whoever measures wants to know, not to be saved.

mod synthetic;

use super::{
    delays::{Delays, histogram, record},
    read_clip,
    report::Published,
    stamp,
};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use media::{codec::Codec, flv::Hevc, frame::Frame, mp4::Movie, timestamp::Timestamp};
use origin::push::Push;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use synthetic::{Rate, Shape};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use transport::clock::unix_us;

/// What to publish, and where.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Options {
    /// Where to: `rtmp://host/app/stream?token=...`; `{n}` becomes the stream's number, from 1 on.
    url: String,
    /// How many streams.
    #[arg(long, default_value_t = 1)]
    streams: u32,
    /// Over how long they start, so that their key frames do not all come at once.
    #[arg(long, default_value = "2s")]
    ramp: transport::config::Duration,
    /// An MP4 with H.264, H.265 or AV1, and AAC or Opus.
    #[arg(long, default_value = "var/clip.mp4")]
    clip: PathBuf,
    /// Make frames up instead, at this bitrate: `500k`, `4M`. Like H.264 and AAC; not decodable.
    #[arg(long, conflicts_with = "clip")]
    synthetic: Option<Rate>,
    /// Made-up pictures a second.
    #[arg(long, default_value_t = 25, requires = "synthetic")]
    fps: u32,
    /// From one made-up key frame to the next.
    #[arg(long, default_value = "2s", requires = "synthetic")]
    gop: transport::config::Duration,
    /// Publish the clip once instead of round and round.
    #[arg(long)]
    once: bool,
    /// Stop after so long: `30s`, `10m`.
    #[arg(long)]
    duration: Option<transport::config::Duration>,
    /// Leave frames as they are. Otherwise each H.264 or H.265 picture gets a stamp (an SEI message
    /// that decoders skip), by which `weir load play` measures latency and finds lost frames.
    #[arg(long)]
    no_stamp: bool,
    /// How H.265 is put into FLV: as enhanced RTMP, or as the older codec id 12.
    #[arg(long, value_enum, default_value = "enhanced")]
    hevc: HevcForm,
    /// Print a report at the end as one line of JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  weir load publish \"rtmp://origin.example/live/show?token=$TOKEN\"
      var/clip.mp4 round and round, until Ctrl-C
  TOKEN=$(weir token sign --action publish --stream 'live/*' --expires 12h)
  weir load publish \"rtmp://origin.example/live/load-{n}?token=$TOKEN\" --streams 100 --synthetic 2M
      live/load-1 to live/load-100, 2 Mbit/s each, from one process";

#[derive(Clone, Copy, ValueEnum)]
enum HevcForm {
    Enhanced,
    Legacy,
}

/// `weir load publish`.
pub async fn run(options: Options) -> Result<()> {
    ensure!(
        options.streams == 1 || options.url.contains("{n}"),
        "{} streams need different names: write {{n}} into the URL",
        options.streams
    );
    let program = Arc::new(Program::new(&options)?);
    let sent = Sent::default();
    let start = Instant::now();
    let mut streams = JoinSet::new();
    for number in 0..options.streams {
        let url = options.url.replace("{n}", &(number + 1).to_string());
        let begin = start + options.ramp.get() * number / options.streams;
        let (program, sent) = (program.clone(), sent.clone());
        streams.spawn(async move {
            sleep_until(begin).await;
            if let Err(error) = program.publish(&url, &sent).await {
                let why = format!("{error:#}");
                *sent.open().errors.entry(why).or_default() += 1;
            }
        });
    }
    let bar = progress(options.streams);
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            ended = streams.join_next() => if ended.is_none() { break },
            stopped = tokio::signal::ctrl_c() => break stopped?,
            _ = ticks.tick() => bar.set_message(sent.open().line(streams.len())),
        }
    }
    bar.finish_and_clear();
    report(&options, &sent)
}

/// Publishes a movie round and round in real time, stamped, until the connection breaks.
pub async fn round_and_round(url: &str, movie: Movie) -> Result<()> {
    let program = Program {
        length: length(&movie.frames),
        movie,
        rounds: usize::MAX,
        end: None,
        hevc: Hevc::Enhanced,
        stamped: true,
    };
    program.publish(url, &Sent::default()).await
}

/// What every stream sends.
struct Program {
    movie: Movie,
    length: Timestamp,
    rounds: usize,
    /// How long it goes on at most.
    end: Option<Duration>,
    hevc: Hevc,
    stamped: bool,
}

impl Program {
    fn new(options: &Options) -> Result<Self> {
        let movie = match options.synthetic {
            Some(rate) => synthetic::movie(Shape {
                rate,
                fps: options.fps,
                gop: options.gop.get(),
            })?,
            None => read_clip(&options.clip)?,
        };
        Ok(Self {
            length: length(&movie.frames),
            movie,
            rounds: if options.once { 1 } else { usize::MAX },
            end: options.duration.map(transport::config::Duration::get),
            hevc: match options.hevc {
                HevcForm::Enhanced => Hevc::Enhanced,
                HevcForm::Legacy => Hevc::Legacy,
            },
            stamped: !options.no_stamp,
        })
    }

    /// Sends one stream; its time line goes on from round to round.
    async fn publish(&self, url: &str, sent: &Sent) -> Result<()> {
        let mut push = Push::connect(url, self.hevc)
            .await
            .context("cannot publish")?;
        push.send_catalog(&self.movie.catalog).await?;
        let start = Instant::now();
        let mut offset = Timestamp::ZERO;
        let mut pictures = 0;
        for _ in 0..self.rounds {
            for frame in &self.movie.frames {
                let dts = frame.dts + offset;
                let due = Duration::from_micros(dts.as_micros().max(0).unsigned_abs());
                if self.end.is_some_and(|end| due >= end) {
                    return Ok(push.close().await?);
                }
                sleep_until(start + due).await;
                let config = self.movie.catalog.track(frame.track);
                let codec = config.context("a frame of no track")?.codec;
                let payload = self.stamp(codec, &frame.payload, &mut pictures);
                sent.count(payload.len(), start.elapsed().saturating_sub(due));
                let frame = Frame {
                    dts,
                    payload,
                    ..frame.clone()
                };
                push.send_frame(codec, &frame).await?;
            }
            offset += self.length;
        }
        Ok(push.close().await?)
    }

    fn stamp(&self, codec: Codec, payload: &Bytes, pictures: &mut u32) -> Bytes {
        if !self.stamped || !codec.is_video() {
            return payload.clone();
        }
        let number = *pictures;
        *pictures = number.wrapping_add(1);
        stamp::insert(codec, payload, unix_us(), number)
    }
}

/// What all streams sent so far.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Counts>>);

struct Counts {
    frames: u64,
    bytes: u64,
    lateness: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            frames: 0,
            bytes: 0,
            lateness: histogram(),
            errors: BTreeMap::new(),
        }
    }
}

impl Sent {
    fn count(&self, bytes: usize, late: Duration) {
        let mut counts = self.open();
        counts.frames += 1;
        counts.bytes += bytes as u64;
        record(&mut counts.lateness, late);
    }

    fn open(&self) -> MutexGuard<'_, Counts> {
        // Counting cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn line(&self, streams: usize) -> String {
        format!(
            "{streams} streams, {} frames, {} MB sent, lateness {}",
            self.frames,
            self.bytes / 1_000_000,
            Delays::from(&self.lateness)
        )
    }
}

fn progress(streams: u32) -> ProgressBar {
    let bar = ProgressBar::new(u64::from(streams));
    let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
    bar.set_style(style.expect("the template is valid"));
    bar
}

fn report(options: &Options, sent: &Sent) -> Result<()> {
    let counts = sent.open();
    let report = Published {
        streams: u64::from(options.streams),
        frames: counts.frames,
        bytes: counts.bytes,
        lateness: Delays::from(&counts.lateness),
        errors: counts.errors.clone(),
    };
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{report}"),
    }
    let failed: u64 = report.errors.values().sum();
    let why = report.errors.keys().next().map_or("", |why| why);
    ensure!(
        failed == 0,
        "{failed} of {} streams failed: {why}",
        options.streams
    );
    Ok(())
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
