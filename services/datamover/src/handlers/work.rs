//! What all commands have in common.

use std::fmt;
use std::sync::Arc;

use actix::Recipient;
use async_trait::async_trait;
use cloud::Thawed;
use model::{InstanceId, JobId};
use prost::Message;
use proto::cmd::v1 as cmd;
use proto::common::v1::JobHeader;
use proto::convert::{self, Header, Malformed};

use super::abort_write::AbortWrite;
use super::cut_disks::CutDisks;
use super::describe_connector::DescribeConnector;
use super::drop_changes::DropChanges;
use super::end_cut::EndCut;
use super::freeze_guest::FreezeGuest;
use super::list_leftovers::ListLeftovers;
use super::purge_transfer::PurgeTransfer;
use super::remove_leftover::RemoveLeftover;
use super::thaw_guest::ThawGuest;
use super::transfer_disk::TransferDisk;
use super::verify_manifest::VerifyManifest;
use super::write_disk::WriteDisk;
use crate::actors::Stop;
use crate::outcome::{Halt, Outcome, StopReason};
use crate::pipeline::Control;
use crate::ports::Ports;

/// What a command may use while it runs.
#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub ports: Arc<Ports>,
    pub control: Control,
    /// To the supervisor: stops another job and waits for its end.
    pub stop: Recipient<Stop>,
}

/// A parsed command.
#[async_trait]
pub trait Work: fmt::Debug + Send + Sync {
    /// Whether it starts only on a grant, and is kept alive by heartbeats.
    fn needs_lease(&self) -> bool {
        false
    }

    /// Does it. May be run again after a crash.
    async fn run(&self, job: &Job) -> Outcome;

    /// Goes on after a restart of the process.
    async fn run_again(&self, job: &Job) -> Outcome {
        self.run(job).await
    }
}

/// A command that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("UNKNOWN_TYPE: this datamover knows no message {0:?}; is it older than the controller?")]
    UnknownType(String),
    #[error("UNDECODABLE: the body is no {type_name}")]
    Undecodable { type_name: String, source: prost::DecodeError },
    #[error("MALFORMED: {0}")]
    Malformed(Malformed),
}

/// Parses a command.
///
/// Errors: a type of no command, a body that does not decode, or fields that make no sense.
pub fn parse(type_name: &str, body: &[u8]) -> Result<(Header, Box<dyn Work>), Refusal> {
    match type_name {
        "holdfast.cmd.v1.FreezeGuest" => with(type_name, body, FreezeGuest::parse),
        "holdfast.cmd.v1.ThawGuest" => with(type_name, body, ThawGuest::parse),
        "holdfast.cmd.v1.CutDisks" => with(type_name, body, CutDisks::parse),
        "holdfast.cmd.v1.DescribeConnector" => with(type_name, body, DescribeConnector::parse),
        "holdfast.cmd.v1.DropChanges" => with(type_name, body, DropChanges::parse),
        "holdfast.cmd.v1.EndCut" => with(type_name, body, EndCut::parse),
        "holdfast.cmd.v1.TransferDisk" => with(type_name, body, TransferDisk::parse),
        "holdfast.cmd.v1.PurgeTransfer" => with(type_name, body, PurgeTransfer::parse),
        "holdfast.cmd.v1.VerifyManifest" => with(type_name, body, VerifyManifest::parse),
        "holdfast.cmd.v1.WriteDisk" => with(type_name, body, WriteDisk::parse),
        "holdfast.cmd.v1.ListLeftovers" => with(type_name, body, ListLeftovers::parse),
        "holdfast.cmd.v1.RemoveLeftover" => with(type_name, body, RemoveLeftover::parse),
        "holdfast.cmd.v1.AbortWrite" => with(type_name, body, AbortWrite::parse),
        _ => Err(Refusal::UnknownType(type_name.to_owned())),
    }
}

/// Commands have their header in the first field.
trait Headed {
    fn header(&self) -> Option<&JobHeader>;
}

macro_rules! headed {
    ($($name:ident),*) => {
        /// What commands there are.
        pub(crate) const COMMANDS: &[&str] = &[$(stringify!($name)),*];

        $(impl Headed for cmd::$name {
            fn header(&self) -> Option<&JobHeader> { self.header.as_ref() }
        })*
    };
}

headed!(
    FreezeGuest,
    ThawGuest,
    CutDisks,
    DescribeConnector,
    DropChanges,
    EndCut,
    TransferDisk,
    PurgeTransfer,
    VerifyManifest,
    WriteDisk,
    AbortWrite,
    ListLeftovers,
    RemoveLeftover
);

fn with<M, W>(
    type_name: &str,
    body: &[u8],
    parse: impl FnOnce(&M) -> Result<W, Malformed>,
) -> Result<(Header, Box<dyn Work>), Refusal>
where
    M: Message + Default + Headed,
    W: Work + 'static,
{
    let message =
        M::decode(body).map_err(|source| Refusal::Undecodable { type_name: type_name.to_owned(), source })?;
    let header = convert::header(message.header()).map_err(Refusal::Malformed)?;
    Ok((header, Box::new(parse(&message).map_err(Refusal::Malformed)?)))
}

impl Job {
    /// Thaws a guest; nobody need do it later.
    ///
    /// Errors: its agent does not, or the journal cannot be written.
    pub(super) async fn thaw(&self, instance: InstanceId) -> Result<Thawed, Halt> {
        let thawed = self.ports.host.thaw(instance).await.map_err(Halt::failed)?;
        self.ports.thaw_timer.disarm(instance).await;
        let noted = self.ports.journal.run(move |journal| journal.note_thaw(instance)).await;
        noted.map_err(|error| Halt::failed(error.failure()))?;
        Ok(thawed)
    }

    /// Bars all attempts of `other` for ever, and waits until none runs here.
    ///
    /// Errors: the journal cannot be written, or the supervisor is gone.
    pub(super) async fn bar_and_stop(&self, other: JobId) -> Result<(), Halt> {
        self.ports
            .journal
            .run(move |journal| journal.bar(other, u32::MAX))
            .await
            .map_err(|error| Halt::failed(error.failure()))?;
        let stop = Stop { job_id: other, attempt_max: u32::MAX, reason: StopReason::Superseded };
        // An error: the supervisor is dead, the process ends, and the job runs again at the next start.
        self.stop.send(stop).await.map_err(|_| Halt::Stopped(StopReason::Draining))
    }

    /// Forgets `other`, with its journals.
    ///
    /// Errors: the journal cannot be written.
    pub(super) async fn forget(&self, other: JobId) -> Result<(), Halt> {
        let removed = self.ports.journal.run(move |journal| journal.remove(other)).await;
        removed.map_err(|error| Halt::failed(error.failure()))
    }
}
