//! `weir events`: announces shows to a running scheduler, so that it expects their viewers.

use crate::admin::{self, Options};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use cluster::{event::Event, moment, region::Region, stream::StreamKey};
use http::Method;
use scheduler::forecast::{Announcement, Listed, Moment};
use transport::{clock::unix_ms, config::Duration};

/// `weir events ...`.
#[derive(Subcommand)]
pub enum Command {
    /// Announce a show, so that its viewers are expected before they come.
    Add(Add),
    /// List announced shows, those over among them.
    List(Options),
    /// Take an announcement back.
    Remove(Remove),
}

/// What to announce.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Add {
    /// The stream, `app/name`.
    stream: StreamKey,
    /// When it starts: `2026-11-22T19:30:00Z` (UTC without an offset), Unix seconds, or from now as in `"in 30m"`.
    #[arg(long, value_parser = start)]
    start: u64,
    /// Viewers expected at its peak.
    #[arg(long)]
    peak: f64,
    /// From the start until the peak; a quarter of an hour when left out.
    #[arg(long)]
    ramp: Option<Duration>,
    /// From the start to the end; two hours when left out.
    #[arg(long)]
    length: Option<Duration>,
    /// The region where all of them are expected; left out, where those of the stream's last show were.
    #[arg(long, value_parser = region)]
    region: Option<Region>,
    #[command(flatten)]
    options: Options,
}

/// What to take back.
#[derive(Args)]
pub struct Remove {
    /// The event's number; `weir events list` shows it.
    id: u64,
    #[command(flatten)]
    options: Options,
}

const EXAMPLES: &str = "\
Examples:
  weir events add live/final --start 2026-11-22T19:30:00+01:00 --peak 120000 --ramp 10m --length 2h
  weir events add live/morning --start \"in 30m\" --peak 5000 --region DE";

/// Does it.
pub async fn run(command: Command) -> Result<()> {
    match command {
        Command::Add(add) => announce(add).await,
        Command::List(options) => list(options).await,
        Command::Remove(remove) => {
            let path = format!("{PATH}/{}", remove.id);
            let answer = remove.options.send(Method::DELETE, &path).await?;
            remove.options.print(&answer, || {
                format!("event {} is not expected any more\n", remove.id)
            })
        }
    }
}

async fn announce(add: Add) -> Result<()> {
    let said = Announcement {
        stream: add.stream,
        start: Moment::Seconds(add.start as f64 / 1000.0),
        expected_peak: add.peak,
        ramp_s: add.ramp.map(seconds).transpose().context("--ramp")?,
        length_s: add.length.map(seconds).transpose().context("--length")?,
        region: add.region,
    };
    let event: Event = add.options.post(PATH, &said).await?;
    add.options.print(&event, || {
        format!(
            "event {}: {} viewers of {} are expected {}\n",
            event.id,
            event.expected_peak,
            event.stream,
            when(event.start_ms)
        )
    })
}

async fn list(options: Options) -> Result<()> {
    let events: Vec<Listed> = options.get(PATH).await?;
    options.print(&events, || {
        let row = |listed: &Listed| {
            let event = &listed.event;
            vec![
                event.id.to_string(),
                event.stream.to_string(),
                when(event.start_ms),
                listed.state.clone(),
                event.expected_peak.to_string(),
                length(event.ramp_s),
                length(event.length_s),
                event
                    .region
                    .map_or("usual".into(), |region| region.to_string()),
            ]
        };
        let head = [
            "ID", "STREAM", "START", "STATE", "PEAK", "RAMP", "LENGTH", "REGION",
        ];
        admin::table(&head, events.iter().map(row))
    })
}

/// How far away a moment is.
fn when(start_ms: u64) -> String {
    let (now_s, start_s) = (unix_ms() / 1000, start_ms / 1000);
    match start_s.checked_sub(now_s) {
        Some(0) => "now".into(),
        Some(ahead_s) => format!("in {}", rounded(ahead_s)),
        None => format!("{} ago", rounded(now_s - start_s)),
    }
}

/// Two units at most.
fn rounded(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn length(seconds: u32) -> String {
    Duration::from_secs(seconds.into()).to_string()
}

fn seconds(length: Duration) -> Result<u32> {
    let whole = length.get().as_secs();
    u32::try_from(whole).context("that is too long for a show")
}

/// Unix milliseconds of a moment, or of one from now.
fn start(text: &str) -> Result<u64> {
    if let Some(ahead) = text.trim().strip_prefix("in ") {
        let ahead: Duration = ahead
            .trim()
            .parse()
            .map_err(|_| anyhow::anyhow!("write it as \"in 30m\" or \"in 2h\""))?;
        return Ok(unix_ms() + ahead.get().as_millis() as u64);
    }
    match moment::parse(text) {
        Some(ms) => Ok(ms),
        None => bail!("write it as 2026-11-22T19:30:00Z, as Unix seconds or as \"in 30m\""),
    }
}

fn region(text: &str) -> Result<Region> {
    Region::parse(text).context("a region is 1 to 16 letters, digits, _ and -: DE, US-CA")
}

const PATH: &str = "/api/v1/events";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_moment_or_a_while_from_now() {
        assert_eq!(start("1795375800").unwrap(), 1_795_375_800_000);
        assert_eq!(start("2026-11-22T19:30:00Z").unwrap(), 1_795_375_800_000);
        let soon = start("in 30m").unwrap();
        assert!(soon.abs_diff(unix_ms() + 1_800_000) < 60_000);
        for bad in ["in a while", "30m", "", "tomorrow"] {
            let error = start(bad).unwrap_err().to_string();
            assert!(error.contains("in 30m"), "{bad}: {error}");
        }
    }

    #[test]
    fn distances_read_well() {
        for (seconds, text) in [
            (5, "5 s"),
            (90, "1 min"),
            (5_400, "1 h 30 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(rounded(seconds), text);
        }
    }
}
