//! Serving viewers from one upstream subscription per stream.
//!
//! Read downwards: `room` says how many fit, `http` turns a path into a wish, `admit` decides, `upstream` joins the
//! stream or opens it, `playback` serves, `viewer` counts. `meter` makes a sample of it each second.

pub mod config;
pub mod limits;
mod room;
mod rtt;
mod http;
pub mod admit;
pub mod upstream;
pub mod playback;
pub mod viewer;
pub mod meter;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use cluster::agent::Agent;
use cluster::config::Common;
use cluster::moves::Moves;
use cluster::node::{Node, NodeId, Role};
use cluster::sample::{Sample, StreamViewers};
use cluster::token::Gate;
use cluster::usage;
use prometheus_client::registry::Registry;
use relay::cache::Cache;
use relay::congestion;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior};
use transport::accept::Listener;
use transport::admin::{Admin, Readiness};
use transport::clock::Clock;
use transport::drain::Drain;
use transport::http::{Limits as HttpLimits, Metrics as HttpMetrics, Server};
use transport::limit;
use transport::quic::{self, Endpoint};
use transport::router::{self, Json, Router};
use transport::tls;

use crate::http::{Public, is_draining};
use limits::Limits;
use meter::{Meter, Metrics, Rate};
use playback::Terms;
use playback::flv::{self, Fanout, Settings};
use playback::hls::session::Sessions;
use playback::hls::{self, Hls};
use upstream::{Setup, Upstream};
use viewer::Viewers;

pub use config::Config;

/// A node that serves viewers; loaded, it listens.
pub struct Edge {
    addrs: Addrs,
    server: Server,
    public: Arc<Public>,
    /// Of the public listener: it outlasts the node's own start.
    doors: Drain,
    endpoint: Endpoint,
    agent: Agent<Source>,
    admin: Admin,
    registry: Registry,
    /// How long viewers may go on after the drain started.
    grace: Duration,
    /// How long frames are gathered, when that is fixed.
    latency: Option<Duration>,
    drain: Drain,
}

/// Measures a sample.
type Source = Box<dyn Fn() -> Sample + Send + Sync>;

/// Where an edge listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addrs {
    /// Viewers, over TCP.
    pub public: SocketAddr,
    /// The relay protocol, over UDP.
    pub relay: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
}

impl Edge {
    /// Every step of the start; when it returns, viewers and nodes can connect.
    pub async fn load(config: Config, common: Common, drain: Drain) -> anyhow::Result<Self> {
        tls::install();
        config.check()?;
        let (limits, connections) = Limits::new(config.capacity, limit::descriptors());
        let id = common.node.id(Role::Edge);
        let identity = common.cluster.identity(&id)?;
        let gate = Gate::load(&common.tokens, &common.cluster.secret)?;
        let admin = Admin::bind(&common.admin)?;
        let transport = congestion::controlled(quic::transport());
        let endpoint =
            quic::endpoint_with(config.relay_listen, &identity, transport).context("[edge]")?;
        let listener = Listener::bind(config.listen)
            .with_context(|| format!("cannot listen on {} ([edge] listen)", config.listen))?;
        let addrs = Addrs {
            public: listener.local_addr()?,
            relay: endpoint.local_addr()?,
            admin: admin.local_addr()?,
        };

        let mut registry = Registry::default();
        let http = HttpMetrics::register(&mut registry);
        let metrics = Metrics::register(&mut registry);
        let viewers = Viewers::with_patience(metrics.clone(), common.time.history_step());
        let rate = Arc::new(Rate::default());
        // The sample tells of the paths to parents, which are made of the plan, which the agent brings.
        let paths = Arc::new(OnceLock::new());
        let meter = Meter {
            node: describe(&config, &common, &id, addrs),
            limits: limits.clone(),
            viewers: viewers.clone(),
            rate: rate.clone(),
            metrics: metrics.clone(),
            usage: usage::Meter::new(),
            upstream: paths.clone(),
        };
        let source: Source = Box::new(move || meter.sample());
        let agent = Agent::new(&common.cluster.schedulers, &identity, source)?;
        let upstream = Upstream::new(Setup {
            node: id.clone(),
            endpoint: endpoint.clone(),
            cache: Cache::new(config.groups_bytes()),
            plan: agent.plan(),
            parents: config.parents.clone(),
            linger: config.linger.get(),
            metrics: metrics.clone(),
            drain: drain.clone(),
        });
        let _ = paths.set(upstream.clone());

        let doors = Drain::new();
        let server = server(&config, connections, listener, &doors)?.stats(http.listener("public"));
        let public = Arc::new(Public {
            node: id,
            gate,
            limits,
            terms: terms(&config),
            fanout: fanout(&config, &metrics, &drain)?,
            hls: Hls::new(hls::Setup {
                settings: config.hls_settings(),
                upstream: upstream.clone(),
                plan: agent.plan(),
                metrics: metrics.clone(),
                drain: drain.clone(),
            }),
            sessions: Sessions::default(),
            plan: agent.plan(),
            // Without a scheduler there is none to wait for.
            plan_by: (!common.cluster.schedulers.is_empty()).then(|| Instant::now() + PLAN_WITHIN),
            upstream,
            viewers,
            rate,
            metrics,
            clock: Clock::system(),
            drain: drain.clone(),
        });
        let admin = admin.stats(http.listener("admin"));
        Ok(Self {
            addrs,
            server,
            public,
            doors,
            endpoint,
            agent,
            admin,
            registry,
            grace: config.drain.get(),
            latency: config.flv.latency.fixed(),
            drain,
        })
    }

