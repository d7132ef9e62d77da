//! Viewers over the ordinary HTTP client: dear, but they speak TLS and HTTP/2, each on a connection of its own.

use super::crowd::{Seen, Viewing};
use http_body_util::BodyExt;
use std::{cell::RefCell, rc::Rc, time::Duration};
use tokio::task::LocalSet;
use transport::http::Client;

pub struct Bodies {
    runtime: tokio::runtime::Runtime,
    local: LocalSet,
    seen: Rc<RefCell<Seen>>,
}

impl Bodies {
    /// So many watch this URL, whose certificate is the given one.
    pub fn join(count: usize, url: &str, pem: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let (local, seen) = (LocalSet::new(), Rc::new(RefCell::new(Seen::nothing())));
        for _ in 0..count {
            let client = Client::trusting(pem).expect("a certificate");
            let (url, seen) = (url.to_owned(), seen.clone());
            local.spawn_local(async move {
                let answer = client.get(&url).await.expect("the edge answers");
                assert!(answer.status().is_success(), "{}", answer.status());
                let (mut body, mut viewing) = (answer.into_body(), Viewing::new(true));
                while let Some(Ok(piece)) = body.frame().await {
                    let bytes = piece.into_data().unwrap_or_default();
                    seen.borrow_mut().bytes += bytes.len() as u64;
                    viewing.look(&bytes, &mut seen.borrow_mut());
                }
                seen.borrow_mut().lost += 1;
            });
        }
        Self {
            runtime,
            local,
            seen,
        }
    }

    /// Watches for so long, and says what was seen since it was asked last.
    pub fn watch(&mut self, long: Duration) -> Seen {
        let watching = async { tokio::time::sleep(long).await };
        self.local.block_on(&self.runtime, watching);
        self.seen.replace(Seen::nothing())
    }
}
