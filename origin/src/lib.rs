//! Taking streams in and serving them to edges.
//!
//! Read downwards: `ingest` turns a publisher's bytes into events, `admit` says whether it may
//! publish, `live` keeps who publishes what, `publish` turns events into numbered groups, `serve`
//! hands the tracks to edges. `push` is the other side, for load tests.

pub mod config;
pub mod ingest;
mod outbox;
pub mod admit;
pub mod live;
pub mod publish;
mod state;
pub mod serve;
pub mod meter;
pub mod push;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cluster::agent::Agent;
use cluster::config::Common;
use cluster::node::{Capacity, Node, NodeId, Role};
use cluster::plan::Plan;
use cluster::sample::{MAX_STREAMS, Sample};
use cluster::token::Gate;
use cluster::usage;
use prometheus_client::registry::Registry as Metrics;
use relay::cache::Cache;
use relay::congestion;
use tokio::sync::watch;
use transport::accept::Listener;
use transport::admin::{Admin, Readiness};
use transport::clock::{self, Clock};
use transport::drain::Drain;
use transport::quic::{self, Endpoint};
use transport::router::{self, Json, Router};
use transport::tls::{self, ServerConfig};

use admit::Admission;
use ingest::rtmp;
use live::{Registry, Rules, SWEEP};
use meter::Meter;
use state::State;

pub use config::{Config, Hls};

/// A node that takes streams in; loaded, it listens.
pub struct Origin {
    node: NodeId,
    addrs: Addrs,
    registry: Arc<Registry>,
    state: State,
    rtmp: rtmp::Server,
    relay: serve::Server,
    endpoint: Endpoint,
    agent: Agent<Source>,
    plan: watch::Receiver<Arc<Plan>>,
    admin: Admin,
    metrics: Metrics,
    /// How long publishers may go on after the drain started.
    grace: Duration,
    drain: Drain,
}

/// Measures a sample.
type Source = Box<dyn Fn() -> Sample + Send + Sync>;

/// Where an origin listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addrs {
    /// RTMP, over TCP.
    pub rtmp: SocketAddr,
    /// The relay protocol, over UDP.
    pub relay: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
}

impl Origin {
    /// Every step of the start; when it returns, publishers and edges can connect.
    pub async fn load(
        config: Config,
        hls: Hls,
        common: Common,
        drain: Drain,
    ) -> anyhow::Result<Self> {
        tls::install();
        hls.check()?;
        let id = common.node.id(Role::Origin);
        let identity = common.cluster.identity(&id)?;
        let gate = Gate::load(&common.tokens, &common.cluster.secret)?;
        let tls = config.rtmps.as_ref().map(rtmps).transpose()?;
        let admin = Admin::bind(&common.admin)?;
        let transport = congestion::controlled(quic::transport());
        let endpoint =
            quic::endpoint_with(config.relay_listen, &identity, transport).context("[origin]")?;
        let listener = Listener::bind(config.listen)
            .with_context(|| format!("cannot listen on {} ([origin] listen)", config.listen))?;
        let addrs = Addrs {
            rtmp: listener.local_addr()?,
            relay: endpoint.local_addr()?,
            admin: admin.local_addr()?,
        };

        let mut metrics = Metrics::default();
        let meter = Arc::new(Meter::new(&mut metrics));
        let cache = Cache::new(config.cache.as_usize());
        let state = State::load(config.state.clone()).await?;
        let registry = Registry::new(rules(&config, &hls), Clock::system(), cache, meter.clone());
        let node = describe(&config, &common, &id, addrs);
        let source = sampler(node, registry.clone(), meter.clone());
        let agent = Agent::new(&common.cluster.schedulers, &identity, source)?;

        let admission = Admission {
            node: id.clone(),
            gate,
            plan: agent.plan(),
            registry: registry.clone(),
            meter: meter.clone(),
            drain: drain.clone(),
        };
        let limits = rtmp::Limits {
            connections: config.max_connections,
            per_address: config.max_connections_per_address,
            idle: config.idle.get(),
        };
        let rtmp = rtmp::Server::new(listener, tls, limits, admission);
        let relay = serve::Server::new(
            endpoint.clone(),
            id.clone(),
            registry.clone(),
            meter,
            drain.clone(),
        );
        Ok(Self {
            node: id,
            addrs,
            registry,
            state,
            rtmp,
            relay,
            endpoint,
            plan: agent.plan(),
            agent,
            admin,
            metrics,
            grace: config.drain.get(),
            drain,
        })
    }

