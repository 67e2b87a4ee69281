//! `holdfast top`: the state of the whole, again and again. On a terminal it fills the screen until a key ends it; into a
//! pipe or a file it writes one picture after the other.

mod frame;
mod screen;

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use rest_api::{Client, Status};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Session;
use crate::error::{Error, Exit};
use crate::output::print;
use screen::{Input, Screen};

/// The state of services, hosts, queues and sagas, live. Needs the role admin.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  holdfast top
  holdfast top --interval 10
  holdfast top --once
  holdfast top -f json | jq --unbuffered .problems

On a terminal, q or Ctrl-C ends it. With -f json each line is one state.")]
pub(crate) struct Top {
    /// Seconds between two looks; the controller gathers every 2 s.
    #[arg(long, short = 'i', value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Look once, and end.
    #[arg(long)]
    once: bool,
}

/// What ends the waiting between two looks.
enum Woken {
    Time,
    Input(Input),
    End,
}

/// The signals that end it in an orderly way.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Top {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<(), Error> {
        let is_json = session.output.is_whole_json();
        if !is_json && !session.output.is_for_people() {
            return Err(Error::usage("top shows a table or -f json, without columns: pick them with jq"));
        }
        let client = session.connection.client().await?;
        let first = client.show_status().await?;
        if self.once {
            return if is_json { session.output.show(&first, &[]) } else { print(&frame::whole(&first)) };
        }
        let interval = Duration::from_secs(self.interval);
        let signals = Signals::listen()?;
        if is_json || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            return stream(&client, first, interval, signals, is_json).await;
        }
        fill_screen(&client, first, interval, signals).await
    }
}

/// Writes a picture or a line of JSON after the other, until nobody reads any more.
async fn stream(
    client: &Client,
    first: Status,
    interval: Duration,
    mut signals: Signals,
    is_json: bool,
) -> Result<(), Error> {
    let mut status = first;
    loop {
        let text = if is_json { frame::json_line(&status) } else { frame::whole(&status) + "\n" };
        if !screen::write_plain(&text)? {
            return Ok(());
        }
        loop {
            tokio::select! {
                biased; // both are cancel safe
                () = signals.any() => return Ok(()),
                () = tokio::time::sleep(interval) => {}
            }
            match client.show_status().await.map_err(Error::from) {
                Ok(fresh) => break status = fresh,
                Err(error) if error.exit() == Exit::NotReachable => crate::output::tell(&error.to_string()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Fills the screen until somebody has seen enough.
async fn fill_screen(
    client: &Client,
    first: Status,
    interval: Duration,
    mut signals: Signals,
) -> Result<(), Error> {
    let mut screen = Screen::open()?;
    let (mut status, mut trouble) = (first, None);
    loop {
        screen.draw(&frame::lines(&status, trouble.as_deref()))?;
        let woken = tokio::select! {
            biased; // all are cancel safe
            () = signals.any() => Woken::End,
            input = screen.input() => Woken::Input(input),
            () = tokio::time::sleep(interval) => Woken::Time,
        };
        match woken {
            Woken::End | Woken::Input(Input::Quit) => return Ok(()),
            Woken::Input(Input::Redraw) => {}
            Woken::Time => {
                let fetched = tokio::select! {
                    biased; // a look that is given up has changed nothing
                    () = signals.any() => return Ok(()),
                    () = screen.quit() => return Ok(()),
                    fetched = client.show_status() => fetched.map_err(Error::from),
                };
                match fetched {
                    Ok(fresh) => (status, trouble) = (fresh, None),
                    Err(error) if error.exit() == Exit::NotReachable => trouble = Some(error.to_string()),
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|error| Error::local(format!("failed to listen to signals: {error}")))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Cancel safe: yes.
    async fn any(&mut self) {
        tokio::select! {
            biased; // both are cancel safe
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
