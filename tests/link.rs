//! The link emulator: its pipes in virtual time, to the digit; then a real link with two kernels' TCP across it.

use crate::harness::{
    PATIENCE,
    link::{
        End, Lane, Link, LinkSpec,
        pipe::{Counts, Late, Loss, Pipe, Rate, Spec},
        trace::{Second, Trace},
    },
};
use bytes::Bytes;
use socket2::{Domain, Socket, Type};
use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

/// What a pipe makes of packets that come in `gap` apart: (number, time from the start) as they arrive.
fn through(
    spec: Spec,
    packets: u32,
    gap: Duration,
    bytes: usize,
) -> (Vec<(u32, Duration)>, Counts) {
    let start = Instant::now();
    let mut pipe = Pipe::new(spec);
    let mut arrived = Vec::new();
    let mut drain = |pipe: &mut Pipe, until: Instant| {
        while let Some(at) = pipe.next_at().filter(|at| *at <= until) {
            while let Some(packet) = pipe.pop(at) {
                arrived.push((
                    u32::from_be_bytes(packet[..4].try_into().unwrap()),
                    at - start,
                ));
            }
        }
    };
    for number in 0..packets {
        let now = start + gap * number;
        drain(&mut pipe, now);
        let mut packet = vec![0; bytes];
        packet[..4].copy_from_slice(&number.to_be_bytes());
        pipe.push(now, Bytes::from(packet));
    }
    drain(&mut pipe, start + Duration::from_secs(3600));
    assert_eq!(pipe.next_at(), None, "nothing is left");
    (arrived, pipe.counts())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn assert_near(what: &str, found: f64, wanted: f64, tolerance: f64) {
    let off = (found / wanted - 1.0).abs();
    assert!(off <= tolerance, "{what}: {found}, not {wanted}");
}

#[test]
fn a_default_pipe_hands_on_everything_at_once() {
    let (arrived, counts) = through(Spec::default(), 10, ms(1), 100);
    let wanted: Vec<_> = (0..10).map(|n| (n, ms(u64::from(n)))).collect();
    assert_eq!(arrived, wanted);
    assert_eq!((counts.delivered, counts.delivered_bytes), (10, 1000));
}

#[test]
fn packets_leave_at_the_rate_and_travel_the_delay() {
    // 1,250 bytes at 1 Mbit/s take 10 ms; they come twice as fast.
    let spec = Spec {
        rate: Rate::Bps(1_000_000),
        delay: ms(30),
        ..Spec::default()
    };
    let (arrived, _) = through(spec, 100, ms(5), 1250);
    for (number, at) in arrived {
        assert_eq!(at, ms(10) * (number + 1) + ms(30));
    }
}

#[test]
fn a_full_queue_drops_at_its_tail_and_bounds_the_delay() {
    let spec = Spec {
        delay: ms(20),
        ..Spec::default()
    }
    .bottleneck(1_000_000, ms(50));
    // Five packets fill 6,250 bytes; travelling ones are not in the queue.
    let (arrived, counts) = through(spec.clone(), 20, Duration::ZERO, 1250);
    assert_eq!((counts.delivered, counts.overflowed), (5, 15));
    assert_eq!(arrived.last(), Some(&(4, ms(70))));
    let (arrived, counts) = through(spec, 1000, ms(5), 1250);
    let waited = |(number, at): &(u32, Duration)| *at - ms(5) * *number;
    assert_eq!(arrived.iter().map(waited).max(), Some(ms(70)));
    assert_near("overflowed", counts.overflowed as f64, 500.0, 0.02);
}

#[test]
fn one_packet_always_finds_room() {
    let spec = Spec::default().bottleneck(100_000, ms(1));
    let (arrived, _) = through(spec, 3, ms(200), 1500);
    assert_eq!(arrived.len(), 3);
}

#[test]
fn losses_come_in_the_share_and_the_bursts_asked_for() {
    const PACKETS: u32 = 100_000;
    for (loss, share, run) in [
        (Loss::Random(0.01), 0.01, 1.0 / 0.99),
        (Loss::Random(0.05), 0.05, 1.0 / 0.95),
        (
            Loss::Bursts {
                share: 0.01,
                length: 4.0,
            },
            0.01,
            4.0,
        ),
        (
            Loss::Bursts {
                share: 0.05,
                length: 8.0,
            },
            0.05,
            8.0,
        ),
    ] {
        let spec = Spec {
            loss,
            seed: 7,
            ..Spec::default()
        };
        let (arrived, counts) = through(spec, PACKETS, ms(1), 100);
        assert_eq!(counts.lost + counts.delivered, u64::from(PACKETS));
        assert_near("lost", counts.lost as f64 / f64::from(PACKETS), share, 0.15);
        let runs = arrived
            .windows(2)
            .filter(|two| two[1].0 > two[0].0 + 1)
            .count();
        assert_near("in a row", counts.lost as f64 / runs as f64, run, 0.15);
    }
}

#[test]
fn a_seed_repeats_itself_and_another_does_not() {
    let with = |seed| {
        let loss = Loss::Random(0.1);
        through(
            Spec {
                loss,
                seed,
                jitter: ms(2),
                ..Spec::default()
            },
            1000,
            ms(1),
            100,
        )
    };
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

#[test]
fn jitter_keeps_the_order_and_late_packets_do_not() {
    let spec = Spec {
        delay: ms(20),
        jitter: ms(5),
        ..Spec::default()
    };
    let (arrived, _) = through(spec.clone(), 1000, ms(1), 100);
    assert!(arrived.is_sorted_by_key(|(number, _)| *number));
    let travelled = |(number, at): &(u32, Duration)| *at - ms(1) * *number;
    assert!(
        arrived
            .iter()
            .all(|one| (ms(15)..=ms(25)).contains(&travelled(one)))
    );
    let late = Late {
        share: 0.05,
        by: ms(10),
    };
    let (arrived, counts) = through(
        Spec {
            late,
            jitter: ms(0),
            ..spec
        },
        10_000,
        ms(1),
        100,
    );
    assert_eq!(counts.delivered, 10_000);
    let late = arrived
        .iter()
        .filter(|one| travelled(one) == ms(30))
        .count();
    assert_near("late", late as f64, 500.0, 0.15);
    assert!(!arrived.is_sorted_by_key(|(number, _)| *number));
}

fn second(rate_bps: u64) -> Second {
    Second {
        rate_bps,
        ..Second::default()
    }
}

#[test]
fn a_trace_sets_the_rate_of_each_second_round_and_round() {
    let trace = Trace::new("t", vec![second(100_000), second(0), second(200_000)]).unwrap();
    let secs = Duration::from_secs_f64;
    for (start, bytes, finish) in [
        (0.0, 1250, 0.1),
        (0.95, 1250, 2.025), // half of it waits for the outage's end
        (1.5, 2500, 2.1),
        (2.0, 25_000, 3.0),
        (2.5, 37_500, 5.5),   // 100 kbit, 100 kbit, nothing, 100 kbit
        (300.0, 1250, 300.1), // the hundredth round
    ] {
        assert_eq!(
            trace.finish(secs(start), bytes),
            secs(finish),
            "{start} s, {bytes} bytes"
        );
    }
    assert_eq!(trace.mean_bps(), 100_000);
    let rate = Rate::Trace {
        trace: Arc::new(trace),
        from: Duration::from_secs(1),
    };
    let spec = Spec {
        rate,
        ..Spec::default()
    };
    let (arrived, _) = through(spec, 3, Duration::ZERO, 12_500);
    let at: Vec<_> = arrived.into_iter().map(|(_, at)| at).collect();
    assert_eq!(at, [1.5, 2.0, 3.0].map(secs));
}

#[test]
fn a_trace_sets_delay_and_loss_where_it_knows_them() {
    let good = Second {
        rate_bps: 8_000_000,
        rtt: Some(ms(60)),
        loss: Some(0.0),
    };
    let bad = Second {
        rtt: Some(ms(200)),
        loss: Some(1.0),
        ..good
    };
    let plain = second(8_000_000);
    let trace = Arc::new(Trace::new("t", vec![good, bad, plain]).unwrap());
    let rate = Rate::Trace {
        trace,
        from: Duration::ZERO,
    };
    let spec = Spec {
        rate,
        delay: ms(10),
        ..Spec::default()
    };
    let (arrived, counts) = through(spec, 30, ms(100), 1000);
    assert_eq!(counts.lost, 10);
    let travelled = |(number, at): &(u32, Duration)| *at - ms(100) * *number;
    for one in &arrived {
        let delay = if one.0 < 10 { ms(30) } else { ms(10) };
        assert_eq!(travelled(one), delay + ms(1), "{one:?}");
    }
}

#[test]
fn a_table_of_traces_is_read() {
    let text = "trace_id,t_s,kbps,rtt_ms,loss_pct\n\
                a,0,1500.5,,\na,1,0,80,2.5\nrubbish\na,4,100.0,-1,nan\n\
                b,0,0,,\nc,0,7\nc,1000,8,99999999,200\n";
    let traces = Trace::table(text);
    let ids: Vec<_> = traces.iter().map(|trace| trace.id.as_str()).collect();
    assert_eq!(ids, ["a", "c"], "b carries nothing");
    let known = Second {
        rate_bps: 0,
        rtt: Some(ms(80)),
        loss: Some(0.025),
    };
    let a = [second(1_500_500), known, known, known, second(100_000)];
    assert_eq!(traces[0].seconds(), a);
    let c = traces[1].seconds();
    assert_eq!(
        (c.len(), c[60].rate_bps, c[61].rate_bps),
        (62, 7_000, 8_000)
    );
    assert_eq!((c[61].rtt, c[61].loss), (Some(ms(10_000)), Some(1.0)));
}

#[test]
fn a_made_trace_is_like_a_last_mile() {
    for seed in 0..20 {
        let trace = Trace::made(seed, 2_000_000, 600);
        assert_eq!(trace, Trace::made(seed, 2_000_000, 600));
        assert!(
            (600_000..6_000_000).contains(&trace.mean_bps()),
            "{}",
            trace.mean_bps()
        );
        let outages = trace
            .seconds()
            .iter()
            .filter(|second| second.rate_bps == 0)
            .count();
        assert!((1..100).contains(&outages), "{outages}");
    }
}

/// Sends `bytes` from the near end to a lane of the far end; how long it took there, and `ss` of the sender.
fn transfer(link: &Link, lane: usize, bytes: usize) -> (Duration, String) {
    let listener = {
        let _near = link.enter(End::Near);
        TcpListener::bind((link.near(), 0)).unwrap()
    };
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut stream = listener.accept().unwrap().0;
            let block = [7; 64 << 10];
            let mut left = bytes;
            while left > 0 {
                left -= stream.write(&block[..left.min(block.len())]).unwrap();
            }
            let ss = link
                .command(End::Near, "ss")
                .args(["-tinH"])
                .output()
                .unwrap();
            String::from_utf8(ss.stdout).unwrap()
        });
        let receiver = scope.spawn(|| {
            let mut stream = connect(link, lane, address);
            let start = Instant::now();
            assert_eq!(
                std::io::copy(&mut stream, &mut std::io::sink()).unwrap(),
                bytes as u64
            );
            start.elapsed()
        });
        let said = sender.join().unwrap();
        (receiver.join().unwrap(), said)
    })
}

