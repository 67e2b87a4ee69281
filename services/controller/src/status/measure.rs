//! The status as metrics. Labels are what operators name and enrol: services, hosts, queues, classes, and the kinds and
//! phases of sagas; nothing that a tenant writes, and no version, which a compute host may choose. Every controller
//! tells the same of the site: rules take the `max`.

use model::Timestamp;
use rest_api::{LifeState, QueueFigures, SagaCount, ServiceStatus, Status};
use service_kit::metrics::{Exposition, Kind, count, flag};

/// Writes all that is known; what is not stays out.
pub(super) fn measure(status: &Status, exposition: &mut Exposition) {
    parts(status, exposition);
    services(status, exposition);
    sagas(status, exposition);
    outbox(status, exposition);
    queues(status, exposition);
}

fn parts(status: &Status, exposition: &mut Exposition) {
    exposition.single(
        "holdfast_status_gathered_timestamp_seconds",
        Kind::Gauge,
        "When the figures of this page were gathered.",
        seconds(status.gathered_at.0),
    );
    exposition.single(
        "holdfast_catalog_up",
        Kind::Gauge,
        "Whether the database answers.",
        flag(status.catalog.is_ok()),
    );
    exposition.single(
        "holdfast_broker_management_up",
        Kind::Gauge,
        "Whether the broker's management API answers; without it there are no figures of queues.",
        flag(status.broker_management.is_ok()),
    );
}

fn services(status: &Status, exposition: &mut Exposition) {
    let Some(services) = &status.services else { return };
    let labels =
        |service: &ServiceStatus| [("service", service.service.clone()), ("host", service.host.to_string())];
    let mut up = exposition.family(
        "holdfast_service_up",
        Kind::Gauge,
        "Whether a service gave a sign of life within the time of a job's lease.",
    );
    for service in services {
        up.sample(&borrowed(&labels(service)), flag(service.state == LifeState::Up));
    }
    let mut seen = exposition.family(
        "holdfast_service_last_seen_timestamp_seconds",
        Kind::Gauge,
        "When a service last gave a sign of life.",
    );
    for service in services {
        seen.sample(&borrowed(&labels(service)), seconds(service.seen_at.0));
    }
    let hosts = status.hosts.iter().flatten();
    let mut jobs =
        exposition.family("holdfast_host_jobs", Kind::Gauge, "Jobs that a host runs under a lease now.");
    for host in hosts {
        jobs.sample(&[("host", host.host.as_str())], count(host.jobs_running));
    }
}

fn sagas(status: &Status, exposition: &mut Exposition) {
    let Some(sagas) = &status.sagas else { return };
    let mut write = |name, help, rows: &[SagaCount]| {
        let mut family = exposition.family(name, Kind::Gauge, help);
        for row in rows {
            family.sample(&[("kind", &row.kind), ("phase", &row.phase)], count(row.count));
        }
    };
    write("holdfast_sagas_unfinished", "Sagas that did not end, by phase.", &sagas.unfinished);
    write(
        "holdfast_sagas_ended_last_day",
        "Sagas that ended within the last 24 hours, by how they ended.",
        &sagas.ended_last_day,
    );
    let stuck = sagas.stuck_count();
    exposition.single("holdfast_sagas_stuck", Kind::Gauge, "Sagas that wait for an operator.", count(stuck));
}

fn outbox(status: &Status, exposition: &mut Exposition) {
    let Some(outbox) = &status.outbox else { return };
    exposition.single(
        "holdfast_outbox_messages",
        Kind::Gauge,
        "Messages that wait in the catalog to be published.",
        count(outbox.depth),
    );
    exposition.single(
        "holdfast_outbox_oldest_age_seconds",
        Kind::Gauge,
        "How long the oldest message of the outbox has been waiting; 0 when there is none.",
        count(outbox.oldest_seconds.unwrap_or(0)),
    );
}

fn queues(status: &Status, exposition: &mut Exposition) {
    let mut write = |name, help, figure: fn(&QueueFigures) -> Option<u64>| {
        let mut family = exposition.family(name, Kind::Gauge, help);
        for queue in status.queues.iter().flatten() {
            if let Some(value) = figure(queue) {
                family.sample(&[("queue", &queue.name)], count(value));
            }
        }
    };
    write("holdfast_queue_messages_ready", "Messages that wait for a consumer.", |queue| queue.depth);
    write("holdfast_queue_messages_unacked", "Messages that a consumer has and did not settle.", |queue| {
        queue.unacked
    });
    write("holdfast_queue_consumers", "Consumers of a queue.", |queue| queue.consumers);
    let mut dead = exposition.family(
        "holdfast_dead_letters",
        Kind::Gauge,
        "Messages that nobody could make sense of, by whose work they were.",
    );
    for letters in status.dead_letters.iter().flatten() {
        if let Some(value) = letters.count {
            dead.sample(&[("class", &letters.class)], count(value));
        }
    }
}

fn borrowed<'a>(labels: &'a [(&'a str, String); 2]) -> [(&'a str, &'a str); 2] {
    [(labels[0].0, &labels[0].1), (labels[1].0, &labels[1].1)]
}

#[allow(clippy::cast_precision_loss)] // microseconds since 1970 fit into 53 bits until 2255
fn seconds(time: Timestamp) -> f64 {
    time.0 as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use rest_api::PartState;
    use rest_api::Reach;

    use super::super::sample::make_status;
    use super::*;

    fn text_of(status: &Status) -> String {
        let mut exposition = Exposition::default();
        measure(status, &mut exposition);
        exposition.into_text()
    }

    #[test]
    fn every_figure_of_the_status_is_a_sample() {
        let text = text_of(&make_status());
        for line in [
            "holdfast_catalog_up 1",
            "holdfast_broker_management_up 1",
            "holdfast_service_up{service=\"datamover\",host=\"host-a\"} 1",
            "holdfast_service_last_seen_timestamp_seconds{service=\"dmapi\",host=\"node-1\"} 1700000000.25",
            "holdfast_host_jobs{host=\"host-a\"} 1",
            "holdfast_sagas_unfinished{kind=\"snapshot_create\",phase=\"forward\"} 2",
            "holdfast_sagas_ended_last_day{kind=\"snapshot_create\",phase=\"succeeded\"} 7",
            "holdfast_sagas_stuck 0",
            "holdfast_outbox_messages 3",
            "holdfast_outbox_oldest_age_seconds 2",
            "holdfast_queue_messages_ready{queue=\"holdfast.q.dmapi\"} 5",
            "holdfast_queue_messages_unacked{queue=\"holdfast.q.dmapi\"} 1",
            "holdfast_queue_consumers{queue=\"holdfast.q.dmapi\"} 2",
            "holdfast_dead_letters{class=\"mover\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_left_out_and_not_told_as_0() {
        let mut status = make_status();
        status.broker_management = PartState::not(Reach::Unreachable, "gone".to_owned());
        (status.queues, status.dead_letters) = (None, None);
        let text = text_of(&status);
        assert!(text.contains("\nholdfast_broker_management_up 0\n"), "{text}");
        assert!(!text.contains("holdfast_queue_") && !text.contains("holdfast_dead_letters"), "{text}");
        status.catalog = PartState::not(Reach::Unreachable, "gone".to_owned());
        (status.services, status.hosts, status.sagas, status.outbox) = (None, None, None, None);
        let text = text_of(&status);
        assert!(text.contains("holdfast_catalog_up 0\n"), "{text}");
        assert!(!text.contains("holdfast_service_") && !text.contains("holdfast_sagas"), "{text}");
        assert!(!text.contains("holdfast_outbox"), "{text}");
    }
}
