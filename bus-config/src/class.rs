//! Classes of dead letters.

/// Whose work a dead letter was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Intake,
    Ctrl,
    Dmapi,
    Mover,
}

impl Class {
    /// All classes, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Intake, Self::Ctrl, Self::Dmapi, Self::Mover];

    /// The word in routing keys and queue names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Ctrl => "ctrl",
            Self::Dmapi => "dmapi",
            Self::Mover => "mover",
        }
    }

    /// The class of the dead letters of a queue; `None` for queues whose messages are not kept: dead letters themselves
    /// and subscribers' queues.
    #[must_use]
    pub fn of_queue(queue: &str) -> Option<Self> {
        let word = queue.strip_prefix("holdfast.q.")?.split('.').next()?;
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }
}
