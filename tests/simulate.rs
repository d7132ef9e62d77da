//! `weir simulate` as a user runs it, and what must hold of any simulated world.

use crate::harness::weir;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Runs `weir simulate ...` in a folder: whether it went well, and what it said.
fn simulate(folder: &Path, arguments: &[&str]) -> (bool, String, String) {
    let mut command = weir();
    command.current_dir(folder).arg("simulate").args(arguments);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A world of three metros, four days of which are billed.
fn small(folder: &Path) {
    let (done, ..) = simulate(folder, &["init"]);
    assert!(done);
    let text = fs::read_to_string(folder.join("world.toml")).unwrap();
    let (head, metros) = text.split_at(text.find("[[metro]]").unwrap());
    let metros: String = metros
        .split("[[metro]]")
        .skip(13)
        .take(3)
        .map(|it| format!("[[metro]]{it}"))
        .collect();
    let head = head
        .replace("days = 28 ", "days = 4 ")
        .replace("history_days = 7 ", "history_days = 2 ")
        .replace("mean_gbps = 400.0", "mean_gbps = 20.0");
    let used = |line: &&str| {
        !["us_ca", "latin", "mea", "india", "east", "oceania"]
            .iter()
            .any(|it| line.starts_with(it))
    };
    let head: String = head
        .lines()
        .filter(used)
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(folder.join("world.toml"), head + &metros).unwrap();
}

fn report(folder: &Path, out: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(out).join("report.json")).unwrap()).unwrap()
}

#[test]
fn a_world_from_init_gives_the_same_report_on_one_core_and_on_two() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    small(folder);
    for (out, threads) in [("one", "1"), ("two", "2")] {
        let run = [
            "run",
            "world.toml",
            "--seeds",
            "2",
            "--rules",
            "B0,B8,weir",
            "--out",
            out,
            "--threads",
            threads,
        ];
        let (done, said, errors) = simulate(folder, &run);
        assert!(done, "{errors}");
        assert!(
            said.contains("default 2, prices p95") && said.contains("weir"),
            "{said}"
        );
    }
    let bytes = |out: &str, file: &str| fs::read(folder.join(out).join(file)).unwrap();
    assert!(bytes("one", "report.json") == bytes("two", "report.json"));
    assert!(bytes("one", "report.html") == bytes("two", "report.html"));
    all_is_said(&report(folder, "one"));
    let page = String::from_utf8(bytes("one", "report.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http") && !page.contains("NaN"));
    let (done, said, _) = simulate(folder, &["compare", "one", "two"]);
    assert!(done && said.contains("+0.0 %"), "{said}");
    // What is finished is not run again.
    let cells = fs::read_dir(folder.join("one/cells")).unwrap().count();
    assert_eq!(cells, 10);
    let run = [
        "run",
        "world.toml",
        "--seeds",
        "2",
        "--rules",
        "B0,B8,weir",
        "--out",
        "one",
    ];
    assert!(simulate(folder, &run).0);
    let timing: Value = serde_json::from_slice(&bytes("one", "timing.json")).unwrap();
    assert!(
        timing["cells"]
            .as_object()
            .unwrap()
            .values()
            .all(|it| it.as_f64() == Some(0.0))
    );
}

