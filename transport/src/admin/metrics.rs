//! `/metrics`: OpenMetrics for who asks for it, else the classic Prometheus text.
//!
//! The registry writes OpenMetrics, where a counter's family is named without `_total`. The
//! classic format names the family as its samples, and `promtool check metrics` reads only that.

use ::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::http::problem;
use crate::router::RouterBody;

pub(super) fn answer(registry: &Registry, headers: &HeaderMap) -> Response {
    let mut text = String::new();
    if encode(&mut text, registry).is_err() {
        let problem = problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "metrics cannot be written",
            "",
        );
        return problem.map(RouterBody::new);
    }
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let (kind, text) = match accept {
        Some(accept) if accept.contains("application/openmetrics-text") => (OPEN, text),
        _ => (CLASSIC, classic(&text)),
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Rewrites OpenMetrics text (as `prometheus-client` writes it, HELP before TYPE) as Prometheus
/// text 0.0.4: counter and info families take their samples' suffix, UNIT and EOF go.
pub fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, help)) = help.take().filter(|(family, _)| *family == name) {
                push_line(&mut out, &["# HELP ", name, suffix, " ", help]);
            }
            push_line(&mut out, &["# TYPE ", name, suffix, " ", kind]);
        } else if !line.starts_with('#') {
            // An exemplar follows its sample after " # ".
            let sample = line.split_once(" # ").map_or(line, |(sample, _)| sample);
            push_line(&mut out, &[sample]);
        }
    }
    out
}

fn push_line(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
    out.push('\n');
}

const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Metrics;

    #[test]
    fn classic_text_names_families_as_their_samples() {
        let mut registry = Registry::default();
        let stats = Metrics::register(&mut registry).listener("public");
        assert_eq!(stats.refused("full"), 0);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let classic = classic(&text);
        let expect = "# HELP weir_http_connections_total Connections accepted.\n\
                      # TYPE weir_http_connections_total counter\n\
                      weir_http_connections_total{listener=\"public\"} 0\n\
                      # HELP weir_http_open_connections Connections open now.\n\
                      # TYPE weir_http_open_connections gauge\n\
                      weir_http_open_connections{listener=\"public\"} 0\n";
        assert!(classic.starts_with(expect), "{classic}");
        assert!(!classic.contains("EOF"), "{classic}");
    }

    #[test]
    fn other_kinds_keep_their_names() {
        let open = "# HELP x_seconds Time.\n# TYPE x_seconds histogram\n# UNIT x_seconds seconds\n\
                    x_seconds_sum 1.0\nx_seconds_bucket{le=\"1\"} 1 # {id=\"7\"} 0.5\n\
                    # HELP build Build.\n# TYPE build info\nbuild_info{v=\"1\"} 1\n# EOF\n";
        let expect = "# HELP x_seconds Time.\n# TYPE x_seconds histogram\n\
                      x_seconds_sum 1.0\nx_seconds_bucket{le=\"1\"} 1\n\
                      # HELP build_info Build.\n# TYPE build_info gauge\nbuild_info{v=\"1\"} 1\n";
        assert_eq!(classic(open), expect);
    }
}
