//! How a service ends, as its caller sees it: sysexits where they fit.

use std::process::{ExitCode, Termination};

/// The exit code of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Drained, or nothing to do.
    Done,
    /// Something failed that has no code of its own.
    Failed,
    /// The arguments or the config make no sense.
    Usage,
    /// A needed service refused us: a wrong password, an unknown vhost.
    Refused,
    /// An actor ended that should not have; the supervisor of the process starts it anew.
    ActorDied,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 69,
            Self::ActorDied => 70,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}
