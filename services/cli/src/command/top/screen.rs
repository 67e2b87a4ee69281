//! The terminal: taken over, drawn on without flicker, and given back as it was, whatever happens.

use std::io::Write as _;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{self, Clear, ClearType};
use crossterm::{cursor, execute, queue};
use tokio::sync::mpsc;

use super::frame::{Line, Tone};
use crate::error::Error;

/// How soon the thread that reads keys notices that nobody listens any more.
const KEY_POLL: Duration = Duration::from_millis(100);
/// A person presses a key or two between two looks.
const INPUTS_WAITING_MAX: usize = 16;

/// What a person at the terminal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Quit,
    /// The window has another size.
    Redraw,
}

/// A terminal that is ours until it is dropped.
#[derive(Debug)]
pub(super) struct Screen {
    inputs: mpsc::Receiver<Input>,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open() -> Result<Self, Error> {
        let (tx, inputs) = mpsc::channel(INPUTS_WAITING_MAX);
        terminal::enable_raw_mode().map_err(failed)?;
        // From here on a drop gives it back.
        let screen = Self { inputs };
        execute!(std::io::stdout(), terminal::EnterAlternateScreen, cursor::Hide).map_err(failed)?;
        std::thread::spawn(move || read_keys(&tx));
        Ok(screen)
    }

    /// Draws what fits, over what was there.
    pub(super) fn draw(&mut self, lines: &[Line]) -> Result<(), Error> {
        let (width, height) = terminal::size().map_err(failed)?;
        let (width, height) = (usize::from(width), usize::from(height));
        let mut out = std::io::stdout().lock();
        queue!(out, terminal::BeginSynchronizedUpdate, cursor::MoveTo(0, 0)).map_err(failed)?;
        let hidden = lines.len().saturating_sub(height);
        let shown = if hidden > 0 { height.saturating_sub(1) } else { lines.len() };
        for (index, line) in lines.iter().take(shown).enumerate() {
            if index > 0 {
                queue!(out, Print("\r\n")).map_err(failed)?;
            }
            let attribute = match line.tone {
                Tone::Plain => Attribute::Reset,
                Tone::Head => Attribute::Bold,
                Tone::Alarm => Attribute::Reverse,
            };
            let text: String = line.text.chars().take(width).collect();
            queue!(
                out,
                SetAttribute(attribute),
                Print(text),
                SetAttribute(Attribute::Reset),
                Clear(ClearType::UntilNewLine)
            )
            .map_err(failed)?;
        }
        if hidden > 0 {
            let text: String = format!("… {} more lines", hidden + 1).chars().take(width).collect();
            queue!(out, Print("\r\n"), Print(text), Clear(ClearType::UntilNewLine)).map_err(failed)?;
        }
        queue!(out, Clear(ClearType::FromCursorDown), terminal::EndSynchronizedUpdate).map_err(failed)?;
        out.flush().map_err(failed)
    }

    /// Waits for a person. Cancel safe: yes.
    pub(super) async fn input(&mut self) -> Input {
        // A terminal that is gone wants no more pictures.
        self.inputs.recv().await.unwrap_or(Input::Quit)
    }

    /// Waits until a person has seen enough. Cancel safe: but for changes of size, which the next picture meets anyway.
    pub(super) async fn quit(&mut self) {
        while self.input().await != Input::Quit {}
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to give back.
        let _ = execute!(std::io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

/// Writes into a pipe or a file; false when nobody reads it any more.
pub(super) fn write_plain(text: &str) -> Result<bool, Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

fn read_keys(to: &mpsc::Sender<Input>) {
    while !to.is_closed() {
        let input = match event::poll(KEY_POLL) {
            Ok(false) => continue,
            Ok(true) => match event::read() {
                Ok(event) => input_of(&event),
                Err(_) => Some(Input::Quit),
            },
            Err(_) => Some(Input::Quit),
        };
        if let Some(input) = input
            && (to.blocking_send(input).is_err() || input == Input::Quit)
        {
            return;
        }
    }
}

fn input_of(event: &Event) -> Option<Input> {
    match event {
        Event::Resize(..) => Some(Input::Redraw),
        Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) => match code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Input::Quit),
            KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => Some(Input::Quit),
            _ => None,
        },
        _ => None,
    }
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn failed(error: std::io::Error) -> Error {
    Error::local(format!("failed to use the terminal: {error}"))
}
