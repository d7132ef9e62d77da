//! Sans-IO: who may call the admin listener.
//!
//! Three threats: another machine (answered by loopback or the token), a web page of another
//! origin in an operator's browser (answered by `Sec-Fetch-Site` and `Origin`), and a foreign
//! name made to point at loopback, DNS rebinding (answered by the `Host` header).

use std::net::IpAddr;

use ::http::uri::Authority;
use ::http::{HeaderMap, Method, StatusCode, Uri, header};
use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::{Config, Error};
use crate::config::Secret;
use crate::http::bearer;

/// The fewest characters a token may have.
pub const MIN_TOKEN: usize = 16;

/// The rules that follow from a configuration.
#[derive(Debug)]
pub struct Rules {
    token: Option<Secret>,
    names: Vec<String>,
}

impl Rules {
    /// The rules, or why the configuration is not safe.
    pub fn new(config: &Config) -> Result<Self, Error> {
        match &config.token {
            Some(token) if token.expose().chars().count() < MIN_TOKEN => {
                return Err(Error::ShortToken);
            }
            None if !config.listen.ip().to_canonical().is_loopback() => {
                return Err(Error::Open(config.listen));
            }
            _ => {}
        }
        Ok(Self {
            token: config.token.clone(),
            names: config.names.clone(),
        })
    }

    /// Whether the caller shows the token, if there is one; compared in constant time.
    pub fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let shown = bearer(headers).ok_or(Refusal::Token)?;
        verify_slices_are_equal(shown.as_bytes(), token.expose().as_bytes())
            .map_err(|_| Refusal::Token)
    }

    /// Whether a browser may make this request for the page that asks for it.
    pub fn check_origin(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let host = authority(uri, headers);
        if self.token.is_none() && !host.as_ref().is_some_and(|host| self.is_own_host(host)) {
            return Err(Refusal::Host);
        }
        if is_safe(method) && !headers.contains_key(header::UPGRADE) {
            return Ok(());
        }
        let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
        if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return Err(Refusal::Origin);
        }
        match headers.get(header::ORIGIN) {
            // A program, not a page: browsers send Origin with every changing request.
            None => Ok(()),
            Some(origin) => {
                let origin = Uri::try_from(origin.as_bytes()).ok();
                let origin = origin.as_ref().and_then(Uri::authority);
                if origin.is_some() && origin == host.as_ref() {
                    Ok(())
                } else {
                    Err(Refusal::Origin)
                }
            }
        }
    }

    /// An address cannot be rebound; a name must be ours.
    fn is_own_host(&self, host: &Authority) -> bool {
        let name = host.host();
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address
            || name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No token or a wrong one.
    Token,
    /// A page of another origin wants to change something.
    Origin,
    /// The request names a host that is not this listener.
    Host,
}

impl Refusal {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Origin | Self::Host => StatusCode::FORBIDDEN,
        }
    }

    /// What kind of refusal it is.
    pub fn title(self) -> &'static str {
        match self {
            Self::Token => "token required",
            Self::Origin => "foreign origin",
            Self::Host => "foreign host name",
        }
    }

    /// What the caller can do.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Token => "send the admin token as \"Authorization: Bearer TOKEN\"",
            Self::Origin => "pages of other origins may not change anything here",
            Self::Host => "use an address or localhost, or add the name to admin.names",
        }
    }
}

/// Whom the request is for: `:authority` of HTTP/2, else `Host`.
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    uri.authority().cloned().or_else(|| {
        headers
            .get(header::HOST)
            .and_then(|host| Authority::try_from(host.as_bytes()).ok())
    })
}

/// RFC 9110 section 9.2.1.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
