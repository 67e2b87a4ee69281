//! What takes away: things of the cloud by their tag, and trusts; and the listing of what bears a tag.
//!
//! A creation whose answer was lost may take effect after the look that found nothing. So its removal looks once more, a while
//! later; what comes after that is found by the sweep of leftovers.

use cloud::{Resource, ResourceKind, Tag};
use model::Failure;
use proto::cmd::v1 as cmd;
use proto::rep::v1 as rep;

use super::{Answer, CloudJobs, owner};

impl CloudJobs {
    pub(super) async fn delete_volume_snapshots(
        &self,
        command: &cmd::DeleteVolumeSnapshots,
    ) -> Result<(), Failure> {
        let owner = owner(&command.project_id, &command.user_id)?;
        let tag = Tag::from_text(&command.tag);
        self.remove(command.looks_twice, || self.cloud.delete_volume_snapshots(&owner, &tag)).await
    }

    pub(super) async fn delete_volumes(&self, command: &cmd::DeleteVolume) -> Result<(), Failure> {
        let owner = owner(&command.project_id, &command.user_id)?;
        let tag = Tag::from_text(&command.tag);
        self.remove(command.looks_twice, || self.cloud.delete_volumes(&owner, &tag)).await
    }

    pub(super) async fn detach_volumes(&self, command: &cmd::DetachVolumes) -> Result<(), Failure> {
        let owner = owner(&command.project_id, &command.user_id)?;
        let tag = Tag::from_text(&command.tag);
        self.remove(command.looks_twice, || self.cloud.detach_volumes(&owner, &tag)).await
    }

    pub(super) async fn delete_instances(&self, command: &cmd::DeleteInstance) -> Result<(), Failure> {
        let owner = owner(&command.project_id, &command.user_id)?;
        let tag = Tag::from_text(&command.tag);
        self.remove(command.looks_twice, || self.cloud.delete_instances(&owner, &tag)).await
    }

    /// Removes what there is, and what came since where a second look is wanted.
    async fn remove<R>(&self, looks_twice: bool, look: impl Fn() -> R + Send) -> Result<(), Failure>
    where
        R: Future<Output = Result<(), Failure>> + Send,
    {
        look().await?;
        if !looks_twice {
            return Ok(());
        }
        tokio::time::sleep(self.second_look_after).await;
        look().await
    }

    /// Where no cloud vouches for users, there is nothing to take back.
    pub(super) async fn revoke_trust(&self, command: &cmd::RevokeTrust) -> Result<(), Failure> {
        let owner = owner(&command.project_id, &command.user_id)?;
        let Some(trusts) = &self.trusts else { return Ok(()) };
        trusts.release(&owner).await.map_err(|error| error.failure())
    }

    pub(super) async fn list_tagged(&self, command: &cmd::ListTagged) -> Result<Answer, Failure> {
        let owner = owner(&command.project_id, &command.user_id)?;
        let resources = self.cloud.list_resources(&owner).await?;
        let tagged = resources.into_iter().filter_map(tagged).collect();
        Ok(Answer::TaggedListed(rep::TaggedListed { tagged }))
    }
}

fn tagged(Resource { kind, id, name, tag }: Resource) -> Option<rep::Tagged> {
    let kind = match kind {
        ResourceKind::Instance => "instance",
        ResourceKind::Volume => "volume",
        ResourceKind::VolumeSnapshot => "volume_snapshot",
        ResourceKind::Port => "port",
        // Holdfast makes none of these.
        _ => return None,
    };
    Some(rep::Tagged { kind: kind.to_owned(), id, name, tag: tag?.as_str().to_owned() })
}