    /// Where it listens, with the ports that the system chose where 0 was asked.
    pub fn addrs(&self) -> Addrs {
        self.addrs
    }

    /// Serves until the drain is stopped, which it is within the configured time of its start.
    /// A drain that has started takes no more publishers.
    pub async fn run(self) {
        let Addrs { rtmp, relay, admin } = self.addrs;
        tracing::info!(node = %self.node, %rtmp, %relay, %admin, "origin listens");
        self.registry.begin_above(self.state.floor());
        let readiness = Readiness::new();
        readiness.set("listening", true);
        let drain = self.drain;
        let api = api(self.node, self.registry.clone());
        drain.background(
            self.admin
                .run(api, Arc::new(self.metrics), readiness, drain.clone()),
        );
        drain.background(sweep(self.registry, self.plan, self.state));
        drain.background(self.rtmp.run());
        drain.background(self.relay.run());
        // The agent's last words come after the stop, so it is no task of the drain.
        let stop = async {
            drain.started().await;
            drain.finish(self.grace).await
        };
        tokio::join!(self.agent.run(drain.clone()), stop);
        self.endpoint.close(0_u32.into(), b"stopped");
        // Edges that do not hear of it notice the silence.
        let _ = tokio::time::timeout(GOODBYE, self.endpoint.wait_idle()).await;
    }
}

/// Ends streams whose time is over, and remembers how far it has counted. Never ends itself.
async fn sweep(registry: Arc<Registry>, plan: watch::Receiver<Arc<Plan>>, mut state: State) {
    let mut beat = tokio::time::interval(SWEEP);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let plan = plan.borrow().clone();
        registry.sweep(&plan);
        state.save(registry.discontinuities()).await;
    }
}

fn api(node: NodeId, registry: Arc<Registry>) -> Router {
    let streams = move || async move { Json(registry.records(&node)) };
    Router::new().route("/api/v1/streams", router::get(streams))
}

fn rules(config: &Config, hls: &Hls) -> Rules {
    Rules {
        grace: config.grace.get(),
        takeover_after: config.takeover_after.get(),
        terms: hls.terms(),
        max_publishers: config.max_publishers.min(MAX_STREAMS),
    }
}

fn rtmps(config: &config::Rtmps) -> anyhow::Result<Arc<ServerConfig>> {
    let made = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => tls::public(cert, key),
        (None, None) => tls::self_signed(&["localhost".to_owned()]).map(|own| own.config),
        _ => anyhow::bail!("[origin.rtmps] cert and key belong together: give both, or neither"),
    };
    Ok(Arc::new(made.context("[origin.rtmps]")?))
}

fn describe(config: &Config, common: &Common, id: &NodeId, addrs: Addrs) -> Node {
    Node {
        id: id.clone(),
        role: Role::Origin,
        public_url: config.public_url(addrs.rtmp),
        relay: Some(config.relay_public(addrs.relay)),
        hub: false,
        zone: common.node.zone.clone(),
        admin: Some(format!("http://{}", addrs.admin)),
        place: common.node.place.clone(),
        capacity: Capacity::default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn sampler(node: Node, registry: Arc<Registry>, meter: Arc<Meter>) -> Source {
    let usage = usage::Meter::new();
    Box::new(move || {
        let (usage, traffic) = (usage.read(), meter.take_traffic());
        Sample {
            egress_bps: traffic.egress_bps,
            ingress_bps: traffic.ingress_bps,
            cpu: usage.cpu,
            memory_bytes: usage.memory_bytes,
            streams: registry.records(&node.id),
            refused: meter.take_refused(),
            ..Sample::new(node.clone(), clock::unix_ms())
        }
    })
}

/// Time for the last packets to edges: within what the drain's stop grants.
const GOODBYE: Duration = Duration::from_millis(300);
