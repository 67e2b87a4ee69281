//! Carries out the jobs of the controllers' cloud workers: calls to the cloud, and records on a target. Every effect may
//! be repeated: creates find what bears their tag, deletes succeed when nothing does, records are replaced.
//!
//! It knows neither sagas nor the bus. Called by the actor `cloud_worker`.

mod records;
mod removal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backup_target::BackupTarget;
use cloud::{Cloud, InstanceDescription, NewInstance, NewVolume, Planned, Tag};
use model::{ByteCount, ErrorClass, Failure, InstanceId, Owner, TargetId};
use prost::{Message, Name};
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1 as rep;
use proto::rep::v1::job_succeeded::Result as Answer;
use service_kit::sealing;

use crate::app::{self, trusts::TrustBook};

/// What a session says whose login Keystone refused.
const LOGIN_REFUSED: &str = "OPENSTACK_LOGIN_REFUSED";

/// What cloud jobs act on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CloudJobs {
    cloud: Arc<dyn Cloud>,
    targets: Arc<BTreeMap<TargetId, Arc<dyn BackupTarget>>>,
    trusts: Option<Arc<dyn TrustBook>>,
    second_look_after: Duration,
}

/// A cloud job as it came.
#[derive(Debug, Clone, PartialEq)]
pub enum CloudCommand {
    DescribeInstance(cmd::DescribeInstance),
    CreateVolumeSnapshot(cmd::CreateVolumeSnapshot),
    DeleteVolumeSnapshots(cmd::DeleteVolumeSnapshots),
    CreateVolume(cmd::CreateVolume),
    DeleteVolume(cmd::DeleteVolume),
    AttachVolume(cmd::AttachVolume),
    DetachVolumes(cmd::DetachVolumes),
    CreateInstance(cmd::CreateInstance),
    DeleteInstance(cmd::DeleteInstance),
    CheckRestorePlan(cmd::CheckRestorePlan),
    CheckQuotas(cmd::CheckQuotas),
    RevokeTrust(cmd::RevokeTrust),
    ListTagged(cmd::ListTagged),
    WriteRecords(cmd::WriteRecords),
    RemoveRecords(cmd::RemoveRecords),
}

/// A command that no cloud worker can read.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    #[error("the type {0} is no cloud job")]
    UnknownType(String),
    #[error("the body is no {type_name}: {source}")]
    Body { type_name: String, source: prost::DecodeError },
}

macro_rules! decode {
    ($type_name:expr, $body:expr, { $($name:ident,)* }) => {
        match $type_name {
            $(name if name == cmd::$name::full_name() => cmd::$name::decode($body)
                .map(CloudCommand::$name)
                .map_err(|source| Undecodable::Body { type_name: name.to_owned(), source }),)*
            other => Err(Undecodable::UnknownType(other.chars().take(100).collect())),
        }
    };
}

impl CloudCommand {
    /// Reads a command by its full proto name.
    ///
    /// Errors: the type is no cloud job, or the body does not decode.
    pub fn decode(type_name: &str, body: &[u8]) -> Result<Self, Undecodable> {
        decode!(type_name, body, {
            DescribeInstance,
            CreateVolumeSnapshot,
            DeleteVolumeSnapshots,
            CreateVolume,
            DeleteVolume,
            AttachVolume,
            DetachVolumes,
            CreateInstance,
            DeleteInstance,
            CheckRestorePlan,
            CheckQuotas,
            RevokeTrust,
            ListTagged,
            WriteRecords,
            RemoveRecords,
        })
    }