fn all_is_said(report: &Value) {
    assert_eq!(report["cases"].as_array().unwrap().len(), 2);
    let rules = report["cases"][0]["rules"].as_array().unwrap();
    let names: Vec<&str> = rules
        .iter()
        .map(|rule| rule["rule"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["B0", "B1", "B8", "weir"]);
    let weir = &rules[3];
    assert!(
        weir["saves_against"]["B1"]["low"].as_f64()
            <= weir["saves_against"]["B1"]["share"].as_f64()
    );
    let bound = report["cases"][0]["o2_bound_usd"].as_f64().unwrap();
    for rule in rules.iter().filter(|rule| rule["rule"] != "B0") {
        assert!(
            rule["figures"]["usd"].as_f64().unwrap() >= bound,
            "{rule} below {bound}"
        );
    }
    assert_eq!(report["means"].as_array().unwrap().len(), 4);
}

#[test]
fn ones_own_tables_are_enough_for_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write(
        "nodes.csv",
        "edge,lat,lon,capacity_mbps\nfra,50.1,8.7,9000\npar,48.9,2.3,9000\nnyc,40.7,-74,9000\n",
    );
    write(
        "prices.csv",
        "edge,usd_per_mbps_month\nfra,0.5\npar,1.5\nnyc,0.7\n",
    );
    let hour = |hour: usize| {
        format!(
            "{hour},{},{},{}\n",
            2000 + 150 * (hour % 24),
            1500,
            1000 + 20 * (hour % 24)
        )
    };
    let rows: String = (0..3 * 288).map(hour).collect();
    write("demand.csv", &format!("slot,DE,FR,US-NY\n{rows}"));
    let run = [
        "run",
        "--edges",
        "nodes.csv",
        "--prices",
        "prices.csv",
        "--demand",
        "demand.csv",
        "--quick",
        "--sensitivity",
    ];
    let (done, said, errors) = simulate(folder, &run);
    assert!(done, "{errors}");
    assert!(said.contains("own, prices own"), "{said}");
    let cases = report(folder, "simulation")["cases"].clone();
    let by_volume = |case: &&Value| case["twist"] == "billed by volume";
    let case = cases.as_array().unwrap().iter().find(by_volume).unwrap();
    let usd = case["rules"][0]["figures"]["usd"].as_f64().unwrap();
    assert!(usd > 1.0, "a price by volume is made where none is known");
    assert!(
        report(folder, "simulation")["inputs"]
            .get("demand.csv")
            .is_some()
    );
    write(
        "prices.csv",
        "edge,usd_per_mbps_month\nfra,0.5\npari,1.5\nnyc,0.7\n",
    );
    let (done, _, errors) = simulate(folder, &run);
    assert!(
        !done
            && errors
                .contains("prices.csv: line 3: edge \"pari\" is not known; did you mean \"par\"?"),
        "{errors}"
    );
}

#[test]
fn a_run_in_parts_gives_the_report_of_one_machine() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    small(folder);
    let run = "run world.toml --quick --seeds 2 --sensitivity";
    let with = |more: &str| -> (bool, String, String) {
        let words: Vec<&str> = run.split(' ').chain(more.split(' ')).collect();
        simulate(folder, &words)
    };
    assert!(with("--out whole").0);
    for part in ["0/3", "2/3"] {
        let (done, said, errors) = with(&format!("--shard {part} --out part-{}", &part[..1]));
        assert!(done && said.is_empty(), "{errors}");
        assert!(!folder.join("part-0/report.json").exists());
    }
    let merge = ["merge", "part-0", "part-1", "part-2", "--out", "merged"];
    let (done, _, errors) = simulate(folder, &["merge", "part-0", "part-2", "--out", "merged"]);
    assert!(
        !done && errors.contains("part 1/3 is missing: run `weir simulate run"),
        "{errors}"
    );
    assert!(with("--shard 1/3 --out part-1").0);
    let (done, said, errors) = simulate(folder, &merge);
    assert!(done && said.contains("weir"), "{errors}");
    for file in ["report.json", "report.html"] {
        let bytes = |out: &str| fs::read(folder.join(out).join(file)).unwrap();
        assert!(bytes("whole") == bytes("merged"), "{file}");
    }
    let text = fs::read_to_string(folder.join("world.toml")).unwrap();
    fs::write(
        folder.join("world.toml"),
        text.replace("zipf = 1.0", "zipf = 1.1"),
    )
    .unwrap();
    let (done, _, errors) = simulate(folder, &merge);
    assert!(
        !done && errors.contains("the inputs are not those of the parts"),
        "{errors}"
    );
}

#[test]
fn parameters_are_searched_and_written_as_a_policy_that_holds() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    small(folder);
    let tune = |out: &str| {
        let words = format!(
            "tune world.toml --seeds 1 --trials 5 --keys billing.level_scale,rtt.max_extra_vs_nearest_ms \
             --subject-to overload<=0,rtt_p95<=60 --out {out} --work work"
        );
        simulate(folder, &words.split(' ').collect::<Vec<_>>())
    };
    let (done, said, errors) = tune("tuned.toml");
    assert!(done, "{errors}");
    assert!(
        said.contains("Judged on default 2, which the search has not seen"),
        "{said}"
    );
    let found = fs::read(folder.join("work/tune.json")).unwrap();
    let tuning: Value = serde_json::from_slice(&found).unwrap();
    let trials = tuning["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 5);
    assert_eq!(trials[0]["changed"], serde_json::json!({}));
    let cost = |trial: &Value| trial["mean"]["cost"].as_f64().unwrap();
    let kept = |trial: &&Value| trial["keeps_bounds"] == true;
    let best = trials
        .iter()
        .filter(kept)
        .map(cost)
        .fold(f64::INFINITY, f64::min);
    let chosen = trials
        .iter()
        .find(|trial| trial["changed"] == tuning["chosen"]);
    assert_eq!(cost(chosen.unwrap()), best);
    let check = weir()
        .current_dir(folder)
        .args(["policy", "check", "tuned.toml"])
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
    // What is finished is not run again, and the same is found.
    let (done, again, errors) = tune("again.toml");
    assert!(done && again == said, "{errors}");
    assert_eq!(fs::read(folder.join("work/tune.json")).unwrap(), found);
    let (done, _, errors) = tune("again.toml");
    assert!(!done && errors.contains("is there already"), "{errors}");
}

