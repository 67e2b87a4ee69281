//! On whose behalf the cloud is asked.

use serde::{Deserialize, Serialize};

use crate::{ProjectId, UserId};

/// The tenant and the user of a workload: where resources belong, and whose rights are used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    pub project_id: ProjectId,
    pub user_id: UserId,
}
