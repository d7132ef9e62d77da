//! The HTTP client: pooled connections, deadlines, bounded answers, readable errors.
//!
//! Follows no redirects and repeats no request that a server may have seen: whoever asks owns
//! both decisions.

use std::time::Duration;

use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use ::http::{Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connector::{Connector, ServerName};
use super::{CollectError, Incoming, Problem, collect};
use crate::causes::one_line;
use crate::tls::{self, Identity};

/// An HTTP client; clones share its connections.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
    timeout: Duration,
    max_body: usize,
}

impl Client {
    /// A client for `http` servers.
    pub fn new() -> Self {
        Self::over(Connector::new(None, ServerName::Host))
    }

    /// A client for nodes of the cluster over `https`, and for `http` servers.
    pub fn with_identity(identity: &Identity) -> Result<Self, tls::Error> {
        let config = identity.client_config(&[b"http/1.1"])?;
        Ok(Self::over(Connector::new(Some(config), ServerName::Node)))
    }

    /// A client for `https` servers that one of the PEM certificates vouches for.
    pub fn trusting(pem: &str) -> Result<Self, tls::Error> {
        Ok(Self::over(Connector::new(
            Some(tls::trusting(pem)?),
            ServerName::Host,
        )))
    }

    /// Gives a whole exchange, or the header of a streamed one, that long (10 s otherwise).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Takes answers up to that many bytes (16 MiB otherwise); streamed ones are not bounded.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Asks for a URL and gives the answer as it comes, whatever its status.
    pub async fn get(&self, url: &str) -> Result<Response<Incoming>, Error> {
        self.open(
            Request::get(parse(url)?)
                .body(Full::default())
                .expect("the parts are valid"),
        )
        .await
    }

    /// Sends a request and gives the answer as it comes, whatever its status.
    pub async fn open(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let url = request.uri().to_string();
        match tokio::time::timeout(self.timeout, self.inner.request(request)).await {
            Err(_) => Err(Error::Timeout { url }),
            Ok(Err(error)) => Err(Error::Connection {
                url,
                reason: one_line(&error),
            }),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Sends a request and gives the whole answer, whatever its status.
    pub async fn request(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Error> {
        let url = request.uri().to_string();
        let whole = async {
            let (head, body) = self.open(request).await?.into_parts();
            let body = collect(body, self.max_body, self.timeout).await;
            body.map(|body| Response::from_parts(head, body))
                .map_err(|error| incomplete(&url, error))
        };
        match tokio::time::timeout(self.timeout, whole).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Timeout { url }),
        }
    }

    /// Asks for JSON; a status other than 2xx is an error.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        url: &str,
        bearer: Option<&str>,
    ) -> Result<T, Error> {
        self.exchange(Method::GET, url, bearer, Bytes::new()).await
    }

    /// Posts JSON and reads JSON; a status other than 2xx is an error, an empty answer `null`.
    pub async fn post_json<B, T>(
        &self,
        url: &str,
        bearer: Option<&str>,
        body: &B,
    ) -> Result<T, Error>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        self.send_json(Method::POST, url, bearer, body).await
    }

    /// Sends JSON by any method; otherwise as [`Client::post_json`].
    pub async fn send_json<B, T>(
        &self,
        method: Method,
        url: &str,
        bearer: Option<&str>,
        body: &B,
    ) -> Result<T, Error>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let body = serde_json::to_vec(body).map_err(|e| Error::Format {
            url: url.to_owned(),
            reason: e.to_string(),
        })?;
        self.exchange(method, url, bearer, body.into()).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        bearer: Option<&str>,
        body: Bytes,
    ) -> Result<T, Error> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = parse(url)?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = bearer {
            let mut value =
                HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| Error::Token {
                    url: url.to_owned(),
                })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let (head, body) = self.request(request).await?.into_parts();
        if !head.status.is_success() {
            return Err(refusal(url, head.status, &body));
        }
        let text: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(text).map_err(|e| Error::Format {
            url: url.to_owned(),
            reason: e.to_string(),
        })
    }

    fn over(connector: Connector) -> Self {
        let inner = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector);
        Self {
            inner,
            timeout: TIMEOUT,
            max_body: MAX_BODY,
        }
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL cannot be used.
    #[error("\"{url}\" is no URL: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bearer token cannot stand in a header.
    #[error("{url}: the token has characters that no header can carry")]
    Token {
        /// What was asked for.
        url: String,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("{url}: {reason}")]
    Connection {
        /// What was asked for.
        url: String,
        /// The chain of causes.
        reason: String,
    },
    /// No answer in time.
    #[error("{url}: no answer in time")]
    Timeout {
        /// What was asked for.
        url: String,
    },
    /// The answer is longer than the client takes.
    #[error("{url}: the answer is longer than {max} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The bound.
        max: usize,
    },
    /// The server answered with an error.
    #[error("{url}: {status}: {reason}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: StatusCode,
        /// The problem's title and detail, or the beginning of the body.
        reason: String,
    },
    /// The answer, or what was to be sent, does not fit its type.
    #[error("{url}: unexpected json: {reason}")]
    Format {
        /// What was asked for.
        url: String,
        /// What does not fit.
        reason: String,
    },
}

impl Error {
    /// The status of an error answer.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

fn parse(url: &str) -> Result<Uri, Error> {
    let wrong = |reason: &str| Error::Url {
        url: url.to_owned(),
        reason: reason.to_owned(),
    };
    let uri: Uri = url.parse().map_err(|e| wrong(&format!("{e}")))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
        _ => Err(wrong(
            "write http://host:port/path or https://host:port/path",
        )),
    }
}

/// Reads the problem in an error answer, or takes its first words as they are.
fn refusal(url: &str, status: StatusCode, body: &[u8]) -> Error {
    let reason = match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if problem.detail.is_empty() => problem.title,
        Ok(problem) => format!("{}: {}", problem.title, problem.detail),
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(MAX_QUOTED)]).into_owned(),
    };
    Error::Status {
        url: url.to_owned(),
        status,
        reason,
    }
}

fn incomplete(url: &str, error: CollectError) -> Error {
    let url = url.to_owned();
    match error {
        CollectError::TooLarge(max) => Error::TooLarge { url, max },
        CollectError::Timeout => Error::Timeout { url },
        CollectError::Broken(error) => Error::Connection {
            url,
            reason: one_line(error.as_ref()),
        },
    }
}

/// A control exchange that takes longer has no use any more.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The plan of a large cluster is a few megabytes.
const MAX_BODY: usize = 16 << 20;

/// Shorter than our servers' own idle time, so that the client closes first and no request
/// meets a closing connection.
const POOL_IDLE: Duration = Duration::from_secs(5);

/// How much of an unreadable error answer is repeated.
const MAX_QUOTED: usize = 200;
