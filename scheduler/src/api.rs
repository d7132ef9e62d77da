//! The admin API: what is there, what would be decided, and operators' orders.
//!
//! Reads one snapshot per call. Orders are kept in the store before they take effect, so that a
//! scheduler that restarts remembers them.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use cluster::node::{Capacity, NodeId, Place, Role};
use cluster::plan::{Health, Kick};
use cluster::store::{self, Store};
use cluster::stream::{StreamKey, StreamRecord};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use transport::clock::unix_ms;
use transport::http::problem;
use transport::router::{
    IntoResponse, Json, Path, Query, Response, Router, RouterBody, State, get, post,
};

use crate::collect::Collector;
use crate::config;
use crate::diary;
use crate::explain::Explanation;
use crate::redirect::{IfSo, Redirector};
use crate::snapshot::{NodeView, Snapshot};

/// What the API works on.
pub struct Api {
    /// Where orders are carried out.
    pub collector: Arc<Collector>,
    /// Who decides.
    pub redirector: Arc<Redirector>,
    /// Where orders are kept.
    pub store: Arc<dyn Store>,
    /// The epoch that this scheduler leads.
    pub epoch: u64,
    /// Where viewers ask, for the console's page.
    pub public_url: String,
    /// Places to try from.
    pub places: Vec<config::Place>,
}

/// A node, as operators see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// What it does.
    pub role: Role,
    /// Whether it may be used.
    pub health: Health,
    /// Where it stands.
    pub place: Place,
    /// Where viewers reach it.
    pub public_url: String,
    /// Its version.
    pub version: String,
    /// Viewers connected at its last sample.
    pub viewers: u32,
    /// Bits per second sent.
    pub egress_bps: u64,
    /// Bits per second taken in.
    pub ingress_bps: u64,
    /// What it may carry; zero is unlimited.
    pub capacity: Capacity,
    /// Share of its capacity in use, viewers sent there since its sample included.
    pub load: f32,
    /// Share of its processors in use, 0 to 1.
    pub cpu: f32,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Streams that it takes in, or serves.
    pub streams: usize,
    /// How long ago its last sample came.
    pub seen_ms_ago: u64,
}

/// A stream on air with its viewers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// As its origin describes it.
    #[serde(flatten)]
    pub record: StreamRecord,
    /// Viewers at all edges.
    pub viewers: u64,
    /// Edges that have viewers of it.
    pub edges: Vec<NodeId>,
}

/// A relay connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The parent.
    pub from: NodeId,
    /// The node that takes streams from it.
    pub to: NodeId,
    /// Round-trip time, smoothed.
    pub rtt_ms: f32,
    /// Share of packets lost, 0 to 1.
    pub loss: f32,
}

/// Everything at once, for the console.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Where viewers ask for streams.
    pub public_url: String,
    /// All known nodes.
    pub nodes: Vec<Node>,
    /// Streams on air.
    pub streams: Vec<Stream>,
    /// Who takes streams from whom.
    pub links: Vec<Link>,
}

/// A place to try from, with its coordinates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TryFrom {
    /// What people read.
    pub name: String,
    /// An address there, for `?ip=`.
    pub address: IpAddr,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
}

/// The API's routes, `/api/v1/...`.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/api/v1/overview", get(overview))
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/nodes/{id}/drain", post(drain).delete(undrain))
        .route("/api/v1/streams", get(streams))
        .route("/api/v1/streams/{app}/{name}/kick", post(kick))
        .route("/api/v1/explain", get(explain))
        .route("/api/v1/decisions", get(decisions))
        .route("/api/v1/decisions/{id}", get(decision))
        .route("/api/v1/places", get(places))
        .with_state(Arc::new(api))
}

async fn overview(State(api): State<Arc<Api>>) -> Json<Overview> {
    let snapshot = api.snapshot();
    Json(Overview {
        public_url: api.public_url.clone(),
        nodes: list_nodes(&snapshot, api.collector.now_ms()),
        streams: list_streams(&snapshot),
        links: list_links(&snapshot),
    })
}

async fn nodes(State(api): State<Arc<Api>>) -> Json<Vec<Node>> {
    Json(list_nodes(&api.snapshot(), api.collector.now_ms()))
}

async fn streams(State(api): State<Arc<Api>>) -> Json<Vec<Stream>> {
    Json(list_streams(&api.snapshot()))
}

