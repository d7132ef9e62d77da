//! What holds after each order, over restarts, and when files are broken.

use super::*;
use crate::policy::file::EXAMPLE;

fn text(explore: f64) -> String {
    format!("version = 1\n[policy.default]\nexplore = {explore}\n")
}

fn by(author: &str) -> Signed {
    Signed {
        author: author.into(),
        comment: "because".into(),
    }
}

struct Bench {
    folder: tempfile::TempDir,
    clock: Clock,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Clock::manual(1_000_000_000),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("policy.toml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    fn open(&self, with_file: Option<&Path>) -> anyhow::Result<Shelf> {
        let kept = Some(self.folder.path().join("kept/policies.json"));
        Shelf::open(
            with_file,
            kept,
            self.clock.clone(),
            &mut Registry::default(),
        )
    }
}

fn explore(shelf: &Shelf) -> f64 {
    shelf.active().default_policy().explore
}

fn actions(shelf: &Shelf) -> Vec<Action> {
    shelf.history().iter().map(|entry| entry.action).collect()
}

#[test]
fn versions_hold_go_back_and_survive_a_restart() {
    let bench = Bench::new();
    let shelf = bench.open(None).unwrap();
    assert_eq!((explore(&shelf), shelf.status().version), (0.01, None));
    assert_eq!(shelf.apply(&text(0.1), None, &by("ann")).unwrap(), 1);
    assert_eq!(shelf.apply(&text(0.2), Some(1), &by("bob")).unwrap(), 2);
    let stale = shelf.apply(&text(0.05), Some(1), &by("ann"));
    assert!(matches!(stale, Err(Refusal::Stale(2))));
    let broken = shelf.apply("version = 1\nexplor = 1\n", None, &by("ann"));
    assert!(
        broken
            .unwrap_err()
            .to_string()
            .contains("line 2: explor: unknown key")
    );
    assert_eq!(explore(&shelf), 0.2);
    drop(shelf);
    let shelf = bench.open(None).unwrap();
    assert_eq!(
        (explore(&shelf), &*shelf.status().version.unwrap().author),
        (0.2, "bob")
    );
    assert_eq!(shelf.roll_back(None, &by("ann")).unwrap(), 3);
    assert_eq!(explore(&shelf), 0.1);
    assert_eq!(shelf.roll_back(None, &by("ann")).unwrap(), 4);
    assert_eq!(explore(&shelf), 0.01);
    assert!(matches!(
        shelf.roll_back(None, &by("ann")),
        Err(Refusal::NoVersion)
    ));
    assert_eq!(shelf.roll_back(Some(2), &by("ann")).unwrap(), 5);
    assert_eq!((explore(&shelf), shelf.text(1)), (0.2, Some(text(0.1))));
    let back = Action::RolledBack;
    let expect = [
        back,
        back,
        back,
        Action::Refused,
        Action::Applied,
        Action::Applied,
    ];
    assert_eq!(actions(&shelf), expect);
}

#[test]
fn a_broken_file_changes_nothing_and_is_told() {
    let bench = Bench::new();
    let file = bench.file();
    assert!(bench.open(Some(&file)).is_err());
    bench.write("version = 1\nexplor = 1\n");
    let error = format!("{:#}", bench.open(Some(&file)).err().unwrap());
    assert!(
        error.contains("policy.toml: line 2: explor: unknown key"),
        "{error}"
    );
    bench.write(&text(0.1));
    let shelf = bench.open(Some(&file)).unwrap();
    assert!(explore(&shelf) == 0.1 && shelf.status().file.unwrap().holds);
    bench.write(&text(0.7));
    shelf.reload();
    shelf.reload();
    let status = shelf.status().file.unwrap();
    assert!(!status.holds && status.faults[0].contains("line 3: policy.default.explore"));
    assert_eq!(explore(&shelf), 0.1);
    let told = &shelf.history()[0];
    assert_eq!(
        (told.action, told.version, &*told.author),
        (Action::Refused, 1, "file")
    );
    assert!(told.why[0].contains("out of range"), "{told:?}");
    // A restart beside a broken file goes on with what held.
    drop(shelf);
    let shelf = bench.open(Some(&file)).unwrap();
    assert_eq!((explore(&shelf), shelf.history().len()), (0.1, 4));
    assert!(!shelf.status().file.unwrap().faults.is_empty());
    std::fs::remove_file(&file).unwrap();
    shelf.reload();
    assert_eq!(explore(&shelf), 0.1);
    bench.write(&text(0.2));
    shelf.reload();
    assert!(explore(&shelf) == 0.2 && shelf.status().file.unwrap().holds);
}

#[test]
fn what_was_applied_over_the_file_holds_until_the_file_changes() {
    let bench = Bench::new();
    bench.write(&text(0.1));
    let file = bench.file();
    let shelf = bench.open(Some(&file)).unwrap();
    shelf.apply(&text(0.2), None, &by("ann")).unwrap();
    assert!(!shelf.status().file.unwrap().holds);
    drop(shelf);
    let shelf = bench.open(Some(&file)).unwrap();
    assert_eq!(explore(&shelf), 0.2);
    bench.write(&text(0.15));
    shelf.reload();
    assert_eq!(explore(&shelf), 0.15);
}

