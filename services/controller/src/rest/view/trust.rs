//! Trusts.

use catalog::TrustRow;
use rest_api::{Trust, TrustMetadata};

use crate::app::trusts::NAME_PREFIX;

pub(in crate::rest) fn show_trust(row: &TrustRow) -> Trust {
    let name = format!("{NAME_PREFIX}{}", row.id);
    let metadata = |role: &String| TrustMetadata {
        id: row.id.to_string(),
        settings_name: name.clone(),
        settings_project_id: row.project_id.clone(),
        key: "role_name".to_owned(),
        value: role.clone(),
    };
    Trust {
        project_id: row.project_id.clone(),
        user_id: row.user_id.to_string(),
        value: row.trust_id.clone(),
        description: format!("trust of user {} in project {}", row.user_name, row.project_name),
        category: "identity".to_owned(),
        kind: "trust_id".to_owned(),
        public: false,
        hidden: true,
        status: row.state.to_string(),
        metadata: row.roles.iter().map(metadata).collect(),
        roles: row.roles.clone(),
        error_msg: row.reason.clone(),
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
        name,
    }
}
