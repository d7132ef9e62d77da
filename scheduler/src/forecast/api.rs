//! Forecasts and events over the admin API.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::event::{self, Event};
use cluster::moment;
use cluster::region::Region;
use cluster::store;
use cluster::stream::StreamKey;
use http::StatusCode;
use models::artifact::Card;
use models::mix::Expert;
use models::train::QUANTILES;
use serde::{Deserialize, Serialize};
use transport::http::problem;
use transport::router::{
    IntoResponse, Json, Path, Query, Response, Router, RouterBody, State, delete, get, post,
};

use super::desk::{Expected, Lane};
use super::outlook::{SURGE_RISK, USUAL_RISK};
use super::{Forecasts, Outlook};

/// The routes, `/api/v1/forecast...` and `/api/v1/events`.
pub fn router(forecasts: Arc<Forecasts>) -> Router {
    Router::new()
        .route("/api/v1/forecast", get(forecast))
        .route("/api/v1/forecast/trail", get(trail))
        .route("/api/v1/forecast/model", get(model))
        .route("/api/v1/forecast/train", post(train))
        .route("/api/v1/events", get(list).post(announce))
        .route("/api/v1/events/{id}", delete(withdraw))
        .with_state(forecasts)
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    series: String,
    horizon: Option<String>,
}

/// What is expected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// When it was made, Unix milliseconds; 0 before the first.
    pub made_ms: u64,
    /// Calendar seconds of a step.
    pub step_s: u32,
    /// Horizons that are forecast, calendar seconds.
    pub horizons_s: Vec<u32>,
    /// The trained model, if there is one.
    pub model: Option<Version>,
    /// Unannounced crowds that are coming.
    pub surges: Vec<Crowd>,
    /// The series asked for.
    pub series: Vec<OfSeries>,
}

/// Which model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Tells it from others.
    pub version: String,
    /// Seconds since it was trained.
    pub age_s: u64,
    /// Horizons at which it is used: elsewhere it did not beat the naive methods.
    pub used_s: Vec<u32>,
}

/// An unannounced crowd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crowd {
    /// `region/DE` or `stream/live/show`.
    pub of: String,
    /// Unix milliseconds since which it comes.
    pub since_ms: u64,
}

/// A series and what is expected of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfSeries {
    /// Its name.
    pub series: String,
    /// `total`, `region`, `cpu`, `egress` or `stream`.
    pub kind: String,
    /// The end of the step that is forecast from, Unix milliseconds.
    pub made_at_ms: u64,
    /// The value in that step; null of a gap.
    pub now: Option<f64>,
    /// The quantile that is planned for.
    pub risk: f32,
    /// Whether an unannounced crowd is coming.
    pub surge: bool,
    /// How often it changed its ways since the start.
    pub drifts: u64,
    /// When that was noticed last, Unix milliseconds.
    pub drifted_ms: Option<u64>,
    /// Nearest first.
    pub forecasts: Vec<At>,
}

/// What is expected at one time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct At {
    /// Calendar seconds ahead.
    pub horizon_s: u32,
    /// The end of the step that is forecast, Unix milliseconds.
    pub for_ms: u64,
    /// As likely more as less.
    pub median: f64,
    /// By quantile.
    pub quantiles: BTreeMap<String, f64>,
    /// The quantile that is planned for.
    pub at_risk: f64,
    /// Whether the quantile of 0.9 has held for the last hour.
    pub holds: bool,
    /// The shares of the experts in the median, those of at least a thousandth.
    pub experts: BTreeMap<String, f64>,
}

