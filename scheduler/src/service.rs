//! The scheduler as a service: every start-up step in order, then one wait.

mod faces;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use cluster::config::Common;
use cluster::node::Role;
use cluster::plan::{Mark, Plan};
use cluster::store::Store;
use cluster::store::embedded::Embedded;
use cluster::token::gate::Gate;
use prometheus_client::registry::Registry as Metrics;
use transport::accept::Listener;
use transport::admin::{Admin, Readiness};
use transport::clock::{Clock, unix_ms};
use transport::drain::Drain;
use transport::http::{self, Limits, Server};
use transport::router::Router;
use transport::tls;

use crate::api::{self, Api};
use crate::collect::Collector;
use crate::collect::registry::{Registry, TICK_MS};
use crate::config::{self, Config};
use crate::diary::Diary;
use crate::forecast::{self, Forecasts};
use crate::geo::{self, Geo};
use crate::history::{self, Exposition, History};
use crate::meter::{Meter, Pathways};
use crate::pathway;
use crate::pathway::probe::Prober;
use crate::planner::{self, Planner};
use crate::policy::shelf::Shelf;
use crate::policy::{self, follow};
use crate::price::{self, Prices};
use crate::redirect::address::Proxies;
use crate::redirect::{Redirector, public};
use crate::snapshot::{NodeView, Snapshot};
use crate::sticky::Sticky;
use faces::Faces;

/// A scheduler that listens and is ready to run.
pub struct Scheduler {
    collector: Arc<Collector>,
    history: Arc<History>,
    forecasts: Arc<Forecasts>,
    planner: Arc<Planner>,
    redirector: Arc<Redirector>,
    shelf: Arc<Shelf>,
    faces: Faces,
    prober: Prober,
    public: Server,
    cluster: Server,
    admin: Admin,
    api: Router,
    metrics: Metrics,
    addrs: Addrs,
    drain: Drain,
}

/// Where a scheduler really listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addrs {
    /// For viewers.
    pub public: SocketAddr,
    /// For nodes.
    pub cluster: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
    /// For resolvers, when there is a zone.
    pub dns: Option<SocketAddr>,
}

impl Scheduler {
    /// Binds every listener, opens the store and the geo files, and takes the lead of a new epoch.
    pub async fn load(
        config: Config,
        geo: geo::Config,
        common: Common,
        console: Option<Router>,
        drain: Drain,
    ) -> anyhow::Result<Self> {
        tls::install();
        let mut metrics = Metrics::default();
        let meter = Meter::register(&mut metrics);
        let http = http::Metrics::register(&mut metrics);

        let store: Arc<dyn Store> = Arc::new(Embedded::open(config.store.as_deref())?);
        let shelf = shelf(&config, &mut metrics)?;
        let (registry, epoch) = registry(&config, store.as_ref()).await?;
        let history = history(&config, &common, &mut metrics)?;
        let collector = Arc::new(Collector::new(registry, meter.clone(), history.clone()));
        Pathways::register(&mut metrics, collector.snapshot());
        Exposition::register(&mut metrics, collector.snapshot(), history.clone());
        let from = (&history, &collector);
        let forecasts = forecasts(&config, from, (&store, epoch), &mut metrics).await?;
        let geo = Arc::new(Geo::load(geo, &common.node.place)?);
        let planner = planner(from, &forecasts, (&geo, &shelf), &mut metrics);
        let redirector = Arc::new(redirector(&config, &common, from, (geo, meter))?);

        let faces = Faces::load(&config, &redirector, (&forecasts, &common), &mut metrics).await?;
        let public = public_server(&config, &drain)?.stats(http.listener("public"));
        let cluster = cluster_server(&config, &common, &drain)?.stats(http.listener("cluster"));
        let mut admin = Admin::bind(&common.admin)?.stats(http.listener("admin"));
        if let Some(console) = console {
            admin = admin.pages(console);
        }
        let addrs = Addrs {
            public: public.local_addr()?,
            cluster: cluster.local_addr()?,
            admin: admin.local_addr()?,
            dns: faces.dns_addr()?,
        };
        let api = api::router(Api {
            collector: collector.clone(),
            redirector: redirector.clone(),
            store,
            epoch,
            public_url: config.public_url(addrs.public.port()),
            places: config.places,
        });
        let api = api
            .merge(history::router(history.clone()))
            .merge(faces.router())
            .merge(forecast::router(forecasts.clone()))
            .merge(planner::api::router(planner.clone()))
            .merge(policy::api::router(shelf.clone()));
        Ok(Self {
            collector,
            history,
            forecasts,
            planner,
            redirector,
            shelf,
            faces,
            prober: Prober::default(),
            public,
            cluster,
            admin,
            api,
            metrics,
            addrs,
            drain,
        })
    }

