//! `weir load play`: viewers by the thousand, each its own connection through the redirect.
//!
//! The viewers are spread over a few threads (`play/worker.rs`); this file starts them, shows how
//! they fare, and prints the report when all have left or Ctrl-C ends it.

mod again;
mod hls;
mod moving;
mod response;
mod splice;
mod stall;
mod tally;
mod target;
mod walk;
mod watch;
mod worker;

use super::{
    profile::{self, Profile, Visit},
    read_clip,
    report::{Interval, Report},
    source::Source,
    visits,
};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    net::IpAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};
use tally::Tally;
use target::Target;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use transport::http::Client;
use watch::{Plan, Validate};
use worker::{Crowd, Desk};

/// Whom to ask, how many, how long.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Options {
    /// URLs that end in .flv or .m3u8; viewers take them in turn. Redirects are followed; with `weir=1` in the query
    /// viewers of FLV move when their edge asks them to, each with a session of its own unless the query names one.
    #[arg(required_unless_present = "visits")]
    urls: Vec<String>,
    /// How to watch; by each URL's ending when left out.
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,
    /// How many viewers.
    #[arg(long, default_value_t = 1)]
    viewers: usize,
    /// Let the viewers come and go by the shape of a day: `day`, or a CSV file of time and value, whose highest value
    /// stands for all viewers. The shape lasts for --period and is repeated for --duration.
    #[arg(long, value_name = "day|FILE.csv", conflicts_with = "ramp")]
    profile: Option<String>,
    /// How long the shape of --profile takes: a day under `[time] scale = 288` takes 5m.
    #[arg(long, default_value = "1d", requires = "profile")]
    period: transport::config::Duration,
    /// How long a viewer watches in the mean when there is a profile.
    #[arg(long, default_value = "10m", requires = "profile")]
    stay: transport::config::Duration,
    /// Which viewers come and how long they stay with a profile, by chance.
    #[arg(long, default_value_t = 1, requires = "profile")]
    seed: u64,
    /// Who comes when, for how long, to watch what: a CSV file of `at_s,stay_s,url`, in place of URLs and --viewers.
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["urls", "viewers", "profile", "ramp", "duration"])]
    visits: Option<PathBuf>,
    /// Let viewers whose connection breaks ask again, as the console's player does; left out, they count as failed.
    #[arg(long)]
    reconnect: bool,
    /// Over how long they join.
    #[arg(long, default_value = "1s")]
    ramp: transport::config::Duration,
    /// How long each watches.
    #[arg(long, default_value = "10s")]
    duration: transport::config::Duration,
    /// How closely each viewer looks at what it gets.
    #[arg(long, value_enum, default_value_t)]
    validate: Validate,
    /// The clip that is published round and round: each received frame is compared with it.
    #[arg(long)]
    source: Option<PathBuf>,
    /// What a player gathers before it starts: a stall is where it would have run dry.
    #[arg(long, default_value = "1s")]
    buffer: transport::config::Duration,
    /// How long a stretch of time in the report is; longer in runs of more than an hour.
    #[arg(long, default_value = "1s")]
    interval: transport::config::Duration,
    /// Source addresses, taken in turn: one address has room for about 28,000 connections.
    #[arg(long, value_delimiter = ',')]
    from: Vec<IpAddr>,
    /// A header of each request, as in `Origin: https://page.example`.
    #[arg(long = "header", value_parser = header)]
    headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// PEM certificates that vouch for `https` servers.
    #[arg(long)]
    cacert: Option<PathBuf>,
    /// How many threads; as many as there are cores when left out.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Write what the first viewer received as MP4.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the report as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What viewers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// HTTP-FLV.
    Flv,
    /// HLS part by part: playlists that wait, delta updates.
    LlHls,
    /// HLS by whole segments.
    Hls,
}

