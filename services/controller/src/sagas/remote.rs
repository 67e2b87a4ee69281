//! Work that somebody else does for a step: a typed command of the bus, where it goes, and what its answer says. The
//! engine fills in the job header and the placement; nothing here knows of queues.

use model::{ErrorClass, Failure, JobId, ProjectId};
use prost::{Message as _, Name as _};
use proto::cmd::v1 as cmd;
use proto::common::v1::{JobHeader, Placement};
use proto::convert::PlacedAt;
use proto::rep::v1::job_succeeded::Result as Answer;

use super::Output;

/// One piece of remote work.
#[derive(Debug, Clone, PartialEq)]
pub struct Remote {
    pub route: Route,
    pub command: Command,
    /// What it works on, for people: `disk vda of instance web-1`.
    pub subject: String,
    /// The first that takes a failure counts.
    pub tolerances: Vec<Tolerance>,
}

/// Where a command goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// A cloud worker of the controllers.
    Cloud,
    /// A datamover; dmapi finds which.
    Placed(PlacedAt),
    /// The host that accepted `job`; where nobody did, `otherwise`.
    WhereItRan { job: JobId, otherwise: PlacedAt },
}

/// Failures that a step takes as an answer, so that the saga goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Tolerance {
    /// A failure that may pass is retried until this attempt; a permanent one is taken at once.
    pub attempts_max: u32,
    pub codes: Codes,
    /// Absent: the step learns of the failure itself.
    pub instead: Option<Answer>,
}

impl Tolerance {
    /// Of whatever failure: the step learns of it.
    #[must_use]
    pub const fn of_all(attempts_max: u32) -> Self {
        Self { attempts_max, codes: Codes::AllBut(&[]), instead: None }
    }
}

/// Answers of dmapi that an instance is on no host any more.
pub(super) const INSTANCE_GONE: &[&str] =
    &["INSTANCE_NOT_FOUND", "INSTANCE_DELETED", "INSTANCE_SHELVED", "INSTANCE_NEVER_PLACED"];

/// Codes that are tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codes {
    AllBut(&'static [&'static str]),
    Only(&'static [&'static str]),
}

impl Codes {
    fn contain(self, code: &str) -> bool {
        match self {
            Self::AllBut(codes) => !codes.contains(&code),
            Self::Only(codes) => codes.contains(&code),
        }
    }
}

impl Tolerance {
    fn output(&self, failure: &Failure, attempt: u32) -> Option<Output> {
        let hopeless = !failure.class.may_pass() || attempt >= self.attempts_max;
        let tolerable = !matches!(failure.class, ErrorClass::Bug | ErrorClass::Cancelled)
            && self.codes.contain(&failure.code);
        let instead = self.instead.clone().map(Output::Remote);
        (hopeless && tolerable).then(|| instead.unwrap_or_else(|| Output::Failed(failure.clone())))
    }
}

/// A command as the wire takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Full proto name, for example `holdfast.cmd.v1.TransferDisk`.
    pub type_name: String,
    /// The last word of the routing key, for example `transfer_disk`.
    pub verb: &'static str,
    pub body: Vec<u8>,
}

macro_rules! commands {
    (cloud { $($cloud:ident = $cloud_verb:literal,)* } mover { $($mover:ident = $mover_verb:literal,)* }) => {
        /// The commands that sagas send.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Command { $($cloud(cmd::$cloud),)* $($mover(cmd::$mover),)* }

        impl Command {
            /// Encodes the command with its header, and with its placement where a datamover is to take it.
            #[must_use]
            #[allow(clippy::needless_update)] // some have nothing but their header
            pub fn encode(&self, header: JobHeader, placement: Option<Placement>) -> Encoded {
                match self {
                    $(Self::$cloud(command) => {
                        let body = cmd::$cloud { header: Some(header), ..command.clone() }.encode_to_vec();
                        Encoded { type_name: cmd::$cloud::full_name(), verb: $cloud_verb, body }
                    })*
                    $(Self::$mover(command) => {
                        let body = cmd::$mover { header: Some(header), placement, ..command.clone() }.encode_to_vec();
                        Encoded { type_name: cmd::$mover::full_name(), verb: $mover_verb, body }
                    })*
                }
            }

            /// The last word of its routing key, by which services announce that they know it.
            #[must_use]
            pub const fn verb(&self) -> &'static str {
                match self {
                    $(Self::$cloud(_) => $cloud_verb,)*
                    $(Self::$mover(_) => $mover_verb,)*
                }
            }
        }

        $(impl From<cmd::$cloud> for Command { fn from(command: cmd::$cloud) -> Self { Self::$cloud(command) } })*
        $(impl From<cmd::$mover> for Command { fn from(command: cmd::$mover) -> Self { Self::$mover(command) } })*
    };
}

