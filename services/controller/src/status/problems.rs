//! What a human should look at, out of all the figures. Pure.

use rest_api::{LifeState, PartState, QueueFigures, Reach, ServiceStatus, Status};

/// The relay looks every second: what is older does not get through.
const OUTBOX_AGE_MAX_SECONDS: u64 = 60;

/// Finds them, the gravest first.
pub(super) fn find(status: &Status) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(part("the catalog does not answer", &status.catalog));
    found.extend(part("this controller is not connected to the broker", &status.broker));
    found.extend(part("the figures of the queues are missing", &status.broker_management));
    found.extend(sagas(status));
    found.extend(dead_letters(status));
    found.extend(services(status));
    found.extend(outbox(status));
    found.extend(status.queues.iter().flatten().filter_map(unread));
    found
}

fn part(what: &str, state: &PartState) -> Option<String> {
    match (state.state, &state.reason) {
        (Reach::Ok | Reach::NotConfigured, _) => None,
        (_, Some(reason)) => Some(format!("{what}: {reason}")),
        (_, None) => Some(what.to_owned()),
    }
}

fn sagas(status: &Status) -> Option<String> {
    let sagas = status.sagas.as_ref()?;
    match sagas.stuck_count() {
        0 => None,
        1 => Some("a saga is stuck and waits for an operator".to_owned()),
        count => Some(format!("{count} sagas are stuck and wait for an operator")),
    }
}

fn dead_letters(status: &Status) -> Vec<String> {
    let letters = status.dead_letters.iter().flatten();
    let say = |(class, count): (&str, u64)| match count {
        0 => None,
        1 => Some(format!("there is a dead letter of class {class}")),
        count => Some(format!("there are {count} dead letters of class {class}")),
    };
    letters.filter_map(|letters| say((&letters.class, letters.count?))).collect()
}

fn services(status: &Status) -> Vec<String> {
    let Some(services) = &status.services else { return Vec::new() };
    let silent = services.iter().filter(|service| service.state == LifeState::Silent);
    let say = |service: &ServiceStatus| {
        let ServiceStatus { service, host, silent_seconds, .. } = service;
        format!("the {service} on {host} has given no sign of life for {silent_seconds} s")
    };
    let mut found: Vec<String> = silent.map(say).collect();
    if !services.iter().any(|service| service.service == "dmapi") {
        found.push("no dmapi was ever heard of: no job can be placed".to_owned());
    }
    found
}

fn outbox(status: &Status) -> Option<String> {
    let age = status.outbox.as_ref()?.oldest_seconds?;
    (age > OUTBOX_AGE_MAX_SECONDS).then(|| format!("a message has been waiting in the outbox for {age} s"))
}

/// Dead letters and subscribers' queues may be left alone.
fn unread(queue: &QueueFigures) -> Option<String> {
    let waits = queue.consumers == Some(0) && queue.depth.is_some_and(|depth| depth > 0);
    let is_work = !queue.name.contains(".dead.") && !queue.name.contains(".sub.");
    (waits && is_work).then(|| format!("messages wait in {}, and nobody reads it", queue.name))
}

#[cfg(test)]
mod tests {
    use super::super::sample::make_status;
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Status), expected: &[&str]) {
        let mut status = make_status();
        change(&mut status);
        let found = find(&status);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{expected:?} is not in {found:?}");
        }
    }

    #[test]
    fn a_site_where_all_is_well_has_no_problems() {
        check(|_| {}, &[]);
        let off = PartState::not(Reach::NotConfigured, "no [broker]".to_owned());
        check(
            |status| {
                status.broker_management = off;
                status.queues = None;
                status.dead_letters = None;
            },
            &[],
        );
    }

    #[test]
    fn what_does_not_answer_is_a_problem_with_its_reason() {
        let down = || PartState::not(Reach::Unreachable, "connection refused".to_owned());
        check(
            |status| {
                status.catalog = down();
                status.broker = down();
                status.broker_management = down();
                status.services = None;
            },
            &[
                "catalog does not answer: connection refused",
                "not connected to the broker",
                "figures of the queues",
            ],
        );
    }

    #[test]
    fn a_silent_service_is_named_with_its_host_and_for_how_long() {
        check(
            |status| {
                let services = status.services.as_mut().unwrap();
                services.retain(|service| service.service != "dmapi");
                services[1].state = LifeState::Silent;
                services[1].silent_seconds = 95;
            },
            &["the datamover on host-a has given no sign of life for 95 s", "no dmapi"],
        );
    }

    #[test]
    fn stuck_sagas_dead_letters_an_old_outbox_and_an_unread_queue_are_problems() {
        check(
            |status| {
                status.sagas.as_mut().unwrap().unfinished[0].phase = "stuck".to_owned();
                status.dead_letters.as_mut().unwrap()[3].count = Some(1);
                status.outbox.as_mut().unwrap().oldest_seconds = Some(61);
                let queue = &mut status.queues.as_mut().unwrap()[0];
                (queue.depth, queue.consumers) = (Some(4), Some(0));
            },
            &["2 sagas are stuck", "a dead letter of class mover", "61 s", "nobody reads"],
        );
    }
}
