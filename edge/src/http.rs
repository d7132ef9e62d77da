//! The public listener: viewers' requests, from path to playback.
//!
//! Read downwards: method and path, token and admission, upstream, playback. There are two roads, over which the
//! same is decided and the same headers are sent: a plain GET of FLV over HTTP/1.x is taken from hyper, and its socket
//! goes to the fan-out; all else hyper writes. Every answer carries the CORS headers, redirects and refusals too,
//! because players show a page nothing without them. A refused token is a plain 403: why is counted, not told.
//! A redirect goes only to a node of the plan.

pub(crate) mod request;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use cluster::node::{Capacity, NodeId};
use cluster::plan::{Health, Plan};
use cluster::token::{Action, Attempt, Claims, Gate, Refusal};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use tokio::sync::watch;
use tokio::time::Instant;
use transport::clock::Clock;
use transport::drain::Drain;
use transport::http::{
    Body, Incoming, Peer, Taken, Taker, allow_any_page, body, empty, full, head, not_allowed,
    on_upgrade, preflight, problem, unavailable,
};

use crate::admit::{Asked, Load, Reason, Verdict, admit};
use crate::meter::{Metrics, Rate};
use crate::playback::flv::{self, Fanout, Seat};
use crate::playback::tags::Tags;
use crate::playback::websocket::{self, handshake};
use crate::playback::{Options, Terms};
use crate::upstream::{Failure, Joined, Upstream};
use crate::viewer::{Place, Protocol, Viewers};
use request::{Invalid, Wish};

/// What requests are answered with.
#[derive(Debug)]
pub(crate) struct Public {
    pub(crate) node: NodeId,
    pub(crate) gate: Gate,
    pub(crate) capacity: Capacity,
    pub(crate) terms: Terms,
    pub(crate) fanout: Fanout,
    pub(crate) plan: watch::Receiver<Arc<Plan>>,
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

/// Who does not get to watch: the answer is ready.
type Turned = Box<Response<Body>>;

impl Taker for Public {
    fn wants(&self, request: &Request<()>) -> bool {
        request.uri().path().ends_with(".flv")
    }

    async fn take(self: Arc<Self>, request: Request<()>, taken: Taken) {
        let began = Instant::now();
        let (parts, ()) = request.into_parts();
        match self.let_in(&parts).await {
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
        let mut response = match self.let_in(&parts).await {
            Ok(admitted) => self.play(Request::from_parts(parts, incoming), admitted),
            Err(turned) => *turned,
        };
        self.sign(response.headers_mut(), version, began);
        response
    }

    /// Lets every page read the answer, says who answered and how long that took.
    fn sign(&self, headers: &mut HeaderMap, version: Version, began: Instant) {
        allow_any_page(headers);
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

    /// All that is decided about a request before something is written.
    async fn let_in(&self, request: &Parts) -> Result<Admitted, Turned> {
        match request.method.as_str() {
            "GET" | "HEAD" => {}
            "OPTIONS" => return turned(preflight()),
            _ => return turned(not_allowed()),
        }
        if request.uri.path() == "/" {
            return turned(self.greeting());
        }
        let wish = match Wish::parse(&request.uri, &request.headers) {
            Ok(wish) => wish,
            Err(invalid) => return turned(malformed(invalid)),
        };
        let client = request.extensions.get::<Peer>();
        let client = client.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.0.ip());
        let place = self.admit(&wish, client)?;
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

    /// A place for the viewer, or the answer that sends it away.
    fn admit(&self, wish: &Wish, client: IpAddr) -> Result<Place, Turned> {
        let claims = self.check(wish, client);
        let edges = match &claims {
            Ok(claims) => Ok(claims
                .as_ref()
                .and_then(|c| c.edges.as_deref())
                .unwrap_or_default()),
            Err(refusal) => Err(refusal.as_str()),
        };
        let asked = Asked {
            token: edges,
            here: &self.node,
        };
        let plan = self.plan.borrow().clone();
        let decide = |viewers| {
            let load = Load {
                viewers,
                egress_bps: self.rate.expected_bps(viewers),
                draining: self.drain.is_started() || is_draining(&plan, &self.node),
            };
            match admit(&asked, &load, &self.capacity, &plan) {
                Verdict::Admit => Ok(()),
                other => Err(other),
            }
        };
        let entered = self.viewers.enter(&wish.stream, decide);
        entered.map_err(|verdict| Box::new(self.turn_away(wish, client, &verdict)))
    }

    fn check(&self, wish: &Wish, client: IpAddr) -> Result<Option<Claims>, Refusal> {
        let attempt = Attempt {
            action: Action::Play,
            stream: &wish.stream,
            node: Some(&self.node),
            client,
        };
        self.gate
            .check(wish.token.as_deref(), &attempt, self.clock.unix_ms() / 1000)
    }

    fn turn_away(&self, wish: &Wish, client: IpAddr, verdict: &Verdict<'_>) -> Response<Body> {
        let (to, reason) = match verdict {
            Verdict::Redirect(node, reason) => (Some(*node), *reason),
            Verdict::Refuse(reason) => (None, *reason),
            Verdict::Admit => unreachable!("an admitted viewer is not turned away"),
        };
        let to_node = to.map(|node| node.id.as_str());
        self.metrics.refuse(reason.as_str());
        tracing::debug!(stream = %wish.stream, %client, reason = reason.as_str(), to_node, "turned away");
        let location = to.map(|node| node.public_url.clone() + &wish.path_and_query());
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
            "weir edge {}\nstreams are at /{{app}}/{{stream}}.flv\n",
            self.node
        );
        let mut response = Response::new(full(text));
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
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
        Invalid::Unknown => not_found("streams are at /{app}/{stream}.flv"),
        Invalid::Malformed => bad("malformed path", ""),
        Invalid::Resume => bad(
            "malformed resume",
            "write resume=epoch.group.frame, three whole numbers",
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
