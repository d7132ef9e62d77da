//! What is kept, what stays when things come twice or out of order, and what becomes of damage.

use proptest::prelude::*;

use super::*;

/// Sixty steps a day, so that a chunk is a day.
fn layout() -> Layout {
    Layout::new(60, 3_600)
}

fn memory(room: usize) -> Store {
    Store::open(None, layout(), room).unwrap()
}

fn row(id: &str, mean: f64, seconds: f64) -> (String, Point) {
    (id.to_owned(), Point::new(mean, seconds).unwrap())
}

fn append(store: &Store, step: i64, rows: &[(&str, f64)]) -> Written {
    let rows: Vec<_> = rows.iter().map(|(id, mean)| row(id, *mean, 60.0)).collect();
    store.append(step, &rows).unwrap()
}

fn values(store: &Store, id: &str, ring: Ring) -> (i64, Vec<f64>) {
    let all = store.series(id, ring, i64::MIN..i64::MAX).unwrap().unwrap();
    let shown = all
        .values
        .iter()
        .map(|value| if value.is_nan() { -1.0 } else { *value });
    (all.first, shown.collect())
}

#[test]
fn steps_are_kept_with_their_gaps_and_their_coarse_means() {
    let store = memory(10);
    for (step, mean) in [(100, 1.0), (101, 2.0), (103, 6.0), (105, 8.0)] {
        append(&store, step, &[("a", mean)]);
    }
    assert_eq!(
        values(&store, "a", Ring::Fine),
        (100, vec![1.0, 2.0, -1.0, 6.0, -1.0, 8.0])
    );
    assert_eq!(values(&store, "a", Ring::Coarse), (20, vec![3.0, 8.0]));
    let part = store.series("a", Ring::Fine, 101..103).unwrap().unwrap();
    assert_eq!((part.first, part.step_s, part.values), (101, 60, vec![2.0]));
    assert_eq!(store.series("b", Ring::Fine, 0..200).unwrap(), None);
    assert_eq!(
        (store.newest(Ring::Fine), store.newest(Ring::Coarse)),
        (Some(105), Some(21))
    );
    let none = store.series("a", Ring::Fine, 300..300).unwrap().unwrap();
    assert!(none.values.is_empty());
}

#[test]
fn what_comes_twice_does_no_harm() {
    let store = memory(10);
    store.append(7, &[row("a", 5.0, 60.0)]).unwrap();
    store.append(7, &[row("a", 5.0, 60.0)]).unwrap();
    store.append(7, &[row("a", 1.0, 12.0)]).unwrap();
    assert_eq!(values(&store, "a", Ring::Fine), (7, vec![5.0]));
    assert_eq!(values(&store, "a", Ring::Coarse), (1, vec![5.0]));
    // A step that was told of before all its samples were there.
    store.append(8, &[row("a", 1.0, 12.0)]).unwrap();
    store.append(8, &[row("a", 9.0, 60.0)]).unwrap();
    assert_eq!(values(&store, "a", Ring::Coarse), (1, vec![7.0]));
}

#[test]
fn a_ring_keeps_one_lap() {
    let store = memory(10);
    let lap = i64::from(layout().slots(Ring::Fine)) * CHUNK;
    for step in (0..lap + 3 * CHUNK).step_by(30) {
        append(&store, step, &[("a", step as f64)]);
    }
    let (first, fine) = values(&store, "a", Ring::Fine);
    assert!(
        first > 2 * CHUNK && fine.len() as i64 > lap - 2 * CHUNK,
        "{first} {}",
        fine.len()
    );
    assert_eq!(fine.last(), Some(&((lap + 3 * CHUNK - 30) as f64)));
    let (first, _) = values(&store, "a", Ring::Coarse);
    assert_eq!(first, 0, "the coarse ring goes back farther");
}

#[test]
fn a_clock_that_was_ahead_leaves_nothing_behind() {
    let store = memory(2);
    append(&store, 100, &[("a", 1.0)]);
    append(&store, 1_000_000, &[("a", 9.0), ("b", 9.0)]);
    for step in 101..200 {
        append(&store, step, &[("a", 2.0)]);
    }
    let (first, fine) = values(&store, "a", Ring::Fine);
    assert_eq!((first, fine.len(), fine[0], fine[99]), (100, 100, 1.0, 2.0));
    assert_eq!(store.newest(Ring::Fine), Some(199));
}

#[test]
fn without_room_the_longest_silent_goes_and_the_new_waits() {
    let store = memory(2);
    append(&store, 0, &[("a", 1.0), ("b", 1.0)]);
    assert_eq!(append(&store, 10, &[("b", 1.0), ("c", 1.0)]).dropped, 1);
    let written = append(&store, 65, &[("b", 1.0), ("c", 1.0)]);
    assert_eq!(
        written,
        Written {
            dropped: 0,
            evicted: 1
        }
    );
    let names: Vec<_> = store.list("").into_iter().map(|(id, _)| id).collect();
    assert_eq!(names, ["b", "c"]);
    // The place of one that went shows nothing of it.
    assert_eq!(values(&store, "c", Ring::Fine), (65, vec![1.0]));
    assert_eq!(
        append(&store, 66, &[(&"x".repeat(MAX_ID + 1), 1.0)]).dropped,
        1
    );
}