#[test]
fn viewers_are_played_one_by_one_and_alike_on_one_core_and_on_two() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    small(folder);
    let text = fs::read_to_string(folder.join("world.toml")).unwrap();
    let text = text
        .replace("viewers = 100000.0", "viewers = 2000.0")
        .replace("minutes = 60.0", "minutes = 12.0")
        .replace("kill_min = 20.0", "kill_min = 4.0")
        .replace("drain_min = 40.0", "drain_min = 9.0")
        .replace("crowd_min = 30.0", "crowd_min = 6.0");
    fs::write(folder.join("world.toml"), text).unwrap();
    for (out, threads) in [("one", "1"), ("two", "2")] {
        let run = [
            "run",
            "world.toml",
            "--engine",
            "event",
            "--rules",
            "B2,B8,weir",
            "--out",
            out,
            "--threads",
            threads,
        ];
        let (done, said, errors) = simulate(folder, &run);
        assert!(done, "{errors}");
        assert!(said.contains("viewer by viewer"), "{said}");
    }
    let bytes = |out: &str, file: &str| fs::read(folder.join(out).join(file)).unwrap();
    assert!(bytes("one", "report.json") == bytes("two", "report.json"));
    let rules = report(folder, "one")["quality"][0]["rules"].clone();
    let rules = rules.as_array().unwrap();
    let names: Vec<&str> = rules
        .iter()
        .map(|it| it["rule"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["B1", "B2", "B8", "weir"]);
    for rule in rules {
        let figures = &rule["figures"];
        assert!(figures["viewers"].as_u64().unwrap() > 1_500, "{figures}");
        assert!(
            figures["start_up_s_p95"].as_f64().unwrap() > 0.05,
            "{figures}"
        );
        assert!(rule["kills"][0]["viewers"].as_u64().unwrap() > 0);
    }
    let page = String::from_utf8(bytes("one", "report.html")).unwrap();
    assert!(page.contains("What viewers go through") && !page.contains("NaN"));
}

#[test]
fn what_is_wrong_with_a_world_is_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    small(folder);
    assert!(!simulate(folder, &["init"]).0, "a file is not overwritten");
    let text = fs::read_to_string(folder.join("world.toml")).unwrap();
    fs::write(folder.join("bad.toml"), text.replace("zipf =", "zpif =")).unwrap();
    for (arguments, said) in [
        (
            &["run", "bad.toml"][..],
            "bad.toml: line 83: key zpif is not known; did you mean zipf?",
        ),
        (&["run", "absent.toml"], "cannot read absent.toml"),
        (&["run", "--world-dir", "."], "holds no world"),
        (
            &["run", "--rules", "B77"],
            "no rule \"B77\": there are B0, B1",
        ),
        (
            &["run", "world.toml", "--policy", "world.toml"],
            "world.toml: line ",
        ),
        (&["compare", ".", "."], "cannot read ./report.json"),
        (
            &["tune", "--subject-to", "rtt<=3"],
            "no measure \"rtt\": there are cost, rtt_p50",
        ),
        (&["merge", "."], "no folder has a shard-"),
    ] {
        let (done, _, errors) = simulate(folder, arguments);
        let line = said.split("line").next().unwrap();
        assert!(!done && errors.contains(line), "{errors}");
        let rest = said.rsplit(": ").next().unwrap();
        assert!(errors.contains(rest), "{errors}\nnot {rest}");
    }
}

/// Runs the small worlds of these seeds; a failing one says how to run it alone.
fn small_worlds(seeds: std::ops::Range<u64>) {
    let only = std::env::var("WEIR_WORLD")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok());
    let seeds = only.map_or(seeds, |only| only..only + 1);
    for seed in seeds {
        if let Err(fault) = simulations::check::small_world(seed) {
            panic!(
                "{fault}\nto see it again: WEIR_WORLD={seed} cargo test --test main -- small_worlds_keep"
            );
        }
    }
}

#[test]
fn small_worlds_keep_what_must_hold() {
    small_worlds(0..25);
}

#[test]
#[ignore = "minutes; run by `make soak`"]
fn soak_a_thousand_small_worlds_keep_what_must_hold() {
    small_worlds(0..1000);
}
