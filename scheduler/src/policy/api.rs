//! Policies over the admin API, `/api/v1/policy...`.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use transport::http::problem;
use transport::router::{
    IntoResponse, Json, Path, Response, Router, RouterBody, State, get, post, put,
};

use super::diff::{Change, diff};
use super::file::{self, Fault, parse};
use super::ledger::{Entry, Signed, hash_of};
use super::shelf::{Active, Canaried, Refusal, Shadowed, Shelf};
use crate::shadow;

/// The routes.
pub fn router(shelf: Arc<Shelf>) -> Router {
    Router::new()
        .route("/api/v1/policy", get(active))
        .route("/api/v1/policy/schema", get(schema))
        .route("/api/v1/policy/example", get(example))
        .route("/api/v1/policy/history", get(history))
        .route("/api/v1/policy/versions/{version}", get(version))
        .route("/api/v1/policy/check", post(check))
        .route("/api/v1/policy/apply", post(apply))
        .route("/api/v1/policy/rollback", post(roll_back))
        .route(
            "/api/v1/policy/shadow",
            get(shadowed).merge(put(shadow)).delete(end_shadow),
        )
        .route(
            "/api/v1/policy/canary",
            get(canaried).merge(put(canary)).delete(end_canary),
        )
        .with_state(shelf)
}

/// A file with who sends it and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// The policy file, TOML.
    pub text: String,
    /// Who.
    #[serde(default)]
    pub author: String,
    /// Why.
    #[serde(default)]
    pub comment: String,
    /// To apply: the version that it was made from; another one in force is a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// To shadow: for how many seconds; until it is ended when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
    /// To try in regions: in which share of them, 0 to 0.5; a twentieth when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// What a check comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// Whether it may be applied.
    pub valid: bool,
    /// Tells the file from others.
    pub hash: String,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What would change.
    pub changes: Vec<Change>,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The version in force.
    pub version: u64,
}

/// To which version to go back, and who does it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Back {
    /// The version; the one before when left out.
    pub to: Option<u64>,
    /// Who.
    pub author: String,
    /// Why.
    pub comment: String,
}

impl Sent {
    fn signed(&self) -> Signed {
        Signed {
            author: self.author.clone(),
            comment: self.comment.clone(),
        }
    }
}

async fn active(State(shelf): State<Arc<Shelf>>) -> Json<serde_json::Value> {
    let base = shelf.base();
    let Active {
        version,
        file,
        shadow,
        canary,
    } = shelf.status();
    let policies: Vec<_> = base.all().collect();
    Json(serde_json::json!({
        "version": version, "file": file, "shadow": shadow, "canary": canary,
        "policies": policies,
    }))
}

async fn schema() -> Json<serde_json::Value> {
    Json(file::schema())
}

async fn example() -> &'static str {
    file::EXAMPLE
}

async fn history(State(shelf): State<Arc<Shelf>>) -> Json<Vec<Entry>> {
    Json(shelf.history())
}

async fn version(
    State(shelf): State<Arc<Shelf>>,
    Path(version): Path<u64>,
) -> Result<String, Fail> {
    Ok(shelf.text(version).ok_or(Refusal::NoVersion)?)
}

async fn check(State(shelf): State<Arc<Shelf>>, Json(sent): Json<Sent>) -> Json<Checked> {
    let parsed = parse(&sent.text);
    let changes = parsed
        .as_ref()
        .map(|policies| diff(&shelf.base(), policies));
    Json(Checked {
        valid: parsed.is_ok(),
        hash: hash_of(&sent.text),
        changes: changes.unwrap_or_default(),
        faults: parsed.err().unwrap_or_default(),
    })
}

async fn apply(
    State(shelf): State<Arc<Shelf>>,
    Json(sent): Json<Sent>,
) -> Result<Json<Held>, Fail> {
    let signed = sent.signed();
    let version = on_disk(shelf, move |it| it.apply(&sent.text, sent.base, &signed)).await?;
    Ok(Json(Held { version }))
}

async fn roll_back(
    State(shelf): State<Arc<Shelf>>,
    Json(back): Json<Option<Back>>,
) -> Result<Json<Held>, Fail> {
    let Back {
        to,
        author,
        comment,
    } = back.unwrap_or_default();
    let signed = Signed { author, comment };
    let version = on_disk(shelf, move |it| it.roll_back(to, &signed)).await?;
    Ok(Json(Held { version }))
}

async fn shadowed(State(shelf): State<Arc<Shelf>>) -> Result<Json<Shadowed>, Fail> {
    let shadow = shelf.status().shadow;
    Ok(Json(shadow.ok_or(Refusal::Nothing)?))
}

async fn shadow(
    State(shelf): State<Arc<Shelf>>,
    Json(sent): Json<Sent>,
) -> Result<StatusCode, Fail> {
    let (signed, long) = (sent.signed(), sent.for_s.map(Duration::from_secs));
    on_disk(shelf, move |it| it.shadow(&sent.text, long, &signed)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_shadow(State(shelf): State<Arc<Shelf>>) -> Result<Json<shadow::Report>, Fail> {
    let ended = on_disk(shelf, |it| it.end_shadow(&Signed::default())).await?;
    Ok(Json(ended))
}

async fn canaried(State(shelf): State<Arc<Shelf>>) -> Result<Json<Canaried>, Fail> {
    let canary = shelf.status().canary;
    Ok(Json(canary.ok_or(Refusal::Nothing)?))
}

async fn canary(
    State(shelf): State<Arc<Shelf>>,
    Json(sent): Json<Sent>,
) -> Result<StatusCode, Fail> {
    let (signed, share) = (sent.signed(), sent.share.unwrap_or(USUAL_SHARE));
    on_disk(shelf, move |it| it.canary(&sent.text, share, &signed)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_canary(State(shelf): State<Arc<Shelf>>) -> Result<StatusCode, Fail> {
    on_disk(shelf, |it| it.end_canary(&Signed::default())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The most that a careful operator risks.
const USUAL_SHARE: f64 = 0.05;

/// Does what writes a file, away from the runtime's threads.
async fn on_disk<T: Send + 'static>(
    shelf: Arc<Shelf>,
    work: impl FnOnce(&Shelf) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Fail> {
    let done = tokio::task::spawn_blocking(move || work(&shelf)).await;
    Ok(done.expect("changing policies does not panic")?)
}

/// A refusal on its way to the operator.
#[derive(Debug)]
struct Fail(Refusal);

impl From<Refusal> for Fail {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Fail {
    fn into_response(self) -> Response {
        let (status, title) = match &self.0 {
            Refusal::Faults(_) => (StatusCode::UNPROCESSABLE_ENTITY, "not valid"),
            Refusal::Stale(_) => (StatusCode::CONFLICT, "changed meanwhile"),
            Refusal::NoVersion => (StatusCode::NOT_FOUND, "no such version"),
            Refusal::Nothing => (StatusCode::NOT_FOUND, "no candidate"),
            Refusal::Share => (StatusCode::BAD_REQUEST, "bad request"),
            Refusal::Unkept(error) => {
                tracing::error!(%error, "policies cannot be kept");
                (StatusCode::SERVICE_UNAVAILABLE, "not kept")
            }
        };
        problem(status, title, &self.0.to_string()).map(RouterBody::new)
    }
}