    /// Where it listens, with the ports that the system chose where 0 was asked.
    pub fn addrs(&self) -> Addrs {
        self.addrs
    }

    /// What it may carry, to be changed while it runs.
    pub fn limits(&self) -> Limits {
        self.public.limits.clone()
    }

    /// Serves until the drain is stopped, which it is within the configured time of its start.
    /// A drain that has started takes no more viewers; those that watch are served until they have gone elsewhere.
    pub async fn run(self) {
        let Self {
            addrs,
            server,
            public,
            doors,
            endpoint,
            agent,
            admin,
            registry,
            grace,
            latency,
            drain,
        } = self;
        let Addrs {
            public: viewers,
            relay,
            admin: operators,
        } = addrs;
        tracing::info!(node = %public.node, %viewers, %relay, admin = %operators, "edge listens");
        let readiness = Readiness::new();
        readiness.set("listening", true);
        let api = api(public.clone());
        drain.background(admin.run(api, Arc::new(registry), readiness.clone(), drain.clone()));
        drain.background(measure(public.clone()));
        drain.background(gather(public.clone(), latency));
        drain.background(heed(public.clone(), readiness));
        drain.background(sweep(public.clone()));
        drain.background(relieve(public.clone()));
        drain.background(rtt::follow(public.viewers.clone(), viewers.port()));
        drain.background(upstream::serve::Server::new(public.upstream.clone()).run());
        let taker = public.clone();
        drain.spawn(see_off(
            public.viewers.clone(),
            drain.clone(),
            doors.clone(),
        ));
        doors.background(server.run_with(move |request| public.clone().answer(request), taker));
        // The agent's last words come after the stop, so it is no task of the drain.
        let stop = async {
            drain.started().await;
            drain.finish(grace).await
        };
        let shut = async {
            drain.stopped().await;
            doors.finish(Duration::ZERO).await
        };
        tokio::join!(agent.run(drain.clone()), stop, shut);
        endpoint.close(0_u32.into(), b"stopped");
        // Nodes that do not hear of it notice the silence.
        let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
    }
}