#[test]
fn filling_leaves_what_was_seen() {
    let store = memory(10);
    append(&store, 101, &[("a", 50.0)]);
    let points = [1.0, 2.0, 3.0].map(|mean| Point::new(mean, 1.0).unwrap());
    store.fill("a", Ring::Fine, 100, &points).unwrap();
    assert_eq!(values(&store, "a", Ring::Fine), (100, vec![1.0, 50.0]));
    append(&store, 102, &[("b", 1.0)]);
    assert_eq!(values(&store, "a", Ring::Fine), (100, vec![1.0, 50.0, 3.0]));
    store.fill("a", Ring::Coarse, 10, &points).unwrap();
    let (first, coarse) = values(&store, "a", Ring::Coarse);
    assert_eq!((first, &coarse[..3]), (10, &[1.0, 2.0, 3.0][..]));
}

#[test]
fn a_file_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/history.redb");
    let store = Store::open(Some(&path), layout(), 10).unwrap();
    append(&store, 100, &[("a", 1.0), ("stream/live/x/viewers", 3.0)]);
    let busy = Store::open(Some(&path), layout(), 10);
    assert!(matches!(busy, Err(Error::Open { .. })), "it is locked");
    drop(store);
    let store = Store::open(Some(&path), layout(), 10).unwrap();
    append(&store, 101, &[("a", 2.0)]);
    assert_eq!(values(&store, "a", Ring::Fine), (100, vec![1.0, 2.0]));
    assert_eq!(
        store.list("stream/"),
        [("stream/live/x/viewers".to_owned(), 100)]
    );
    assert_eq!((store.newest(Ring::Fine), store.len()), (Some(101), 2));
    assert!(store.bytes() > 0 && !path.with_extension("redb.damaged").exists());
}

#[test]
fn a_file_of_other_steps_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.redb");
    append(
        &Store::open(Some(&path), layout(), 10).unwrap(),
        1,
        &[("a", 1.0)],
    );
    let store = Store::open(Some(&path), Layout::new(300, 3_600), 10).unwrap();
    assert_eq!(store.len(), 0);
    assert!(path.with_extension("redb.60s").exists());
}

#[test]
fn a_damaged_file_is_set_aside_and_never_ends_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.redb");
    let store = Store::open(Some(&path), layout(), 10).unwrap();
    for step in 0..200 {
        append(&store, step, &[("a", 1.0), ("b", 2.0)]);
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut damages: Vec<Vec<u8>> = vec![
        b"no database at all".to_vec(),
        vec![0; 1 << 20],
        whole[..whole.len() / 2].to_vec(),
        whole[..100].to_vec(),
    ];
    for part in 0..16 {
        let mut bytes = whole.clone();
        let from = part * bytes.len() / 16;
        let to = (from + 5_000).min(bytes.len());
        bytes[from..to].iter_mut().for_each(|byte| *byte ^= 0x5a);
        damages.push(bytes);
    }
    for (number, bytes) in damages.iter().enumerate() {
        let aside = path.with_extension("redb.damaged");
        let _ = std::fs::remove_file(&aside);
        std::fs::write(&path, bytes).unwrap();
        let store = Store::open(Some(&path), layout(), 10).unwrap();
        append(&store, 200, &[("a", 7.0)]);
        let (_, values) = values(&store, "a", Ring::Fine);
        assert_eq!(values.last(), Some(&7.0), "{number}");
        assert!(
            number > 3 || (aside.exists() && values.len() == 1),
            "{number}"
        );
    }
}

#[test]
fn the_file_stays_below_what_its_series_may_take() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.redb");
    let (layout, room) = (Layout::new(60, 86_400), 16);
    let store = Store::open(Some(&path), layout, room).unwrap();
    let points = vec![Point::new(1e6, 60.0).unwrap(); 5 * CHUNK as usize];
    let steps = 91 * 24 * 60;
    for n in 0..room + 4 {
        let id = format!("series-{n}");
        let begin = n as i64 * CHUNK;
        for first in (begin..begin + steps).step_by(50 * CHUNK as usize) {
            store.fill(&id, Ring::Fine, first, &points).unwrap();
        }
    }
    let most = room as u64 * layout.bytes_per_series();
    assert!(store.bytes() <= most, "{} of {most}", store.bytes());
    assert!(store.len() <= room);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_last_lap_is_read_as_it_was_written(
        steps in prop::collection::btree_map(0_i64..3_000, 0_u32..1_000, 1..60),
    ) {
        let store = memory(4);
        for (step, mean) in &steps {
            append(&store, *step, &[("a", f64::from(*mean))]);
        }
        let lap = i64::from(layout().slots(Ring::Fine)) * CHUNK;
        let (newest, _) = steps.last_key_value().unwrap();
        let series = store.series("a", Ring::Fine, 0..i64::MAX).unwrap().unwrap();
        for (step, mean) in &steps {
            let kept = series.at(*step);
            // A chunk goes as a whole when the next lap reaches it.
            if step.div_euclid(CHUNK) > (newest - lap).div_euclid(CHUNK) + 1 {
                prop_assert_eq!(kept, f64::from(*mean));
            } else {
                prop_assert!(kept.is_nan() || kept == f64::from(*mean));
            }
        }
    }
}