#[test]
fn a_shadow_compares_until_it_ends() {
    let bench = Bench::new();
    let shelf = bench.open(None).unwrap();
    assert!(shelf.candidate().is_none());
    let long = Some(Duration::from_secs(60));
    shelf.shadow(&text(0.1), long, &by("ann")).unwrap();
    let candidate = shelf.candidate().unwrap();
    let usd = |usd_per_month| Figures {
        usd_per_month,
        ..Figures::default()
    };
    (0..20).for_each(|_| shelf.compare(&candidate, usd(10.0), usd(9.0)));
    shelf.compare(&shelf.active(), usd(10.0), usd(0.0));
    let status = shelf.status().shadow.unwrap();
    assert!(status.planning && status.report.slots == 20, "{status:?}");
    assert_eq!(explore(&shelf), 0.01);
    bench.clock.advance(Duration::from_secs(60));
    assert!(shelf.candidate().is_none());
    let status = shelf.status().shadow.unwrap();
    assert!(!status.planning && status.report.slots == 20);
    let report = shelf.end_shadow(&by("ann")).unwrap();
    assert!(
        report.summary.contains("cost -10.00 [-10.00, -10.00] %"),
        "{report:?}"
    );
    assert!(matches!(
        shelf.end_shadow(&by("ann")),
        Err(Refusal::Nothing)
    ));
    assert_eq!(actions(&shelf), [Action::ShadowEnded, Action::Shadowed]);
    assert_eq!(shelf.history()[0].why, [report.summary]);
}

/// Four regions of fifty viewers for five seconds; those stall who are in `harmed`.
fn watch(shelf: &Shelf, harmed: impl Fn(Region) -> bool) {
    let load = |n: usize| {
        let region = Region::named(&format!("r{n}"));
        RegionLoad {
            region,
            viewers: 50,
            egress_bps: 50_000_000,
            stalls: if harmed(region) { 10 } else { 0 },
            ..RegionLoad::default()
        }
    };
    let loads: Vec<_> = (0..4).map(load).collect();
    shelf.observe(loads.iter(), std::iter::empty(), 5.0);
    shelf.judge();
}

#[test]
fn a_canary_holds_in_some_regions_and_ends_by_itself_when_it_harms() {
    let bench = Bench::new();
    let shelf = bench.open(None).unwrap();
    (0..20).for_each(|_| watch(&shelf, |_| false));
    for share in [0.0, -1.0, 0.6, f64::NAN] {
        assert!(matches!(
            shelf.canary(EXAMPLE, share, &by("ann")),
            Err(Refusal::Share)
        ));
    }
    shelf.canary(&text(0.2), 0.05, &by("ann")).unwrap();
    let status = shelf.status().canary.unwrap();
    assert_eq!(status.regions.len(), 1, "{status:?}");
    let drawn = status.regions[0];
    let policies = shelf.active();
    assert!(policies.is_canary(drawn) && explore(&shelf) == 0.01);
    (0..100).for_each(|_| watch(&shelf, |_| false));
    (0..100).for_each(|_| watch(&shelf, |_| true));
    assert!(shelf.status().canary.is_some());
    let harmed = |region| shelf.active().is_canary(region);
    let windows = (1..50).find(|_| {
        watch(&shelf, harmed);
        shelf.status().canary.is_none()
    });
    assert!(windows.is_some_and(|windows| windows <= 20), "{windows:?}");
    assert!(!shelf.active().is_canary(drawn));
    let told = &shelf.history()[0];
    assert_eq!(told.action, Action::CanaryFailed);
    assert!(told.why[0].contains("stalls a viewer-hour"), "{told:?}");
}

#[test]
fn applying_and_ending_end_a_canary() {
    let bench = Bench::new();
    let shelf = bench.open(None).unwrap();
    shelf.canary(&text(0.2), 0.5, &by("ann")).unwrap();
    shelf.end_canary(&by("ann")).unwrap();
    assert!(matches!(
        shelf.end_canary(&by("ann")),
        Err(Refusal::Nothing)
    ));
    shelf.canary(&text(0.2), 0.5, &by("ann")).unwrap();
    shelf.apply(&text(0.2), None, &by("ann")).unwrap();
    assert!(shelf.status().canary.is_none());
    let (begun, ended) = (Action::CanaryBegun, Action::CanaryEnded);
    assert_eq!(
        actions(&shelf),
        [Action::Applied, ended, begun, ended, begun]
    );
}

#[test]
fn an_unreadable_history_is_an_error_that_says_what_to_do() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.folder.path().join("kept")).unwrap();
    std::fs::write(bench.folder.path().join("kept/policies.json"), "{").unwrap();
    let error = format!("{:#}", bench.open(None).err().unwrap());
    assert!(error.contains("move it away"), "{error}");
}