async fn forecast(
    State(all): State<Arc<Forecasts>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Answer>, Fault> {
    let horizon_s = asked.horizon.as_deref().map(seconds).transpose()?;
    if horizon_s.is_some_and(|horizon| !all.horizons_s.contains(&horizon)) {
        return Err(Fault::Horizon(all.horizons_s.clone()));
    }
    let outlook = all.outlook.load_full();
    let exact = outlook.series.get_key_value(&asked.series);
    let found: Vec<_> = match exact {
        Some(exact) => vec![exact],
        None => {
            let from = outlook.series.range(asked.series.clone()..);
            from.take_while(|(id, _)| id.starts_with(&asked.series))
                .collect()
        }
    };
    if found.is_empty() && !asked.series.is_empty() {
        return Err(Fault::Unknown);
    }
    let series = found.into_iter().map(|(id, expected)| {
        let mut told = all.tell(&outlook, id, expected);
        told.forecasts
            .retain(|at| horizon_s.is_none_or(|horizon| at.horizon_s == horizon));
        told
    });
    let series = series.collect();
    Ok(Json(Answer {
        made_ms: outlook.made_ms,
        step_s: all.time().step_s(),
        horizons_s: all.horizons_s.clone(),
        model: all.version(),
        surges: crowds(&outlook),
        series,
    }))
}

impl Forecasts {
    fn tell(&self, outlook: &Outlook, id: &str, expected: &Expected) -> OfSeries {
        let (time, surge) = (self.time(), outlook.surge(id).is_some());
        let risk = if surge { SURGE_RISK } else { USUAL_RISK };
        let at = |lane: &Lane| {
            let quantiles = QUANTILES.iter().zip(lane.quantiles);
            let at_risk = quantiles
                .clone()
                .find(|(q, _)| **q >= risk)
                .map_or(0.0, |(_, v)| v);
            let said = Expert::ALL.iter().zip(lane.weights);
            let experts = said.filter(|(_, weight)| *weight >= LEAST_WEIGHT);
            At {
                horizon_s: horizon_s(lane.ahead, time.step_s()),
                for_ms: time.step_begins_ms(expected.step + 1 + lane.ahead as i64),
                median: lane.median,
                quantiles: quantiles.map(|(q, value)| (q.to_string(), value)).collect(),
                at_risk,
                holds: lane.holds,
                experts: experts
                    .map(|(e, weight)| (e.name().to_owned(), weight))
                    .collect(),
            }
        };
        OfSeries {
            series: id.to_owned(),
            kind: expected.kind.as_str().to_owned(),
            made_at_ms: time.step_begins_ms(expected.step + 1),
            now: expected.now.is_finite().then_some(expected.now),
            risk,
            surge,
            drifts: expected.drifts,
            drifted_ms: expected.drifted.map(|step| time.step_begins_ms(step + 1)),
            forecasts: expected.lanes.iter().map(at).collect(),
        }
    }

    fn version(&self) -> Option<Version> {
        let trained = self.trainer.model()?;
        let now_s = self.clock.unix_ms() / 1000;
        let learned = trained.model.learned.iter();
        Some(Version {
            version: trained.version.clone(),
            age_s: now_s.saturating_sub(trained.model.card.trained_at_s.max(0).unsigned_abs()),
            used_s: learned
                .map(|learned| horizon_s(learned.ahead, trained.model.step_s))
                .collect(),
        })
    }
}

fn horizon_s(ahead: usize, step_s: u32) -> u32 {
    u32::try_from(ahead)
        .unwrap_or(u32::MAX)
        .saturating_mul(step_s)
}

fn crowds(outlook: &Outlook) -> Vec<Crowd> {
    let crowd = |(subject, since_ms): (&crate::history::Subject, &u64)| Crowd {
        of: match subject {
            crate::history::Subject::Region(region) => format!("region/{region}"),
            crate::history::Subject::Stream(key) => format!("stream/{key}"),
        },
        since_ms: *since_ms,
    };
    let mut crowds: Vec<Crowd> = outlook.surges.iter().map(crowd).collect();
    crowds.sort_by(|a, b| a.of.cmp(&b.of));
    crowds
}

/// Shares of less are not told.
const LEAST_WEIGHT: f64 = 1e-3;

/// `15m` or `900`, in seconds.
fn seconds(text: &str) -> Result<u32, Fault> {
    let plain = text.parse::<u64>().ok();
    let named = || text.parse::<transport::config::Duration>().ok();
    let seconds = plain.or_else(|| named().map(|duration| duration.get().as_secs()));
    seconds
        .and_then(|seconds| u32::try_from(seconds).ok())
        .ok_or(Fault::Duration)
}

/// What was forecast of the last day, for the console.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Trail {
    series: String,
    horizon_s: u32,
    /// Unix milliseconds of the end of each step, and what was forecast for it, once.
    at_ms: Vec<u64>,
    median: Vec<f64>,
    upper: Vec<f64>,
}

async fn trail(
    State(all): State<Arc<Forecasts>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Trail>, Fault> {
    let (reader, id) = (all.clone(), asked.series.clone());
    // The work may be at a step.
    let read = tokio::task::spawn_blocking(move || reader.work.lock().trail(&id)).await;
    let (ahead, said) = read.ok().flatten().ok_or(Fault::Unknown)?;
    let time = all.time();
    Ok(Json(Trail {
        series: asked.series,
        horizon_s: horizon_s(ahead, time.step_s()),
        at_ms: said
            .iter()
            .map(|said| time.step_begins_ms(said.step + 1))
            .collect(),
        median: said.iter().map(|said| said.median).collect(),
        upper: said.iter().map(|said| said.quantiles[0]).collect(),
    }))
}

/// What was learned and what it is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Standing {
    version: Option<Version>,
    /// Whether a training goes on.
    training: bool,
    /// Why the last one failed, if it did.
    failed: Option<String>,
    card: Option<Card>,
    /// How good what was served in the last day was.
    served: Vec<Served>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Served {
    kind: &'static str,
    horizon_s: u32,
    count: u64,
    wape: Option<f64>,
    persistence_wape: Option<f64>,
    coverage: BTreeMap<String, f64>,
}

async fn model(State(all): State<Arc<Forecasts>>) -> Json<Standing> {
    let outlook = all.outlook.load_full();
    let served = outlook.scores.iter().map(|((kind, nth), score)| Served {
        kind: kind.as_str(),
        horizon_s: all.horizons_s.get(*nth).copied().unwrap_or_default(),
        count: score.count,
        wape: score.wape(),
        persistence_wape: score.naive_wape(),
        coverage: QUANTILES
            .iter()
            .enumerate()
            .filter_map(|(nth, q)| Some((q.to_string(), score.coverage(nth)?)))
            .collect(),
    });
    Json(Standing {
        version: all.version(),
        training: all.trainer.is_busy(),
        failed: all.trainer.failed(),
        card: all
            .trainer
            .model()
            .map(|trained| trained.model.card.clone()),
        served: served.collect(),
    })
}

async fn train(State(all): State<Arc<Forecasts>>) -> Result<StatusCode, Fault> {
    all.train()
        .map(|()| StatusCode::ACCEPTED)
        .ok_or(Fault::Busy)
}

/// What is announced; lengths in real time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// What will be watched.
    pub stream: StreamKey,
    /// Unix seconds, or RFC 3339: `"2026-11-22T19:30:00Z"`.
    pub start: Moment,
    /// Viewers expected at its peak.
    pub expected_peak: f64,
    /// Seconds from the start until the peak; a quarter of an hour of `[time]` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp_s: Option<u32>,
    /// Seconds from the start to the end; two hours of `[time]` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_s: Option<u32>,
    /// Where all of them are expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
}