    /// On whose behalf the cloud is asked; `None` of records, which are not the cloud's.
    fn owner(&self) -> Option<Owner> {
        let (project_id, user_id) = match self {
            Self::DescribeInstance(it) => (&it.project_id, &it.user_id),
            Self::CreateVolumeSnapshot(it) => (&it.project_id, &it.user_id),
            Self::DeleteVolumeSnapshots(it) => (&it.project_id, &it.user_id),
            Self::CreateVolume(it) => (&it.project_id, &it.user_id),
            Self::DeleteVolume(it) => (&it.project_id, &it.user_id),
            Self::AttachVolume(it) => (&it.project_id, &it.user_id),
            Self::DetachVolumes(it) => (&it.project_id, &it.user_id),
            Self::CreateInstance(it) => (&it.project_id, &it.user_id),
            Self::DeleteInstance(it) => (&it.project_id, &it.user_id),
            Self::CheckRestorePlan(it) => (&it.project_id, &it.user_id),
            Self::CheckQuotas(it) => (&it.project_id, &it.user_id),
            Self::ListTagged(it) => (&it.project_id, &it.user_id),
            // That the trust does not hold is as good.
            Self::RevokeTrust(_) | Self::WriteRecords(_) | Self::RemoveRecords(_) => return None,
        };
        owner(project_id, user_id).ok()
    }
}

/// A cloud job that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobError {
    pub failure: Failure,
    /// Proved: this run left nothing to take back.
    pub effect_free: bool,
}

impl From<Failure> for JobError {
    fn from(failure: Failure) -> Self {
        Self { failure, effect_free: false }
    }
}

impl CloudJobs {
    /// The cloud, and the targets of the configuration.
    #[must_use]
    pub fn new(cloud: Arc<dyn Cloud>, targets: Vec<Arc<dyn BackupTarget>>) -> Self {
        let targets = targets.into_iter().map(|target| (target.id(), target)).collect();
        Self { cloud, targets: Arc::new(targets), trusts: None, second_look_after: Duration::ZERO }
    }

    /// With the trusts on which the cloud is asked: what they have to do with a failure is then said.
    #[must_use]
    pub fn with_trusts(self, trusts: Option<Arc<dyn TrustBook>>) -> Self {
        Self { trusts, ..self }
    }

    /// How long after a removal it is looked once more for what a lost creation may have made.
    #[must_use]
    pub fn with_second_look(self, second_look_after: Duration) -> Self {
        Self { second_look_after, ..self }
    }

    /// Does one job.
    ///
    /// Errors: what the cloud or the target says; `COMMAND_INVALID` for ids that make no sense. Cancel safe: no.
    pub async fn run(&self, command: &CloudCommand) -> Result<Answer, JobError> {
        match self.carry_out(command).await {
            Err(error) if error.failure.class == ErrorClass::Permanent => {
                Err(self.explain(command, error).await)
            }
            outcome => outcome,
        }
    }

    /// What the cloud refuses for good, it may refuse since the owner's trust does not hold any more: then that is the failure.
    async fn explain(&self, command: &CloudCommand, error: JobError) -> JobError {
        let (Some(trusts), Some(owner)) = (&self.trusts, command.owner()) else { return error };
        let is_login = error.failure.code == LOGIN_REFUSED;
        match trusts.check(&owner).await {
            Err(app::Error::Trust(failure)) if is_login || failure.class == ErrorClass::Permanent => {
                JobError { failure, ..error }
            }
            // The trust was made anew, or our own password changed, while the job had a session.
            Ok(_) if is_login => {
                let failure = Failure { class: ErrorClass::Transient, ..error.failure };
                JobError { failure, ..error }
            }
            _ => error,
        }
    }

