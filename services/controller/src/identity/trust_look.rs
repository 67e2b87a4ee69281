//! Why a trust does not hold, as far as whoever asks may know: Keystone tells the trustee only that it refuses. An administrator
//! may ask for the user, and a user knows their own roles.

use catalog::TrustRow;
use model::{Failure, Owner};

use super::Keystone;
use super::keystone::{Unusable, UserState};
use crate::app::Caller;

const MAKE_ANOTHER: &str = "then they run holdfast trust create, or ask for the job themselves";

/// Looks at a trust.
///
/// Errors: see `TrustBook::look`.
pub(super) async fn look(
    keystone: &Keystone,
    row: TrustRow,
    role: &str,
    caller: &Caller,
) -> Result<TrustRow, Failure> {
    let owner = Owner { project_id: row.project_id.clone(), user_id: row.user_id.clone() };
    let why = match keystone.open_trust(&row.trust_id, &owner, role).await? {
        Ok(_) => return Ok(row),
        Err(why) => why,
    };
    let whose = format!("user {} in project {}", row.user_name, row.project_name);
    let fail = |code: &str, message: String| Err(Failure::permanent(code, message));
    match why {
        Unusable::Gone => fail(
            "TRUST_GONE",
            format!(
                "Keystone knows no trust {} of {whose} any more: it was revoked, or the user or the project was deleted; if they still \
                 protect instances, {MAKE_ANOTHER}",
                row.trust_id
            ),
        ),
        Unusable::LacksRole => fail(
            "TRUST_ROLE_LOST",
            format!("the trust of {whose} does not lend role {role}: give it to them, {MAKE_ANOTHER}"),
        ),
        Unusable::OfAnother => {
            fail("TRUST_REVOKED", format!("trust {} is not of {whose}: {MAKE_ANOTHER}", row.trust_id))
        }
        Unusable::Refused => match find_reason(keystone, &row, caller).await {
            Some(Reason::Disabled) => fail(
                "TRUST_USER_DISABLED",
                format!("{whose} is disabled: enable them, or have another user protect the instances"),
            ),
            Some(Reason::RolesLost(lost)) => fail(
                "TRUST_ROLE_LOST",
                format!(
                    "{whose} lost what the trust lends: {}; give it back, {MAKE_ANOTHER}",
                    lost.join(", ")
                ),
            ),
            None => fail(
                "TRUST_REVOKED",
                format!(
                    "Keystone refuses the trust of {whose}: the user was disabled or lost a role that it lends ({}), or the project was \
                     disabled; {MAKE_ANOTHER}",
                    row.roles.join(", ")
                ),
            ),
        },
    }
}

enum Reason {
    Disabled,
    RolesLost(Vec<String>),
}

async fn find_reason(keystone: &Keystone, row: &TrustRow, caller: &Caller) -> Option<Reason> {
    let is_own = caller.user == row.user_id && caller.project == row.project_id;
    let roles = match (&caller.profile, &caller.token) {
        (Some(profile), _) if is_own => profile.role_names.iter().cloned().collect(),
        (_, Some(token)) => {
            match keystone.user_state(row.user_id.as_str(), row.project_id.as_str(), token).await.ok()?? {
                UserState { is_enabled: false, .. } => return Some(Reason::Disabled),
                UserState { roles, .. } => roles,
            }
        }
        _ => return None,
    };
    let has = |role: &String| roles.iter().any(|other: &String| other.eq_ignore_ascii_case(role));
    let lost: Vec<String> = row.roles.iter().filter(|role| !has(role)).cloned().collect();
    (!lost.is_empty()).then_some(Reason::RolesLost(lost))
}