/// Once the drain has started, keeps the doors open until nobody watches: a session of HLS comes back for each part,
/// and who was sent here a moment ago is sent on. Ends when the last answers are written.
async fn see_off(viewers: Viewers, drain: Drain, doors: Drain) {
    drain.started().await;
    while viewers.total() > 0 {
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
    doors.finish(ANSWERED_WITHIN).await;
}

/// Measures the rate of sending, which admission goes by. Never ends.
async fn measure(public: Arc<Public>) {
    let mut beat = tokio::time::interval(MEASURE_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let metrics = &public.metrics;
        let bytes = metrics.egress_bytes.get() + metrics.relayed_bytes.get();
        public.rate.measure(bytes, public.viewers.total());
    }
}

/// Sets how long frames are gathered for viewers whom this runtime serves. Never ends.
async fn gather(public: Arc<Public>, fixed: Option<Duration>) {
    let mut beat = flv::Beat::new(fixed);
    let mut ticks = tokio::time::interval(flv::MEASURE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let latency = beat.measure();
        let viewers = public.viewers.total();
        let others = viewers.saturating_sub(public.fanout.viewers());
        public.viewers.gather(latency);
        public.metrics.writes("shared", latency, others);
    }
}

/// Lets HLS sessions go that are silent. Never ends.
async fn sweep(public: Arc<Public>) {
    let mut beat = tokio::time::interval(SWEEP_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        public.sessions.sweep();
    }
}

/// Asks viewers to find another edge as fast as the plan wants it, or as the load does. Never ends.
async fn relieve(public: Arc<Public>) {
    let mut beat = tokio::time::interval(ASK_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = beat.tick().await;
    loop {
        let now = beat.tick().await;
        let (viewers, egress_bps) = (public.viewers.total(), public.rate.egress_bps());
        let overloaded = Moves::relieving(&public.limits.now(), viewers, egress_bps);
        let ordered = public.plan.borrow().moves_of(&public.node);
        if let Some(moves) = ordered.max(overloaded) {
            public.viewers.relieve(moves, now - last);
        }
        last = now;
    }
}

/// Tells who asks for readiness what the plan wants of the node. Never ends.
async fn heed(public: Arc<Public>, readiness: Readiness) {
    let mut plan = public.plan.clone();
    loop {
        let drains = is_draining(&plan.borrow_and_update(), &public.node);
        readiness.set("not drained by the plan", !drains);
        if plan.changed().await.is_err() {
            return;
        }
    }
}

fn api(public: Arc<Public>) -> Router {
    let viewers = move || async move {
        let streams = public.viewers.by_stream();
        let streams = streams.into_iter().map(|(key, viewers)| StreamViewers {
            key,
            viewers,
            joins: 0,
            leaves: 0,
        });
        let mut streams: Vec<_> = streams.collect();
        streams.sort_by(|a, b| b.viewers.cmp(&a.viewers).then_with(|| a.key.cmp(&b.key)));
        let (total, egress_bps) = (public.viewers.total(), public.rate.egress_bps());
        Json(Summary {
            total,
            egress_bps,
            streams,
        })
    };
    Router::new().route("/api/v1/viewers", router::get(viewers))
}

/// What `/api/v1/viewers` answers.
#[derive(Debug, Serialize)]
struct Summary {
    /// Viewers of all streams.
    total: u32,
    /// Bits per second sent.
    egress_bps: u64,
    /// Viewers of each stream, most first.
    streams: Vec<StreamViewers>,
}

fn server(
    config: &Config,
    connections: usize,
    listener: Listener,
    drain: &Drain,
) -> anyhow::Result<Server> {
    let server = Server::new(listener, limits(config, connections), drain.clone());
    let Some(files) = &config.tls else {
        return Ok(server);
    };
    Ok(server.tls(tls::public(&files.cert, &files.key).context("[edge.tls]")?))
}

fn limits(config: &Config, connections: usize) -> HttpLimits {
    let per_address = config.max_connections_per_address;
    HttpLimits {
        connections,
        per_address: usize::try_from(per_address).unwrap_or(usize::MAX),
        write_stall: config.slow.close_after.get(),
        ..HttpLimits::default()
    }
}

fn fanout(config: &Config, metrics: &Metrics, drain: &Drain) -> anyhow::Result<Fanout> {
    let settings = Settings {
        workers: usize::try_from(config.flv.workers).unwrap_or(usize::MAX),
        latency: config.flv.latency.fixed(),
        terms: terms(config),
    };
    Fanout::start(&settings, metrics.clone(), drain.clone())
        .context("the threads that write to viewers cannot start")
}

fn terms(config: &Config) -> Terms {
    Terms {
        skip_after: config.slow.skip_after.get(),
        queue: config.slow.queue.get(),
        close_after: config.slow.close_after.get(),
    }
}

fn describe(config: &Config, common: &Common, id: &NodeId, addrs: Addrs) -> Node {
    Node {
        id: id.clone(),
        role: Role::Edge,
        public_url: config.viewers_url(addrs.public),
        relay: config.relay_public.clone(),
        hub: config.hub,
        zone: common.node.zone.clone(),
        admin: Some(format!("http://{}", addrs.admin)),
        place: common.node.place.clone(),
        capacity: config.capacity.into(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The rate is measured over the time that capacity is meant for.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// A scheduler that is there answers a node's first sample by then; requests that come earlier wait for it, because
/// only the plan knows where streams are.
const PLAN_WITHIN: Duration = Duration::from_secs(3);

/// Viewers are asked little by little: at the fastest pace a sixteenth of them at once.
const ASK_INTERVAL: Duration = Duration::from_millis(250);

/// How exactly the end of a session is noticed.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// Time for the last answers when nobody watches any more: a part to a slow link.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Time for a last packet to each node.
const GOODBYE: Duration = Duration::from_millis(100);
