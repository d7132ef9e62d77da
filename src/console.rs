//! The console's files, embedded in the binary, as routes for the admin listener.
//!
//! Names under `assets/` carry a hash of their content, so they may be kept for ever; the page itself is asked for again each time.

use http::{StatusCode, Uri, header};
use rust_embed::RustEmbed;
use transport::router::{IntoResponse, Response, Router, any};

#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Files;

/// Serves the console; what it does not know is answered with 404.
pub fn router() -> Router {
    Router::new().fallback(any(file))
}

async fn file(uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    match Files::get(path) {
        Some(file) => {
            let age = if path.starts_with("assets/") {
                FOR_EVER
            } else {
                "no-cache"
            };
            let headers = [
                (header::CONTENT_TYPE, kind(path)),
                (header::CACHE_CONTROL, age),
            ];
            (headers, file.data).into_response()
        }
        None if path == "index.html" => {
            (StatusCode::SERVICE_UNAVAILABLE, NOT_BUILT).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no such page\n").into_response(),
    }
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

const FOR_EVER: &str = "public, max-age=31536000, immutable";
const NOT_BUILT: &str =
    "this binary was built without the console: run `make setup` and build it again\n";