    async fn carry_out(&self, command: &CloudCommand) -> Result<Answer, JobError> {
        let answer = match command {
            CloudCommand::DescribeInstance(command) => self.describe_instance(command).await?,
            CloudCommand::CreateVolumeSnapshot(command) => self.create_volume_snapshot(command).await?,
            CloudCommand::DeleteVolumeSnapshots(command) => {
                self.delete_volume_snapshots(command).await.map(done)?
            }
            CloudCommand::CreateVolume(command) => self.create_volume(command).await?,
            CloudCommand::DeleteVolume(command) => self.delete_volumes(command).await.map(done)?,
            CloudCommand::AttachVolume(command) => self.attach_volume(command).await?,
            CloudCommand::DetachVolumes(command) => self.detach_volumes(command).await.map(done)?,
            CloudCommand::CreateInstance(command) => self.create_instance(command).await?,
            CloudCommand::DeleteInstance(command) => self.delete_instances(command).await.map(done)?,
            CloudCommand::CheckRestorePlan(command) => self.check_restore_plan(command).await.map(done)?,
            CloudCommand::CheckQuotas(command) => self.check_quotas(command).await.map(done)?,
            CloudCommand::RevokeTrust(command) => self.revoke_trust(command).await.map(done)?,
            CloudCommand::ListTagged(command) => self.list_tagged(command).await?,
            CloudCommand::WriteRecords(command) => {
                records::write(self.target(&command.target_id)?, &command.records).await.map(done)?
            }
            CloudCommand::RemoveRecords(command) => {
                records::remove(self.target(&command.target_id)?, &command.names).await.map(done)?
            }
        };
        Ok(answer)
    }

    async fn describe_instance(&self, command: &cmd::DescribeInstance) -> Result<Answer, Failure> {
        let instance = convert::id("instance_id", &command.instance_id).map_err(invalid)?;
        let description =
            self.cloud.describe_instance(&owner(&command.project_id, &command.user_id)?, instance).await?;
        let description = serde_json::to_vec(&description).expect("a description is plain data");
        Ok(Answer::InstanceDescribed(rep::InstanceDescribed { description }))
    }

    async fn create_volume_snapshot(&self, command: &cmd::CreateVolumeSnapshot) -> Result<Answer, Failure> {
        let volume = convert::id("volume_id", &command.volume_id).map_err(invalid)?;
        let tag = Tag::from_text(&command.tag);
        self.cloud
            .create_volume_snapshot(&owner(&command.project_id, &command.user_id)?, volume, &tag)
            .await
            .map(created)
    }

    async fn create_volume(&self, command: &cmd::CreateVolume) -> Result<Answer, Failure> {
        let format = command.disk_format.parse().map_err(|error: model::InvalidState| {
            Failure::permanent("COMMAND_INVALID", format!("field disk_format: {error}"))
        })?;
        let volume = NewVolume {
            name: command.name.clone(),
            size: ByteCount(command.size_bytes),
            volume_type: command.volume_type.clone(),
            format,
            bootable: command.bootable,
            source: convert::optional_id("volume_snapshot_id", &command.volume_snapshot_id)
                .map_err(invalid)?,
            image_properties: command.image_properties.clone(),
            tag: Tag::from_text(&command.tag),
        };
        self.cloud.create_volume(&owner(&command.project_id, &command.user_id)?, &volume).await.map(created)
    }

    /// What the storage says of the connection goes no further than its seal.
    async fn attach_volume(&self, command: &cmd::AttachVolume) -> Result<Answer, Failure> {
        let volume = convert::id("volume_id", &command.volume_id).map_err(invalid)?;
        let connector = String::from_utf8_lossy(&command.connector);
        let owner = owner(&command.project_id, &command.user_id)?;
        let attached = self.cloud.attach_volume(&owner, volume, &connector).await?;
        let sealed = sealing::seal(&command.public_key, attached.connection.expose_json().as_bytes())?;
        Ok(Answer::VolumeAttached(rep::VolumeAttached { attachment_id: attached.attachment_id, sealed }))
    }

    async fn create_instance(&self, command: &cmd::CreateInstance) -> Result<Answer, Failure> {
        let description: InstanceDescription = serde_json::from_slice(&command.description)
            .map_err(|error| Failure::permanent("COMMAND_INVALID", format!("field description: {error}")))?;
        let volume_ids = command
            .volume_ids
            .iter()
            .map(|id| convert::id("volume_ids", id))
            .collect::<Result<_, _>>()
            .map_err(invalid)?;
        let tag = Tag::from_text(&command.tag);
        let instance = NewInstance { name: command.name.clone(), description, volume_ids, tag };
        self.cloud
            .create_instance(&owner(&command.project_id, &command.user_id)?, &instance)
            .await
            .map(created)
    }

