//! The rules as tables, then the listener over loopback.

use std::time::Duration;

use ::http::{Method, Uri};
use bytes::Bytes;
use http_body_util::Full;

use super::*;
use crate::http::{Client, Metrics};
use crate::router::{Json, post};

const TOKEN: &str = "a token of sixteen or more";

fn config(listen: &str, token: Option<&str>) -> Config {
    Config {
        listen: listen.parse().unwrap(),
        token: token.map(Secret::new),
        names: vec!["weir.lan".to_owned()],
    }
}

#[test]
fn off_loopback_needs_a_token_worth_the_name() {
    let check = |listen, token, expect: Option<&str>| {
        let refused = Rules::new(&config(listen, token))
            .err()
            .map(|e| e.to_string());
        match (refused, expect) {
            (None, None) => {}
            (Some(refused), Some(expect)) => assert!(refused.contains(expect), "{refused}"),
            (refused, _) => panic!("{listen} {token:?}: {refused:?}"),
        }
    };
    check("127.0.0.1:0", None, None);
    check("127.8.9.1:0", None, None);
    check("[::1]:0", None, None);
    check("0.0.0.0:0", Some(TOKEN), None);
    check("127.0.0.1:0", Some(TOKEN), None);
    check("0.0.0.0:0", None, Some("set admin.token"));
    check("[::]:0", None, Some("set admin.token"));
    check("192.0.2.1:0", None, Some("set admin.token"));
    check("[::ffff:192.0.2.1]:0", None, Some("set admin.token"));
    check("127.0.0.1:0", Some(""), Some("too short"));
    check("0.0.0.0:0", Some("admin"), Some("too short"));
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

#[test]
fn only_the_bearer_token_passes() {
    let check = |token, shown: Option<&str>, passes: bool| {
        let rules = Rules::new(&config("127.0.0.1:0", token)).unwrap();
        let headers =
            shown.map_or_else(HeaderMap::new, |value| headers(&[("authorization", value)]));
        assert_eq!(
            rules.check_token(&headers).is_ok(),
            passes,
            "{token:?} {shown:?}"
        );
    };
    check(None, None, true);
    check(None, Some("Bearer whatever"), true);
    check(Some(TOKEN), None, false);
    check(Some(TOKEN), Some(""), false);
    check(Some(TOKEN), Some("Bearer "), false);
    check(Some(TOKEN), Some("Bearer a token of sixteen or mor"), false);
    check(
        Some(TOKEN),
        Some("Bearer a token of sixteen or more!"),
        false,
    );
    check(Some(TOKEN), Some("Basic a token of sixteen or more"), false);
    check(Some(TOKEN), Some("Bearer a token of sixteen or more"), true);
    check(Some(TOKEN), Some("bearer a token of sixteen or more"), true);
}

/// Whether a page may make this request.
fn check(
    token: Option<&str>,
    method: &str,
    pairs: &[(&'static str, &str)],
    expect: Option<Refusal>,
) {
    let rules = Rules::new(&config("127.0.0.1:0", token)).unwrap();
    let method: Method = method.parse().unwrap();
    let refused = rules
        .check_origin(&method, &Uri::from_static("/api"), &headers(pairs))
        .err();
    assert_eq!(refused, expect, "{token:?} {method} {pairs:?}");
}

#[test]
fn rebound_names_read_nothing() {
    let host = Some(Refusal::Host);
    check(None, "GET", &[("host", "localhost:7800")], None);
    check(None, "GET", &[("host", "127.0.0.1:7800")], None);
    check(None, "GET", &[("host", "[::1]:7800")], None);
    check(None, "GET", &[("host", "192.0.2.1")], None);
    check(None, "GET", &[("host", "WEIR.lan:7800")], None);
    check(None, "GET", &[("host", "evil.example:7800")], host);
    check(None, "GET", &[("host", "localhost.evil.example")], host);
    check(None, "GET", &[("host", "127.0.0.1.evil.example")], host);
    check(None, "GET", &[("host", "user@localhost")], None);
    check(None, "GET", &[], host);
    check(Some(TOKEN), "GET", &[("host", "anything.example")], None);
    check(Some(TOKEN), "GET", &[], None);
}

#[test]
fn foreign_pages_change_nothing() {
    let origin = Some(Refusal::Origin);
    let local = ("host", "localhost:7800");
    check(None, "POST", &[local], None);
    check(
        None,
        "POST",
        &[local, ("origin", "http://localhost:7800")],
        None,
    );
    check(
        None,
        "POST",
        &[local, ("origin", "http://localhost:9000")],
        origin,
    );
    check(
        None,
        "POST",
        &[local, ("origin", "https://evil.example")],
        origin,
    );
    check(None, "POST", &[local, ("origin", "null")], origin);
    check(
        None,
        "DELETE",
        &[local, ("sec-fetch-site", "cross-site")],
        origin,
    );
    check(
        None,
        "PUT",
        &[local, ("sec-fetch-site", "same-site")],
        origin,
    );
    check(
        None,
        "POST",
        &[local, ("sec-fetch-site", "same-origin")],
        None,
    );
    check(None, "POST", &[local, ("sec-fetch-site", "none")], None);
    check(
        None,
        "GET",
        &[local, ("origin", "https://evil.example")],
        None,
    );
    let socket = ("upgrade", "websocket");
    check(
        None,
        "GET",
        &[local, socket, ("origin", "https://evil.example")],
        origin,
    );
    let named = ("host", "weir.example");
    check(
        Some(TOKEN),
        "POST",
        &[named, ("origin", "https://weir.example")],
        None,
    );
    check(
        Some(TOKEN),
        "POST",
        &[named, ("origin", "https://evil.example")],
        origin,
    );
}

/// An admin listener in this process with one route, one page and one condition.
struct Running {
    addr: SocketAddr,
    drain: Drain,
    readiness: Readiness,
}

impl Running {
    fn start(token: Option<&str>) -> Self {
        let mut registry = Registry::default();
        let stats = Metrics::register(&mut registry).listener("admin");
        let (drain, readiness) = (Drain::new(), Readiness::new());
        readiness.set("plan", false);
        let api = Router::new().route(
            "/api/v1/twice",
            post(|Json(n): Json<u32>| async move { Json(n * 2) }),
        );
        let pages = Router::new().route("/", get(|| async { axum::response::Html("console") }));
        let admin = Admin::bind(&config("127.0.0.1:0", token))
            .unwrap()
            .pages(pages)
            .stats(stats);
        let addr = admin.local_addr().unwrap();
        drain.background(admin.run(api, Arc::new(registry), readiness.clone(), drain.clone()));
        Self {
            addr,
            drain,
            readiness,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    async fn get(&self, path: &str) -> (u16, HeaderMap, String) {
        let request = Request::get(self.url(path)).body(Full::default()).unwrap();
        let (head, body) = Client::new().request(request).await.unwrap().into_parts();
        (
            head.status.as_u16(),
            head.headers,
            String::from_utf8_lossy(&body).into_owned(),
        )
    }
}

#[tokio::test]
async fn with_a_token_only_health_and_pages_are_open() {
    let admin = Running::start(Some(TOKEN));
    for (path, expect) in [
        ("/livez", 200),
        ("/readyz", 503),
        ("/", 200),
        ("/metrics", 401),
        ("/api/v1/twice", 401),
    ] {
        assert_eq!(admin.get(path).await.0, expect, "{path}");
    }
    let url = admin.url("/api/v1/twice");
    let doubled: u32 = Client::new()
        .post_json(&url, Some(TOKEN), &21)
        .await
        .unwrap();
    assert_eq!(doubled, 42);
    let error = Client::new()
        .post_json::<_, u32>(&url, None, &21)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("Authorization: Bearer TOKEN"), "{error}");
}

#[tokio::test]
async fn errors_are_problems_whoever_made_them() {
    let admin = Running::start(None);
    for (path, status) in [
        ("/none", 404),
        ("/api/v1/twice", 405),
        ("/api/v1/none", 404),
    ] {
        let (answered, headers, body) = admin.get(path).await;
        assert_eq!(answered, status, "{path}");
        assert_eq!(headers[header::CONTENT_TYPE], PROBLEM_JSON, "{path}");
        assert!(body.contains(&format!("\"status\":{status}")), "{body}");
    }
    let url = admin.url("/api/v1/twice");
    let error = Client::new()
        .post_json::<_, u32>(&url, None, "text")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("invalid type: string"), "{error}");
}

#[tokio::test]
async fn pages_cannot_be_framed_or_run_foreign_scripts() {
    let admin = Running::start(None);
    let (_, headers, body) = admin.get("/").await;
    assert_eq!(body, "console");
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let admin = Running::start(None);
    let (status, headers, text) = admin.get("/metrics").await;
    assert_eq!(status, 200);
    assert_eq!(
        headers[header::CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(
        text.contains("weir_http_requests_total{listener=\"admin\"} 1\n"),
        "{text}"
    );
    let request = Request::get(admin.url("/metrics"))
        .header(
            header::ACCEPT,
            "application/openmetrics-text; version=1.0.0",
        )
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer = Client::new().request(request).await.unwrap();
    assert!(answer.body().ends_with(b"# EOF\n"));
}

#[tokio::test]
async fn readiness_names_what_is_missing_and_answers_while_draining() {
    let admin = Running::start(None);
    let (status, _, body) = admin.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("\"missing\":[\"plan\"]"), "{body}");
    admin.readiness.set("plan", true);
    assert_eq!(admin.get("/readyz").await.0, 200);
    admin.drain.start();
    let (status, _, body) = admin.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("\"missing\":[\"not draining\"]"), "{body}");
    assert_eq!(admin.get("/livez").await.0, 200);
    assert!(
        admin.drain.finish(Duration::from_secs(5)).await,
        "nobody waits for the admin listener"
    );
    assert!(Client::new().get(&admin.url("/livez")).await.is_err());
}
