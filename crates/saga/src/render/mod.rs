//! Pictures of a saga: its steps, what takes them back, and every state it can reach, explored with the real [`crate::step`].
//! So a picture cannot say what the machine does not do. A running saga is painted into the picture of its definition.
//!
//! ```text
//!   start ─▶ step ─▶ step ─▶ pivot ─▶ forward ─▶ succeeded      the left column
//!              ║       ║       ║
//!              ▼       ▼       ▼  failed, cancelled, late
//!   compensated ◀─ undo ◀──── undo                              the right column
//! ```

mod explore;
mod paint;

mod dot;
mod mermaid;

use crate::shape::Shape;
use crate::state::SagaState;

/// A language in which pictures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Mermaid,
    Dot,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Mermaid, Self::Dot];

    /// The word in the API and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mermaid => "mermaid",
            Self::Dot => "dot",
        }
    }

    /// How names of such files end.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Mermaid => "mmd",
            Self::Dot => "dot",
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no format of pictures: expected mermaid or dot"))
    }
}

/// Adds to a text.
fn add(text: &mut String, line: std::fmt::Arguments<'_>) {
    std::fmt::Write::write_fmt(text, line).expect("a string takes any text");
}

/// Draws a definition; with `state`, one saga of it as it stands.
#[must_use]
pub fn draw(shape: &Shape, state: Option<&SagaState>, format: Format) -> String {
    let reached = explore::explore(shape);
    let picture = paint::Picture::of(shape, &reached, state);
    match format {
        Format::Mermaid => mermaid::write(&picture),
        Format::Dot => dot::write(&picture),
    }
}
