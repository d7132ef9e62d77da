//! A thread that writes to viewers: takes sockets in, and hands them to the writers of their streams.
//!
//! It has a runtime of its own, so that nothing of a frame is shared with another core; a busy one gathers frames for
//! longer. It ends when the drain stops.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use relay::track::Consumer;
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval};
use transport::drain::Drain;

use super::Settings;
use super::budget::Budget;
use super::row::Taken;
use super::tally::Tally;
use super::writer::{Desk, Writer};
use crate::meter::Metrics;
use crate::playback::Options;
use crate::viewer::{Closed, Viewer};

/// A viewer on its way; its socket belongs to no runtime.
pub(super) struct Coming {
    pub(super) socket: net::TcpStream,
    pub(super) head: Bytes,
    pub(super) track: Consumer,
    pub(super) wish: Options,
    pub(super) viewer: Viewer,
    pub(super) guard: Box<dyn Send>,
    pub(super) taken: Taken,
}

/// A viewer at its worker.
pub(super) struct Seated {
    pub(super) socket: TcpStream,
    pub(super) head: Bytes,
    pub(super) wish: Options,
    pub(super) viewer: Viewer,
    pub(super) guard: Box<dyn Send>,
    pub(super) taken: Taken,
}

/// One worker.
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) drain: Drain,
    /// How many viewers it has, those on their way included.
    pub(super) viewers: Arc<AtomicU32>,
    pub(super) coming: mpsc::Receiver<Coming>,
}

impl Worker {
    /// Runs on this thread until the drain stops.
    pub(super) fn run(mut self, runtime: &Runtime) {
        let drain = self.drain.clone();
        let local = LocalSet::new();
        local.block_on(runtime, async {
            tokio::select! {
                () = drain.stopped() => {}
                () = self.serve() => {}
            }
        });
    }

    /// Never ends.
    async fn serve(&mut self) {
        let desk = Rc::new(Desk {
            terms: self.settings.terms,
            latency: Cell::new(Budget::new(self.settings.latency).latency()),
            tally: RefCell::new(Tally::default()),
        });
        let mut writers = HashMap::new();
        let mut beat = Beat::new(self.settings.latency);
        let mut ticks = interval(MEASURE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(coming) = self.coming.recv() => seat(&desk, &mut writers, coming).await,
                _ = ticks.tick() => {
                    desk.latency.set(beat.measure());
                    desk.tally.borrow_mut().flush(&self.metrics);
                    let viewers = self.viewers.load(Ordering::Relaxed);
                    self.metrics.writes(&self.name, desk.latency.get(), viewers);
                }
            }
        }
    }
}

/// Who writes which track.
type Writers = HashMap<usize, mpsc::Sender<Seated>>;

/// Gives a viewer to the writer of its stream, who is made for the first.
async fn seat(desk: &Rc<Desk>, writers: &mut Writers, coming: Coming) {
    let socket = match TcpStream::from_std(coming.socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::debug!(%error, "viewer not taken over");
            return coming.viewer.end(0, Closed::Left);
        }
    };
    let seated = Seated {
        socket,
        head: coming.head,
        wish: coming.wish,
        viewer: coming.viewer,
        guard: coming.guard,
        taken: coming.taken,
    };
    let id = coming.track.id();
    let seated = match writers.get(&id) {
        Some(writer) => match writer.send(seated).await {
            Ok(()) => return,
            // It ended with its last viewer.
            Err(returned) => returned.0,
        },
        None => seated,
    };
    writers.retain(|_, writer| !writer.is_closed());
    let (sender, seats) = mpsc::channel(SEATS);
    if sender.try_send(seated).is_ok() {
        writers.insert(id, sender);
        spawn_local(Writer::new(desk.clone(), coming.track).run(seats));
    }
}

/// Measures how busy a runtime is.
#[derive(Debug)]
pub(crate) struct Beat {
    budget: Budget,
    runtime: Handle,
    last: (Instant, Duration),
}

impl Beat {
    /// For the runtime that this is called on.
    pub(crate) fn new(fixed: Option<Duration>) -> Self {
        let runtime = Handle::current();
        Self {
            budget: Budget::new(fixed),
            last: (Instant::now(), busy(&runtime)),
            runtime,
        }
    }

    /// Measures since the last time, and says how long to gather.
    pub(crate) fn measure(&mut self) -> Duration {
        let (now, busy) = (Instant::now(), busy(&self.runtime));
        let (then, before) = std::mem::replace(&mut self.last, (now, busy));
        let threads = self.runtime.metrics().num_workers().max(1) as u32;
        let time = (now - then) * threads;
        self.budget.measure(busy.saturating_sub(before), time);
        self.budget.latency()
    }
}

/// How long the threads of a runtime were busy, in all.
fn busy(runtime: &Handle) -> Duration {
    let metrics = runtime.metrics();
    let threads = 0..metrics.num_workers();
    threads.map(|n| metrics.worker_total_busy_duration(n)).sum()
}

/// Counters are given on, and the load is measured, ten times a second.
pub(crate) const MEASURE: Duration = Duration::from_millis(100);

/// Viewers who wait for one writer; then the worker waits, and so do those who hand over.
const SEATS: usize = 256;
