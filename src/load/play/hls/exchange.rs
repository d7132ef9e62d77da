//! Requests and whole answers over connections that are kept.

use crate::load::play::{
    response::Head,
    target::Target,
    worker::{PATIENCE, Worker, broken, without_url},
};
use anyhow::{Context, Result, anyhow, bail};
use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, LOCATION};
use std::{io::Read, net::IpAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

/// A viewer's connections.
pub struct Exchange<'a> {
    worker: &'a Worker,
    from: Option<IpAddr>,
    /// By whom they lead to, the newest last.
    kept: Vec<(String, TcpStream)>,
}

/// A whole answer.
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: Bytes,
    /// How long the body was on the wire.
    pub length: usize,
    /// When its first byte came.
    pub first_byte: Instant,
    /// From the request to its last byte.
    pub took: Duration,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> Result<String> {
        String::from_utf8(self.body.to_vec()).context("a playlist is no text")
    }
}

impl<'a> Exchange<'a> {
    /// Connections that start at this address, if one is named.
    pub fn new(worker: &'a Worker, from: Option<IpAddr>) -> Self {
        Self {
            worker,
            from,
            kept: Vec::new(),
        }
    }

    /// Asks, and gives whatever is answered.
    pub async fn get(&mut self, target: &Target) -> Result<Answer> {
        let asked = Instant::now();
        let answer = match target.tls {
            true => self.by_client(target).await,
            false => self.by_socket(target).await,
        };
        answer.map(|answer| Answer {
            took: asked.elapsed(),
            ..answer
        })
    }

    async fn by_socket(&mut self, target: &Target) -> Result<Answer> {
        let lines = self.worker.header_lines()? + "accept-encoding: gzip\r\n";
        let request = target.request(&lines);
        let kept = self.kept.iter().position(|(to, _)| *to == target.authority);
        if let Some(at) = kept {
            let (_, socket) = self.kept.remove(at);
            // A server may close what was idle; another connection then tells whether it is there.
            if let Ok(answer) = self.over(socket, target, &request).await {
                return Ok(answer);
            }
        }
        let socket = self.worker.dial(target, self.from).await?;
        socket.set_nodelay(true)?;
        self.over(socket, target, &request).await
    }

    async fn over(&mut self, mut socket: TcpStream, to: &Target, request: &str) -> Result<Answer> {
        socket.write_all(request.as_bytes()).await.map_err(broken)?;
        let answer = timeout(PATIENCE, read(&mut socket));
        let (answer, is_reusable) = answer.await.map_err(|_| anyhow!("no answer in time"))??;
        if is_reusable {
            if self.kept.len() == MAX_KEPT {
                self.kept.remove(0);
            }
            self.kept.push((to.authority.clone(), socket));
        }
        Ok(answer)
    }

    async fn by_client(&self, target: &Target) -> Result<Answer> {
        let crowd = &self.worker.crowd;
        let mut request = http::Request::get(&target.url).header(ACCEPT_ENCODING, "gzip");
        for (name, value) in &crowd.headers {
            request = request.header(name, value);
        }
        let request = request.body(Default::default())?;
        let answer = crowd.client.request(request).await.map_err(without_url)?;
        let location = answer.headers().get(LOCATION);
        let is_gzip = answer
            .headers()
            .get(CONTENT_ENCODING)
            .is_some_and(|v| v == "gzip");
        Ok(Answer {
            status: answer.status().as_u16(),
            location: location.and_then(|to| to.to_str().ok().map(Into::into)),
            first_byte: Instant::now(),
            took: Duration::ZERO,
            length: answer.body().len(),
            body: plain(answer.into_body(), is_gzip)?,
        })
    }
}

/// Reads an answer, and whether another can follow it.
async fn read(socket: &mut TcpStream) -> Result<(Answer, bool)> {
    let mut held = BytesMut::with_capacity(FIRST_READ);
    let mut first_byte = None;
    let head = loop {
        if socket.read_buf(&mut held).await.map_err(broken)? == 0 {
            bail!("closed without an answer");
        }
        first_byte.get_or_insert_with(Instant::now);
        if let Some(head) = Head::read(&held)? {
            break head;
        }
    };
    let mut framing = head.body;
    let mut body = BytesMut::new();
    let mut rest = held.split_off(head.length);
    loop {
        let mut input = &rest[..];
        while let Some(bytes) = framing.next(&mut input)? {
            body.extend_from_slice(bytes);
        }
        if body.len() > MAX_BODY {
            bail!("an answer is longer than {MAX_BODY} bytes");
        }
        rest.clear();
        if framing.is_over() {
            break;
        }
        rest.reserve(FIRST_READ);
        if socket.read_buf(&mut rest).await.map_err(broken)? == 0 {
            if framing.ends_here() {
                break;
            }
            bail!("an answer ended early");
        }
    }
    let answer = Answer {
        status: head.status,
        location: head.location,
        length: body.len(),
        body: plain(body.freeze(), head.is_gzip)?,
        first_byte: first_byte.unwrap_or_else(Instant::now),
        took: Duration::ZERO,
    };
    Ok((answer, framing.is_over()))
}

fn plain(body: Bytes, is_gzip: bool) -> Result<Bytes> {
    if !is_gzip {
        return Ok(body);
    }
    let mut plain = Vec::new();
    let mut unpacked = GzDecoder::new(&body[..]).take(MAX_BODY as u64);
    let read = unpacked.read_to_end(&mut plain);
    read.context("an answer is broken gzip")?;
    Ok(plain.into())
}

/// The edge that is watched, and the scheduler.
const MAX_KEPT: usize = 2;
/// A playlist comes in one read.
const FIRST_READ: usize = 8 << 10;
/// A segment of ten seconds at 50 Mbit/s.
const MAX_BODY: usize = 64 << 20;