    /// Knows these streams' rungs and labels.
    pub fn streams(self, streams: &[config::Stream]) -> anyhow::Result<Self> {
        let (ladders, labels) = config::streams(streams)?;
        self.collector
            .order(|registry, _| registry.climb(ladders, labels));
        Ok(self)
    }

    /// Plans by these prices.
    pub fn prices(self, rows: &[price::Row]) -> anyhow::Result<Self> {
        self.planner.reprice(Prices::new(rows)?);
        Ok(self)
    }

    /// Sends viewers to these external pathways, too.
    pub fn pathways(mut self, rows: &[pathway::Row]) -> anyhow::Result<Self> {
        let pathways = pathway::pathways(rows)?;
        self.collector
            .order(|registry, now| registry.link(now, pathways))?;
        self.prober = Prober::load(rows)?;
        Ok(self)
    }

    /// Where it listens.
    pub fn addrs(&self) -> Addrs {
        self.addrs
    }

    /// Who answers viewers, for callers in this process.
    pub fn redirector(&self) -> Arc<Redirector> {
        self.redirector.clone()
    }

    /// Serves until the drain starts; connections then end with it. The admin listener stays until
    /// the drain stops.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self {
            collector,
            history,
            forecasts,
            planner,
            redirector,
            shelf,
            faces,
            prober,
            drain,
            addrs,
            ..
        } = self;
        let Addrs {
            public,
            cluster,
            admin,
            dns,
        } = addrs;
        tracing::info!(%public, %cluster, %admin, ?dns, "scheduler listens");
        let readiness = Readiness::new();
        readiness.set(SETTLED, false);
        drain.background(settle(redirector.snapshot.clone(), readiness.clone()));
        let metrics = Arc::new(self.metrics);
        drain.background(self.admin.run(self.api, metrics, readiness, drain.clone()));
        drain.background(collector.clone().run());
        drain.background(history.clone().run());
        drain.background(forecasts.run());
        faces.run(&drain);
        drain.background(prober.run(collector.clone()));
        drain.background(planner.run());
        drain.background(redirector.geo.clone().watch(drain.stop_token()));
        drain.background(follow::watch(shelf.clone(), drain.stop_token()));
        drain.background(obey(shelf.clone(), &collector, &drain));
        drain.background(observe(shelf, &redirector, &drain));
        let viewers = self.public.run(move |request| {
            let response = public::answer(&redirector, &request);
            async move { response }
        });
        let nodes = self.cluster.run(move |request| {
            let collector = collector.clone();
            async move { collector.answer(request).await }
        });
        let stop = async {
            drain.started().await;
            drain.finish(GRACE).await
        };
        tokio::join!(viewers, nodes, stop);
        history.finish().await;
        Ok(())
    }
}

/// Answers take milliseconds; a viewer whose answer takes longer than this asks again elsewhere.
const GRACE: Duration = Duration::from_secs(2);

/// Plans of what is carried and expected, by the policies in force.
fn planner(
    (history, collector): (&Arc<History>, &Arc<Collector>),
    forecasts: &Forecasts,
    (geo, shelf): (&Arc<Geo>, &Arc<Shelf>),
    metrics: &mut Metrics,
) -> Arc<Planner> {
    let sources = planner::Sources {
        collector: collector.clone(),
        history: history.clone(),
        outlook: forecasts.outlook(),
        geo: geo.clone(),
        clock: Clock::system(),
        shelf: shelf.clone(),
    };
    Arc::new(Planner::new(sources, metrics))
}

/// The policies in force, with what was before them.
fn shelf(config: &Config, metrics: &mut Metrics) -> anyhow::Result<Arc<Shelf>> {
    let beside = |store: &PathBuf| store.with_file_name("policies.json");
    let kept = config.store.as_ref().map(beside);
    let shelf = Shelf::open(config.policy.as_deref(), kept, Clock::system(), metrics);
    Ok(Arc::new(shelf.context("[scheduler] policy")?))
}

fn proxies(config: &Config) -> Proxies {
    Proxies {
        trusted: config.trusted_proxies.clone(),
        allow_override: config.allow_ip_override,
    }
}

/// Steers and plans by the policies in force, whenever they change.
fn obey(
    shelf: Arc<Shelf>,
    collector: &Arc<Collector>,
    drain: &Drain,
) -> impl Future<Output = ()> + use<> {
    let collector = collector.clone();
    let obey = move |policies| collector.order(|registry, _| registry.obey(policies));
    follow::obey(shelf, obey, drain.stop_token())
}

