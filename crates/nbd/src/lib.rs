//! The NBD protocol, client side: how Holdfast reads and writes every disk.
//!
//! One [`Client`] speaks over one connected byte stream (a Unix socket, a pipe in memory) to one export of a server such
//! as `qemu-nbd`. It knows nothing of disks' files, of child processes or of retries; `disk` brings those.
//!
//! ```text
//!  read(offset, length) ──┐  pieces of at most 256 KiB          ┌──────────────┐
//!  write(offset, data)  ──┼─▶ a slot of 16 ─▶ pending[cookie] ─▶│ sending half │──▶ server
//!  block_status(…)      ──┘        ▲               │            └──────────────┘      │
//!                                  └── slot freed ─┴─ answer ◀──┌───────────────┐     │
//!                                                               │ receiving half│◀────┘
//!                                                               └───────────────┘
//! ```
//!
//! Three promises, each with tests:
//! - **The server is hostile.** Every length is checked against what was asked before a byte of it is read; on the
//!   server's word no more than 1 MiB is allocated; no bytes cause a panic; each breach of the protocol is a named [`wire::Malformed`].
//! - **Nothing hangs.** When the connection ends, in whatever way, every pending call fails at once, and a server that
//!   owes an answer for longer than [`Options::answer_max`] counts as gone, however busy it is otherwise.
//! - **Every call may be dropped.** A dropped call gives up only its answer: the request still runs to its end, its slot
//!   is freed by its reply, and no other request is disturbed.
//!
//! Source: <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>. Left out on purpose: oldstyle
//! negotiation, TLS (our sockets are local), simple replies to reads, extended headers.

pub mod wire;

mod answer;
mod client;
mod connection;
mod error;
mod negotiation;
mod pending;

pub use client::{
    Client, DirtyExtent, Options, READ_LENGTH_MAX, REQUEST_COUNT_MAX, REQUEST_LENGTH_MAX, StatusExtent,
    Zeroing,
};
pub use error::{Error, ServerErrno};
pub use negotiation::{BlockSize, Export};
