//! Somebody who listens to notifications by oslo.messaging itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use runtime::Entropy;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::broker_user::BrokerUser;
use crate::lab::Broker;

const PROGRAM: &str = include_str!("notification_listener.py");

/// A notification as its endpoint got it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Told {
    pub priority: String,
    pub publisher_id: String,
    pub event_type: String,
    pub payload: Value,
    pub message_id: String,
    pub timestamp: String,
    pub project_id: Option<String>,
}

/// The process.
#[derive(Debug)]
pub struct OsloListener {
    child: Child,
    printed: BufReader<ChildStdout>,
}

impl OsloListener {
    /// Starts it and waits until it listens.
    pub fn start(broker: &Broker, user: &BrokerUser, exchange: &str, topic: &str) -> Result<Self> {
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asked = json!({
            "url": format!("rabbit://{}:{}@{}/", user.name, user.password.expose_secret(), broker.address),
            "exchange": exchange,
            "topic": topic,
            "pool": format!("{exchange}-{}", Entropy.uuid().simple()),
        });
        writeln!(child.stdin.as_mut().context("it has an input")?, "{asked}")?;
        let mut printed = BufReader::new(child.stdout.take().context("it has an output")?);
        let mut line = String::new();
        printed.read_line(&mut line)?;
        ensure!(line.trim() == "listening", "oslo.messaging does not listen: {line}");
        Ok(Self { child, printed })
    }

    /// Ends it; gives all that it was told, in order.
    pub fn finish(mut self) -> Result<Vec<Told>> {
        drop(self.child.stdin.take());
        let told = self.printed.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect();
        let status = self.child.wait()?;
        ensure!(status.success(), "the listener ended with {status}");
        told
    }

    /// Waits for the first notification that matches; the process's own end is the only other way out.
    pub fn wait_for(&mut self, what: &str, matches: impl Fn(&Told) -> bool) -> Result<Told> {
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(self.printed.read_line(&mut line)? > 0, "the listener ended before it heard {what}");
            let told: Told = serde_json::from_str(&line)?;
            if matches(&told) {
                return Ok(told);
            }
        }
    }
}
