//! Who asks, and what they may do.

use std::collections::BTreeSet;
use std::str::FromStr;

use model::{Owner, ProjectId, UserId};

use super::Error;

/// What a user is in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads and writes, and sees what belongs to the operator.
    Admin,
    /// Reads and writes.
    Member,
    /// Reads.
    Reader,
}

impl Role {
    /// The word in a tokens file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Reader => "reader",
        }
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Admin, Self::Member, Self::Reader]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no role: expected admin, member or reader"))
    }
}

/// What one may be allowed to do; the text is the rule's name in refusals, as in T4O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    WorkloadRead,
    WorkloadCreate,
    SnapshotRead,
    SnapshotCreate,
    SnapshotCancel,
    RestoreRead,
    RestoreCreate,
    RestoreCancel,
    SagaRead,
    SagaCancel,
    SagaOperate,
    DeadLetterRead,
    DeadLetterOperate,
    StatusRead,
    TargetRead,
}

/// What a caller must be for an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Any role in the project.
    Reader,
    /// One that writes.
    Member,
    /// The operator's own.
    Admin,
}

impl Action {
    /// The rule's name.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::WorkloadRead => "workload:workload_show",
            Self::WorkloadCreate => "workload:workload_create",
            Self::SnapshotRead => "workload:snapshot_show",
            Self::SnapshotCreate => "workload:workload_snapshot",
            Self::SnapshotCancel => "snapshot:snapshot_cancel",
            Self::RestoreRead => "restore:restore_show",
            Self::RestoreCreate => "snapshot:snapshot_restore",
            Self::RestoreCancel => "restore:restore_cancel",
            Self::SagaRead => "saga:saga_show",
            Self::SagaCancel => "saga:saga_cancel",
            Self::SagaOperate => "saga:saga_operate",
            Self::DeadLetterRead => "bus:dead_letter_show",
            Self::DeadLetterOperate => "bus:dead_letter_operate",
            Self::StatusRead => "status:status_show",
            Self::TargetRead => "target:target_show",
        }
    }

    const fn needs(self) -> Needs {
        match self {
            Self::WorkloadRead
            | Self::SnapshotRead
            | Self::RestoreRead
            | Self::SagaRead
            | Self::TargetRead => Needs::Reader,
            Self::WorkloadCreate
            | Self::SnapshotCreate
            | Self::SnapshotCancel
            | Self::RestoreCreate
            | Self::RestoreCancel
            | Self::SagaCancel => Needs::Member,
            // These reach across projects: a saga's steps, every service's letters, every host's load.
            Self::SagaOperate | Self::DeadLetterRead | Self::DeadLetterOperate | Self::StatusRead => {
                Needs::Admin
            }
        }
    }
}

/// A user who proved who they are, within one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub user: UserId,
    pub project: ProjectId,
    pub roles: BTreeSet<Role>,
}

impl Caller {
    /// A service that publishes to the intake; its grant was checked before, and it may do what a member may.
    #[must_use]
    pub fn intake(user: UserId, project: ProjectId) -> Self {
        Self { user, project, roles: BTreeSet::from([Role::Member]) }
    }

    /// On whose behalf the caller asks the cloud.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner { project_id: self.project.clone(), user_id: self.user.clone() }
    }

    /// Whether the caller may do it.
    ///
    /// Errors: `FORBIDDEN`.
    pub fn check(&self, action: Action) -> Result<(), Error> {
        let writes = self.roles.contains(&Role::Member) || self.is_admin();
        let allowed = match action.needs() {
            Needs::Reader => writes || self.roles.contains(&Role::Reader),
            Needs::Member => writes,
            Needs::Admin => self.is_admin(),
        };
        if allowed {
            Ok(())
        } else {
            Err(Error::forbidden(format!("Policy doesn't allow {} to be performed.", action.rule())))
        }
    }

    /// Whether the operator's things are shown.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.roles.contains(&Role::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_caller(roles: &[Role]) -> Caller {
        Caller {
            user: "u".parse().unwrap(),
            project: "p".parse().unwrap(),
            roles: roles.iter().copied().collect(),
        }
    }

    #[test]
    fn a_reader_only_reads_and_nobody_does_nothing() {
        let reader = make_caller(&[Role::Reader]);
        assert!(reader.check(Action::SnapshotRead).is_ok());
        let error = reader.check(Action::SnapshotCreate).unwrap_err().to_string();
        assert_eq!(error, "Policy doesn't allow workload:workload_snapshot to be performed.");
        assert!(make_caller(&[Role::Member]).check(Action::SnapshotCreate).is_ok());
        assert!(make_caller(&[]).check(Action::SagaRead).is_err());
    }

    #[test]
    fn what_concerns_the_whole_site_is_the_operators() {
        let site =
            [Action::SagaOperate, Action::DeadLetterRead, Action::DeadLetterOperate, Action::StatusRead];
        for action in site {
            assert!(make_caller(&[Role::Admin]).check(action).is_ok(), "{action:?}");
            assert!(make_caller(&[Role::Member, Role::Reader]).check(action).is_err(), "{action:?}");
        }
    }
}
