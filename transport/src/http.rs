//! The HTTP server and client, and the small vocabulary of bodies and answers around them.
//!
//! Errors are RFC 9457 problems. A body is boxed once per response; its frames are the
//! service's own `Bytes`, written by reference.

mod client;
mod connection;
mod connector;
mod cors;
mod guard;
mod head;
mod metrics;
mod reply;
mod server;
mod take;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};

pub use client::{Client, Error as ClientError};
pub use cors::{allow_any_page, not_allowed, preflight};
pub use hyper::body::Incoming;
pub use hyper::upgrade::{OnUpgrade, Upgraded, on as on_upgrade};
pub use hyper_util::rt::TokioIo;
pub use metrics::{Metrics, Stats};
pub use reply::head;
pub use server::{Limits, Server};
pub use take::{Place, Taken, Taker};

/// A response's body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Why a body broke off.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Who made the request; in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The node id in the verified certificate of the peer; in the extensions of requests over
/// mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity(pub String);

/// A problem of RFC 9457, as sent in `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The status code, repeated for whoever keeps only the body.
    pub status: u16,
    /// What kind of problem it is.
    pub title: String,
    /// What is wrong this time, and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Boxes a body; its frames are not touched.
pub fn body<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    body(Full::new(bytes.into()))
}

/// A body without bytes.
pub fn empty() -> Body {
    body(Empty::new())
}

/// An answer in JSON.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => typed(status, "application/json", bytes),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as json");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "broken answer", "")
        }
    }
}

/// An error answer, RFC 9457.
pub fn problem(status: StatusCode, title: &str, detail: &str) -> Response<Body> {
    let problem = Problem {
        status: status.as_u16(),
        title: title.to_owned(),
        detail: detail.to_owned(),
    };
    let bytes = serde_json::to_vec(&problem).expect("strings and a number are always json");
    typed(status, PROBLEM_JSON, bytes)
}

/// The whole of a body, if it is no longer than `max` bytes and there by the deadline.
pub async fn collect<B>(body: B, max: usize, deadline: Duration) -> Result<Bytes, CollectError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    match tokio::time::timeout(deadline, Limited::new(body, max).collect()).await {
        Err(_) => Err(CollectError::Timeout),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(CollectError::TooLarge(max)),
        Ok(Err(error)) => Err(CollectError::Broken(error)),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
    }
}

/// Why a body could not be had whole.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Longer than allowed.
    #[error("the body is longer than {0} bytes")]
    TooLarge(usize),
    /// Not there in time.
    #[error("the body did not come in time")]
    Timeout,
    /// The connection broke.
    #[error("the body broke off: {0}")]
    Broken(BoxError),
}

/// An error answer of one who may be asked again after so many seconds.
pub fn unavailable(title: &str, detail: &str, retry_after_s: u32) -> Response<Body> {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, title, detail);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
    response
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1), the scheme in any case.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The address that made the request; only the server's own requests have one.
pub fn peer<B>(request: &Request<B>) -> Option<SocketAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0)
}

fn typed(status: StatusCode, content_type: &'static str, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The media type of RFC 9457.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
