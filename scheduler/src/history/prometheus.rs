//! A history that is kept at a Prometheus server: range queries over HTTP, as series.
//!
//! Asks for each step at its end, so that `avg_over_time(x[{step}])` is the step's mean, and in
//! ranges of no more points than a server answers. An answer that is too long is asked for again in
//! shorter ranges. What is no number, and labels that make no name, are left out.
//! HTTP API: <https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries>.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cluster::config::Secret;
use cluster::time::Time;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Request, StatusCode};
use models::series::Series;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::config::Duration;
use transport::http::{Client, ClientError};

/// `[scheduler.history.prometheus]`: a server that has more of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Prometheus")]
pub struct Config {
    /// The server, with its path prefix if it has one: `"http://prometheus.example:9090"`.
    pub url: String,
    /// What to ask for: the name of the series, with labels in braces, and the query.
    /// `{step}` in a query is the length of a step, as `60s`, at whose end it is evaluated.
    /// By default the regions', the nodes' and the cluster's series as schedulers export them.
    #[serde(default = "queries")]
    pub queries: BTreeMap<String, String>,
    /// Sent as `Authorization: Bearer`.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Sent with `password` as `Authorization: Basic`.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// PEM file of the authorities that may vouch for an `https` server.
    #[serde(default = "authorities")]
    pub ca: PathBuf,
    /// How long one answer may take.
    #[serde(default = "timeout")]
    pub timeout: Duration,
}

fn authorities() -> PathBuf {
    PathBuf::from("/etc/ssl/certs/ca-certificates.crt")
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

/// What schedulers export, and what the history calls it. Each scheduler sees all nodes: of several
/// one is enough.
fn queries() -> BTreeMap<String, String> {
    let mut queries = BTreeMap::new();
    let mut of = |name: &str, query: &str| queries.insert(name.to_owned(), query.to_owned());
    for (kind, metric) in [("demand", "demand_viewers"), ("viewers", "viewers")] {
        let mean = format!("avg_over_time(weir_region_{metric}[{{step}}])");
        of(
            &format!("region/{{region}}/{kind}"),
            &format!("max by (region) ({mean})"),
        );
        of(
            &format!("total/{kind}"),
            &format!("sum(max by (region) ({mean}))"),
        );
    }
    for kind in ["joins", "leaves"] {
        let rate = format!("rate(weir_region_{kind}_total[{{step}}])");
        of(
            &format!("region/{{region}}/{kind}"),
            &format!("max by (region) ({rate})"),
        );
    }
    let bits = |by: &str| {
        let metric = format!("weir_{by}_egress_bytes_per_second");
        format!("8 * max by ({by}) (avg_over_time({metric}[{{step}}]))")
    };
    of("region/{region}/egress_bps", &bits("region"));
    of("node/{node}/egress_bps", &bits("node"));
    of(
        "node/{node}/cpu",
        "max by (node) (avg_over_time(weir_node_cpu_ratio[{step}]))",
    );
    queries
}

/// Asks a server.
#[derive(Clone)]
pub struct Prometheus {
    client: Client,
    url: String,
    queries: BTreeMap<String, String>,
    authorization: Option<HeaderValue>,
    time: Time,
}

/// Why a server did not tell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or does not answer as HTTP should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It refuses the query.
    #[error("{url} answers {status} to {query:?}: {reason}")]
    Refused {
        /// The server.
        url: String,
        /// What was asked.
        query: String,
        /// The status.
        status: StatusCode,
        /// Its words.
        reason: String,
    },
    /// The answer is not a matrix.
    #[error("{url} does not answer like Prometheus to {query:?}: {reason}")]
    Form {
        /// The server.
        url: String,
        /// What was asked.
        query: String,
        /// What does not fit.
        reason: String,
    },
    /// Even few points are too many bytes.
    #[error("{query:?} has more series than can be taken: {MAX_SERIES} are enough")]
    TooMany {
        /// What was asked.
        query: String,
    },
}

