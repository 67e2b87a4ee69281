//! Tells what earlier work may have left on this host: what the cloud's driver finds, guests that stay frozen, and journals of
//! jobs. It tells also what is in use; the controllers know which saga each is of.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use cloud::HostLeftover;
use model::InstanceId;
use proto::cmd::v1 as cmd;
use proto::convert::Malformed;
use proto::rep::v1 as rep;
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::journal::JournalLeftover;
use crate::outcome::{Halt, Outcome};

/// Each has some 300 bytes, and a message takes 256 KiB.
const TOLD_MAX: usize = 400;
/// After a freeze may not last any longer, the timer thaws for so long before somebody is told.
const THAW_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct ListLeftovers;

impl ListLeftovers {
    #[allow(clippy::unnecessary_wraps)] // as all that are parsed
    pub(super) const fn parse(_: &cmd::ListLeftovers) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

#[async_trait]
impl Work for ListLeftovers {
    async fn run(&self, job: &Job) -> Outcome {
        let listed = job.ports.host.list_leftovers().await.map_err(Halt::effect_free)?;
        let journals = job.ports.journal.run(|journal| journal.leftovers()).await;
        let journals = journals.map_err(|error| Halt::effect_free(error.failure()))?;
        let frozen = frozen_too_long(job).await?;
        let mut leftovers: Vec<_> = listed.into_iter().map(of_host).collect();
        leftovers.extend(frozen.into_iter().map(of_guest));
        leftovers.extend(journals.into_iter().map(of_journal));
        let is_cut_short = leftovers.len() > TOLD_MAX;
        leftovers.truncate(TOLD_MAX);
        Ok(Reply::LeftoversListed(rep::LeftoversListed { leftovers, is_cut_short }))
    }
}

/// Guests that are frozen for longer than any snapshot freezes them.
async fn frozen_too_long(job: &Job) -> Result<BTreeSet<InstanceId>, Halt> {
    let look = async || job.ports.host.list_frozen().await.map_err(Halt::effect_free);
    let before: BTreeSet<InstanceId> = look().await?.into_iter().collect();
    if before.is_empty() {
        return Ok(before);
    }
    tokio::time::sleep(job.ports.settings.freeze_duration_max + THAW_MAX).await;
    Ok(look().await?.into_iter().filter(|instance| before.contains(instance)).collect())
}

fn of_host(found: HostLeftover) -> rep::HostLeftover {
    let text = |id: Option<String>| id.unwrap_or_default();
    rep::HostLeftover {
        kind: found.key.kind().to_owned(),
        instance_id: text(found.key.instance().map(|id| id.to_string())),
        snapshot_id: found.key.snapshot().to_string(),
        name: found.name,
        project_id: text(found.owner.as_ref().map(|owner| owner.project_id.to_string())),
        user_id: text(found.owner.as_ref().map(|owner| owner.user_id.to_string())),
        age_seconds: found.age.map(|age| age.as_secs()),
        size_bytes: found.size.map(|size| size.0),
        base_of_snapshot_id: text(found.base_of.map(|id| id.to_string())),
        ..Default::default()
    }
}

fn of_guest(instance: InstanceId) -> rep::HostLeftover {
    rep::HostLeftover {
        kind: "frozen_guest".to_owned(),
        instance_id: instance.to_string(),
        name: "its file systems".to_owned(),
        ..Default::default()
    }
}

fn of_journal(found: JournalLeftover) -> rep::HostLeftover {
    rep::HostLeftover {
        kind: "journal".to_owned(),
        job_id: found.job_id.to_string(),
        saga_id: found.saga_id.map(|id| id.to_string()).unwrap_or_default(),
        name: found.what,
        age_seconds: Some(found.age.as_secs()),
        size_bytes: Some(found.size.0),
        ..Default::default()
    }
}
