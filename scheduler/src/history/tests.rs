//! Samples in, series out, over a restart.

use cluster::node::Role;
use cluster::sample::RegionLoad;

use super::*;
use crate::snapshot::fixture::{FRANKFURT, sample};

const T0: u64 = 1_800_000_000_000;

fn open(path: &Path, clock: &Clock) -> Arc<History> {
    let config = Config {
        path: Some(path.to_owned()),
        ..Config::default()
    };
    let calendar = (Time::default(), clock.clone());
    Arc::new(History::open(&config, None, calendar, &mut Registry::default()).unwrap())
}

fn play(history: &Arc<History>, clock: &Clock, seconds: std::ops::Range<u64>) {
    for second in seconds {
        clock.advance(Duration::from_secs(1));
        let mut edge = sample("a", Role::Edge, FRANKFURT);
        (edge.seq, edge.at_ms) = (second, T0 + second * 1000);
        edge.regions = vec![RegionLoad {
            region: Region::named("here"),
            viewers: 7,
            joins: 2,
            ..RegionLoad::default()
        }];
        history.take(&[Arc::new(edge)]);
    }
}

#[tokio::test]
async fn a_restart_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.redb");
    let clock = Clock::manual(T0 * 1000);
    let history = open(&path, &clock);
    play(&history, &clock, 0..90);
    assert_eq!(history.newest(), None);
    history.finish().await;
    let history = open(&path, &clock);
    let first = history.time().step_at(T0);
    assert_eq!(history.newest(), Some(first + 1));
    play(&history, &clock, 90..120);
    history.clone().finish().await;
    let all = first * 60..(first + 10) * 60;
    let demand = history
        .series("region/here/demand", Ring::Fine, all.clone())
        .unwrap()
        .unwrap();
    assert_eq!((demand.first, demand.values), (first, vec![7.0, 7.0]));
    assert_eq!(
        history
            .series("region/none/demand", Ring::Fine, all)
            .unwrap(),
        None
    );
    let listed = history.list("region/");
    assert_eq!(listed.len(), 5, "{listed:?}");
    assert_eq!(
        history.store.newest(Ring::Coarse),
        Some(first.div_euclid(5))
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_kept_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(T0 * 1000);
    let history = open(&dir.path().join("history.redb"), &clock);
    let running = tokio::spawn(history.clone().run());
    play(&history, &clock, 0..63);
    while history.newest().is_none() {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(history.newest(), Some(history.time().step_at(T0)));
    assert!(history.metrics.series.get() > 5 && history.metrics.bytes.get() > 0);
    running.abort();
}

#[tokio::test]
async fn joins_are_seen_before_a_step_is_over() {
    let clock = Clock::manual(T0 * 1000);
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir.path().join("history.redb"), &clock);
    play(&history, &clock, 0..40);
    let here = Subject::Region(Region::named("here"));
    let joins = history.recent().joins(&here, clock.unix_ms());
    assert_eq!(
        joins.iter().sum::<u32>(),
        2 * 10 * joins.len() as u32,
        "{joins:?}"
    );
    assert!(joins.len() >= 3);
}

#[test]
fn bills_are_of_the_ring_whose_steps_are_billing_slots() {
    let ring = |time: Time| {
        let clock = (time, Clock::manual(T0 * 1000));
        let history = History::open(&Config::default(), None, clock, &mut Registry::default());
        let history = history.unwrap();
        (
            history.billing_ring(),
            history.step_s(history.billing_ring()),
        )
    };
    assert_eq!(ring(Time::default()), (Ring::Coarse, 300));
    let fast = Time::scaled(288.0, Duration::from_secs(300)).unwrap();
    assert_eq!(ring(fast), (Ring::Fine, 300));
}
