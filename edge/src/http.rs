//! The public listener: viewers' requests, from path to playback.
//!
//! Read downwards: method and path, token and admission, upstream, playback. There are two roads, over which the
//! same is decided and the same headers are sent: a plain GET of FLV over HTTP/1.x is taken from hyper, and its socket
//! goes to the fan-out; all else hyper writes. HLS is answered in [`hls`]. Every answer carries the CORS headers, redirects and refusals too,
//! because players show a page nothing without them. A refused token is a plain 403: why is counted, not told.
//! A redirect goes only to a node of the plan.

mod hls;
pub(crate) mod request;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use cluster::node::NodeId;
use cluster::plan::{Health, Mark, Plan};
use cluster::region::Region;
use cluster::stream::StreamKey;
use cluster::token::{Action, Attempt, Claims, Gate, Refusal};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use transport::clock::Clock;
use transport::drain::Drain;
use transport::http::{
    Body, Incoming, Peer, Taken, Taker, allow_any_page, body, empty, full, head, not_allowed,
    on_upgrade, preflight, problem, unavailable,
};

use crate::admit::{Asked, Load, Reason, Verdict, admit};
use crate::limits::Limits;
use crate::meter::{Metrics, Rate};
use crate::playback::flv::{self, Fanout, Seat};
use crate::playback::hls::Hls;
use crate::playback::hls::session::Sessions;
use crate::playback::tags::Tags;
use crate::playback::websocket::{self, handshake};
use crate::playback::{Options, Terms};
use crate::upstream::{Failure, Joined, Upstream};
use crate::viewer::{Group, Place, Protocol, Viewers};
use request::{Ask, Invalid, Wish};

/// What requests are answered with.
#[derive(Debug)]
pub(crate) struct Public {
    pub(crate) node: NodeId,
    pub(crate) gate: Gate,
    pub(crate) limits: Limits,
    pub(crate) terms: Terms,
    pub(crate) fanout: Fanout,
    pub(crate) hls: Hls,
    pub(crate) sessions: Sessions,
    pub(crate) plan: watch::Receiver<Arc<Plan>>,
    /// Until when requests wait for a first plan, if one may come.
    pub(crate) plan_by: Option<Instant>,
    pub(crate) upstream: Upstream,
    pub(crate) viewers: Viewers,
    pub(crate) rate: Arc<Rate>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) drain: Drain,
}

/// A viewer who was let in, and what it is to watch.
struct Admitted {
    place: Place,
    options: Options,
    joined: Joined,
}

/// Who asks for a place.
struct Entrant<'a> {
    stream: &'a StreamKey,
    /// What its token says, if it has one, or why that was refused.
    claims: Result<Option<&'a Claims>, Refusal>,
    /// Whoever has the same is the same viewer.
    session: Option<&'a str>,
    /// Where it is.
    region: Region,
    client: IpAddr,
}

impl Entrant<'_> {
    /// The same whenever it asks for this stream.
    fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self.session {
            Some(session) => session.hash(&mut hasher),
            None => self.client.hash(&mut hasher),
        }
        self.stream.hash(&mut hasher);
        hasher.finish()
    }
}

/// Who does not get to watch: the answer is ready.
type Turned = Box<Response<Body>>;

impl Taker for Public {
    fn wants(&self, request: &Request<()>) -> bool {
        request.uri().path().ends_with(".flv")
    }

    async fn take(self: Arc<Self>, request: Request<()>, taken: Taken) {
        let began = Instant::now();
        let (parts, ()) = request.into_parts();
        let admitted = match Ask::parse(&parts.uri, &parts.headers) {
            Ok(Ask::Flv(wish)) => self.let_in(&parts, wish).await,
            Ok(Ask::Hls(_)) => turned(malformed(Invalid::Unknown)),
            Err(invalid) => turned(malformed(invalid)),
        };
        match admitted {
            Err(mut response) => {
                self.sign(response.headers_mut(), parts.version, began);
                taken.answer(*response).await;
            }
            Ok(admitted) => {
                let mut response = media(());
                self.sign(response.headers_mut(), parts.version, began);
                self.fanout
                    .serve(seat(taken, head(&response), admitted))
                    .await;
            }
        }
    }
}

