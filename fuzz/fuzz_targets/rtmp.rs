//! Any bytes behind an RTMP handshake, to a server that lets everybody in and to a client: never a
//! panic, and the same events whatever the pieces.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use origin::ingest::rtmp::client::{self, Client, Role, Url};
use origin::ingest::rtmp::handshake::{Handshake, Step};
use origin::ingest::rtmp::session::{Config, Error, Event, Output, Session};
use std::time::Instant;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, stream)) = data.split_first() else {
        return;
    };
    assert_eq!(serve(stream, stream.len()), serve(stream, piece.into()));
    assert_eq!(play(stream, stream.len()), play(stream, piece.into()));
});

fn serve(stream: &[u8], piece: usize) -> (Vec<Event>, Result<(), Error>) {
    let now = Instant::now();
    let mut session = Session::new(Config::default(), 0, now);
    let (_, hello) = Handshake::client(0);
    // The second packet may hold anything.
    let mut result = session.handle_input(now, [&hello[..], &hello[1..]].concat().into());
    let mut events = Vec::new();
    for part in stream.chunks(piece.max(1)) {
        result = result.and_then(|()| session.handle_input(now, Bytes::copy_from_slice(part)));
        while let Some(output) = session.poll_output() {
            let Output::Event(event) = output else {
                continue;
            };
            let accepted = match event {
                Event::Publish(_) => session.accept_publish(now),
                Event::Play(_) => session.accept_play(now),
                _ => Ok(()),
            };
            result = result.and(accepted);
            events.push(event);
        }
        assert_eq!(session.queued_bytes(), 0);
        if result.is_err() {
            break;
        }
    }
    (events, result)
}

fn play(stream: &[u8], piece: usize) -> (Vec<client::Event>, Result<(), Error>) {
    let now = Instant::now();
    let url = Url::parse("rtmp://host/live/x").expect("a URL");
    let mut client = Client::new(url, Role::Play, 0, now);
    let (_, mut hello) = Handshake::client(0);
    let Ok(Step::Reply(answer)) = Handshake::server(0).read(&mut hello) else {
        panic!("a hello is answered");
    };
    let mut result = client.handle_input(now, answer);
    let mut events = Vec::new();
    for part in stream.chunks(piece.max(1)) {
        result = result.and_then(|()| client.handle_input(now, Bytes::copy_from_slice(part)));
        while let Some(output) = client.poll_output() {
            if let client::Output::Event(event) = output {
                events.push(event);
            }
        }
        if result.is_err() {
            break;
        }
    }
    (events, result)
}
