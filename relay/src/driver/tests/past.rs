//! The past of a stream, asked for once: what comes, in which order, and what it must not hold up.

use super::*;
use crate::session::{LATE_GROUPS, PAST_WITHIN};

/// A stream of one-second groups that has been on for a while.
const LONG: Show = Show { groups: 40, ..SHOW };

fn numbers(track: &track::Producer) -> Vec<u64> {
    let groups = track.consumer().recent(usize::MAX);
    let whole = groups.iter().filter(|g| g.end() == Some(End::Finished));
    whole.map(|group| group.key().number).collect()
}

fn past(before: u64, for_ms: u64) -> Start {
    Start::Past {
        before: Key {
            epoch: 1,
            number: before,
        },
        for_ms,
    }
}

/// Asks for a piece of the past and waits for all of it.
async fn bring(peer: &Peer, start: Start, into: &track::Producer) -> Why {
    let asked = peer.subscribe(STREAM, &[], start, into.clone()).await;
    let ended = asked.unwrap().ended().await;
    assert!(!into.consumer().is_ended(), "the past ends no track");
    ended
}

#[tokio::test(start_paused = true)]
async fn groups_come_as_far_back_as_asked_and_all_are_there_when_it_ends() {
    let world = World::new(21, Link::default());
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let source = new_track();
    LONG.publish(&source).await;
    origin.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&origin).await;
    let rows: [(Start, Vec<u64>); 6] = [
        (past(10, 3_000), vec![9, 8, 7]),
        (past(10, 2_999), vec![9, 8]),
        (past(10, 0), vec![]),
        (past(2, 60_000), vec![1, 0]),
        (past(0, 60_000), vec![]),
        // Not there yet: back from the newest.
        (past(99, 2_000), vec![39, 38, 37]),
    ];
    for (start, expect) in rows {
        let copy = new_track();
        assert_eq!(bring(&peer, start, &copy).await, Why::Ended);
        assert_eq!(numbers(&copy), expect, "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_or_was_never_whole_is_left_out() {
    let world = World::new(22, Link::default());
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let (source, copy) = (new_track(), new_track());
    for number in [1, 3, 4, 5] {
        let mut group = source.open_group(header(1, number)).unwrap();
        group.push(picture(Duration::from_millis(number))).unwrap();
        if number != 4 {
            group.finish();
        }
    }
    origin.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&origin).await;
    bring(&peer, past(5, 60_000), &copy).await;
    assert_eq!(numbers(&copy), [3, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_whole_group_takes_the_place_of_an_aborted_one_and_a_whole_one_stays() {
    let world = World::new(23, Link::default());
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let (source, copy) = (new_track(), new_track());
    SHOW.publish(&source).await;
    origin.serve_track(source.consumer(), &[]);
    let mut cut = copy.open_group(header(1, 5)).unwrap();
    cut.push(source.consumer().recent(1)[0].frame(0).unwrap())
        .unwrap();
    let kept = cut.group().clone();
    drop(cut);
    copy.open_group(header(1, 6)).unwrap().finish();
    let peer = edge.dial(&origin).await;
    bring(&peer, past(7, 60_000), &copy).await;
    assert_eq!(numbers(&copy), [5, 4, 3, 2, 1, 0], "6 is whole, and empty");
    let key = kept.key();
    let whole = copy.consumer().group(key).unwrap();
    let original = source.consumer().group(key).unwrap();
    let frames = |group: &crate::group::Group| group.frames(0).cloned().collect::<Vec<_>>();
    assert_eq!(frames(&whole), frames(&original));
    assert_eq!((kept.end(), kept.len()), (Some(End::Aborted), 1));
}

#[tokio::test(start_paused = true)]
async fn loops_and_strangers_are_refused_as_for_the_living() {
    let world = World::new(24, Link::default());
    let (a, b) = (world.node("a"), world.node("b"));
    let track = new_track();
    let peer = b.dial(&a).await;
    let ask = async |stream: &str, hops: &[String]| {
        let asked = peer
            .subscribe(stream, hops, past(9, 1_000), track.clone())
            .await;
        asked.map(drop)
    };
    a.serve_track(track.consumer(), &["origin".to_owned()]);
    let refused = |refusal| Err(SubscribeError::Refused(refusal));
    assert_eq!(ask("live/none", &[]).await, refused(Refusal::NotFound));
    assert_eq!(
        ask(STREAM, &["origin".to_owned()]).await,
        refused(Refusal::Loop)
    );
    assert_eq!(ask(STREAM, &[]).await, Ok(()));
}

/// How long after it was published each frame of a show is there, while `edge` also asks for a long
/// past or does not.
async fn delays(seed: u64, wants_past: Wants) -> Vec<Duration> {
    let link = Link {
        rate_bps: 8_000_000,
        ..Link::default()
    };
    let world = World::new(seed, link);
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let (source, copy) = (new_track(), new_track());
    let before = Show {
        groups: 60,
        size: 10_000,
        ..SHOW
    };
    before.publish(&source).await;
    origin.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&origin).await;
    let _live = edge.follow(&peer, &copy).await;
    let bringing = async {
        if wants_past == Wants::Past {
            sleep(Duration::from_secs(3)).await;
            let start = past(59, 60_000);
            assert_eq!(bring(&peer, start, &copy).await, Why::Ended);
            assert!(numbers(&copy).len() > 20, "{:?}", numbers(&copy));
        }
    };
    let mut published = Vec::new();
    let publishing = async {
        for number in 60..75 {
            let mut group = source.open_group(header(1, number)).unwrap();
            for index in 0..25 {
                published.push(((number, index), Instant::now()));
                group.push(big_picture(index, 10_000)).unwrap();
                sleep(EVERY).await;
            }
            group.finish();
        }
        sleep(Duration::from_secs(1)).await;
    };
    let reader = tokio::spawn({
        let mut reader = Reader::new(copy.consumer(), reader::Start::Latest);
        async move {
            let mut seen = HashMap::new();
            let mut number = 0;
            let wait = Duration::from_secs(5);
            while let Ok(Some(item)) = timeout(wait, reader.next()).await {
                match item {
                    Item::Group(group) => number = group.key().number,
                    Item::Frame { number: index, .. } => {
                        seen.insert((number, index as usize), Instant::now());
                    }
                    Item::Gap => panic!("nothing live is lost"),
                }
            }
            seen
        }
    });
    tokio::join!(publishing, bringing);
    let seen = reader.await.unwrap();
    published
        .into_iter()
        .filter(|((number, _), _)| *number > 60)
        .map(|(place, at)| seen[&place] - at)
        .collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Wants {
    Past,
    Nothing,
}

#[tokio::test(start_paused = true)]
async fn the_past_goes_behind_what_is_live() {
    let worst = |delays: Vec<Duration>| delays.into_iter().max().unwrap();
    let alone = worst(delays(25, Wants::Nothing).await);
    let beside = worst(delays(25, Wants::Past).await);
    // A few round trips of queue, never the seconds that the past takes.
    assert!(
        beside < alone + Duration::from_millis(150),
        "{beside:?} beside the past, {alone:?} alone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_past_that_does_not_get_through_is_given_up() {
    let link = Link {
        rate_bps: 300_000,
        ..Link::default()
    };
    let world = World::new(26, link);
    let (origin, edge) = (world.node("origin"), world.node("edge"));
    let (source, copy) = (new_track(), new_track());
    Show {
        size: 40_000,
        ..LONG
    }
    .publish(&source)
    .await;
    origin.serve_track(source.consumer(), &[]);
    let peer = edge.dial(&origin).await;
    let asked = Instant::now();
    assert_eq!(bring(&peer, past(39, 60_000), &copy).await, Why::Ended);
    assert!(asked.elapsed() < PAST_WITHIN + Duration::from_secs(4));
    let groups = copy.consumer().recent(usize::MAX);
    assert!(
        groups.len() <= LATE_GROUPS + 4,
        "a few at a time: {}",
        groups.len()
    );
}
