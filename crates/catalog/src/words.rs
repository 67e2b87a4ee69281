//! The closed sets of words that columns hold, where `model` has none.

use std::str::FromStr;

use model::SagaId;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident($noun:literal) { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word in the database and the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }

        impl FromStr for $name {
            type Err = model::InvalidState;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(model::InvalidState { noun: $noun, text: text.to_owned() }),
                }
            }
        }
    )*};
}

words! {
    /// How far one instance or disk of a snapshot or restore is.
    PartStatus("part") {
        /// Nothing was done for it yet.
        Pending = "pending",
        /// Bytes move.
        Running = "running",
        /// Done and verified.
        Available = "available",
        /// Failed, or taken back after a failure.
        Error = "error",
        /// Taken back after a cancel.
        Cancelled = "cancelled",
    }

    /// What a restore makes.
    RestoreKind("restore kind") {
        /// All instances as they were.
        OneClick = "oneclick",
        /// Chosen instances, with changes.
        Selective = "selective",
    }

    /// Which way a step is walked.
    JobDirection("job direction") {
        Action = "action",
        Undo = "undo",
    }

    /// Where a job stands.
    JobState("job") {
        /// Its command is in the outbox or on the bus.
        Queued = "queued",
        /// A worker has it durably.
        Accepted = "accepted",
        /// A worker has its lease.
        Running = "running",
        /// Its result was taken, or it was given up.
        Done = "done",
    }

    /// Who gives signs of life.
    ServiceKind("service") {
        Controller = "controller",
        Dmapi = "dmapi",
        Datamover = "datamover",
    }

    /// What the cloud tells of.
    SubjectKind("subject") {
        Instance = "instance",
        Volume = "volume",
    }

    /// What a timer is for.
    TimerKind("timer") {
        Retry = "retry",
        /// An attempt has had no answer for too long.
        Deadline = "deadline",
        /// The whole saga takes too long.
        SagaDeadline = "saga_deadline",
        /// A stuck saga is tried once more.
        StuckRetry = "stuck_retry",
    }

    /// Whether a trust lets us act.
    TrustState("trust") {
        /// It did when it was last used.
        Available = "available",
        /// The cloud refused it.
        Error = "error",
    }
}

/// One branch of one step of a saga, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchKey {
    pub saga_id: SagaId,
    pub step: u16,
    pub branch: u16,
    pub direction: JobDirection,
}
