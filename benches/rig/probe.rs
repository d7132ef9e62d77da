//! Players of LL-HLS in this process: how long after a part was complete they knew of it, and had it.
//!
//! A part is complete when the first picture after it is made: that picture begins the next part, and carries the time.
//! So a player knows of each part how late it was once it has the one that follows.

use super::source::made_at;
use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::task::LocalSet;
use transport::http::Client;

/// Longer times count as this.
const LONGEST_US: u64 = 60_000_000;

pub struct Probes {
    runtime: tokio::runtime::Runtime,
    local: LocalSet,
    seen: Rc<RefCell<Delays>>,
}

/// Microseconds from the moment when a part was complete.
pub struct Delays {
    /// To the last byte of the playlist that tells of it.
    pub playlist: Histogram<u64>,
    /// To the last byte of the part.
    pub part: Histogram<u64>,
    /// The highest number of a part that anybody had.
    pub newest: u64,
}

impl Delays {
    fn none() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 3).expect("valid bounds");
        Self {
            playlist: histogram(),
            part: histogram(),
            newest: 0,
        }
    }
}

impl Probes {
    /// So many play the stream of this URL, each on a connection of its own.
    pub fn join(count: usize, stream: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let (local, seen) = (LocalSet::new(), Rc::new(RefCell::new(Delays::none())));
        for _ in 0..count {
            let (stream, seen) = (stream.to_owned(), seen.clone());
            local.spawn_local(async move { Player::begin(&stream).await.play(&seen).await });
        }
        Self {
            runtime,
            local,
            seen,
        }
    }

    /// Plays for so long, and says what was seen since it was asked last.
    pub fn watch(&mut self, long: Duration) -> Delays {
        let watching = async { tokio::time::sleep(long).await };
        self.local.block_on(&self.runtime, watching);
        self.seen.replace(Delays::none())
    }
}

struct Player {
    client: Client,
    /// Where the parts are.
    base: String,
    media: String,
}

/// A part that was taken: its number, when it was listed, when it was there.
struct Taken {
    number: u64,
    listed: Instant,
    there: Instant,
}

impl Player {
    async fn begin(stream: &str) -> Self {
        let client = Client::new();
        let found = client.get(&format!("{stream}/media.m3u8")).await;
        let found = found.expect("the edge answers");
        let media = found.headers().get("location").expect("a session");
        let media = media.to_str().expect("a URL");
        let host = stream.split('/').take(3).collect::<Vec<_>>().join("/");
        Self {
            client,
            base: stream.to_owned(),
            media: format!("{host}{media}"),
        }
    }

    async fn play(self, seen: &RefCell<Delays>) {
        let mut text = self.text(&self.media).await;
        let mut last: Option<Taken> = None;
        loop {
            let (msn, part) = next(&text);
            let directives = format!("&_HLS_msn={msn}&_HLS_part={part}&_HLS_skip=YES");
            text = self.text(&format!("{}{directives}", self.media)).await;
            let listed = Instant::now();
            let Some(file) = newest(&text) else { continue };
            let body = self.bytes(&format!("{}/{file}", self.base)).await;
            let there = Instant::now();
            let number = file.split('.').nth(2).and_then(|n| n.parse().ok());
            let number = number.expect("the part has a number");
            let before = last.replace(Taken {
                number,
                listed,
                there,
            });
            let mut seen = seen.borrow_mut();
            seen.newest = seen.newest.max(number);
            let (Some(before), Some(complete)) = (before, made_at(&body)) else {
                continue;
            };
            if before.number + 1 == number {
                let since = |at: Instant| at.saturating_duration_since(complete).as_micros() as u64;
                seen.playlist.saturating_record(since(before.listed));
                seen.part.saturating_record(since(before.there));
            }
        }
    }

    async fn text(&self, url: &str) -> String {
        String::from_utf8(self.bytes(url).await).expect("a playlist is text")
    }

    async fn bytes(&self, url: &str) -> Vec<u8> {
        let answer = self.client.get(url).await.expect("the edge answers");
        assert_eq!(answer.status().as_u16(), 200, "{url}");
        let body = answer.into_body().collect().await.expect("a whole answer");
        body.to_bytes().into()
    }
}

/// The segment and the part of it that a playlist does not have yet.
fn next(text: &str) -> (u64, u64) {
    let (mut msn, mut part) = (0, 0);
    for line in text.lines() {
        let value = |tag| line.strip_prefix(tag)?.parse::<u64>().ok();
        if let Some(first) = value("#EXT-X-MEDIA-SEQUENCE:") {
            msn += first;
        } else if let Some(skipped) = value("#EXT-X-SKIP:SKIPPED-SEGMENTS=") {
            msn += skipped;
        } else if line.starts_with("#EXT-X-PART:") {
            part += 1;
        } else if line.starts_with("#EXTINF:") {
            (msn, part) = (msn + 1, 0);
        }
    }
    (msn, part)
}

/// The file name of the last part in a playlist.
fn newest(text: &str) -> Option<&str> {
    let line = text
        .lines()
        .rev()
        .find(|line| line.starts_with("#EXT-X-PART:"))?;
    line.split_once("URI=\"")?.1.split('"').next()
}
