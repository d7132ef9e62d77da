//! The admin listener of a node: its API, console pages, metrics and health.
//!
//! Who may call is decided in [`rules`] alone: loopback without a token, anywhere with one; a
//! page of another origin changes nothing and a rebound DNS name reads nothing. `/livez` and
//! `/readyz` answer everybody; pages answer everybody because they hold nothing, and their
//! scripts send the token with every call. The listener serves while the node drains and ends
//! when the drain stops. Errors leave as RFC 9457 problems, whoever made them.

pub mod metrics;
pub mod readiness;
pub mod rules;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::header::{HeaderName, HeaderValue};
use ::http::{HeaderMap, Request, Response, header};
use axum::Router;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::accept::Listener;
use crate::config::Secret;
use crate::drain::Drain;
use crate::http::{self, Body, Incoming, Limits, PROBLEM_JSON, Server, Stats, problem};
use crate::router::{self, RouterBody};

pub use readiness::Readiness;
use rules::{Refusal, Rules};

/// Where the admin listener is and who may use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port; other than loopback only with a token.
    pub listen: SocketAddr,
    /// What callers show as `Authorization: Bearer TOKEN`, at least 16 characters.
    pub token: Option<Secret>,
    /// Host names by which browsers reach this listener without a token, besides `localhost`.
    pub names: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7800)),
            token: None,
            names: Vec::new(),
        }
    }
}

/// A bound admin listener that does not serve yet.
pub struct Admin {
    listener: Listener,
    rules: Rules,
    pages: Option<Router>,
    stats: Option<Stats>,
}

impl Admin {
    /// Binds the listener, or says why the configuration is not safe.
    pub fn bind(config: &Config) -> Result<Self, Error> {
        let rules = Rules::new(config)?;
        let listener = Listener::bind(config.listen).map_err(|source| Error::Bind {
            addr: config.listen,
            source,
        })?;
        Ok(Self {
            listener,
            rules,
            pages: None,
            stats: None,
        })
    }

    /// The bound address.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves static pages wherever no route is; they need no token and must hold no secret.
    pub fn pages(mut self, pages: Router) -> Self {
        self.pages = Some(pages);
        self
    }

    /// Counts into registered counters.
    pub fn stats(mut self, stats: Stats) -> Self {
        self.stats = Some(stats);
        self
    }

    /// Serves the API, `/metrics`, `/livez` and `/readyz` until the drain stops. The drain does
    /// not wait for it: run it with [`Drain::background`]. `api` has no fallback of its own.
    pub async fn run(
        self,
        api: Router,
        registry: Arc<Registry>,
        readiness: Readiness,
        drain: Drain,
    ) {
        let rules = Arc::new(self.rules);
        let router = routes(
            api,
            self.pages,
            &rules,
            (registry, readiness, drain.clone()),
        );
        // Connections of its own drain: those of the node's would end when it starts.
        let own = Drain::new();
        let mut server = Server::new(self.listener, limits(), own.clone());
        if let Some(stats) = self.stats {
            server = server.stats(stats);
        }
        let service =
            move |request: Request<Incoming>| answer(Arc::clone(&rules), router.clone(), request);
        tokio::select! {
            () = server.run(service) => {}
            () = drain.stopped() => {}
        }
        own.stop();
    }
}

/// Why the admin listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Off loopback without a token.
    #[error(
        "admin.listen = \"{0}\" can be reached from other machines: set admin.token \
         (`openssl rand -hex 32`) or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// The token can be guessed.
    #[error("admin.token is too short: {min} characters at least", min = rules::MIN_TOKEN)]
    ShortToken,
    /// The socket cannot be bound.
    #[error("cannot listen on {addr} (admin.listen): {source}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

type Vitals = (Arc<Registry>, Readiness, Drain);

fn routes(api: Router, pages: Option<Router>, rules: &Arc<Rules>, vitals: Vitals) -> Router {
    let (registry, readiness, drain) = vitals;
    let guarded = api
        .route(
            "/metrics",
            get(move |headers: HeaderMap| async move { metrics::answer(&registry, &headers) }),
        )
        .route_layer(from_fn_with_state(Arc::clone(rules), require_token));
    let open = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move { readiness.answer(drain.is_started()) }),
        );
    guarded
        .merge(open)
        .fallback_service(pages.unwrap_or_default())
}

async fn require_token(
    axum::extract::State(rules): axum::extract::State<Arc<Rules>>,
    request: axum::extract::Request,
    next: Next,
) -> axum::response::Response {
    match rules.check_token(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refuse(refusal).map(RouterBody::new).into_response(),
    }
}

async fn answer(rules: Arc<Rules>, router: Router, request: Request<Incoming>) -> Response<Body> {
    let refused = rules.check_origin(request.method(), request.uri(), request.headers());
    let mut response = match refused {
        Err(refusal) => refuse(refusal),
        Ok(()) => as_problem(router::answer(router, request).await).await,
    };
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

fn refuse(refusal: Refusal) -> Response<Body> {
    tracing::debug!(reason = refusal.title(), "admin request refused");
    let mut response = problem(refusal.status(), refusal.title(), refusal.detail());
    if refusal == Refusal::Token {
        let value = HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

/// Turns the router's own plain-text errors (unknown path, wrong method, unreadable input) into
/// problems; answers in JSON are the handlers' own.
async fn as_problem(response: Response<RouterBody>) -> Response<Body> {
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    let is_json = kind.is_some_and(|kind| {
        kind.starts_with(b"application/json") || kind.starts_with(PROBLEM_JSON.as_bytes())
    });
    let status = response.status();
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response.map(http::body);
    }
    let (head, body) = response.into_parts();
    let text = axum::body::to_bytes(body, MAX_ERROR_TEXT)
        .await
        .unwrap_or_default();
    let title = status.canonical_reason().unwrap_or("error");
    let mut response = problem(status, title, &String::from_utf8_lossy(&text));
    if let Some(allow) = head.headers.get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

/// A few people, a scraper and the other tools of an operator.
fn limits() -> Limits {
    Limits {
        connections: 256,
        per_address: 256,
        ..Limits::default()
    }
}

/// Pages run only their own scripts and are framed by nobody; the player fetches media from any
/// edge (http, ws) and feeds it through a worker and blob URLs; the map sets styles by script.
const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; script-src 'self'; worker-src 'self' blob:; \
         style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
         connect-src 'self' http: https: ws: wss:; media-src 'self' http: https: blob:; \
         object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// An error of the router is one line.
const MAX_ERROR_TEXT: usize = 16 << 10;
