//! Trusts in requests and replies: with which the cloud lets the service act for a user.

use model::ProjectId;
use serde::{Deserialize, Serialize};

use crate::{ApiTime, LooseBool};

/// Body of `POST /trusts`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewTrustBody {
    #[serde(default)]
    pub trusts: NewTrust,
}

/// What to make.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewTrust {
    /// Absent: the one that trusts lend here. There is no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_name: Option<String>,
    /// Only `false` is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_cloud_trust: Option<LooseBool>,
}

/// Reply of all calls on trusts but `validate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrustList {
    #[serde(rename = "trust")]
    pub trusts: Vec<Trust>,
}

/// One trust, in the form of T4O's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trust {
    /// `trust-<uuid>`.
    pub name: String,
    pub project_id: ProjectId,
    pub user_id: String,
    /// The cloud's id of it.
    pub value: String,
    pub description: String,
    pub category: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub public: bool,
    pub hidden: bool,
    /// `available`, or `error` with `error_msg`.
    pub status: String,
    pub metadata: Vec<TrustMetadata>,
    /// Ours: what it lends.
    pub roles: Vec<String>,
    /// Ours.
    pub error_msg: Option<String>,
    pub created_at: ApiTime,
    pub updated_at: ApiTime,
}

/// A role of a trust.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrustMetadata {
    pub id: String,
    pub settings_name: String,
    pub settings_project_id: ProjectId,
    pub key: String,
    pub value: String,
}

/// Reply of `GET /trusts/validate/{workload}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrustValidity {
    /// There are no schedules yet.
    pub scheduler_enabled: bool,
    pub trust: Option<Trust>,
    pub is_valid: bool,
    pub scheduler_obj: Option<serde_json::Value>,
    /// Ours: why not.
    pub reason: Option<String>,
}
