//! The console in a real browser: the map, and a player that is redirected like any viewer.

use crate::harness::{eventually, ffmpeg::Running, get, port};
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// The test clip's pictures are numbered up to this, then begin again.
const PICTURES: i64 = 500;

#[test]
fn the_console_shows_three_edges_and_plays_from_the_nearest() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(
        root.join("web/dist/index.html").exists(),
        "the console is not built: `make setup`"
    );
    // The demo takes five ports in a row.
    let [base, _, _, _, _, rtmp] = std::array::from_fn(|_| port());
    let mut demo = Command::new(env!("CARGO_BIN_EXE_weir"));
    demo.args([
        "demo",
        "--port-base",
        &base.to_string(),
        "--rtmp-port",
        &rtmp.to_string(),
    ])
    .current_dir(root);
    let _demo = Running(
        demo.stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let console = format!("127.0.0.1:{}", base + 1);
    eventually("the console answers", || get(&console, "/").status == 200);

    let mut script = Command::new("node");
    script.arg(root.join("web/e2e/console.mjs"));
    script.args([&format!("http://{console}/"), "Frankfurt", "edge-frankfurt"]);
    if let Ok(picture) = std::env::var("WEIR_SCREENSHOT") {
        script.arg(picture);
    }
    let run = script.output().expect("node is installed");
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let saw: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(saw["edges"].as_array().unwrap().len(), 3, "{saw}");
    assert_eq!(saw["served"], "edge-frankfurt", "{saw}");
    assert_eq!(saw["errors"].as_array().unwrap().len(), 0, "{saw}");
    let numbers: Vec<_> = saw["numbers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|n| n.as_i64())
        .collect();
    assert!(numbers.len() >= 5, "the picture stood still: {saw}");
    for pair in numbers.windows(2) {
        let step = (pair[1] - pair[0]).rem_euclid(PICTURES);
        assert!(
            (1..PICTURES / 2).contains(&step),
            "the picture's number went back: {numbers:?}"
        );
    }
}
