//! `weir forecast` on files as operators have them: what it prints, what it writes, and what it does with bad ones.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::Path,
};

use crate::harness::weir;
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

const STEP_S: i64 = 300;
/// Four days: the second half is judged, a day of it has a yesterday that was learned.
const STEPS: i64 = 4 * 288;
const FIRST_S: i64 = 1_714_521_600;

/// A day's shape with noise that repeats for nobody.
fn value(step: i64) -> f64 {
    let of_day = (step % 288) as f64 / 288.0 * std::f64::consts::TAU;
    let noise = (step.wrapping_mul(2_654_435_761) >> 7) % 100;
    500.0 - 300.0 * of_day.cos() + noise as f64 / 5.0
}

/// Two series that are each other's untidiest: times in two forms, gaps, twice, unordered, no numbers, bad rows.
fn untidy(second_half: fn(i64) -> f64) -> String {
    let mut text = String::from("value,Series_ID,note,ts\n");
    let mut late = String::new();
    for step in 0..STEPS {
        let value = if step < STEPS / 2 {
            value(step)
        } else {
            second_half(step)
        };
        let at = FIRST_S + step * STEP_S;
        let (day, of_day) = (1 + step / 288, step % 288 * 5);
        let iso = format!("2024-05-{day:02}T{:02}:{:02}:00Z", of_day / 60, of_day % 60);
        let _ = match step % 97 {
            3 => writeln!(text, "NaN,iso,,{iso}"),
            4..=9 => writeln!(late, "{value},iso,late,{iso}"),
            10 => Ok(()),
            11 => writeln!(text, "1,iso,\"replaced, below\",{iso}\n{value},iso,,{iso}"),
            _ => writeln!(text, "{value},iso,,{iso}"),
        };
        let _ = writeln!(text, "{},\"epoch, in ms\",,{}000", value * 10.0, at);
    }
    text + &late + "5,iso,,yesterday\nmany,iso,,2024-05-01\n"
}

fn evaluate(data: &Path, out: &Path, more: &[&str]) -> Value {
    let mut run = weir();
    run.args(["forecast", "evaluate", "--json", "--trainings", "1"]);
    run.args([
        "--data".as_ref(),
        data.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ]);
    let run = run.args(more).output().unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
    assert!(errors.contains("2 bad"), "{errors}");
    serde_json::from_slice(&run.stdout).unwrap()
}

fn forecasts(out: &Path) -> Vec<String> {
    let file = fs::File::open(out.join("forecasts.csv.gz")).unwrap();
    let mut text = String::new();
    MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn untidy_series_are_judged_and_what_was_found_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("untidy.csv"), dir.path().join("out"));
    fs::write(&data, untidy(value)).unwrap();
    let found = evaluate(&data, &out, &["--horizons", "15m,1h,7m", "--threads", "1"]);
    let series = found["series"].as_array().unwrap();
    let ids: Vec<_> = series.iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["epoch, in ms", "epoch, in ms", "iso", "iso"]);
    for entry in series {
        for key in ["wape", "mase"] {
            assert!(entry[key].as_f64().unwrap().is_finite(), "{key} of {entry}");
        }
        assert!(entry["n"].as_u64().unwrap() > 400, "{entry}");
        for key in ["/pinball", "/coverage", "/raw/pinball", "/raw/coverage"] {
            let figures = entry.pointer(key).unwrap().as_object().unwrap();
            assert_eq!(figures.keys().collect::<Vec<_>>(), ["0.9", "0.95", "0.99"]);
            assert!(
                figures
                    .values()
                    .all(|figure| figure.as_f64().unwrap().is_finite())
            );
        }
        let naive = entry["naive"].as_object().unwrap();
        assert!(naive.contains_key("holt") && naive.contains_key("seasonal_day"));
        assert!(entry["experts"]["rls"].is_number(), "{entry}");
        if entry["horizon_s"] == 3600 {
            let persistence = naive["persistence"].as_f64().unwrap();
            assert!(
                entry["wape"].as_f64().unwrap() < 0.5 * persistence,
                "{entry}"
            );
        }
    }
    let skipped = found["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 2);
    assert_eq!(skipped[0]["horizon_s"], 420);
    assert!(
        skipped[0]["reason"]
            .as_str()
            .unwrap()
            .contains("multiple of the step of 300 s")
    );
    let written: Value =
        serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(written, found);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("epoch, in ms") && page.contains("<svg") && !page.contains("NaN"));
    let again = dir.path().join("again");
    let twice = evaluate(
        &data,
        &again,
        &["--horizons", "15m,1h,7m", "--threads", "2"],
    );
    assert_eq!(twice, found);
    let bytes = |out: &Path| fs::read(out.join("forecasts.csv.gz")).unwrap();
    assert!(bytes(&out) == bytes(&again), "threads change the forecasts");
}

