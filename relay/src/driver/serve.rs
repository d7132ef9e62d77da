//! The acceptor's shell: messages to the session, its outputs to tasks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{Connection, VarInt};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::parity::Line;
use super::{
    Announced, Control, Error, Lease, Served, Source, WINDOW, close, closed, lost, now, send, until,
};
use crate::session::server::{Input, Output, Sent, Server};
use crate::session::{HELLO_WITHIN, Past};
use crate::track;
use crate::wire::{Close, Refusal, Start};

/// How long the source may look for a stream: it may have to dial a parent itself.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);

/// Serves one accepted connection until the peer leaves. Once `shutdown` is cancelled new
/// subscriptions are refused, and it returns when the last one is gone.
pub async fn serve(
    connection: Connection,
    node: &str,
    source: Arc<dyn Source>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    connection.set_send_window(u64::from(WINDOW));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(0));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(1));
    let session = Server::new(node, now());
    let served = match timeout(HELLO_WITHIN, connection.accept_bi()).await {
        Err(_) => Err(Error::Timeout),
        Ok(Err(error)) => Err(lost(error)),
        Ok(Ok(streams)) => {
            let control = Control::new(streams);
            Serving::new(connection.clone(), session, control, source)
                .run(shutdown)
                .await
        }
    };
    let Err(error) = served else { return Ok(()) };
    close(&connection, &error);
    if let Error::Done = error {
        Ok(())
    } else {
        Err(error)
    }
}

struct Serving {
    line: Arc<Line>,
    session: Server,
    control: Control,
    source: Arc<dyn Source>,
    announced: watch::Receiver<Arc<Vec<Announced>>>,
    resolving: JoinSet<(u64, Result<Served, Refusal>)>,
    /// The stream that the session is deciding on.
    found: Option<(track::Consumer, Option<Lease>)>,
    feeds: JoinSet<(u64, Sent)>,
    /// What each subscription is doing: being resolved, or fed.
    running: HashMap<u64, AbortHandle>,
    wake: Option<Instant>,
}

impl Serving {
    fn new(
        connection: Connection,
        session: Server,
        control: Control,
        source: Arc<dyn Source>,
    ) -> Self {
        let mut announced = source.announced();
        announced.mark_changed();
        Self {
            line: Arc::new(Line::new(connection)),
            session,
            control,
            source,
            announced,
            resolving: JoinSet::new(),
            found: None,
            feeds: JoinSet::new(),
            running: HashMap::new(),
            wake: None,
        }
    }

    async fn run(&mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut draining = false;
        loop {
            while let Some(output) = self.session.poll_output() {
                self.carry_out(output).await?;
            }
            self.found = None;
            let open = !self.session.peer().is_empty();
            let input = tokio::select! {
                // The peer's own messages come last: it cannot keep the others waiting.
                biased;
                Some(resolved) = self.resolving.join_next() => match finished(resolved)? {
                    Some((id, result)) => self.resolved(id, result),
                    None => continue,
                },
                Some(ended) = self.feeds.join_next() => match finished(ended)? {
                    Some((id, sent)) => self.ended(id, sent),
                    None => continue,
                },
                () = shutdown.cancelled(), if open && !draining => {
                    draining = true;
                    Input::Drain
                }
                Ok(()) = self.announced.changed(), if open => {
                    Input::Announced(self.announced.borrow_and_update().to_vec())
                }
                () = until(self.wake) => Input::Timeout,
                message = self.control.read() => Input::Message(message?),
            };
            self.session.handle_input(input);
        }
    }

    fn resolved(&mut self, id: u64, result: Result<Served, Refusal>) -> Input {
        self.running.remove(&id);
        let hops = result.map(|served| {
            self.found = Some((served.track, served.lease));
            served.hops
        });
        Input::Resolved(id, hops)
    }

    fn ended(&mut self, id: u64, sent: Sent) -> Input {
        self.running.remove(&id);
        Input::Ended(id, sent)
    }

    async fn carry_out(&mut self, output: Output) -> Result<(), Error> {
        match output {
            Output::Send(bytes) => self.control.write(bytes).await?,
            Output::Resolve {
                id,
                stream,
                hops,
                start,
            } => self.resolve(id, stream, hops, start),
            Output::Start(id, start) => self.start(id, start),
            Output::Stop(id) => self.stop(id),
            Output::Wake(at) => self.wake = at,
            Output::Close(code) => {
                if code == Close::Done {
                    self.control.finish().await;
                }
                return Err(closed(code));
            }
        }
        Ok(())
    }

    fn resolve(&mut self, id: u64, stream: String, hops: Vec<String>, start: Start) {
        let source = self.source.clone();
        let task = self.resolving.spawn(async move {
            let found = timeout(RESOLVE_WITHIN, source.subscribe(&stream, &hops, start)).await;
            (id, found.unwrap_or(Err(Refusal::Overloaded)))
        });
        self.running.insert(id, task);
    }

    fn start(&mut self, id: u64, start: Start) {
        if let Some((track, lease)) = self.found.take() {
            let line = self.line.clone();
            let feed = async move {
                let _held = lease;
                (id, feed(line, id, track, start).await)
            };
            self.running.insert(id, self.feeds.spawn(feed));
        }
    }

    fn stop(&mut self, id: u64) {
        if let Some(task) = self.running.remove(&id) {
            task.abort();
        }
    }
}

async fn feed(line: Arc<Line>, id: u64, track: track::Consumer, start: Start) -> Sent {
    let after = match start {
        Start::Latest => None,
        Start::After(key) => Some(key),
        Start::Past { before, for_ms } => {
            let reach = Duration::from_millis(for_ms);
            let past = Past::new(&track, before, reach, now());
            let groups = send::feed_past(&line, id, &track, past).await;
            return Sent { last: None, groups };
        }
    };
    let last = send::feed(&line, id, &track, after).await;
    Sent { last, groups: 0 }
}

/// A task's result; none when it was stopped.
fn finished<T>(result: Result<T, JoinError>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_cancelled() => Ok(None),
        Err(error) => Err(Error::Task(error)),
    }
}