    /// Codes: `QUOTA_TOO_SMALL`.
    async fn check_quotas(&self, command: &cmd::CheckQuotas) -> Result<(), Failure> {
        let plan: Vec<Planned> = command.planned.iter().map(planned).collect::<Result<_, _>>()?;
        self.cloud.check_quotas(&owner(&command.project_id, &command.user_id)?, &plan).await
    }

    /// Codes: `VOLUME_NOT_WRITABLE`, `ORIGINAL_EXISTS`, `NAME_TAKEN`.
    async fn check_restore_plan(&self, command: &cmd::CheckRestorePlan) -> Result<(), Failure> {
        if !command.unwritable_disks.is_empty() {
            let message = format!(
                "volumes of storage that is reached by an attachment only cannot be written yet: {}; restore the other instances, \
                 and take the bytes of these from the target (docs/target-format.md)",
                command.unwritable_disks.join(", ")
            );
            return Err(Failure::permanent("VOLUME_NOT_WRITABLE", message));
        }
        let instances = self.cloud.list_instances(&owner(&command.project_id, &command.user_id)?).await?;
        let by_id: BTreeMap<String, &str> = instances
            .iter()
            .map(|(id, name): &(InstanceId, String)| (id.to_string(), name.as_str()))
            .collect();
        for id in &command.absent_instance_ids {
            if let Some(name) = by_id.get(id) {
                return Err(Failure::permanent(
                    "ORIGINAL_EXISTS",
                    format!(
                        "instance {name} ({id}) still exists: a one-click restore brings back only what is gone; \
                         delete it, or make a selective restore under a new name"
                    ),
                ));
            }
        }
        let names: BTreeSet<&str> = by_id.values().copied().collect();
        match command.new_names.iter().find(|name| names.contains(name.as_str())) {
            Some(name) => Err(Failure::permanent(
                "NAME_TAKEN",
                format!("an instance named {name} exists already: choose another name for the restored one"),
            )),
            None => Ok(()),
        }
    }

    fn target(&self, id: &str) -> Result<&dyn BackupTarget, Failure> {
        let id: TargetId = convert::id("target_id", id).map_err(invalid)?;
        self.targets.get(&id).map(AsRef::as_ref).ok_or_else(|| {
            Failure::permanent(
                "TARGET_UNKNOWN",
                format!("backup target {id} is not in this controller's configuration: add its [[target]]"),
            )
        })
    }
}

fn planned(wire: &cmd::Planned) -> Result<Planned, Failure> {
    match &wire.kind {
        Some(cmd::planned::Kind::VolumeSnapshot(volume)) => Ok(Planned::VolumeSnapshot {
            volume_type: volume.volume_type.clone(),
            size: ByteCount(volume.size_bytes),
        }),
        Some(cmd::planned::Kind::Volume(volume)) => Ok(Planned::Volume {
            volume_type: volume.volume_type.clone(),
            size: ByteCount(volume.size_bytes),
        }),
        Some(cmd::planned::Kind::Instance(instance)) => {
            Ok(Planned::Instance { vcpus: instance.vcpus, ram_mib: instance.ram_mib })
        }
        None => Err(Failure::permanent("COMMAND_INVALID", "field planned: a thing without a kind")),
    }
}

fn owner(project_id: &str, user_id: &str) -> Result<Owner, Failure> {
    let project_id = convert::id("project_id", project_id).map_err(invalid)?;
    Ok(Owner { project_id, user_id: convert::id("user_id", user_id).map_err(invalid)? })
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn invalid(error: Malformed) -> Failure {
    Failure::permanent("COMMAND_INVALID", error.to_string())
}

fn done((): ()) -> Answer {
    Answer::Done(rep::Done {})
}

fn created(id: impl ToString) -> Answer {
    Answer::Created(rep::Created { resource_id: id.to_string() })
}
