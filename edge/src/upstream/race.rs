//! Asking several parents without waiting for one that does not answer.
//!
//! Each has a head start before the next is asked beside it (as RFC 8305 does with addresses), and
//! after a failure the next is asked at once. The first that accepts is taken; the attempts of the
//! others are dropped, which ends them. There are no more attempts than parents, and each is bounded
//! by itself.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::timeout;

/// An attempt, which begins when it is first polled, and its head start before the next one.
pub(super) type Attempt<'a, T, E> = (Duration, BoxFuture<'a, Result<T, E>>);

/// The first success of attempts that are begun in order, each after the head start of the one
/// before it; without any, why each failed, in the same order.
pub(super) async fn race<T, E>(attempts: Vec<Attempt<'_, T, E>>) -> Result<T, Vec<E>> {
    let mut attempts = attempts.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    let mut failed = Vec::new();
    loop {
        // Nobody waits behind the last one: its own bound counts.
        let mut head_start = Duration::MAX;
        if let Some((nth, (ahead, attempt))) = attempts.next() {
            head_start = ahead;
            running.push(attempt.map(move |outcome| (nth, outcome)));
        }
        match timeout(head_start, running.next()).await {
            Err(_) => {}
            Ok(Some((_, Ok(won)))) => return Ok(won),
            Ok(Some((nth, Err(error)))) => failed.push((nth, error)),
            Ok(None) => break,
        }
    }
    failed.sort_by_key(|(nth, _)| *nth);
    Err(failed.into_iter().map(|(_, error)| error).collect())
}

/// How long a parent is waited for alone. To dial and to ask takes three round trips, which is less
/// than this to anywhere on Earth, and a planned parent mostly has the picture; a viewer waits for
/// a dead one this long, once.
pub(super) const HEAD_START: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use tokio::time::{Instant, sleep};

    /// A parent that answers after so many milliseconds, if at all.
    #[derive(Clone, Copy)]
    enum Parent {
        Accepts(u64),
        Refuses(u64),
        Hangs,
    }
    use Parent::{Accepts, Hangs, Refuses};

    /// Tells when an attempt is let go.
    struct Gone<'a>(usize, &'a Mutex<Vec<usize>>);

    impl Drop for Gone<'_> {
        fn drop(&mut self) {
            self.1.lock().push(self.0);
        }
    }

    /// Who won or why each lost, when, when each was asked, and who was let go.
    async fn run(
        parents: &[Parent],
    ) -> (
        Result<usize, Vec<usize>>,
        u64,
        Vec<(usize, u64)>,
        Vec<usize>,
    ) {
        let begun = Instant::now();
        let now_ms = move || begun.elapsed().as_millis() as u64;
        let (asked, gone) = (Mutex::new(Vec::new()), Mutex::default());
        let attempts = parents.iter().enumerate().map(|(nth, parent)| {
            let (asked, gone, parent) = (&asked, &gone, *parent);
            let attempt = async move {
                let _gone = Gone(nth, gone);
                asked.lock().push((nth, now_ms()));
                match parent {
                    Accepts(ms) => sleep(Duration::from_millis(ms)).await,
                    Refuses(ms) => {
                        sleep(Duration::from_millis(ms)).await;
                        return Err(nth);
                    }
                    Hangs => std::future::pending().await,
                }
                Ok(nth)
            };
            (HEAD_START, attempt.boxed())
        });
        let outcome = race(attempts.collect()).await;
        let at_ms = now_ms();
        let mut gone = gone.into_inner();
        gone.sort_unstable();
        (outcome, at_ms, asked.into_inner(), gone)
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_is_asked_beside_one_that_does_not_answer() {
        for (name, parents, outcome, at_ms, asked) in [
            ("nobody", &[][..], Err(vec![]), 0, &[][..]),
            ("one", &[Accepts(700)], Ok(0), 700, &[(0, 0)]),
            (
                "in time",
                &[Accepts(900), Accepts(1)],
                Ok(0),
                900,
                &[(0, 0)],
            ),
            (
                "a dead one",
                &[Hangs, Accepts(50), Accepts(1)],
                Ok(1),
                1_050,
                &[(0, 0), (1, 1_000)],
            ),
            (
                "a slow one that still is the first",
                &[Accepts(1_200), Accepts(500)],
                Ok(0),
                1_200,
                &[(0, 0), (1, 1_000)],
            ),
            (
                "two dead ones",
                &[Hangs, Hangs, Accepts(50)],
                Ok(2),
                2_050,
                &[(0, 0), (1, 1_000), (2, 2_000)],
            ),
            (
                "one that refuses is not waited for",
                &[Refuses(20), Accepts(50)],
                Ok(1),
                70,
                &[(0, 0), (1, 20)],
            ),
            (
                "a refusal beside a dead one",
                &[Hangs, Refuses(20), Accepts(50)],
                Ok(2),
                1_070,
                &[(0, 0), (1, 1_000), (2, 1_020)],
            ),
            (
                "all refuse",
                &[Refuses(1_500), Refuses(20)],
                Err(vec![0, 1]),
                1_500,
                &[(0, 0), (1, 1_000)],
            ),
            (
                "the last one is waited for",
                &[Refuses(1), Accepts(9_000)],
                Ok(1),
                9_001,
                &[(0, 0), (1, 1)],
            ),
        ] {
            let found = run(parents).await;
            let let_go: Vec<usize> = asked.iter().map(|(nth, _)| *nth).collect();
            assert_eq!(found, (outcome, at_ms, asked.to_vec(), let_go), "{name}");
        }
    }
}
