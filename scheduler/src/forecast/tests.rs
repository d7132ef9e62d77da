//! The service on a history of its own: what it follows, learns, announces and serves.

use cluster::store::embedded::Embedded;
use cluster::stream::StreamKey;

use super::*;
use crate::history::Point;
use crate::snapshot::fixture;

const T0: u64 = 1_800_000_000_000;
const DEMAND: &str = "region/DE/demand";
/// Steps of a day of five minutes.
const DAY: i64 = 288;

/// Five minutes a step, at a time that stands.
struct World {
    dir: tempfile::TempDir,
    clock: Clock,
    history: Arc<History>,
    store: Arc<dyn Store>,
    epoch: u64,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(T0 * 1000);
        let time = Time::scaled(1.0, Duration::from_secs(300)).unwrap();
        let path = dir.path().join("history.redb");
        let config = crate::history::Config {
            path: Some(path),
            ..crate::history::Config::default()
        };
        let calendar = (time, clock.clone());
        let history = History::open(&config, None, calendar, &mut Registry::default()).unwrap();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(None).unwrap());
        let epoch = store.lead(1).await.unwrap();
        Self {
            dir,
            clock,
            history: Arc::new(history),
            store,
            epoch,
        }
    }

    async fn forecasts(&self) -> Arc<Forecasts> {
        let sources = Sources {
            history: self.history.clone(),
            snapshot: Arc::new(ArcSwap::from_pointee(fixture::snapshot(Vec::new()))),
            store: (self.store.clone(), self.epoch),
            clock: self.clock.clone(),
        };
        let file = self.dir.path().join("history.redb");
        let registry = &mut Registry::default();
        Forecasts::load(Config::default(), Some(&file), sources, registry)
            .await
            .unwrap()
    }

    fn now(&self) -> i64 {
        self.history.time().step_at(T0)
    }

    /// Demand that goes back to its day faster than a smoothing expects, over some steps.
    fn fill(&self, steps: std::ops::Range<i64>) {
        let mut levels = [300.0, 100.0];
        let mut state = 7_u32;
        for step in steps {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(state >> 8) / f64::from(1 << 24) - 0.5;
            let phase = step.rem_euclid(DAY) as f64 / DAY as f64 * std::f64::consts::TAU;
            for (nth, level) in levels.iter_mut().enumerate() {
                let usual = [300.0, 100.0][nth] * (1.5 + phase.sin());
                *level += 0.7 * (usual - *level) + 0.4 * noise * usual;
            }
            let rows = [
                (DEMAND, levels[0]),
                ("region/FR/demand", levels[1]),
                ("total/demand", levels[0] + levels[1]),
                ("node/a/cpu", levels[0] / 1000.0),
            ];
            let row = |(id, value): (&str, f64)| (id.to_owned(), Point::new(value, 300.0).unwrap());
            self.history.append(step, &rows.map(row)).unwrap();
        }
    }
}

fn lane(forecasts: &Forecasts, nth: usize) -> Lane {
    forecasts.outlook.load().series[DEMAND].lanes[nth].clone()
}

async fn advance(forecasts: &Arc<Forecasts>) {
    let all = forecasts.clone();
    tokio::task::spawn_blocking(move || all.advance())
        .await
        .unwrap();
}