async fn places(State(api): State<Arc<Api>>) -> Json<Vec<TryFrom>> {
    let places = api.places.iter().map(|place| {
        let point = api.redirector.geo.locate(place.address).point;
        let (name, address) = (place.name.clone(), place.address);
        TryFrom {
            name,
            address,
            lat: point.lat,
            lon: point.lon,
        }
    });
    Json(places.collect())
}

#[derive(Deserialize)]
struct ExplainQuery {
    stream: String,
    from: IpAddr,
    /// The edge that the viewer's player is at now, when it is one that can be steered.
    at: Option<NodeId>,
    /// The entitlement of its token.
    label: Option<String>,
    /// Edges that are taken to be down, separated by commas.
    #[serde(default)]
    without: String,
    /// A policy of the active file that is taken to hold.
    under: Option<String>,
}

async fn explain(
    State(api): State<Arc<Api>>,
    Query(query): Query<ExplainQuery>,
) -> Result<Json<Explanation>, Fault> {
    let mut snapshot = Snapshot::clone(&api.snapshot());
    for id in query.without.split(',').filter(|id| !id.is_empty()) {
        let mut nodes = snapshot.nodes.iter_mut();
        let node = nodes.find(|view| view.node().id.as_str() == id);
        node.ok_or_else(|| Fault::UnknownEdge(id.to_owned()))?
            .health = Health::Down;
    }
    if let Some(name) = &query.under {
        let policies = snapshot.policies.clone();
        let named = policies.all().find(|it| *it.name == **name);
        let alone = named
            .ok_or_else(|| Fault::UnknownPolicy(name.clone()))?
            .alone();
        snapshot.policies = Arc::new(alone);
    }
    let if_so = IfSo {
        playing: query.at.as_ref().map(NodeId::as_str),
        label: query.label.as_deref(),
    };
    let redirector = &api.redirector;
    let (place, decision) = redirector.explain(&snapshot, &query.stream, query.from, &if_so);
    Ok(Json(Explanation::new(
        &snapshot,
        &query.stream,
        place,
        &decision,
    )))
}

#[derive(Deserialize)]
struct Which {
    stream: Option<String>,
    #[serde(default = "a_few")]
    count: usize,
}

fn a_few() -> usize {
    20
}

async fn decisions(
    State(api): State<Arc<Api>>,
    Query(which): Query<Which>,
) -> Json<Vec<diary::Entry>> {
    let diary = &api.redirector.diary;
    Json(diary.newest(which.stream.as_deref(), which.count))
}

async fn decision(
    State(api): State<Arc<Api>>,
    Path(id): Path<u64>,
) -> Result<Json<diary::Entry>, Fault> {
    let found = api.redirector.diary.find(id);
    found.map(Json).ok_or(Fault::UnknownDecision(id))
}

async fn drain(State(api): State<Arc<Api>>, Path(id): Path<NodeId>) -> Result<StatusCode, Fault> {
    if api.snapshot().node(id.as_str()).is_none() {
        return Err(Fault::UnknownNode(id));
    }
    api.store.drain(api.epoch, id.clone(), unix_ms()).await?;
    api.collector.order(|registry, now| registry.drain(now, id));
    Ok(StatusCode::NO_CONTENT)
}

async fn undrain(State(api): State<Arc<Api>>, Path(id): Path<NodeId>) -> Result<StatusCode, Fault> {
    api.store.undrain(api.epoch, id.clone()).await?;
    let drained = api
        .collector
        .order(|registry, now| registry.undrain(now, &id));
    if drained {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Fault::NotDrained(id))
    }
}

#[derive(Deserialize)]
struct KickQuery {
    #[serde(default = "kick_seconds")]
    seconds: u64,
}

async fn kick(
    State(api): State<Arc<Api>>,
    Path((app, name)): Path<(String, String)>,
    Query(query): Query<KickQuery>,
) -> Result<Json<Kick>, Fault> {
    let key = StreamKey::parse(&format!("{app}/{name}")).map_err(|_| Fault::Key)?;
    if !(1..=MAX_KICK_S).contains(&query.seconds) {
        return Err(Fault::KickTime);
    }
    let now = unix_ms();
    let kick = Kick {
        key,
        until_ms: now + query.seconds * 1000,
    };
    api.store.kick(api.epoch, kick.clone(), now).await?;
    api.collector
        .order(|registry, _| registry.kick(kick.clone()));
    Ok(Json(kick))
}

