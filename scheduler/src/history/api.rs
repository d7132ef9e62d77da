//! The history over the admin API: which series there are, and their values.

use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use transport::clock::unix_ms;
use transport::http::problem;
use transport::router::{IntoResponse, Json, Query, Response, Router, RouterBody, State, get};

use super::store;
use super::{History, Ring};

/// The routes, `/api/v1/history...`.
pub fn router(history: Arc<History>) -> Router {
    Router::new()
        .route("/api/v1/history", get(values))
        .route("/api/v1/history/series", get(list))
        .with_state(history)
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    prefix: String,
}

/// A series that there is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub series: String,
    /// When the last step began that it was heard of, Unix milliseconds.
    pub seen_ms: u64,
}

async fn list(
    State(history): State<Arc<History>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<Listed>>, Fault> {
    let time = *history.time();
    let found = blocking(move || history.list(&query.prefix)).await?;
    let listed = found.into_iter().map(|(series, step)| Listed {
        series,
        seen_ms: time.step_begins_ms(step),
    });
    Ok(Json(listed.collect()))
}

/// Reads the file; a database that panics over damage ends this request only.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| Fault::Unreadable)
}

#[derive(Deserialize)]
struct ValuesQuery {
    series: String,
    from: Option<f64>,
    to: Option<f64>,
    #[serde(default)]
    ring: Wished,
}

/// Which steps are asked for.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wished {
    #[default]
    Fine,
    Coarse,
}

/// A series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// Its name.
    pub series: String,
    /// When the first step began, Unix milliseconds.
    pub first_ms: u64,
    /// Length of a step, milliseconds.
    pub step_ms: f64,
    /// A value a step, null where nothing is known.
    pub values: Vec<Option<f64>>,
}

async fn values(
    State(history): State<Arc<History>>,
    Query(query): Query<ValuesQuery>,
) -> Result<Json<Values>, Fault> {
    let ring = match query.ring {
        Wished::Fine => Ring::Fine,
        Wished::Coarse => Ring::Coarse,
    };
    let now_ms = unix_ms();
    let day_s = history.time().day().as_secs_f64();
    let from_ms = at(query.from.unwrap_or(-day_s), now_ms)?;
    let to_ms = at(query.to.unwrap_or(0.0), now_ms)?;
    let time = *history.time();
    let range = time.calendar_s(from_ms)..time.calendar_s(to_ms);
    let id = query.series.clone();
    let found = blocking(move || history.series(&id, ring, range)).await?;
    let found = found?.ok_or(Fault::Unknown)?;
    let known = |value: f64| (!value.is_nan()).then_some(value);
    Ok(Json(Values {
        series: query.series,
        first_ms: time.unix_ms(found.time_of(found.first)),
        step_ms: f64::from(found.step_s) * 1000.0 / time.scale(),
        values: found.values.into_iter().map(known).collect(),
    }))
}

/// Unix seconds, or seconds before now when zero or below, as Unix milliseconds.
fn at(seconds: f64, now_ms: u64) -> Result<u64, Fault> {
    if !seconds.is_finite() || seconds > MAX_UNIX_S {
        return Err(Fault::Time);
    }
    let ms = seconds * 1000.0;
    Ok(if seconds > 0.0 {
        ms as u64
    } else {
        (now_ms as f64 + ms).max(0.0) as u64
    })
}

/// The year 2286: any later is milliseconds by mistake.
const MAX_UNIX_S: f64 = 1e10;

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("from and to are Unix seconds, or seconds before now below zero")]
    Time,
    #[error("/api/v1/history/series lists what there is")]
    Unknown,
    #[error("its file is damaged; a restart sets it aside")]
    Unreadable,
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, title) = match &self {
            Self::Time => (StatusCode::BAD_REQUEST, "bad request"),
            Self::Unknown => (StatusCode::NOT_FOUND, "no such series"),
            Self::Unreadable | Self::Store(_) => {
                tracing::error!(error = %self, "the history cannot be read");
                (StatusCode::SERVICE_UNAVAILABLE, "history not readable")
            }
        };
        problem(status, title, &self.to_string()).map(RouterBody::new)
    }
}