#[test]
fn what_comes_later_changes_no_forecast() {
    let dir = tempfile::tempdir().unwrap();
    let parted = FIRST_S + STEPS * 3 / 4 * STEP_S;
    let told = |name: &str, later: fn(i64) -> f64| {
        let (data, out) = (
            dir.path().join(name),
            dir.path().join(format!("{name}.out")),
        );
        fs::write(&data, untidy(later)).unwrap();
        evaluate(&data, &out, &["--horizons", "5m,1h"]);
        forecasts(&out)
    };
    let before = |rows: Vec<String>| -> Vec<String> {
        // The truth, last in a row, may differ where it lies behind the change.
        let rows = rows
            .into_iter()
            .skip(1)
            .map(|row| row.rsplit_once(',').unwrap().0.to_owned());
        let made = |row: &String| row.rsplit(',').nth(5).unwrap().parse::<i64>().unwrap();
        rows.filter(|row| made(row) < parted).collect()
    };
    let changed = |step| {
        if step < STEPS * 3 / 4 {
            value(step)
        } else {
            90_000.0
        }
    };
    let (plain, changed) = (told("plain", value), told("changed", changed));
    assert_ne!(plain, changed);
    let (plain, changed) = (before(plain), before(changed));
    assert!(plain.len() > 500, "{}", plain.len());
    assert!(plain == changed, "a forecast knows what comes after it");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: Option<&str>, arguments: &[&str], expect: &str| {
        let data = dir.path().join("data.csv");
        let _ = fs::remove_file(&data);
        if let Some(text) = text {
            fs::write(&data, text).unwrap();
        }
        let mut run = weir();
        let run = run
            .args(["forecast", "evaluate", "--data"])
            .arg(&data)
            .args(arguments);
        let run = run.output().unwrap();
        let errors = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success() && errors.contains(expect), "{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
    };
    let one = "series,time,value\na,0,1\na,300,2\na,600,3\na,900,3\n";
    check(None, &[], "cannot read");
    check(Some(""), &[], "is empty: it needs a header");
    check(
        Some("series,time,load\na,0,1\n"),
        &[],
        "no column value; its header is",
    );
    check(
        Some("series,time,value\na,0,x\n"),
        &[],
        "\"x\" is no number",
    );
    check(
        Some("series,time,value\na,0,1\n"),
        &[],
        "fewer than two samples",
    );
    check(Some(one), &["--horizons", "7m"], "no multiple of the step");
    check(Some(one), &["--horizons", "1h"], "too many for 4 steps");
    check(Some(one), &["--horizons", "soon"], "horizons");
    check(Some(one), &["--horizons", "500ms"], "whole seconds");
    check(Some(one), &["--events", "/nowhere.csv"], "/nowhere.csv");
}

/// Answers as the scheduler's history does, until the test ends.
fn remembers(series: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let values: Vec<f64> = (0..STEPS).map(value).collect();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut head = String::new();
            let mut lines = BufReader::new(&stream);
            while lines.read_line(&mut head).unwrap_or(0) > 2 {}
            let body = match head.contains("/api/v1/history/series?prefix=region%2F ") {
                true => json!([{ "series": series, "seen_ms": 0 }]),
                false => json!({ "series": series, "first_ms": FIRST_S * 1000,
                    "step_ms": STEP_S * 1000, "values": values }),
            };
            let body = body.to_string();
            let _ = write!(
                &stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

#[test]
fn what_a_scheduler_remembers_is_judged_like_a_file() {
    let mut run = weir();
    run.args([
        "forecast",
        "backtest",
        "--json",
        "--trainings",
        "1",
        "--horizons",
        "1h",
    ]);
    let run = run
        .args(["--admin", &remembers("region/DE/demand")])
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let found: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(found["series"][0]["id"], "region/DE/demand");
    assert_eq!(found["series"][0]["step_s"], STEP_S);
    let persistence = found["series"][0]["naive"]["persistence"].as_f64().unwrap();
    assert!(found["series"][0]["wape"].as_f64().unwrap() < 0.5 * persistence);
}

#[test]
fn a_model_is_trained_written_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (data, model) = (dir.path().join("untidy.csv"), dir.path().join("a.weir"));
    fs::write(&data, untidy(value)).unwrap();
    let say = |arguments: &[&str]| {
        let run = weir().arg("forecast").args(arguments).output().unwrap();
        let text = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
        (run.status.success(), text)
    };
    let path = model.to_str().unwrap();
    let (data, trained) = (data.to_str().unwrap(), "--horizons=15m,1h");
    let (done, card) = say(&["train", "--data", data, "--out", path, trained]);
    assert!(
        done && card.contains("15 min") && card.contains("best simple method"),
        "{card}"
    );
    let (done, shown) = say(&["show", path]);
    // Beside the card, training says how many rows were bad.
    assert!(done && card.contains(&shown), "{shown}");
    let (_, json) = say(&["show", path, "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (json["step_s"].as_i64(), json["card"]["series"].as_u64()),
        (Some(300), Some(2))
    );
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    let (done, errors) = say(&["show", path]);
    assert!(
        !done && errors.contains("damaged: train it again"),
        "{errors}"
    );
    let (done, errors) = say(&["show", data]);
    assert!(!done && errors.contains("no forecast model"), "{errors}");
}