/// A moment in either form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Moment {
    /// Unix seconds.
    Seconds(f64),
    /// RFC 3339.
    Text(String),
}

/// An event as it is listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announced {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// `ahead`, `on` or `over`.
    pub state: String,
}

async fn list(State(all): State<Arc<Forecasts>>) -> Json<Vec<Announced>> {
    let now_ms = all.clock.unix_ms();
    let mut events = all.events.load().to_vec();
    events.sort_by_key(|event| (event.start_ms, event.id));
    let state = |event: &Event| match () {
        () if event.is_over(now_ms) => "over",
        () if event.start_ms <= now_ms => "on",
        () => "ahead",
    };
    let listed = events.into_iter().map(|event| Announced {
        state: state(&event).to_owned(),
        event,
    });
    Json(listed.collect())
}

async fn announce(
    State(all): State<Arc<Forecasts>>,
    Json(said): Json<Announcement>,
) -> Result<(StatusCode, Json<Event>), Fault> {
    let start_ms = match &said.start {
        Moment::Seconds(seconds) => moment::parse(&seconds.to_string()),
        Moment::Text(text) => moment::parse(text),
    };
    let usual = |calendar_s: f64| (calendar_s / all.time().scale()).ceil() as u32;
    let length_s = said.length_s.unwrap_or_else(|| usual(USUAL_LENGTH_S));
    let ramp_s = said
        .ramp_s
        .unwrap_or_else(|| usual(USUAL_RAMP_S).min(length_s));
    let event = Event {
        id: 0,
        stream: said.stream,
        start_ms: start_ms.ok_or(Fault::Moment)?,
        expected_peak: said.expected_peak,
        ramp_s,
        length_s,
        region: said.region,
    };
    event.check(all.clock.unix_ms())?;
    let event = all.announce(event).await?;
    tracing::info!(id = event.id, stream = %event.stream, peak = event.expected_peak, "an event is announced");
    Ok((StatusCode::CREATED, Json(event)))
}

async fn withdraw(
    State(all): State<Arc<Forecasts>>,
    Path(id): Path<u64>,
) -> Result<StatusCode, Fault> {
    match all.withdraw(id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Fault::NoEvent(id)),
    }
}

/// Calendar seconds of most shows.
const USUAL_LENGTH_S: f64 = 7_200.0;

/// Calendar seconds until most viewers of a show are there.
const USUAL_RAMP_S: f64 = 900.0;

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("nothing is forecast of it: without ?series= all that is forecast is listed")]
    Unknown,
    #[error("a horizon is 15m or 900, in seconds of [time]")]
    Duration,
    #[error("these horizons are forecast, in seconds of [time]: {0:?}")]
    Horizon(Vec<u32>),
    #[error("a training goes on; it ends by itself")]
    Busy,
    #[error("start is Unix seconds or like 2026-11-22T19:30:00Z")]
    Moment,
    #[error(transparent)]
    Event(#[from] event::Error),
    #[error("no event {0} is announced; `weir events list` lists them")]
    NoEvent(u64),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, title) = match &self {
            Self::Unknown => (StatusCode::NOT_FOUND, "not forecast"),
            Self::NoEvent(_) => (StatusCode::NOT_FOUND, "no such event"),
            Self::Duration | Self::Horizon(_) | Self::Moment | Self::Event(_) => {
                (StatusCode::BAD_REQUEST, "bad request")
            }
            Self::Busy => (StatusCode::CONFLICT, "a training goes on"),
            Self::Store(store::Error::Full(_)) => (StatusCode::CONFLICT, "too many events"),
            Self::Store(error) => {
                tracing::error!(%error, "an event cannot be kept");
                (StatusCode::SERVICE_UNAVAILABLE, "event not kept")
            }
        };
        problem(status, title, &self.to_string()).map(RouterBody::new)
    }
}