impl Public {
    /// Answers one request.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let began = Instant::now();
        let (parts, incoming) = request.into_parts();
        let version = parts.version;
        let asked = match opening(&parts) {
            Some(answer) => Err(answer),
            None if parts.uri.path() == "/" => Err(self.greeting()),
            None => Ask::parse(&parts.uri, &parts.headers).map_err(malformed),
        };
        let mut response = match asked {
            Err(answer) => answer,
            Ok(Ask::Hls(wish)) => self.hls(&parts, wish).await,
            Ok(Ask::Flv(wish)) => match self.let_in(&parts, wish).await {
                Ok(admitted) => self.play(Request::from_parts(parts, incoming), admitted),
                Err(turned) => *turned,
            },
        };
        self.sign(response.headers_mut(), version, began);
        response
    }

    /// Lets every page read the answer, says who answered and how long that took.
    fn sign(&self, headers: &mut HeaderMap, version: Version, began: Instant) {
        let kept = headers.remove(header::CACHE_CONTROL);
        allow_any_page(headers);
        if let Some(kept) = kept {
            headers.insert(header::CACHE_CONTROL, kept);
        }
        headers.insert(TIMING_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        // RFC 9110, section 7.6.3: the version received and a pseudonym.
        let version = match version {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        let via = format!("{version} {}", self.node);
        let timing = format!("join;dur={:.1}", began.elapsed().as_secs_f64() * 1000.0);
        for (name, text) in [(header::VIA, via), (SERVER_TIMING, timing)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }

    /// All that is decided about a viewer of FLV before something is written.
    async fn let_in(&self, request: &Parts, wish: Wish) -> Result<Admitted, Turned> {
        self.planned().await;
        let client = client(request);
        let claims = self.check(&wish, client);
        let claims = claims.as_ref().map(Option::as_ref).map_err(|why| *why);
        let entrant = Entrant {
            stream: &wish.stream,
            claims,
            session: claims.ok().flatten().and_then(|c| c.sid.as_deref()),
            region: claims
                .ok()
                .flatten()
                .and_then(|c| c.region)
                .unwrap_or_default(),
            client,
        };
        let mut place = self.admit(&entrant, || wish.path_and_query())?;
        if let Some(Peer(peer)) = request.extensions.get() {
            place.comes_from(*peer);
        }
        if request.method == Method::HEAD {
            return turned(media(empty()));
        }
        match self.upstream.join(&wish.stream, &[]).await {
            Ok(joined) => Ok(Admitted {
                place,
                options: wish.options,
                joined,
            }),
            Err(failure) => {
                self.metrics.refuse(failure.as_str());
                turned(not_joined(failure))
            }
        }
    }

    /// Waits for the first plan of a node that has just started.
    async fn planned(&self) {
        let Some(by) = self.plan_by else {
            return;
        };
        let mut plan = self.plan.clone();
        let first = plan.wait_for(|plan| plan.mark != Mark::default());
        // Without one there are still the configured parents.
        let _ = timeout_at(by, first).await;
    }

    /// A place for the viewer, or the answer that sends it away: to `target` at another edge, if there is one.
    fn admit<'a>(
        &self,
        entrant: &Entrant<'a>,
        target: impl Fn() -> String,
    ) -> Result<Place, Turned> {
        let edges = |claims: Option<&'a Claims>| -> &'a [NodeId] {
            claims.map_or(&[], |it| it.edges.as_deref().unwrap_or(&it.others))
        };
        let token = entrant.claims.map(edges);
        let token = token.map_err(|refusal| refusal.as_str());
        let asked = Asked {
            token,
            here: &self.node,
        };
        let plan = self.plan.borrow().clone();
        let limits = self.limits.now();
        let decide = |viewers| {
            let load = Load {
                viewers,
                egress_bps: self.rate.expected_bps(viewers),
                draining: self.drain.is_started() || is_draining(&plan, &self.node),
            };
            match admit(&asked, &load, &limits, &plan) {
                Verdict::Admit => Ok(()),
                other => Err(other),
            }
        };
        // Only a good token says whose the place is.
        let claims = entrant.claims.ok().flatten();
        let group = Group {
            policy: claims.and_then(|claims| claims.policy.as_deref().map(Arc::from)),
            ..Group::of(entrant.stream, entrant.region)
        };
        let entered = self.viewers.enter(group, entrant.session, decide);
        let entered = entered.inspect(|_| self.viewers.admit(|| entrant.number()));
        entered.map_err(|verdict| Box::new(self.turn_away(entrant, &verdict, target)))
    }

    fn check(&self, wish: &Wish, client: IpAddr) -> Result<Option<Claims>, Refusal> {
        let attempt = Attempt {
            action: Action::Play,
            stream: &wish.stream,
            node: Some(&self.node),
            client,
        };
        self.gate
            .check(wish.token.as_deref(), &attempt, self.now_s())
    }

    fn now_s(&self) -> u64 {
        self.clock.unix_ms() / 1000
    }

    fn turn_away(
        &self,
        entrant: &Entrant<'_>,
        verdict: &Verdict<'_>,
        target: impl Fn() -> String,
    ) -> Response<Body> {
        let (to, reason) = match verdict {
            Verdict::Redirect(node, reason) => (Some(*node), *reason),
            Verdict::Refuse(reason) => (None, *reason),
            Verdict::Admit => unreachable!("an admitted viewer is not turned away"),
        };
        let to_node = to.map(|node| node.id.as_str());
        self.metrics.refuse(reason.as_str());
        if to.is_none() && !matches!(reason, Reason::Token(_)) {
            self.viewers.refuse(entrant.number(), entrant.region);
        }
        let (stream, client) = (entrant.stream, entrant.client);
        tracing::debug!(%stream, %client, reason = reason.as_str(), to_node, "turned away");
        let location = to.map(|node| node.public_url.clone() + &target());
        match location.map(HeaderValue::try_from) {
            Some(Ok(location)) => {
                let mut response = Response::new(empty());
                *response.status_mut() = StatusCode::FOUND;
                response.headers_mut().insert(header::LOCATION, location);
                response
            }
            _ => refusal(reason),
        }
    }

    /// Plays over hyper.
    fn play(&self, request: Request<Incoming>, admitted: Admitted) -> Response<Body> {
        let Admitted {
            place,
            options,
            joined,
        } = admitted;
        let tags = Tags::new(joined.track, options, self.terms);
        if !handshake::is_asked(request.version(), request.headers()) {
            let viewer = place.watch(Protocol::Flv, joined.lease);
            return media(body(flv::Body::new(tags, viewer, self.terms, &self.drain)));
        }
        let Some(answer) = handshake::accept(request.headers()) else {
            return no_websocket();
        };
        let viewer = place.watch(Protocol::WebSocket, joined.lease);
        let upgrade = on_upgrade(request);
        let playing = websocket::serve(upgrade, tags, viewer, self.terms);
        self.drain.spawn(playing);
        answer.map(|()| empty())
    }

    fn greeting(&self) -> Response<Body> {
        let text = format!(
            "weir edge {}\nstreams are at /{{app}}/{{stream}}.flv and .m3u8\n",
            self.node
        );
        let mut response = Response::new(full(text));
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// The answer to what asks for nothing.
fn opening(request: &Parts) -> Option<Response<Body>> {
    match request.method.as_str() {
        "GET" | "HEAD" => None,
        "OPTIONS" => Some(preflight()),
        _ => Some(not_allowed()),
    }
}

/// Who made the request.
fn client(request: &Parts) -> IpAddr {
    let peer = request.extensions.get::<Peer>();
    peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.0.ip())
}

/// Whether the plan asks the node to take no more viewers.
pub(crate) fn is_draining(plan: &Plan, node: &NodeId) -> bool {
    plan.node(node)
        .is_some_and(|state| state.health == Health::Draining)
}

fn turned<T>(response: Response<Body>) -> Result<T, Turned> {
    Err(Box::new(response))
}

fn seat(taken: Taken, head: Bytes, admitted: Admitted) -> Seat {
    let Joined { track, lease, .. } = admitted.joined;
    Seat {
        socket: taken.stream,
        head,
        track,
        wish: admitted.options,
        viewer: admitted.place.watch(Protocol::Flv, lease),
        guard: Box::new(taken.place),
    }
}

fn media<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("video/x-flv");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn malformed(invalid: Invalid) -> Response<Body> {
    let bad = |title, detail| problem(StatusCode::BAD_REQUEST, title, detail);
    match invalid {
        Invalid::Unknown => not_found("streams are at /{app}/{stream}.flv and .m3u8"),
        Invalid::Malformed => bad("malformed path", ""),
        Invalid::Resume => bad(
            "malformed resume",
            "write resume=epoch.group.frame, three whole numbers",
        ),
        Invalid::Directive => bad(
            "malformed directive",
            "_HLS_msn and _HLS_part are whole numbers, the second never alone; _HLS_skip is YES or v2",
        ),
    }
}

fn refusal(reason: Reason) -> Response<Body> {
    match reason {
        Reason::Token(_) => problem(StatusCode::FORBIDDEN, "forbidden", ""),
        Reason::Draining => retry_later("draining"),
        Reason::Viewers | Reason::Egress => retry_later("at capacity"),
    }
}

fn not_joined(failure: Failure) -> Response<Body> {
    match failure {
        Failure::NotFound => not_found("the stream is not on air"),
        Failure::Overloaded => retry_later("at capacity"),
        Failure::Loop | Failure::Unreachable | Failure::Silent => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "stream not reached",
            &failure.to_string(),
        ),
    }
}

/// RFC 6455, section 4.4.
fn no_websocket() -> Response<Body> {
    let detail = "send Sec-WebSocket-Key and Sec-WebSocket-Version: 13";
    let mut response = problem(StatusCode::UPGRADE_REQUIRED, "no websocket", detail);
    let version = HeaderValue::from_static(handshake::VERSION);
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_VERSION, version);
    response
}

fn not_found(detail: &str) -> Response<Body> {
    problem(StatusCode::NOT_FOUND, "not found", detail)
}

fn retry_later(detail: &str) -> Response<Body> {
    unavailable("not now", detail, RETRY_AFTER_S)
}

/// By then a scheduler has seen that the node is full or drains, and sends viewers elsewhere.
const RETRY_AFTER_S: u32 = 5;

const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
