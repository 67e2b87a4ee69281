//! Looks at the cloud as the controllers need it: Holdfast's own user in Keystone, and each service where the catalog says, with
//! the region and the interface that are set. It changes nothing.

use futures::future::join_all;
use model::Check;
use openstack::Service::{BlockStorage, Compute, Image, Network};
use openstack::{Error, Service, Session};
use serde_json::Value;

/// With it Keystone lets us read users' tokens.
const ROLE: &str = "service";
/// A small question to each, which anybody may ask, and the word under which only that service answers.
const QUESTIONS: [(Service, &str, &str); 4] = [
    (Compute, "/flavors?limit=1", "flavors"),
    (BlockStorage, "/types?limit=1", "volume_types"),
    (Network, "/extensions", "extensions"),
    (Image, "/images?limit=1", "images"),
];

/// Examines with the session of the service identity.
///
/// Codes: `SERVICE_IDENTITY_REFUSED`, `KEYSTONE_UNAVAILABLE`, `SERVICE_ROLE_MISSING`, `OPENSTACK_ENDPOINT_MISSING`,
/// `ENDPOINT_UNREACHABLE`, `ENDPOINT_WRONG`.
pub async fn examine(session: &Session) -> Vec<Check> {
    let subject = "service identity";
    let roles = match session.roles().await {
        Ok(roles) => roles,
        Err(error @ Error::LoginRefused { .. }) => {
            let message = format!("{error}; correct [openstack] in the controllers' config");
            return vec![Check::fail(subject, "SERVICE_IDENTITY_REFUSED", message)];
        }
        Err(error) => {
            let message = format!("{}; is auth_url right, and Keystone up?", error.failure().message);
            return vec![Check::fail(subject, "KEYSTONE_UNAVAILABLE", message)];
        }
    };
    let mut checks = vec![examine_roles(subject, &roles)];
    checks.extend(join_all(QUESTIONS.map(|question| examine_service(session, question))).await);
    checks
}

fn examine_roles(subject: &str, roles: &[String]) -> Check {
    if roles.iter().any(|role| role.eq_ignore_ascii_case(ROLE)) {
        return Check::ok(subject, format!("Keystone lets it in, with {}", roles.join(", ")));
    }
    let message = format!(
        "it has {} and not role {ROLE} in its project, so Keystone lets it read no tokens of users: run holdfast-controller register, \
         or openstack role add",
        roles.join(", ")
    );
    Check::fail(subject, "SERVICE_ROLE_MISSING", message)
}

async fn examine_service(session: &Session, (service, path, word): (Service, &str, &str)) -> Check {
    let subject = format!("endpoint of {service}");
    let url = match session.endpoint(service).await {
        Ok(url) => url,
        Err(error) => {
            let message =
                format!("{error}; set region and interface in [openstack], or have the catalog corrected");
            return Check::fail(subject, "OPENSTACK_ENDPOINT_MISSING", message);
        }
    };
    let wrong = |what: &str| {
        let message = format!(
            "{url} {what}: the catalog or the interface set in [openstack] leads to something else; correct it"
        );
        Check::fail(subject.clone(), "ENDPOINT_WRONG", message)
    };
    match session.get(service, path).json::<Value>().await {
        Ok(answer) if answer.get(word).is_some() => Check::ok(subject, format!("{url} answers")),
        Ok(_) => wrong("answers, and is not that service"),
        // Who we are may not suffice for the question; that somebody speaks this API there is what is asked.
        Err(Error::Answered(answered)) if answered.is_api && answered.status != 404 => {
            Check::ok(subject, format!("{url} answers, with {}", answered.status))
        }
        Err(Error::Answered(answered)) => {
            wrong(&format!("answers {} and is not that service", answered.status))
        }
        Err(error @ Error::AnswerInvalid { .. }) => wrong(&format!("does not speak its API ({error})")),
        Err(error) => {
            let message = format!(
                "{}; is the service up, and is this the interface that the controllers reach?",
                error.failure().message
            );
            Check::fail(subject, "ENDPOINT_UNREACHABLE", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_without_its_role_is_told_which() {
        let roles = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(examine_roles("x", &roles(&["member", "Service"])).code, "");
        assert_eq!(examine_roles("x", &roles(&["member"])).code, "SERVICE_ROLE_MISSING");
    }
}
