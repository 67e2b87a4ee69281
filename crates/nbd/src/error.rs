//! Why a call failed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::Malformed;

/// Why a call failed. Cheap to clone: when a connection ends, every pending call gets the same error.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection ended: by the server's death, most likely.
    #[error("the NBD server closed the connection")]
    Lost {
        #[source]
        source: Arc<io::Error>,
    },
    #[error("the NBD server has owed an answer for more than {} s", limit.as_secs_f64())]
    Overdue { limit: Duration },
    #[error("the handshake with the NBD server took longer than {} s", limit.as_secs_f64())]
    HandshakeTimeout { limit: Duration },
    #[error("the NBD server broke the protocol")]
    Malformed {
        #[source]
        source: Malformed,
    },
    #[error("the NBD server refused {option}: {reason}{}", Aside(message))]
    OptionRefused { option: &'static str, reason: &'static str, message: String },
    /// The connection goes on; only this request failed.
    #[error("the NBD server failed to {command} {length} bytes at {offset}: {errno}{}", Aside(message))]
    Server { command: &'static str, offset: u64, length: u64, errno: ServerErrno, message: String },
    #[error("{command} of {length} bytes at {offset} is beyond the export's {size} bytes")]
    OutOfRange { command: &'static str, offset: u64, length: u64, size: u64 },
    #[error("{command} of {length} bytes at {offset} is not aligned to the export's blocks of {block} bytes")]
    Unaligned { command: &'static str, offset: u64, length: u64, block: u32 },
    #[error("{command} of {length} bytes is more than {max} bytes in one call")]
    TooLong { command: &'static str, length: u64, max: u64 },
    #[error("the export does not take {command}")]
    NotSupported { command: &'static str },
    /// We closed it.
    #[error("the NBD connection is closed")]
    Closed,
}

impl From<Malformed> for Error {
    fn from(source: Malformed) -> Self {
        Self::Malformed { source }
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self::Lost { source: Arc::new(source) }
    }
}

/// What the server says went wrong: the numbers that the protocol defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerErrno {
    NotPermitted,
    InputOutput,
    NoMemory,
    Invalid,
    NoSpace,
    Overflow,
    NotSupported,
    ShuttingDown,
    /// A number that the protocol does not define.
    Other(u32),
}

impl ServerErrno {
    /// The meaning of a number on the wire.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::NotPermitted,
            5 => Self::InputOutput,
            12 => Self::NoMemory,
            22 => Self::Invalid,
            28 => Self::NoSpace,
            75 => Self::Overflow,
            95 => Self::NotSupported,
            108 => Self::ShuttingDown,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for ServerErrno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted => f.write_str("operation not permitted"),
            Self::InputOutput => f.write_str("input/output error"),
            Self::NoMemory => f.write_str("server out of memory"),
            Self::Invalid => f.write_str("invalid argument"),
            Self::NoSpace => f.write_str("no space left"),
            Self::Overflow => f.write_str("value too large"),
            Self::NotSupported => f.write_str("not supported"),
            Self::ShuttingDown => f.write_str("server is shutting down"),
            Self::Other(code) => write!(f, "error number {code}"),
        }
    }
}

/// The server's own words, in brackets, if it said any.
struct Aside<'a>(&'a str);

impl fmt::Display for Aside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}
