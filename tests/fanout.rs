//! A thousand viewers at once: every byte looked at, nothing dropped, one upstream subscription per edge.

use crate::harness::{Cluster, EDGES, clips, ffmpeg, weir};

#[test]
fn a_thousand_viewers_receive_the_source_frame_by_frame() {
    let cluster = Cluster::alone(2, "");
    let clip = clips::at_rate(500);
    let _publisher = ffmpeg::publish(&clip, &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let mut load = weir();
    load.args([
        "load",
        "play",
        "--viewers",
        "1000",
        "--ramp",
        "5s",
        "--duration",
        "20s",
        "--json",
        "--source",
    ]);
    load.arg(&clip);
    let halves = [EDGES[0].3, EDGES[1].3].map(|address| cluster.play_url("live/show", address));
    let run = load.args(halves).output().unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    println!("{report:#}");
    assert_eq!(report["joined"], 1000);
    assert_eq!(
        report["frames"]["wrong"], 0,
        "frames that are not the source's next"
    );
    assert_eq!(report["frames"]["dropped"], 0);
    assert_eq!(report["errors"].as_object().unwrap().len(), 0);
    // 20 s at 25 pictures/s and 46.9 audio packets/s, less what the last joiners could not see.
    assert!(report["frames"]["right"].as_u64().unwrap() > 1000 * 20 * 60);
    for (name, ..) in &EDGES[..2] {
        let edge = cluster.node(name);
        assert_eq!(
            edge.metric("weir_edge_upstream_subscriptions_total", ""),
            1.0,
            "{name}"
        );
        assert_eq!(
            edge.metric("weir_edge_frames_dropped_total", ""),
            0.0,
            "{name}"
        );
    }
}
