//! The router for API requests, which is axum's, and how it becomes a service of
//! [`crate::http::Server`].
//!
//! Media paths do not pass here: they are plain services with their own bodies.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use tower::ServiceExt;

pub use axum::body::Body as RouterBody;
pub use axum::extract::{DefaultBodyLimit, Extension, Path, Query, Request, State};
pub use axum::http::{HeaderMap, Method, StatusCode, header};
pub use axum::response::{IntoResponse, Response};
pub use axum::routing::{any, delete, get, post, put};
pub use axum::{Json, Router};

use crate::http::{self, Body, Incoming};

/// Makes a router the service of a [`crate::http::Server`].
pub fn service(
    router: Router,
) -> impl Fn(::http::Request<Incoming>) -> Answer + Clone + Send + Sync + 'static {
    move |request| {
        let answer = answer(router.clone(), request);
        Box::pin(async move { answer.await.map(http::body) })
    }
}

/// A response on its way.
pub type Answer = Pin<Box<dyn Future<Output = ::http::Response<Body>> + Send>>;

pub(crate) async fn answer(router: Router, request: ::http::Request<Incoming>) -> Response {
    let answered: Result<Response, Infallible> = router.oneshot(request.map(RouterBody::new)).await;
    answered.unwrap_or_else(|never| match never {})
}