async fn trained(forecasts: &Arc<Forecasts>) {
    forecasts.train().unwrap();
    while forecasts.trainer.is_busy() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn event(region: Option<&str>) -> Event {
    Event {
        id: 0,
        stream: StreamKey::parse("live/final").unwrap(),
        start_ms: T0 + 10 * 60_000,
        expected_peak: 8_000.0,
        ramp_s: 60,
        length_s: 7_200,
        region: region.and_then(Region::parse),
    }
}

#[tokio::test]
async fn a_model_is_trained_on_the_history_and_used_after_a_restart() {
    let world = World::new().await;
    let now = world.now();
    world.fill(now - 8 * DAY..now);
    let forecasts = world.forecasts().await;
    assert_eq!(
        forecasts.horizons_s,
        [300, 900, 3600],
        "a minute is no whole step"
    );
    advance(&forecasts).await;
    let before = forecasts.outlook.load_full();
    assert_eq!((before.step, before.series.len()), (now - 1, 4));
    assert_eq!(before.model, None);
    trained(&forecasts).await;
    let model = forecasts.trainer.model().expect("a model");
    assert_eq!(model.model.card.series, 4);
    assert!(!model.model.learned.is_empty(), "{:#?}", model.model.card);

    let again = world.forecasts().await;
    advance(&again).await;
    let outlook = again.outlook.load_full();
    assert_eq!(outlook.model.as_ref(), Some(&model));
    let trees = models::mix::Expert::Trees as usize;
    assert!(
        lane(&again, 0).weights[trees] > 0.01,
        "{:?}",
        lane(&again, 0)
    );
    // Steps that come are forecast from, and judged.
    world.fill(now..now + 20);
    advance(&again).await;
    let outlook = again.outlook.load_full();
    let (_, score) = outlook
        .scores
        .iter()
        .find(|(key, _)| *key == (Kind::Region, 0))
        .unwrap();
    assert_eq!((outlook.step, score.count), (now + 19, 40));
    assert!(score.wape().unwrap() < 0.5);
}

#[tokio::test]
async fn an_event_raises_the_forecast_for_its_time_and_its_regions() {
    let world = World::new().await;
    let now = world.now();
    world.fill(now - 2 * DAY..now);
    let forecasts = world.forecasts().await;
    advance(&forecasts).await;
    let plain = [lane(&forecasts, 0).median, lane(&forecasts, 1).median];
    assert!(plain[1] < 1_000.0);
    let kept = forecasts.announce(event(None)).await.unwrap();
    advance(&forecasts).await;
    // Three quarters of the viewers are here: in five minutes nothing comes, in fifteen all; and
    // that is known at once.
    assert_eq!(lane(&forecasts, 0).median, plain[0]);
    let lifted = lane(&forecasts, 1);
    assert!((5_500.0..7_500.0).contains(&lifted.median), "{lifted:?}");
    assert!(lifted.quantiles[0] >= lifted.median);
    // It is there after a restart, and gone when it is taken back.
    let again = world.forecasts().await;
    advance(&again).await;
    assert!(lane(&again, 1).median > 5_500.0);
    assert!(again.withdraw(kept.id).await.unwrap() && !again.withdraw(kept.id).await.unwrap());
    advance(&again).await;
    assert!(lane(&again, 1).median < 1_000.0);
    again.announce(event(Some("FR"))).await.unwrap();
    advance(&again).await;
    assert!(
        lane(&again, 1).median < 1_000.0,
        "all of them are elsewhere"
    );
    let there = again.outlook.load().series["region/FR/demand"].lanes[1].median;
    assert!(there > 7_500.0, "{there}");
}

#[tokio::test]
async fn a_show_that_falls_short_is_believed_less() {
    let world = World::new().await;
    let now = world.now();
    world.fill(now - 2 * DAY..now);
    let forecasts = world.forecasts().await;
    // Half of its ramp is over, a third of it was due before the last step, and nobody has come.
    let short = Event {
        start_ms: T0 - 900_000,
        ramp_s: 1_800,
        ..event(Some("DE"))
    };
    forecasts.announce(short).await.unwrap();
    advance(&forecasts).await;
    let expected = forecasts.outlook.load().series[DEMAND].clone();
    let lift = expected.lanes[1].median - expected.now;
    assert!((2_600.0..2_800.0).contains(&lift), "{lift}");
}

#[tokio::test]
async fn viewers_of_the_next_show_come_from_where_those_of_the_last_came_from() {
    let world = World::new().await;
    let now = world.now();
    world.fill(now - DAY..now - 20);
    // Yesterday's show was watched in FR alone.
    for step in now - 20..now {
        let during = (now - 12..now - 8).contains(&step);
        let rows = [
            (DEMAND, 300.0),
            ("region/FR/demand", if during { 5_000.0 } else { 100.0 }),
        ];
        let row = |(id, value): (&str, f64)| (id.to_owned(), Point::new(value, 300.0).unwrap());
        world.history.append(step, &rows.map(row)).unwrap();
    }
    let past = Event {
        start_ms: T0 - 12 * 300_000,
        length_s: 4 * 300,
        ..event(None)
    };
    world.store.announce(world.epoch, past, 1).await.unwrap();
    let forecasts = world.forecasts().await;
    forecasts.announce(event(None)).await.unwrap();
    advance(&forecasts).await;
    assert!(lane(&forecasts, 1).median < 1_000.0);
    let there = forecasts.outlook.load().series["region/FR/demand"].lanes[1].median;
    assert!(there > 7_000.0, "{there}");
}

#[tokio::test]
async fn a_crowd_raises_the_risk_within_twenty_seconds_and_for_a_quarter_of_an_hour() {
    let world = World::new().await;
    let forecasts = world.forecasts().await;
    let here = Region::parse("DE").unwrap();
    let mut risen = None;
    for second in 0..1_600_u64 {
        world.clock.advance(Duration::from_secs(1));
        let now_ms = world.clock.unix_ms();
        let joins = if (600..640).contains(&second) { 20 } else { 1 };
        world
            .history
            .recent()
            .count(now_ms - 1_000, Subject::Region(here), joins);
        forecasts.look();
        if forecasts.outlook.load().risk(&here) == SURGE_RISK {
            risen.get_or_insert(second);
        }
    }
    let risen = risen.expect("the crowd is noticed");
    assert!((600..=620).contains(&risen), "{risen}");
    assert_eq!(
        forecasts.outlook.load().risk(&here),
        USUAL_RISK,
        "it is over"
    );
}