/// Long enough that an encoder's own redialling gives up or is noticed.
fn kick_seconds() -> u64 {
    60
}

/// A ban for longer belongs into the keys and tokens.
const MAX_KICK_S: u64 = 86_400;

impl Api {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.redirector.snapshot.load_full()
    }
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no node {0} is known; `weir nodes` lists them")]
    UnknownNode(NodeId),
    #[error("no edge {0:?} is known; `weir nodes` lists them")]
    UnknownEdge(String),
    #[error("no policy {0:?} is in force; `weir policy history` shows the file that is")]
    UnknownPolicy(String),
    #[error(
        "decision {0} was not written down, or has made room; `weir decisions` lists those kept"
    )]
    UnknownDecision(u64),
    #[error("node {0} was not drained")]
    NotDrained(NodeId),
    #[error("a stream is app/name")]
    Key,
    #[error("seconds must be 1 to {MAX_KICK_S}")]
    KickTime,
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, title) = match &self {
            Self::UnknownNode(_) | Self::NotDrained(_) => (StatusCode::NOT_FOUND, "no such node"),
            Self::UnknownEdge(_) | Self::UnknownPolicy(_) | Self::UnknownDecision(_) => {
                (StatusCode::NOT_FOUND, "no such thing")
            }
            Self::Key | Self::KickTime => (StatusCode::BAD_REQUEST, "bad request"),
            Self::Store(store::Error::Full(_)) => (StatusCode::CONFLICT, "too many orders"),
            Self::Store(error) => {
                tracing::error!(%error, "an order cannot be kept");
                (StatusCode::SERVICE_UNAVAILABLE, "order not kept")
            }
        };
        problem(status, title, &self.to_string()).map(RouterBody::new)
    }
}

fn list_nodes(snapshot: &Snapshot, now_ms: u64) -> Vec<Node> {
    let list = |view: &NodeView| {
        let (node, sample) = (view.node(), &view.sample);
        let taken_in = || {
            snapshot
                .streams
                .values()
                .filter(|it| it.origin == node.id)
                .count()
        };
        let serving = sample.viewers.len();
        // What a silent node carried last is no longer so.
        let alive = view.health != Health::Down;
        let now = |value: u64| if alive { value } else { 0 };
        Node {
            id: node.id.clone(),
            role: node.role,
            health: view.health,
            place: node.place.clone(),
            public_url: node.public_url.clone(),
            version: node.version.clone(),
            viewers: if alive { view.viewers } else { 0 },
            egress_bps: now(view.egress_bps),
            ingress_bps: now(sample.ingress_bps),
            capacity: node.capacity,
            load: if alive { view.load().worst() } else { 0.0 },
            cpu: if alive { sample.cpu } else { 0.0 },
            memory_bytes: now(sample.memory_bytes),
            streams: if node.role == Role::Origin {
                taken_in()
            } else {
                serving
            },
            seen_ms_ago: now_ms.saturating_sub(view.seen_ms),
        }
    };
    snapshot.nodes.iter().map(list).collect()
}

fn list_streams(snapshot: &Snapshot) -> Vec<Stream> {
    let mut watched: HashMap<&StreamKey, (u64, BTreeSet<&NodeId>)> = HashMap::new();
    for view in snapshot
        .nodes
        .iter()
        .filter(|view| view.health != Health::Down)
    {
        for stream in &view.sample.viewers {
            let (viewers, edges) = watched.entry(&stream.key).or_default();
            *viewers += u64::from(stream.viewers);
            edges.insert(&view.node().id);
        }
    }
    let list = |record: &Arc<StreamRecord>| {
        let (viewers, edges) = watched.get(&record.key).cloned().unwrap_or_default();
        let edges = edges.into_iter().cloned().collect();
        Stream {
            record: StreamRecord::clone(record),
            viewers,
            edges,
        }
    };
    let mut streams: Vec<Stream> = snapshot.streams.values().map(list).collect();
    streams.sort_by(|a, b| a.record.key.cmp(&b.record.key));
    streams
}

fn list_links(snapshot: &Snapshot) -> Vec<Link> {
    let up = snapshot
        .nodes
        .iter()
        .filter(|view| view.health != Health::Down);
    let links = up.flat_map(|view| {
        view.sample.parents.iter().map(|link| Link {
            from: link.node.clone(),
            to: view.node().id.clone(),
            rtt_ms: link.rtt_ms,
            loss: link.loss,
        })
    });
    links.collect()
}