fn connect(link: &Link, lane: usize, to: SocketAddr) -> TcpStream {
    let _far = link.enter(End::Far);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from((link.far(lane), 0)).into())
        .unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn datagrams_cross_a_link_with_its_delay_and_its_losses() {
    let lossy = Spec {
        delay: ms(25),
        loss: Loss::Random(0.2),
        ..Spec::default()
    };
    let clean = Spec {
        delay: ms(25),
        ..Spec::default()
    };
    let lane = Lane {
        to_far: lossy,
        to_near: clean,
    };
    let Some(link) = Link::new(&LinkSpec {
        lanes: vec![lane],
        congestion: "cubic",
    }) else {
        return;
    };
    let bind = |end, address: Ipv4Addr| {
        let _inside = link.enter(end);
        UdpSocket::bind((address, 0)).unwrap()
    };
    let (near, far) = (bind(End::Near, link.near()), bind(End::Far, link.far(0)));
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(ms(1000))).unwrap();
    }
    let start = Instant::now();
    for number in 0..200_u32 {
        far.send_to(&number.to_be_bytes(), near.local_addr().unwrap())
            .unwrap();
    }
    let mut packet = [0; 4];
    for number in 0..200_u32 {
        let (_, from) = near.recv_from(&mut packet).unwrap();
        assert_eq!(u32::from_be_bytes(packet), number);
        near.send_to(&packet, from).unwrap();
    }
    assert!(start.elapsed() >= ms(25));
    let mut back = 0;
    while far.recv(&mut packet).is_ok() {
        assert!(
            start.elapsed() >= ms(50),
            "no answer is faster than the way there and back"
        );
        back += 1;
    }
    let counts = link.counts(0, End::Far);
    assert_eq!((counts.delivered, counts.lost), (back, 200 - back));
    assert_near("lost", counts.lost as f64, 40.0, 0.5);
}