commands! {
    cloud {
        DescribeInstance = "describe_instance",
        CreateVolumeSnapshot = "create_volume_snapshot",
        DeleteVolumeSnapshots = "delete_volume_snapshots",
        CreateVolume = "create_volume",
        DeleteVolume = "delete_volume",
        AttachVolume = "attach_volume",
        DetachVolumes = "detach_volumes",
        CreateInstance = "create_instance",
        DeleteInstance = "delete_instance",
        CheckRestorePlan = "check_restore_plan",
        CheckQuotas = "check_quotas",
        RevokeTrust = "revoke_trust",
        ListTagged = "list_tagged",
        WriteRecords = "write_records",
        RemoveRecords = "remove_records",
    }
    mover {
        FreezeGuest = "freeze_guest",
        ThawGuest = "thaw_guest",
        CutDisks = "cut_disks",
        EndCut = "end_cut",
        DescribeConnector = "describe_connector",
        DropChanges = "drop_changes",
        TransferDisk = "transfer_disk",
        PurgeTransfer = "purge_transfer",
        VerifyManifest = "verify_manifest",
        WriteDisk = "write_disk",
        AbortWrite = "abort_write",
        ListLeftovers = "list_leftovers",
        RemoveLeftover = "remove_leftover",
    }
}

impl Command {
    /// Whether the worker must wait for a lease, and loses the job with it.
    #[must_use]
    pub const fn needs_lease(&self) -> bool {
        matches!(self, Self::TransferDisk(_) | Self::PurgeTransfer(_) | Self::WriteDisk(_))
    }
}

impl Remote {
    /// Work for a cloud worker.
    #[must_use]
    pub fn cloud(command: impl Into<Command>, subject: impl Into<String>) -> Self {
        Self { route: Route::Cloud, command: command.into(), subject: subject.into(), tolerances: Vec::new() }
    }

    /// Asks whether the quotas of a project have room for all that is planned.
    #[must_use]
    pub fn check_quotas(
        project_id: &ProjectId,
        user_id: String,
        planned: impl Iterator<Item = cmd::planned::Kind>,
    ) -> Self {
        let command = cmd::CheckQuotas {
            project_id: project_id.to_string(),
            user_id,
            planned: planned.map(|kind| cmd::Planned { kind: Some(kind) }).collect(),
            ..Default::default()
        };
        Self::cloud(command, "the quotas of the project")
    }

    /// Work for a datamover that dmapi finds.
    #[must_use]
    pub fn placed(at: PlacedAt, command: impl Into<Command>, subject: impl Into<String>) -> Self {
        Self {
            route: Route::Placed(at),
            command: command.into(),
            subject: subject.into(),
            tolerances: Vec::new(),
        }
    }

    /// Work for the host that ran `job`; where none did, for `otherwise`.
    #[must_use]
    pub fn where_it_ran(
        job: JobId,
        otherwise: PlacedAt,
        command: impl Into<Command>,
        subject: impl Into<String>,
    ) -> Self {
        let route = Route::WhereItRan { job, otherwise };
        Self { route, command: command.into(), subject: subject.into(), tolerances: Vec::new() }
    }

    /// Takes some failures as an answer.
    #[must_use]
    pub fn tolerating(mut self, tolerance: Tolerance) -> Self {
        self.tolerances.push(tolerance);
        self
    }

    /// What to go on with after `failure` of attempt number `attempt`, if it is tolerated.
    #[must_use]
    pub fn tolerate(&self, failure: &Failure, attempt: u32) -> Option<Output> {
        self.tolerances.iter().find_map(|tolerance| tolerance.output(failure, attempt))
    }
}
