//! Who asks, and what they may do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use model::{Owner, ProjectId, UserId};
use secrecy::SecretString;

use super::Error;

/// What a user is in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees and settles what belongs to the operator. It does not write for a project: that takes `Member`.
    Admin,
    /// Writes, and reads. Where a cloud vouches for users this is the trustee role: the one that a trust can lend.
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
    WorkloadReset,
    WorkloadDelete,
    WorkloadModify,
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
    LeftoverSweep,
    TargetRead,
    TrustRead,
    TrustCreate,
    TrustDelete,
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
            Self::WorkloadReset => "workload:workload_reset",
            Self::WorkloadDelete => "workload:workload_delete",
            Self::WorkloadModify => "workload:workload_modify",
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
            Self::LeftoverSweep => "leftover:leftover_sweep",
            Self::TargetRead => "target:target_show",
            Self::TrustRead => "workload:trust_show",
            Self::TrustCreate => "workload:trust_create",
            Self::TrustDelete => "workload:trust_delete",
        }
    }

    const fn needs(self) -> Needs {
        match self {
            Self::WorkloadRead
            | Self::SnapshotRead
            | Self::RestoreRead
            | Self::SagaRead
            | Self::TargetRead
            | Self::TrustRead => Needs::Reader,
            Self::WorkloadCreate
            | Self::WorkloadReset
            | Self::WorkloadDelete
            | Self::WorkloadModify
            | Self::SnapshotCreate
            | Self::SnapshotCancel
            | Self::RestoreCreate
            | Self::RestoreCancel
            | Self::SagaCancel
            | Self::TrustCreate
            | Self::TrustDelete => Needs::Member,
            // These reach across projects: a saga's steps, every service's letters, every host's load.
            Self::SagaOperate
            | Self::DeadLetterRead
            | Self::DeadLetterOperate
            | Self::StatusRead
            | Self::LeftoverSweep => Needs::Admin,
        }
    }
}

/// What roles are called where they are given: refusals name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleNames {
    pub admin: String,
    pub member: String,
    pub readers: Vec<String>,
}

impl Default for RoleNames {
    fn default() -> Self {
        let name = |role: Role| role.as_str().to_owned();
        Self { admin: name(Role::Admin), member: name(Role::Member), readers: vec![name(Role::Reader)] }
    }
}

/// What else the cloud says of a user and the project of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub user: Named,
    pub project: Named,
    /// All roles in the project, as they are called there.
    pub role_names: BTreeSet<String>,
}

/// A name is unique in its domain only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    /// `None`: nobody said.
    pub domain: Option<String>,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.domain.as_ref().map_or(Ok(()), |domain| write!(f, " (domain {domain})"))
    }
}

/// A user who proved who they are, within one project.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: UserId,
    pub project: ProjectId,
    pub roles: BTreeSet<Role>,
    pub role_names: Arc<RoleNames>,
    /// `None`: nobody knows more than the ids.
    pub profile: Option<Arc<Profile>>,
    /// With which the request came, where a trust can be made with it. It lives as long as the request.
    pub token: Option<SecretString>,
}

impl Caller {
    /// Somebody of whom no more is known.
    #[must_use]
    pub fn new(user: UserId, project: ProjectId, roles: BTreeSet<Role>) -> Self {
        Self { user, project, roles, role_names: Arc::default(), profile: None, token: None }
    }

    /// A service that publishes to the intake; its grant was checked before, and it may do what a member may.
    #[must_use]
    pub fn intake(user: UserId, project: ProjectId) -> Self {
        Self::new(user, project, BTreeSet::from([Role::Member]))
    }

    /// On whose behalf the caller asks the cloud.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner { project_id: self.project.clone(), user_id: self.user.clone() }
    }

    /// Whether the caller may do it.
    ///
    /// Errors: `FORBIDDEN`, naming the role that is missing.
    pub fn check(&self, action: Action) -> Result<(), Error> {
        let names = &self.role_names;
        let (allowed, wanted) = match action.needs() {
            Needs::Reader => (!self.roles.is_empty(), names.readers.join(" or ")),
            Needs::Member => (self.roles.contains(&Role::Member), names.member.clone()),
            Needs::Admin => (self.is_admin(), names.admin.clone()),
        };
        if allowed {
            return Ok(());
        }
        let (user, project) = match &self.profile {
            Some(profile) => (profile.user.to_string(), profile.project.to_string()),
            None => (self.user.to_string(), self.project.to_string()),
        };
        let not_replaced = match action.needs() {
            Needs::Member if self.is_admin() => format!(", and role {} does not replace it", names.admin),
            _ => String::new(),
        };
        Err(Error::forbidden(format!(
            "Policy doesn't allow {} to be performed. User {user} lacks role {wanted} in project {project}{not_replaced}: ask \
             whoever manages the project to assign it.",
            action.rule()
        )))
    }

    /// Whether a trust of `owner` can be made with this request.
    #[must_use]
    pub fn can_entrust(&self, owner: &Owner) -> bool {
        self.token.is_some() && self.owner() == *owner
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
        Caller::new("u".parse().unwrap(), "p".parse().unwrap(), roles.iter().copied().collect())
    }

    #[test]
    fn a_reader_only_reads_and_nobody_does_nothing() {
        let reader = make_caller(&[Role::Reader]);
        assert!(reader.check(Action::SnapshotRead).is_ok());
        let error = reader.check(Action::SnapshotCreate).unwrap_err().to_string();
        assert!(
            error.starts_with("Policy doesn't allow workload:workload_snapshot to be performed. "),
            "{error}"
        );
        assert!(error.contains("User u lacks role member in project p: ask"), "{error}");
        assert!(make_caller(&[Role::Member]).check(Action::SnapshotCreate).is_ok());
        assert!(make_caller(&[]).check(Action::SagaRead).is_err());
    }

    #[test]
    fn an_admin_without_the_role_that_writes_is_refused_by_the_names_of_the_cloud() {
        let named = |name: &str| Named { name: name.to_owned(), domain: Some("Default".to_owned()) };
        let mut caller = make_caller(&[Role::Admin, Role::Reader]);
        caller.role_names = Arc::new(RoleNames {
            admin: "cloud-admin".to_owned(),
            member: "creator".to_owned(),
            readers: Vec::new(),
        });
        caller.profile = Some(Arc::new(Profile {
            user: named("alice"),
            project: named("shop"),
            role_names: BTreeSet::new(),
        }));
        let error = caller.check(Action::WorkloadCreate).unwrap_err().to_string();
        let expected = "User alice (domain Default) lacks role creator in project shop (domain Default), and role \
                        cloud-admin does not replace it";
        assert!(error.contains(expected), "{error}");
        assert!(caller.check(Action::WorkloadRead).is_ok());
        caller.roles.insert(Role::Member);
        assert!(caller.check(Action::WorkloadCreate).is_ok());
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