/// Follows how the viewers of a canary fare.
fn observe(
    shelf: Arc<Shelf>,
    redirector: &Redirector,
    drain: &Drain,
) -> impl Future<Output = ()> + use<> {
    let (outside, clock) = (redirector.outside.clone(), redirector.clock.clone());
    let outside = move || outside.by_region(clock.unix_ms());
    follow::observe(
        shelf,
        redirector.snapshot.clone(),
        outside,
        drain.stop_token(),
    )
}

/// The history, with its file.
fn history(
    config: &Config,
    common: &Common,
    metrics: &mut Metrics,
) -> anyhow::Result<Arc<History>> {
    let calendar = (common.time, Clock::system());
    let history = History::open(&config.history, config.store.as_deref(), calendar, metrics);
    Ok(Arc::new(history.context("[scheduler.history]")?))
}

/// The forecasts, with what was learned and announced before.
async fn forecasts(
    config: &Config,
    (history, collector): (&Arc<History>, &Arc<Collector>),
    (store, epoch): (&Arc<dyn Store>, u64),
    metrics: &mut Metrics,
) -> anyhow::Result<Arc<Forecasts>> {
    let sources = forecast::Sources {
        history: history.clone(),
        snapshot: collector.snapshot(),
        store: (store.clone(), epoch),
        clock: Clock::system(),
    };
    let file = config.history.file(config.store.as_deref());
    let loaded = Forecasts::load(config.forecast.clone(), file.as_deref(), sources, metrics);
    loaded.await.context("[scheduler.forecast]")
}

/// Who answers viewers.
fn redirector(
    config: &Config,
    common: &Common,
    (history, collector): (&Arc<History>, &Arc<Collector>),
    (geo, meter): (Arc<Geo>, Meter),
) -> anyhow::Result<Redirector> {
    Ok(Redirector {
        snapshot: collector.snapshot(),
        geo,
        gate: Gate::load(&common.tokens, &common.cluster.secret).context("[tokens]")?,
        sticky: Sticky::new(config.sticky.get()),
        proxies: proxies(config),
        meter,
        outside: history.outside(),
        diary: Diary::new(config.log_decisions),
        clock: Clock::system(),
    })
}

/// A registry that goes on where the store says, as the leader of a new epoch.
async fn registry(config: &Config, store: &dyn Store) -> anyhow::Result<(Registry, u64)> {
    config.check()?;
    let epoch = store.lead(unix_ms() / 1000).await?;
    let orders = store.orders(unix_ms()).await?;
    let drains = orders.drains.into_iter().map(|drain| drain.node).collect();
    let before = Plan::new(Mark { epoch, revision: 0 }, vec![], vec![], vec![]);
    Ok((Registry::new(before, drains, orders.kicks), epoch))
}

/// Waits until some edge has reported, or had the time to: before, every viewer would be refused
/// or sent to an external pathway.
async fn settle(snapshot: Arc<ArcSwap<Snapshot>>, readiness: Readiness) {
    let own = |view: &NodeView| view.is_edge && view.pathway.is_none();
    let has_edge = || snapshot.load().nodes.iter().any(own);
    let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
    let wait = async {
        while !has_edge() {
            tick.tick().await;
        }
    };
    let _ = tokio::time::timeout(SETTLE, wait).await;
    readiness.set(SETTLED, true);
}

const SETTLED: &str = "samples from edges";

/// Nodes that lost a scheduler dial again within three seconds and report each second.
const SETTLE: Duration = Duration::from_secs(5);

fn cluster_server(config: &Config, common: &Common, drain: &Drain) -> anyhow::Result<Server> {
    let listener = Listener::bind(config.cluster_listen)
        .with_context(|| format!("[scheduler] cluster_listen {}", config.cluster_listen))?;
    let identity = common.cluster.identity(&common.node.id(Role::Scheduler))?;
    let tls = identity.server_config(&[b"h2".as_slice(), b"http/1.1"])?;
    Ok(Server::new(listener, Limits::default(), drain.clone()).tls(tls))
}

fn public_server(config: &Config, drain: &Drain) -> anyhow::Result<Server> {
    let listener = Listener::bind(config.listen)
        .with_context(|| format!("[scheduler] listen {}", config.listen))?;
    let server = Server::new(listener, Limits::default(), drain.clone());
    Ok(match &config.tls {
        Some(files) => server.tls(tls::public(&files.cert, &files.key).context("[scheduler] tls")?),
        None => server,
    })
}

#[cfg(test)]
mod tests;
