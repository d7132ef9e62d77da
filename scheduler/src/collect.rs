//! The cluster's listener: nodes' samples in, the plan out, and a fresh snapshot for everyone else.
//!
//! A node proves who it is by its certificate and may speak for itself alone. The registry is
//! locked for as long as one report takes to note; snapshots are made by [`Collector::run`] within
//! a tenth of a second of a change and at least once a second, and read without a lock. All samples
//! go on to the history, those that had waited at a node among them.

pub mod registry;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use cluster::plan::{Mark, Plan};
use cluster::sample::{Answer, MAX_REPORT_BYTES, PATH, Report};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use parking_lot::Mutex;
use transport::clock::unix_ms;
use transport::http::{Body, CollectError, Incoming, PeerIdentity, collect, full, problem};

use crate::history::History;
use crate::meter::Meter;
use crate::plan::relay::Relays;
use crate::snapshot::{NodeView, Snapshot};
use registry::{Refused, Registry, TICK_MS};

/// Keeps the registry and publishes what follows from it.
pub struct Collector {
    registry: Mutex<Registry>,
    /// Held while publishing, so that an older snapshot never replaces a newer one.
    publishing: Mutex<()>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    answer: ArcSwap<PlanAnswer>,
    meter: Meter,
    history: Arc<History>,
    started: Instant,
}

/// The newest plan as it goes out, written once for all nodes.
struct PlanAnswer {
    mark: Mark,
    body: Bytes,
}

impl Collector {
    /// A collector around a registry that has taken no samples yet.
    pub fn new(registry: Registry, meter: Meter, history: Arc<History>) -> Self {
        let collector = Self {
            registry: Mutex::new(registry),
            publishing: Mutex::default(),
            snapshot: Arc::default(),
            answer: ArcSwap::from_pointee(PlanAnswer::of(&Plan::default())),
            meter,
            history,
            started: Instant::now(),
        };
        collector.publish();
        collector
    }

    /// Where the newest snapshot is found.
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        self.snapshot.clone()
    }

    /// The scheduler's monotonic clock.
    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Changes the registry on an operator's behalf; what follows is in force on return.
    pub fn order<T>(&self, change: impl FnOnce(&mut Registry, u64) -> T) -> T {
        let result = change(&mut self.registry.lock(), self.now_ms());
        self.publish();
        result
    }

    /// Notices silence, reports for external pathways, publishes snapshots and lays relay paths, for
    /// ever.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.notice(), self.lay());
    }

    /// Lays the streams' ways by the newest snapshot, on a thread that may take its time.
    async fn lay(&self) {
        let mut beat = tokio::time::interval(LAY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut relays = Relays::default();
        loop {
            beat.tick().await;
            let snapshot = self.snapshot.load_full();
            let task = tokio::task::spawn_blocking(move || {
                let views: Vec<&NodeView> = snapshot.nodes.iter().collect();
                let streams = snapshot.streams.values().map(AsRef::as_ref);
                let routes = relays.lay(&views, streams);
                (relays, routes)
            });
            let routes;
            (relays, routes) = match task.await {
                Ok(laid) => laid,
                Err(error) => {
                    tracing::error!(%error, "paths were not laid; those before hold");
                    Default::default()
                }
            };
            if let Some(routes) = routes {
                self.order(|registry, _| registry.route(routes));
            }
        }
    }

    async fn notice(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let (mut published, mut reported) = (Instant::now(), Instant::now());
        loop {
            tick.tick().await;
            let (changed, external) = {
                let mut registry = self.registry.lock();
                registry.tick(self.now_ms());
                let external = if reported.elapsed() >= REFRESH {
                    reported = Instant::now();
                    registry.report(unix_ms())
                } else {
                    Vec::new()
                };
                (registry.has_changed(), external)
            };
            for sample in external {
                self.history.take(&[sample]);
            }
            if changed || published.elapsed() >= REFRESH {
                self.publish();
                published = Instant::now();
            }
        }
    }

    /// Answers one request of the cluster's listener.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if (request.method(), request.uri().path()) != (&Method::POST, PATH) {
            return problem(
                StatusCode::NOT_FOUND,
                "not found",
                "nodes post their samples here",
            );
        }
        match self.take(request).await {
            Ok(body) => {
                let mut response = Response::new(full(body));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                response
            }
            Err(fault) => {
                tracing::debug!(%fault, "report refused");
                self.meter.refused(fault.as_str());
                problem(fault.status(), "report refused", &fault.to_string())
            }
        }
    }

    async fn take(&self, request: Request<Incoming>) -> Result<Bytes, Fault> {
        let peer = request.extensions().get::<PeerIdentity>().cloned();
        let PeerIdentity(peer) = peer.ok_or(Fault::Anonymous)?;
        let body = collect(request.into_body(), MAX_REPORT_BYTES, REPORT_DEADLINE).await?;
        let report: Report = serde_json::from_slice(&body)?;
        let count = report.samples.len() as u64;
        let taken = self
            .registry
            .lock()
            .take(self.now_ms(), &peer, report.samples)?;
        self.history.take(&taken);
        self.meter.samples.inc_by(count);
        let newest = self.answer.load();
        Ok(if newest.mark > report.held {
            newest.body.clone()
        } else {
            NOTHING_NEW
        })
    }

    fn publish(&self) {
        let _turn = self.publishing.lock();
        let snapshot = Arc::new(self.registry.lock().snapshot(unix_ms()));
        if snapshot.plan.mark > self.answer.load().mark {
            self.answer.store(Arc::new(PlanAnswer::of(&snapshot.plan)));
        }
        self.meter.show(&snapshot);
        self.snapshot.store(snapshot);
    }
}

impl PlanAnswer {
    fn of(plan: &Plan) -> Self {
        let answer = Answer {
            plan: Some(plan.clone()),
        };
        let body = serde_json::to_vec(&answer).expect("a plan has only text keys");
        Self {
            mark: plan.mark,
            body: body.into(),
        }
    }
}

/// Why a report was refused.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the connection shows no certificate")]
    Anonymous,
    #[error(transparent)]
    Body(#[from] CollectError),
    #[error("not a report: {0}")]
    Form(#[from] serde_json::Error),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Fault {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Body(_) => "body",
            Self::Form(_) => "form",
            Self::Refused(refused) => refused.as_str(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Anonymous | Self::Refused(Refused::Identity) => StatusCode::FORBIDDEN,
            Self::Body(CollectError::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Form(_) => StatusCode::BAD_REQUEST,
            Self::Refused(Refused::TooManyNodes) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// How often the ways of streams are laid anew; a parent that dies is left before that, since every
/// node knows another one.
const LAY: Duration = Duration::from_secs(5);

/// Loads change with every sample, once a second.
const REFRESH: Duration = Duration::from_secs(1);

/// A report is a minute's worth at most; a node that needs longer than its heartbeat limit to send
/// it is as good as silent.
const REPORT_DEADLINE: Duration = Duration::from_secs(3);

const NOTHING_NEW: Bytes = Bytes::from_static(b"{\"plan\":null}");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_answer_is_a_valid_one() {
        let answer: Answer = serde_json::from_slice(&NOTHING_NEW).unwrap();
        assert_eq!(answer, Answer::default());
    }
}
