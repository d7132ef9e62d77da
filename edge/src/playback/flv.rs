//! Hot: HTTP-FLV over plain sockets: threads that walk their viewers, instead of a task for each.
//!
//! A viewer is handed to the worker with the fewest, with its socket, and there to the one writer of its stream. Its
//! bytes are those of the log that all share who started together. Other roads to the same bytes are [`Body`], for
//! connections that hyper keeps, and WebSocket.

mod body;
mod budget;
mod cursor;
mod log;
mod row;
mod tally;
mod worker;
mod writer;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use relay::track::Consumer;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use transport::drain::Drain;

use super::{Options, Terms};
use crate::meter::Metrics;
use crate::viewer::Viewer;
pub use body::Body;
use row::Taken;
pub(crate) use worker::{Beat, MEASURE};
use worker::{Coming, Worker};

/// How the workers are set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Threads; 0 is one per core.
    pub workers: usize,
    /// How long frames are gathered; unset, as long as the load asks for.
    pub latency: Option<Duration>,
    /// What viewers are allowed.
    pub terms: Terms,
}

/// A viewer's socket on its way to a worker.
pub struct Seat {
    /// Nothing was written to it; what was read of it is the request's head alone.
    pub socket: TcpStream,
    /// The head of the HTTP response, which is written first.
    pub head: Bytes,
    /// The stream.
    pub track: Consumer,
    /// How the viewer wants it.
    pub wish: Options,
    /// Counts it.
    pub viewer: Viewer,
    /// The connection's permit: dropped with the socket.
    pub guard: Box<dyn Send>,
}

/// The workers; a clone hands over to the same.
#[derive(Clone, Debug)]
pub struct Fanout {
    doors: Arc<[Door]>,
    /// Held while a worker is chosen.
    choice: Arc<Mutex<()>>,
}

/// The way to a worker.
#[derive(Debug)]
struct Door {
    viewers: Arc<AtomicU32>,
    sender: mpsc::Sender<Coming>,
}

impl Fanout {
    /// Starts the workers, which end with the drain's stop; a drain waits for their viewers.
    pub fn start(settings: &Settings, metrics: Metrics, drain: Drain) -> io::Result<Self> {
        let count = match settings.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            given => given,
        };
        let doors = (0..count).map(|number| start(number, settings, &metrics, &drain));
        let doors: Arc<[Door]> = doors.collect::<io::Result<_>>()?;
        drain.spawn(vacated(doors.clone(), drain.clone()));
        Ok(Self {
            doors,
            choice: Arc::default(),
        })
    }

    /// Hands a viewer to the worker with the fewest; waits while that one has many to take in.
    pub async fn serve(&self, seat: Seat) {
        let Some((door, taken)) = self.take() else {
            return;
        };
        // The socket leaves this runtime; what fails here fails only when the system is out of its depth.
        let socket = match seat.socket.into_std() {
            Ok(socket) => socket,
            Err(error) => return tracing::debug!(%error, "viewer not handed over"),
        };
        let coming = Coming {
            socket,
            head: seat.head,
            track: seat.track,
            wish: seat.wish,
            viewer: seat.viewer,
            guard: seat.guard,
            taken,
        };
        // A worker that is gone was stopped with the node: so is the viewer.
        let _ = door.sender.send(coming).await;
    }

    /// Viewers of all workers.
    pub fn viewers(&self) -> u32 {
        let each = self
            .doors
            .iter()
            .map(|door| door.viewers.load(Ordering::Relaxed));
        each.sum()
    }

    /// Counts a viewer to the worker with the fewest, exactly: one at a time.
    fn take(&self) -> Option<(&Door, Taken)> {
        let _one = self.choice.lock();
        let fewest = |door: &&Door| door.viewers.load(Ordering::Relaxed);
        let door = self.doors.iter().min_by_key(fewest)?;
        Some((door, Taken::new(&door.viewers)))
    }
}

fn start(number: usize, settings: &Settings, metrics: &Metrics, drain: &Drain) -> io::Result<Door> {
    let viewers = Arc::new(AtomicU32::new(0));
    let (sender, coming) = mpsc::channel(COMING);
    let worker = Worker {
        name: number.to_string(),
        settings: *settings,
        metrics: metrics.clone(),
        drain: drain.clone(),
        viewers: viewers.clone(),
        coming,
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name(format!("flv-{number}"));
    thread.spawn(move || worker.run(&runtime))?;
    Ok(Door { viewers, sender })
}

/// Ends once the drain has started and nobody watches.
async fn vacated(doors: Arc<[Door]>, drain: Drain) {
    drain.started().await;
    while doors
        .iter()
        .any(|door| door.viewers.load(Ordering::Relaxed) > 0)
    {
        tokio::time::sleep(LOOK).await;
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("wish", &self.wish)
            .field("viewer", &self.viewer)
            .finish_non_exhaustive()
    }
}

/// Viewers on their way to one worker; those behind wait.
const COMING: usize = 256;
/// How soon a drain notices that the last viewer left.
const LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
