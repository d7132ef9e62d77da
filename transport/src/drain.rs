//! Stopping in two steps: `start` refuses new work and lets what runs finish, `stop` ends it.
//!
//! Tasks given to [`Drain::spawn`] are waited for; tasks given to [`Drain::background`] serve
//! the others (admin listener, telemetry) and end with `stop`. Both are dropped at `stop`, so
//! [`Drain::finish`] always returns by its deadline plus [`STOP_GRACE`].
//! Leaves out what a service does while draining: it watches [`Drain::started`] itself.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long dropped tasks may take to run their destructors before `finish` returns anyway.
pub const STOP_GRACE: Duration = Duration::from_millis(500);

/// A handle on one drain; clones are the same drain.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    start: CancellationToken,
    stop: CancellationToken,
    tracked: TaskTracker,
    background: TaskTracker,
}

impl Drain {
    /// A drain that has not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody to take no new work and to finish what runs.
    pub fn start(&self) {
        self.start.cancel();
    }

    /// Whether new work is to be refused.
    pub fn is_started(&self) -> bool {
        self.start.is_cancelled()
    }

    /// Resolves once the drain has started.
    pub async fn started(&self) {
        cancelled(&self.start).await;
    }

    /// Ends everything now; a drain that is stopped has also started.
    pub fn stop(&self) {
        self.start.cancel();
        self.stop.cancel();
    }

    /// Resolves once the drain has been stopped.
    pub async fn stopped(&self) {
        cancelled(&self.stop).await;
    }

    /// The token that is cancelled when the drain starts, for code that takes one.
    pub fn start_token(&self) -> CancellationToken {
        self.start.clone()
    }

    /// The token that is cancelled when the drain stops, for code that takes one.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task that [`Drain::finish`] waits for; it is dropped at `stop`.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future + Send + 'static,
    {
        self.tracked.spawn(until(self.stop.clone(), task));
    }

    /// Runs a task that nobody waits for; it is dropped at `stop`.
    pub fn background<F>(&self, task: F)
    where
        F: Future + Send + 'static,
    {
        self.background.spawn(until(self.stop.clone(), task));
    }

    /// Starts the drain, waits for the tracked tasks until the deadline, then stops everything.
    /// Says whether all tracked tasks ended by themselves.
    pub async fn finish(&self, deadline: Duration) -> bool {
        self.start();
        self.tracked.close();
        self.background.close();
        let finished = tokio::select! {
            // First, because a stop also empties the tracked tasks.
            biased;
            () = self.stopped() => false,
            () = self.tracked.wait() => true,
            () = tokio::time::sleep(deadline) => false,
        };
        self.stop();
        let all = async { tokio::join!(self.tracked.wait(), self.background.wait()) };
        // The outcome is the caller's already: a destructor that hangs must not hold the exit.
        let _ = tokio::time::timeout(STOP_GRACE, all).await;
        finished
    }
}

/// Starts the drain at the first SIGTERM or SIGINT and stops it at the second.
pub fn on_signals(drain: Drain) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drain.clone().background(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if drain.is_started() {
                tracing::warn!("second signal, stopping at once");
                drain.stop();
                return;
            }
            tracing::info!("signal received, draining; a second one stops at once");
            drain.start();
        }
    });
    Ok(())
}

async fn until<F: Future>(stop: CancellationToken, task: F) {
    tokio::select! {
        biased;
        _ = task => {}
        () = cancelled(&stop) => {}
    }
}

/// Waits for the token without touching it at the task's other wakes: polled as it is, the
/// token takes a lock that all tasks share, which a connection would pay for at every frame.
async fn cancelled(token: &CancellationToken) {
    let mut wait: FuturesUnordered<_> = std::iter::once(token.cancelled()).collect();
    wait.next().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn finish_waits_for_tracked_tasks() {
        let drain = Drain::new();
        let inner = drain.clone();
        drain.spawn(async move {
            inner.started().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        assert!(drain.finish(Duration::from_secs(5)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn finish_ends_what_overstays_the_deadline() {
        let drain = Drain::new();
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        drain.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let before = tokio::time::Instant::now();
        assert!(!drain.finish(Duration::from_secs(5)).await);
        assert_eq!(before.elapsed(), Duration::from_secs(5));
        assert!(dropped.await.is_err(), "the task was dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn background_tasks_live_until_the_stop_and_hold_nobody() {
        let drain = Drain::new();
        let (held, mut dropped) = tokio::sync::oneshot::channel::<()>();
        drain.background(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drain.start();
        tokio::task::yield_now().await;
        assert!(
            dropped
                .try_recv()
                .is_err_and(|e| e == tokio::sync::oneshot::error::TryRecvError::Empty)
        );
        assert!(drain.finish(Duration::from_secs(5)).await);
        assert!(dropped.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_a_running_finish() {
        let drain = Drain::new();
        drain.spawn(std::future::pending::<()>());
        let other = drain.clone();
        tokio::spawn(async move {
            other.started().await;
            other.stop();
        });
        assert!(!drain.finish(Duration::from_secs(3600)).await);
    }

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_stops() {
        let drain = Drain::new();
        on_signals(drain.clone()).unwrap();
        let kill = || {
            let pid = std::process::id().to_string();
            assert!(
                std::process::Command::new("kill")
                    .arg(pid)
                    .status()
                    .unwrap()
                    .success()
            );
        };
        kill();
        drain.started().await;
        assert!(!drain.stop_token().is_cancelled());
        kill();
        drain.stopped().await;
    }
}
