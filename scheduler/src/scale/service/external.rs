//! Kubernetes' external metrics API (`external.metrics.k8s.io/v1beta1`, k8s.io/metrics): the
//! recommendation as an `ExternalMetricValueList`, with label selectors by equality and by sets.

use std::sync::Arc;

use cluster::moment;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use transport::router::{IntoResponse, Json, Path, Query, Response, Router, State, get};

use super::{Board, Scaling};

pub(super) fn router() -> Router<Arc<Scaling>> {
    Router::new().route(GROUP, get(resources)).route(
        &format!("{GROUP}/namespaces/{{namespace}}/{{metric}}"),
        get(values),
    )
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default, rename = "labelSelector")]
    selector: String,
}

/// What the API server asks to learn which metrics there are.
async fn resources() -> Json<Value> {
    Json(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": VERSION,
        "resources": [{
            "name": METRIC,
            "singularName": "",
            "namespaced": true,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }],
    }))
}

async fn values(
    State(scaling): State<Arc<Scaling>>,
    Path((_, metric)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    if metric != METRIC {
        let said = format!("there is no metric {metric}, only {METRIC}");
        return refusal(StatusCode::NOT_FOUND, "NotFound", &said);
    }
    match Selector::parse(&asked.selector) {
        Some(selector) => Json(list(&scaling.board.load(), &selector)).into_response(),
        None => {
            let said = "labelSelector takes zone=a, zone!=a, zone in (a,b), zone notin (a,b), zone";
            refusal(StatusCode::BAD_REQUEST, "BadRequest", said)
        }
    }
}

fn list(board: &Board, selector: &Selector<'_>) -> Value {
    let zones = board.zones.iter().filter(|(zone, _)| selector.fits(zone));
    let item = |(zone, advice): (&String, &super::Advice)| {
        json!({
            "metricName": METRIC,
            "metricLabels": {"zone": zone},
            "timestamp": moment::format(board.made_ms / 1000),
            "value": advice.desired.to_string(),
        })
    };
    json!({
        "kind": "ExternalMetricValueList",
        "apiVersion": VERSION,
        "metadata": {},
        "items": zones.map(item).collect::<Vec<_>>(),
    })
}

/// An error as the API server passes it on.
fn refusal(status: StatusCode, reason: &str, message: &str) -> Response {
    let body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": status.as_u16(),
    });
    (status, Json(body)).into_response()
}

/// All requirements must hold.
#[derive(Debug, PartialEq)]
struct Selector<'a>(Vec<(Holds, Vec<&'a str>)>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Holds {
    Among,
    NotAmong,
}

impl<'a> Selector<'a> {
    /// Requirements on the label `zone`, with commas between them; None when it is anything else.
    fn parse(text: &'a str) -> Option<Self> {
        let (mut all, mut rest) = (Vec::new(), text.trim());
        while !rest.is_empty() {
            let after = rest.strip_prefix(LABEL)?;
            let ends = after.starts_with(|c: char| c.is_whitespace() || "=!,".contains(c));
            if !after.is_empty() && !ends {
                return None;
            }
            let after = after.trim_start();
            let sets = [("notin", Holds::NotAmong), ("in", Holds::Among)];
            let ones = [
                ("!=", Holds::NotAmong),
                ("==", Holds::Among),
                ("=", Holds::Among),
            ];
            let find = |ways: &[(&str, Holds)]| {
                let way = |(sign, holds): &(&str, Holds)| Some((after.strip_prefix(sign)?, *holds));
                ways.iter().find_map(way)
            };
            if let Some((after, holds)) = find(&ones) {
                let (value, next) = after.split_once(',').unwrap_or((after, ""));
                all.push((holds, vec![value.trim()]));
                rest = next.trim_start();
            } else if let Some((after, holds)) = find(&sets) {
                let (values, next) = after.trim_start().strip_prefix('(')?.split_once(')')?;
                all.push((holds, values.split(',').map(str::trim).collect()));
                rest = behind_comma(next)?;
            } else {
                // The label alone: it must be there, and it always is.
                rest = behind_comma(after)?;
            }
        }
        Some(Self(all))
    }

    fn fits(&self, zone: &str) -> bool {
        let fits = |(holds, values): &(Holds, Vec<&str>)| {
            values.contains(&zone) == (*holds == Holds::Among)
        };
        self.0.iter().all(fits)
    }
}

/// What follows a requirement: nothing, or a comma and the next one.
fn behind_comma(text: &str) -> Option<&str> {
    let text = text.trim_start();
    if text.is_empty() {
        return Some(text);
    }
    text.strip_prefix(',').map(str::trim_start)
}

const GROUP: &str = "/apis/external.metrics.k8s.io/v1beta1";
const VERSION: &str = "external.metrics.k8s.io/v1beta1";
const METRIC: &str = "weir_scale_desired_nodes";
const LABEL: &str = "zone";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Advice;
    use super::*;

    #[test]
    fn selectors_choose_zones_as_kubernetes_does() {
        for (text, fits) in [
            ("", Some("eu us")),
            ("zone", Some("eu us")),
            ("zone=eu", Some("eu")),
            ("zone == eu", Some("eu")),
            ("zone!=eu", Some("us")),
            ("zone in (eu, us)", Some("eu us")),
            ("zone in (eu),zone!=eu", Some("")),
            ("zone notin (eu,asia)", Some("us")),
            ("zone=asia", Some("")),
            ("zone=eu,", Some("eu")),
            ("region=eu", None),
            ("zones=eu", None),
            ("zone in eu", None),
            ("zone in (eu) us", None),
            ("zone > 3", None),
        ] {
            let selector = Selector::parse(text);
            let found = selector.map(|selector| {
                let fits = ["eu", "us"].into_iter().filter(|zone| selector.fits(zone));
                fits.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(found.as_deref(), fits, "{text:?}");
        }
    }

    #[test]
    fn the_list_is_what_an_autoscaler_reads() {
        let advice = Advice {
            desired: 3,
            nodes: 2,
            needed_ms: 0,
            held: false,
            node_viewers: 0.0,
            node_egress_bps: 0.0,
            ahead: Vec::new(),
        };
        let board = Board {
            made_ms: 1_795_375_800_123,
            viewer_bps: 0.0,
            zones: [("eu".to_owned(), advice)].into(),
        };
        let list = list(&board, &Selector::parse("zone=eu").unwrap());
        assert_eq!(
            list.to_string(),
            r#"{"apiVersion":"external.metrics.k8s.io/v1beta1","items":[{"metricLabels":{"zone":"eu"},"metricName":"weir_scale_desired_nodes","timestamp":"2026-11-22T19:30:00Z","value":"3"}],"kind":"ExternalMetricValueList","metadata":{}}"#
        );
    }

    proptest! {
        #[test]
        fn any_selector_is_read_or_refused(text in "(zone|in|notin|[=!(),a ]){0,12}") {
            let _ = Selector::parse(&text).map(|selector| selector.fits("a"));
        }
    }
}