#[test]
fn tcp_crosses_a_link_under_the_congestion_control_named() {
    for congestion in ["cubic", "bbr"] {
        let way = Spec {
            delay: ms(10),
            ..Spec::default()
        };
        let down = Spec {
            loss: Loss::Random(0.001),
            ..way.clone()
        };
        let lane = Lane {
            to_far: down.bottleneck(20_000_000, ms(100)),
            to_near: way,
        };
        let Some(link) = Link::new(&LinkSpec {
            lanes: vec![lane],
            congestion,
        }) else {
            return;
        };
        let (time, ss) = transfer(&link, 0, 4_000_000);
        assert!(
            time >= ms(1600),
            "{congestion}: 4 MB at 20 Mbit/s in {time:?}"
        );
        assert!(
            ss.contains(&format!("{congestion} ")),
            "{congestion} sends: {ss}"
        );
        let counts = link.counts(0, End::Far);
        assert!(
            counts.lost > 0 && counts.delivered_bytes > 4_000_000,
            "{counts:?}"
        );
    }
}

#[test]
fn each_of_many_lanes_is_a_link_of_its_own() {
    let slow = Spec::default().bottleneck(1_000_000, ms(100));
    let lane = |to_far: &Spec| Lane {
        to_far: to_far.clone(),
        ..Lane::default()
    };
    let mut lanes = vec![lane(&slow); 299];
    lanes.push(lane(&Spec::default()));
    let Some(link) = Link::new(&LinkSpec {
        lanes,
        congestion: "cubic",
    }) else {
        return;
    };
    let (time, _) = transfer(&link, 298, 250_000);
    assert!(time >= ms(1800), "250 kB at 1 Mbit/s in {time:?}");
    transfer(&link, 299, 8_000_000);
    assert_eq!(link.counts(299, End::Far).overflowed, 0);
    assert!(link.counts(299, End::Far).delivered_bytes > 8_000_000);
    assert_eq!(link.counts(0, End::Far), Counts::default());
}

#[test]
fn programs_run_at_an_end_and_nothing_is_left_behind() {
    let Some(link) = Link::new(&LinkSpec {
        lanes: vec![Lane::default()],
        congestion: "bbr",
    }) else {
        return;
    };
    let addresses = |mut command: std::process::Command| {
        let output = command.args(["-br", "addr"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let near = addresses(link.command(End::Near, "ip"));
    assert!(
        near.contains("198.18.0.1") && !near.contains("198.19.0.1"),
        "{near}"
    );
    let inside = link.enter(End::Far);
    let far = addresses(std::process::Command::new("ip"));
    assert!(far.contains("198.19.0.1"), "{far}");
    drop(inside);
    let home = addresses(std::process::Command::new("ip"));
    assert!(!home.contains("link0"), "{home}");
    let name = |end| {
        let command = link.command(end, "true");
        let name = command.get_args().nth(2).unwrap();
        std::path::Path::new("/run/netns").join(name)
    };
    let names = [End::Near, End::Far].map(name);
    assert!(names.iter().all(|name| name.exists()));
    drop(link);
    assert!(!names.iter().any(|name| name.exists()));
}
