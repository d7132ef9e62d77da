//! The console's page in a real browser, told what to do line by line (`web/e2e/watch.mjs`).

use super::{Cluster, ffmpeg::Running};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

/// A browser with the page open.
pub struct Page {
    process: Running,
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Page {
    pub fn open(cluster: &Cluster) -> Self {
        let mut script = script("watch.mjs");
        script.arg(format!("http://{}/", cluster.scheduler_admin));
        let mut process = spawn(script.stdin(Stdio::piped()));
        Self {
            input: process.0.stdin.take().unwrap(),
            answers: BufReader::new(process.0.stdout.take().unwrap()),
            process,
        }
    }

    /// Gives a command and waits for what the page answers.
    pub fn ask(&mut self, command: &str) -> Value {
        writeln!(self.input, "{command}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let pid = self.process.0.id();
        let answer = serde_json::from_str(&line);
        let answer = answer.unwrap_or_else(|_| panic!("page {pid} failed at `{command}`: {line}"));
        println!("{command}: {answer}");
        answer
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn script(name: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(root().join("web/e2e").join(name));
    node.stdin(Stdio::null());
    node
}

pub fn spawn(command: &mut Command) -> Running {
    command.stdout(Stdio::piped());
    Running(command.spawn().expect("the program is installed"))
}

/// What a script says it saw.
pub fn saw(mut script: Running) -> Value {
    let mut text = String::new();
    let read = script.0.stdout.take().unwrap().read_to_string(&mut text);
    assert!(read.is_ok() && script.wait(), "the script failed: {text}");
    serde_json::from_str(&text).unwrap()
}