impl Protocol {
    /// The usual one of a URL.
    fn of(url: &str) -> Self {
        let path = url.split('?').next().unwrap_or_default();
        match path.ends_with(".m3u8") {
            true => Self::LlHls,
            false => Self::Flv,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  weir load play http://live.example:8080/live/show.flv --viewers 500 --ramp 10s --duration 1m
      500 viewers, each frame checked; latency is measured when `weir load publish` sends
  weir load play http://live.example:8080/live/show.flv --viewers 15000 --validate tags \\
      --from 192.0.2.10,192.0.2.11 --duration 5m --json
      as many as one machine can: only the first bytes of each frame are looked at
  weir load play http://live.example:8080/live/show.m3u8 --viewers 1000 --duration 1m
      as many sessions of LL-HLS: each part is read and checked; --protocol hls plays segments
  weir load play --visits evening.csv --reconnect --json
      the same people at the same times again, as often as you like

Latency compares two machines' clocks: run publisher and viewers on one, or keep both in time.";

/// `weir load play`.
pub async fn run(options: Options) -> Result<()> {
    let crowd = Arc::new(crowd(&options)?);
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = options.threads.map_or(cores, NonZeroUsize::get);
    let threads = threads.min(crowd.viewers);
    let mut watching = Watching::new(&options, &crowd);
    let (ended, mut all_ended) = mpsc::channel::<()>(1);
    for first in 0..threads {
        let desk = Desk::default();
        watching.desks.push(desk.clone());
        let (crowd, ended, runtime) = (crowd.clone(), ended.clone(), worker::runtime()?);
        thread::Builder::new()
            .name("viewers".into())
            .spawn(move || {
                worker::run(&runtime, crowd, (first, threads), desk);
                drop(ended);
            })?;
    }
    drop(ended);
    loop {
        tokio::select! {
            _ = all_ended.recv() => break,
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                // What a player's stalls were is known once it leaves.
                crowd.over.cancel();
                let _ = tokio::time::timeout(LEAVING, all_ended.recv()).await;
                break;
            }
            () = tokio::time::sleep_until(watching.next) => watching.look(),
        }
    }
    watching.finish(&options, crowd.viewers)
}

/// What the viewers have in common, made from what was said.
fn crowd(options: &Options) -> Result<Crowd> {
    let whole = options.source.is_some() || options.out.is_some();
    ensure!(
        options.validate == Validate::Full || !whole,
        "--source and --out need whole frames: leave out --validate"
    );
    let (visits, targets) = match &options.visits {
        Some(path) => {
            let (visits, targets) = listed(path)?;
            (Some(visits), targets)
        }
        None => {
            let targets: Result<Vec<_>> = options.urls.iter().map(|it| Target::parse(it)).collect();
            (visits(options)?, targets?)
        }
    };
    let protocol = options
        .protocol
        .unwrap_or_else(|| Protocol::of(&targets[0].url));
    ensure!(
        protocol == Protocol::Flv || options.out.is_none(),
        "--out keeps what is watched by FLV"
    );
    ensure!(options.viewers > 0, "--viewers 0 would watch nothing");
    let descriptors = transport::limit::raise_descriptors()?;
    let viewers = match (&options.visits, &visits) {
        (Some(_), Some(visits)) => profile::most(visits),
        _ => options.viewers,
    };
    ensure!(
        viewers as u64 + DESCRIPTORS_ELSE <= descriptors,
        "{viewers} viewers need as many sockets, and this process may open {descriptors} files: \
         raise the limit (ulimit -Hn) or run several",
    );
    let source = match &options.source {
        Some(path) => Some(Arc::new(Source::new(&read_clip(path)?))),
        None => None,
    };
    let client = match &options.cacert {
        Some(path) => Client::trusting(
            &std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?,
        )?,
        None => Client::new(),
    };
    Ok(Crowd {
        targets,
        from: options.from.clone(),
        headers: options.headers.clone(),
        client,
        plan: Plan {
            validate: options.validate,
            source,
            buffer: options.buffer.get(),
        },
        protocol: options.protocol,
        reconnects: options.reconnect,
        viewers,
        ramp: options.ramp.get(),
        duration: options.duration.get(),
        visits,
        start: Instant::now(),
        keep: options.out.is_some(),
        over: CancellationToken::new(),
    })
}

/// When each viewer comes and goes by the profile; nothing without one.
fn visits(options: &Options) -> Result<Option<Vec<Visit>>> {
    let Some(name) = &options.profile else {
        return Ok(None);
    };
    let profile = Profile::load(name, options.period.get())?;
    let visits = profile.visits(
        options.viewers,
        (options.duration.get(), options.stay.get()),
        options.seed,
    );
    ensure!(
        visits.len() <= MAX_VISITS,
        "the profile makes {} visits, and {MAX_VISITS} are the most: a longer --stay makes fewer",
        visits.len()
    );
    Ok(Some(visits))
}

/// The visits of a file, each with its URL.
fn listed(path: &Path) -> Result<(Vec<Visit>, Vec<Target>)> {
    let name = || format!("--visits {}", path.display());
    let text = std::fs::read_to_string(path).with_context(name)?;
    let visits = visits::parse(&text).with_context(name)?;
    let target = |(visit, url): (Visit, String)| Ok((visit, Target::parse(&url)?));
    visits.into_iter().map(target).collect()
}

/// `Name: value`.
fn header(line: &str) -> Result<(http::HeaderName, http::HeaderValue)> {
    let (name, value) = line.split_once(':').context("write it as `Name: value`")?;
    Ok((name.trim().parse()?, value.trim().parse()?))
}

/// The view of all viewers together.
struct Watching {
    desks: Vec<Desk>,
    all: Tally,
    intervals: Vec<Interval>,
    start: Instant,
    interval: Duration,
    /// When to look again.
    next: Instant,
    bar: ProgressBar,
}

impl Watching {
    fn new(options: &Options, crowd: &Crowd) -> Self {
        let (start, length) = (crowd.start, crowd.length());
        let interval = options.interval.get().max(length / MAX_INTERVALS);
        let bar = ProgressBar::new(length.as_millis() as u64);
        let style = ProgressStyle::with_template("{wide_bar} {elapsed} {msg}");
        bar.set_style(style.expect("the template is valid"));
        Self {
            desks: Vec::new(),
            all: Tally::default(),
            intervals: Vec::new(),
            start,
            interval,
            next: start + interval,
            bar,
        }
    }

    /// Takes what was counted since the last look.
    fn look(&mut self) {
        let mut new = Tally::default();
        for desk in &self.desks {
            new.add(desk.take());
        }
        let at = self.start.elapsed();
        let watching = (self.all.watching() + new.started).saturating_sub(new.left);
        let interval = new.interval(at, watching);
        self.bar.set_position(at.as_millis() as u64);
        self.bar.set_message(format!(
            "{watching} watching, {:.0} Mbit/s, latency {}, {} failed",
            interval.bytes as f64 * 8e-6 / self.interval.as_secs_f64(),
            interval.latency,
            self.all.errors.values().sum::<u64>(),
        ));
        self.intervals.push(interval);
        self.all.add(new);
        self.next += self.interval;
    }

    /// Looks for the last time and says what there was to see.
    fn finish(mut self, options: &Options, viewers: usize) -> Result<()> {
        self.look();
        self.bar.finish_and_clear();
        if let Some(path) = &options.out {
            let why = self.all.errors.keys().next().map_or("no frame", |e| e);
            let kept = self.desks.iter().find_map(Desk::kept);
            let movie = kept
                .filter(|movie| !movie.frames.is_empty())
                .with_context(|| format!("nothing was received: {why}"))?;
            std::fs::write(path, media::mp4::write(&movie.catalog, &movie.frames)?)?;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let mut report = Report {
            viewers: viewers as u64,
            seconds,
            intervals: self.intervals,
            ..self.all.report()
        };
        report.stalls.buffer_ms = options.buffer.get().as_secs_f64() * 1000.0;
        match options.json {
            true => println!("{}", serde_json::to_string(&report)?),
            false => print!("{report}"),
        }
        Ok(())
    }
}

/// Closing 15,000 sockets takes a part of it.
const LEAVING: Duration = Duration::from_secs(5);
/// Sockets for name look-ups, the clip, the terminal and what the runtimes need.
const DESCRIPTORS_ELSE: u64 = 64;
/// Visits of a profile: 16 MiB, and days of them.
pub const MAX_VISITS: usize = 1 << 20;
/// Stretches of time in one report: an hour of seconds.
const MAX_INTERVALS: u32 = 3600;
