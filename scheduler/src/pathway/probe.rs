//! Whether external pathways answer: their `probe` addresses, asked every few seconds.
//!
//! One that fails some times in a row takes nobody until it has answered some times in a row; one
//! without an address is always taken to be well. A redirect is an answer and is not followed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cluster::node::NodeId;
use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval};
use transport::http::Client;

use super::Row;
use crate::collect::Collector;

/// Asks all pathways that have an address for it.
#[derive(Default)]
pub struct Prober {
    targets: Vec<Target>,
}

struct Target {
    id: NodeId,
    url: String,
    client: Client,
    record: Record,
}

/// How the last probes of a pathway went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    answers: bool,
    /// Probes in a row that said otherwise.
    otherwise: u32,
}

impl Record {
    const WELL: Self = Self {
        answers: true,
        otherwise: 0,
    };

    /// Takes one more probe; true when it turns the record.
    fn turn(&mut self, answered: bool) -> bool {
        if answered == self.answers {
            self.otherwise = 0;
            return false;
        }
        self.otherwise += 1;
        let enough = if self.answers { FAILURES } else { ANSWERS };
        let turns = self.otherwise >= enough;
        if turns {
            *self = Self {
                answers: answered,
                otherwise: 0,
            };
        }
        turns
    }
}

impl Prober {
    /// A prober of the rows that say where to ask.
    pub fn load(rows: &[Row]) -> anyhow::Result<Self> {
        let mut targets = Vec::new();
        for row in rows {
            let Some(url) = &row.probe else { continue };
            let client = match url.split_once("://") {
                Some(("http", _)) => Client::new(),
                _ => trusting(&row.probe_ca)
                    .with_context(|| format!("[[pathway]] {}: probe_ca", row.id))?,
            };
            targets.push(Target {
                id: row.id.clone(),
                url: url.clone(),
                client: client.timeout(PATIENCE),
                record: Record::WELL,
            });
        }
        Ok(Self { targets })
    }

    /// Asks as long as the process lives. Never ends.
    pub async fn run(mut self, collector: Arc<Collector>) {
        let mut beat = interval(PROBE_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            for (id, answers) in self.probe().await {
                tracing::warn!(%id, answers, "an external pathway was probed");
                collector.order(|registry, now| registry.probed(now, &id, answers));
            }
        }
    }

    /// Asks each once; those that turned.
    async fn probe(&mut self) -> Vec<(NodeId, bool)> {
        let asked = self.targets.iter().map(|target| async {
            let answer = target.client.get(&target.url).await;
            answer.is_ok_and(|it| it.status().is_success() || it.status().is_redirection())
        });
        let answered = join_all(asked).await;
        let all = self.targets.iter_mut().zip(answered);
        let turned = all.filter_map(|(target, answered)| {
            let turns = target.record.turn(answered);
            turns.then(|| (target.id.clone(), answered))
        });
        turned.collect()
    }
}

fn trusting(ca: &Path) -> anyhow::Result<Client> {
    let pem = std::fs::read_to_string(ca).with_context(|| ca.display().to_string())?;
    Client::trusting(&pem).with_context(|| ca.display().to_string())
}

/// A pathway that died is left within a quarter of a minute, at a dozen questions a minute.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// What takes longer is of no use to a player either.
const PATIENCE: Duration = Duration::from_secs(2);

/// One lost question is no outage.
const FAILURES: u32 = 3;

/// And one answer is no recovery.
const ANSWERS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[test]
    fn some_in_a_row_turn_a_record() {
        let mut record = Record::WELL;
        let turned: String = "yynnynnnnynyyny"
            .chars()
            .map(|probe| match (record.turn(probe == 'y'), record.answers) {
                (false, _) => '.',
                (true, true) => 'U',
                (true, false) => 'D',
            })
            .collect();
        assert_eq!(turned, ".......D....U..");
    }

    /// A server of that status, as many times as it is asked.
    async fn server(status: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/up", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // What was not read would turn the answer into a reset.
                let _ = stream.read(&mut [0; 1_024]).await;
                let text =
                    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        url
    }

    #[tokio::test]
    async fn whoever_does_not_answer_with_success_is_found_out() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = format!("http://{}/", gone.local_addr().unwrap());
        let mut rows = Vec::new();
        for (id, url) in [
            ("well", server("200 OK").await),
            ("elsewhere", server("302 Found").await),
            ("broken", server("503 Service Unavailable").await),
            ("gone", gone),
        ] {
            let row = format!(
                "id = \"{id}\"\nurl = \"http://cdn/{{app}}/{{stream}}\"\neverywhere = true\n\
                 egress_mbps = 1\nprobe = \"{url}\""
            );
            rows.push(toml::from_str(&row).unwrap());
        }
        let mut prober = Prober::load(&rows).unwrap();
        let mut turned = Vec::new();
        for _ in 0..FAILURES {
            turned = prober.probe().await;
        }
        let ids: Vec<_> = turned.iter().map(|(id, up)| (id.as_str(), *up)).collect();
        assert_eq!(ids, [("broken", false), ("gone", false)]);
        assert!(prober.probe().await.is_empty(), "told once");
    }
}