impl Prometheus {
    /// A client for the configured server.
    pub fn new(config: &Config, time: Time) -> anyhow::Result<Self> {
        let url = config.url.trim_end_matches('/').to_owned();
        let client = match url.split_once("://") {
            Some(("http", _)) => Client::new(),
            Some(("https", _)) => trusting(&config.ca)?,
            _ => anyhow::bail!("url {url:?}: write http://host:port or https://host"),
        };
        ensure!(!config.queries.is_empty(), "queries: name at least one");
        ensure!(
            config.queries.len() <= MAX_QUERIES,
            "queries: at most {MAX_QUERIES}"
        );
        Ok(Self {
            client: client.timeout(config.timeout.get()).max_body(MAX_BODY),
            url,
            queries: config.queries.clone(),
            authorization: authorization(config)?,
            time,
        })
    }

    /// All series of the queries, in steps of so many calendar seconds; `steps` are counted in
    /// these, too.
    pub async fn load(
        &self,
        step_s: u32,
        steps: Range<i64>,
    ) -> Result<Vec<(String, Series)>, Error> {
        let mut all = BTreeMap::new();
        for (name, query) in &self.queries {
            let real = f64::from(step_s) / self.time.scale();
            let step_ms = ((real * 1000.0).floor() as u64).max(1);
            let query = query.replace("{step}", &format!("{step_ms}ms"));
            let mut at = steps.start;
            let mut points = MAX_POINTS;
            while at < steps.end {
                let end = steps.end.min(at.saturating_add(points));
                match self.ask(&query, (step_s, step_ms), at..end).await {
                    Ok(lines) => {
                        gather(&mut all, name, lines, |ms| {
                            self.step_of(ms, step_s, step_ms)
                        });
                        at = end;
                    }
                    Err(Error::Client(ClientError::TooLarge { .. })) if points > FEWEST_POINTS => {
                        points /= 4;
                    }
                    Err(Error::Client(ClientError::TooLarge { .. })) => {
                        return Err(Error::TooMany { query });
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let series = all
            .into_iter()
            .map(|(id, steps)| (id, series(step_s, &steps)));
        Ok(series.collect())
    }

    /// The step that a value at that time is the mean of.
    fn step_of(&self, unix_ms: u64, step_s: u32, step_ms: u64) -> i64 {
        let middle = self.time.calendar_s(unix_ms.saturating_sub(step_ms / 2));
        middle.div_euclid(step_s.into())
    }

    async fn ask(
        &self,
        query: &str,
        (step_s, step_ms): (u32, u64),
        steps: Range<i64>,
    ) -> Result<Vec<Line>, Error> {
        let url = self.address(query, (step_s, step_ms), steps);
        let mut request = Request::get(&url).header(ACCEPT, "application/json");
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Bytes::new().into());
        let request = request.map_err(|error| self.odd(query, error.to_string()))?;
        let answer = self.client.request(request).await?;
        self.read(query, answer.status(), answer.body())
    }

    fn address(&self, query: &str, (step_s, step_ms): (u32, u64), steps: Range<i64>) -> String {
        let ends = |step: i64| self.time.unix_ms((step + 1).saturating_mul(step_s.into()));
        let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("query", query);
        form.append_pair("start", &seconds(ends(steps.start)));
        form.append_pair("end", &seconds(ends(steps.end - 1)));
        form.append_pair("step", &seconds(step_ms));
        format!("{}/api/v1/query_range?{}", self.url, form.finish())
    }

    fn read(&self, query: &str, status: StatusCode, body: &[u8]) -> Result<Vec<Line>, Error> {
        let answer: Result<Answer, _> = serde_json::from_slice(body);
        if !status.is_success() {
            let start = &body[..body.len().min(MAX_QUOTED)];
            let words = || String::from_utf8_lossy(start).into_owned();
            return Err(Error::Refused {
                url: self.url.clone(),
                query: query.to_owned(),
                status,
                reason: answer.ok().and_then(|it| it.error).unwrap_or_else(words),
            });
        }
        let answer = answer.map_err(|error| self.odd(query, error.to_string()))?;
        let data = answer
            .data
            .ok_or_else(|| self.odd(query, "no data".to_owned()))?;
        if data.kind != "matrix" {
            return Err(self.odd(query, format!("a {} instead of a matrix", data.kind)));
        }
        if data.result.len() > MAX_SERIES {
            return Err(Error::TooMany {
                query: query.to_owned(),
            });
        }
        Ok(data.result)
    }

    fn odd(&self, query: &str, reason: String) -> Error {
        Error::Form {
            url: self.url.clone(),
            query: query.to_owned(),
            reason,
        }
    }
}

/// An answer of the HTTP API.
#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Vec<Line>,
}

/// One series of a matrix: its labels, and Unix seconds with values in text.
#[derive(Deserialize)]
struct Line {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// Steps of each series by name.
type Steps = BTreeMap<i64, (f64, u32)>;

/// Adds an answer to the series that its labels name.
fn gather(
    all: &mut BTreeMap<String, Steps>,
    name: &str,
    lines: Vec<Line>,
    step_of: impl Fn(u64) -> i64,
) {
    for line in lines {
        let Some(id) = named(name, &line.metric) else {
            continue;
        };
        if all.len() >= MAX_SERIES && !all.contains_key(&id) {
            continue;
        }
        let steps = all.entry(id).or_default();
        for (seconds, value) in line.values {
            let value: f64 = value.parse().unwrap_or(f64::NAN);
            if value.is_finite() && value >= 0.0 && seconds >= 0.0 {
                let (sum, count) = steps.entry(step_of((seconds * 1000.0) as u64)).or_default();
                *sum += value;
                *count += 1;
            }
        }
    }
}

/// The name with its labels filled in, if that is a plain one.
fn named(name: &str, labels: &BTreeMap<String, String>) -> Option<String> {
    let mut id = String::new();
    let mut rest = name;
    while let Some((before, behind)) = rest.split_once('{') {
        let (label, after) = behind.split_once('}')?;
        id.push_str(before);
        id.push_str(labels.get(label).filter(|value| !value.is_empty())?);
        rest = after;
    }
    id.push_str(rest);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    (!id.is_empty() && id.bytes().all(plain)).then_some(id)
}

fn series(step_s: u32, steps: &Steps) -> Series {
    let first = steps.first_key_value().map_or(0, |(step, _)| *step);
    let last = steps.last_key_value().map_or(-1, |(step, _)| *step);
    let value = |step: i64| {
        steps
            .get(&step)
            .map_or(f64::NAN, |(sum, count)| sum / f64::from(*count))
    };
    Series {
        first,
        step_s,
        values: (first..=last).map(value).collect(),
    }
}

fn trusting(ca: &Path) -> anyhow::Result<Client> {
    let pem = std::fs::read_to_string(ca).with_context(|| format!("ca {}", ca.display()))?;
    Client::trusting(&pem).with_context(|| format!("ca {}", ca.display()))
}

fn authorization(config: &Config) -> anyhow::Result<Option<HeaderValue>> {
    let text = match (&config.token, &config.user, &config.password) {
        (Some(token), None, None) => format!("Bearer {}", token.expose()),
        (None, Some(user), password) => {
            let password = password.as_ref().map_or("", |password| password.expose());
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        }
        (None, None, None) => return Ok(None),
        (None, None, Some(_)) => anyhow::bail!("password: name the user, too"),
        (Some(_), ..) => anyhow::bail!("give a token or a user, not both"),
    };
    let mut value = HeaderValue::try_from(text).context("the token cannot stand in a header")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What a server answers at most, by its own limit.
const MAX_POINTS: i64 = 11_000;

/// Asked for at once, however many series there are.
const FEWEST_POINTS: i64 = 100;

/// Series of one query or of all: what a history holds by default.
pub const MAX_SERIES: usize = 2_000;

/// More are a mistake; each is asked for over the whole past.
const MAX_QUERIES: usize = 100;

/// Two hundred series of 11,000 points.
const MAX_BODY: usize = 64 << 20;

/// How much of an unreadable refusal is repeated.
const MAX_QUOTED: usize = 200;

#[cfg(test)]
mod tests;
