//! Sans-IO: a file of visits: who comes when, for how long, to watch what.

use super::{play::MAX_VISITS, profile::Visit};
use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;

/// Reads lines of `at_s,stay_s,url`, in any order; a header may come first. Earliest first, each with its URL.
pub fn parse(text: &str) -> Result<Vec<(Visit, String)>> {
    let mut visits = Vec::new();
    let lines = text.lines().map(str::trim).enumerate();
    for (nth, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let mut cells = line.splitn(3, ',').map(str::trim);
        let mut time = || {
            let seconds = cells.next()?.parse().ok()?;
            let time = Duration::try_from_secs_f64(seconds).ok();
            time.filter(|time| *time <= LONGEST)
        };
        let times = (time(), time());
        match (times, cells.next()) {
            ((Some(comes), Some(stays)), Some(url)) => {
                ensure!(visits.len() < MAX_VISITS, "more than {MAX_VISITS} visits");
                visits.push((Visit { comes, stays }, url.to_owned()));
            }
            _ if nth == 0 && line.starts_with("at_s") => {}
            _ => bail!(
                "line {}: write it as at_s,stay_s,url, times from 0 to {} s",
                nth + 1,
                LONGEST.as_secs()
            ),
        }
    }
    visits.sort_by_key(|(visit, _)| visit.comes);
    (!visits.is_empty())
        .then_some(visits)
        .context("it has no visit")
}

/// Thirty days: what is longer is a slip of units.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_are_read_earliest_first_and_urls_may_have_commas() {
        let text =
            "at_s,stay_s,url\n 2.5 ,10,http://a/b.flv?exclude=c,d\n\n0,0.25,http://a/b.m3u8\n";
        let read = parse(text).unwrap();
        let visit = |comes, stays| Visit {
            comes: Duration::from_millis(comes),
            stays: Duration::from_millis(stays),
        };
        let expected = [
            (visit(0, 250), "http://a/b.m3u8".to_owned()),
            (visit(2500, 10_000), "http://a/b.flv?exclude=c,d".to_owned()),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_visit_is_told_with_its_line() {
        for (text, said) in [
            ("", "no visit"),
            ("at_s,stay_s,url\n", "no visit"),
            ("1,2,http://a\n-1,2,http://a\n", "line 2"),
            ("1,2,http://a\n1,nan,http://a\n", "line 2"),
            ("1,2,http://a\n1,2\n", "line 2"),
            ("1;5,2,http://a\n1,2,http://a\n", "line 1"),
            ("1,1e19,http://a\n", "line 1"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }
}
