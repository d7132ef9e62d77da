//! Hot: follows a stream, once for all who play it by HLS, and shows them each new part.
//!
//! The task ends when nobody has asked for a while; a stream that ended stays to be seen until then. One whose parents
//! were lost is no end to show: it is forgotten, so that players look elsewhere.

use std::sync::Arc;
use std::time::Duration;

use cluster::stream::StreamKey;
use futures_util::FutureExt as _;
use relay::group::{End, Group};
use relay::reader::{Item, Reader, Start};
use relay::track::{Consumer, MAX_GROUPS};
use tokio::time::{MissedTickBehavior, interval};

use super::Hls;
use super::layout::{Layout, Read};
use super::show::{Show, Views};
use super::view::View;

/// Follows a stream until nobody asks for it.
pub(super) async fn run(hls: Hls, stream: StreamKey, show: Arc<Show>, views: Views) {
    let window = hls.0.setup.settings.window;
    show.past(window).await;
    let start = oldest(show.track(), window);
    let mut reader = Reader::new(show.track().clone(), start);
    let mut follower = Follower::new(window);
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !follower.is_over {
        tokio::select! {
            item = reader.next() => follower.take(item),
            _ = looks.tick() => if show.is_idle() { break },
        }
        // Whatever is there is one view: a start has minutes of parts.
        while let Some(item) = reader.next().now_or_never() {
            follower.take(item);
            if follower.is_over {
                break;
            }
        }
        if follower.is_over && show.is_lost() {
            return hls.forget(&stream, &show);
        }
        if let Some(view) = follower.look(&hls, &stream) {
            views.send_replace(Some(Arc::new(view)));
        }
    }
    while !show.is_idle() {
        looks.tick().await;
    }
    hls.forget(&stream, &show);
}

/// Before the first group of the newest epoch that is there, is within the window, and from which on none is missing.
fn oldest(track: &Consumer, window: Duration) -> Start {
    let recent = track.recent(MAX_GROUPS);
    let Some(newest) = recent.first().map(Group::header) else {
        return Start::Latest;
    };
    let window_us = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
    let row = recent.iter().enumerate().take_while(|(nth, group)| {
        let header = group.header();
        let age_us = newest.wallclock_us.saturating_sub(header.wallclock_us);
        header.epoch == newest.epoch
            && header.number + *nth as u64 == newest.number
            && age_us <= window_us
    });
    let number = newest.number.saturating_sub(row.count() as u64);
    Start::After(newest.epoch, number, u32::MAX - 1)
}

/// What was read so far.
struct Follower {
    window: Duration,
    layout: Option<Layout>,
    group: Option<Group>,
    /// Frames read of the group.
    read: u32,
    is_lost: bool,
    is_changed: bool,
    is_over: bool,
}

impl Follower {
    fn new(window: Duration) -> Self {
        Self {
            window,
            layout: None,
            group: None,
            read: 0,
            is_lost: false,
            is_changed: false,
            is_over: false,
        }
    }

    fn take(&mut self, item: Option<Item>) {
        match item {
            Some(Item::Group(group)) => self.begin(group),
            Some(Item::Frame { number, frame }) => {
                self.read = number + 1;
                let layout = self.layout.as_mut();
                self.is_changed |= layout.is_some_and(|layout| layout.push(&frame));
            }
            Some(Item::Gap) => self.is_lost = true,
            None => {
                let read = self.how_read();
                if let Some(layout) = &mut self.layout {
                    layout.close(read);
                }
                (self.is_over, self.is_changed) = (true, true);
            }
        }
    }

    fn begin(&mut self, group: Group) {
        let read = self.how_read();
        let header = group.header();
        let same = self.layout.take();
        let same = same.filter(|layout| layout.epoch() == header.epoch);
        let mut layout = same.unwrap_or_else(|| Layout::new(self.window, header));
        layout.begin(header, read);
        self.layout = Some(layout);
        (self.group, self.read) = (Some(group), 0);
        (self.is_lost, self.is_changed) = (false, true);
    }

    /// Whether all of the group was read.
    fn how_read(&self) -> Read {
        let whole = self.group.as_ref().is_some_and(|group| {
            group.end() == Some(End::Finished) && group.len() == self.read as usize
        });
        if whole && !self.is_lost {
            Read::Whole
        } else {
            Read::Lost
        }
    }

    /// What players see now, if that is something new.
    fn look(&mut self, hls: &Hls, stream: &StreamKey) -> Option<View> {
        let layout = self.layout.as_ref()?;
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let others = hls.rungs(stream).into_iter().filter(|rung| rung != stream);
        let reports = others.filter_map(|rung| {
            let last = hls.seen(&rung)?.last()?;
            Some((rung, last))
        });
        let reports = reports.collect();
        let catalog = self
            .group
            .as_ref()
            .map(|group| group.header().catalog.clone());
        Some(View::new(
            layout,
            catalog,
            self.is_over,
            reports,
            hls.auth(),
        ))
    }
}

/// How soon it is noticed that nobody asks.
const LOOK: Duration = Duration::from_secs(1);
