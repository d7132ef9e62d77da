//! Viewers: each its own connection through the redirect, each frame looked at.

use super::{
    read_clip,
    source::{Follower, Source, Verdict},
};
use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::TryStreamExt;
use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use indicatif::{ProgressBar, ProgressStyle};
use media::{
    codec::Catalog,
    flv::{Demuxer, Event},
    frame::{Frame, Kind, TrackId},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::sleep};
use transport::http::Client;

/// Whom to ask, how many, how long.
#[derive(Args)]
pub struct Options {
    /// HTTP-FLV URLs; viewers take them in turn. Redirects are followed.
    #[arg(required = true)]
    urls: Vec<String>,
    /// How many viewers.
    #[arg(long, default_value_t = 1)]
    viewers: usize,
    /// Over how long they join.
    #[arg(long, default_value = "1s")]
    ramp: transport::config::Duration,
    /// How long each watches.
    #[arg(long, default_value = "10s")]
    duration: transport::config::Duration,
    /// The clip that is published round and round: each received frame is compared with it.
    #[arg(long)]
    source: Option<PathBuf>,
    /// Write what the first viewer received as MP4.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// What one viewer saw.
#[derive(Default)]
struct Seen {
    edge: String,
    first_byte: Option<Duration>,
    first_key: Option<Duration>,
    bytes: u64,
    right: u64,
    wrong: u64,
    dropped: u64,
    backwards: u64,
    error: Option<String>,
    catalog: Catalog,
    frames: Vec<Frame>,
}

/// `weir load play`.
pub async fn run(options: Options) -> Result<()> {
    let source = match &options.source {
        Some(path) => Some(Arc::new(Source::new(&read_clip(path)?.frames))),
        None => None,
    };
    let bar = progress(&options);
    let (report, mut seen) = mpsc::channel(options.viewers.max(1));
    let gap = options.ramp.get() / u32::try_from(options.viewers.max(1))?;
    for number in 0..options.viewers {
        let viewer = Viewer {
            url: options.urls[number % options.urls.len()].clone(),
            follower: source.clone().map(Follower::new),
            keep: number == 0 && options.out.is_some(),
            lasts: Vec::new(),
        };
        let (report, watch) = (report.clone(), options.duration.get());
        tokio::spawn(async move {
            sleep(gap * number as u32).await;
            // The receiver lives until every viewer has reported.
            let _ = report.send(viewer.watch(watch).await).await;
        });
    }
    drop(report);
    let mut all = Vec::with_capacity(options.viewers);
    while let Some(one) = seen.recv().await {
        bar.inc(1);
        all.push(one);
    }
    bar.finish_and_clear();
    if let Some(path) = &options.out {
        let why = all.iter().find_map(|seen| seen.error.as_deref());
        let kept = all
            .iter()
            .find(|seen| !seen.frames.is_empty())
            .with_context(|| format!("nothing was received: {}", why.unwrap_or("no frame")))?;
        std::fs::write(path, media::mp4::write(&kept.catalog, &kept.frames)?)?;
    }
    print(&options, &all)
}

fn progress(options: &Options) -> ProgressBar {
    let style = "{spinner} {wide_bar} {pos} of {len} viewers have watched, {elapsed} passed";
    let bar = ProgressBar::new(options.viewers as u64);
    bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

struct Viewer {
    url: String,
    follower: Option<Follower>,
    keep: bool,
    /// The last timestamp of each track.
    lasts: Vec<(TrackId, media::timestamp::Timestamp)>,
}

impl Viewer {
    async fn watch(mut self, long: Duration) -> Seen {
        let mut seen = Seen::default();
        let watching = self.follow(&mut seen);
        match tokio::time::timeout(long, watching).await {
            Err(_) if seen.first_key.is_none() => seen.error = Some("no picture in time".into()),
            Err(_) => {}
            Ok(Err(error)) => seen.error = Some(error.to_string()),
            Ok(Ok(())) => seen.error = Some("the stream ended".into()),
        }
        seen
    }

    async fn follow(&mut self, seen: &mut Seen) -> Result<()> {
        let start = Instant::now();
        let client = Client::new();
        let mut url = self.url.clone();
        for _ in 0..MAX_REDIRECTS {
            let answer = client.get(&url).await?;
            if answer.status().is_redirection() {
                let target = answer.headers().get(http::header::LOCATION);
                url = target
                    .context("a redirect to nowhere")?
                    .to_str()?
                    .to_string();
                continue;
            }
            if !answer.status().is_success() {
                bail!("status {}", answer.status().as_u16());
            }
            seen.edge = url.split('/').nth(2).unwrap_or_default().to_string();
            return self.read(answer.into_body(), start, seen).await;
        }
        bail!("redirected more than {MAX_REDIRECTS} times")
    }

    async fn read(
        &mut self,
        body: transport::http::Incoming,
        start: Instant,
        seen: &mut Seen,
    ) -> Result<()> {
        let mut demuxer = Demuxer::new();
        let mut data = body.into_data_stream();
        while let Some(chunk) = data.try_next().await? {
            seen.first_byte.get_or_insert_with(|| start.elapsed());
            seen.bytes += chunk.len() as u64;
            demuxer.push(&chunk);
            while let Some(event) = demuxer.next()? {
                match event {
                    Event::Config(config) => drop(seen.catalog.set(config)),
                    Event::Frame(_, frame) => self.look(frame, start, seen)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn look(&mut self, frame: Frame, start: Instant, seen: &mut Seen) -> Result<()> {
        if frame.track == TrackId::VIDEO && seen.first_key.is_none() && frame.kind != Kind::Key {
            bail!("the first picture is no key frame");
        }
        if frame.track == TrackId::VIDEO || seen.catalog.video().is_none() {
            seen.first_key.get_or_insert_with(|| start.elapsed());
        }
        match self
            .lasts
            .iter_mut()
            .find(|(track, _)| *track == frame.track)
        {
            Some((_, last)) => {
                seen.backwards += u64::from(frame.dts < *last);
                *last = frame.dts;
            }
            None => self.lasts.push((frame.track, frame.dts)),
        }
        match self
            .follower
            .as_mut()
            .map(|follower| follower.follow(&frame))
        {
            None | Some(Verdict::Right) => seen.right += 1,
            Some(Verdict::Wrong) => seen.wrong += 1,
            Some(Verdict::Dropped(missing)) => {
                seen.dropped += missing;
                seen.right += 1;
            }
        }
        if self.keep {
            seen.frames.push(frame);
        }
        Ok(())
    }
}

fn print(options: &Options, all: &[Seen]) -> Result<()> {
    let mut errors: BTreeMap<&str, u64> = BTreeMap::new();
    let mut edges: BTreeMap<&str, u64> = BTreeMap::new();
    for seen in all {
        if let Some(error) = &seen.error {
            *errors.entry(error).or_default() += 1;
        }
        if !seen.edge.is_empty() {
            *edges.entry(&seen.edge).or_default() += 1;
        }
    }
    let sum = |count: fn(&Seen) -> u64| all.iter().map(count).sum::<u64>();
    let delays = |pick: fn(&Seen) -> Option<Duration>| -> Result<serde_json::Value> {
        let mut histogram = Histogram::<u64>::new(3)?;
        for delay in all.iter().filter_map(pick) {
            histogram.record(delay.as_micros() as u64)?;
        }
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Ok(json!({ "p50_ms": ms(0.5), "p99_ms": ms(0.99), "max_ms": ms(1.0) }))
    };
    let report = json!({
        "viewers": options.viewers,
        "joined": all.iter().filter(|seen| seen.first_key.is_some()).count(),
        "first_byte": delays(|seen| seen.first_byte)?,
        "first_key_frame": delays(|seen| seen.first_key)?,
        "bytes": sum(|seen| seen.bytes),
        "frames": {
            "right": sum(|seen| seen.right),
            "wrong": sum(|seen| seen.wrong),
            "dropped": sum(|seen| seen.dropped),
            "backwards": sum(|seen| seen.backwards),
        },
        "errors": errors,
        "edges": edges,
    });
    if options.json {
        println!("{report}");
    } else {
        println!("{report:#}");
    }
    Ok(())
}

/// More than any honest chain: redirector, then an edge that is full.
const MAX_REDIRECTS: usize = 5;
