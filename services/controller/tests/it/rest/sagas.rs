//! Sagas: lists, pictures, cancels and decisions, and who may do what.

use model::SagaId;
use rest_api::{Client, NewSnapshot};

use super::check_refused;
use super::fixture::{ADMIN, OPERATOR, READER, STRANGER, Service};

/// A service with one snapshot under way; gives its saga.
async fn start_running() -> (Service, SagaId) {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let snapshot = service.client.create_snapshot(workload, true, NewSnapshot::default()).await.unwrap();
    (service, snapshot.summary.saga_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_is_cancelled_by_its_id_and_the_record_says_by_whom() {
    let (service, saga) = start_running().await;
    check_refused(service.client_of("acme", READER).cancel_saga(saga).await, 403, "FORBIDDEN", "saga_cancel");
    check_refused(
        service.client_of("other", STRANGER).cancel_saga(saga).await,
        404,
        "SAGA_NOT_FOUND",
        "saga",
    );
    for _ in 0..2 {
        let cancelled = service.client.cancel_saga(saga).await.unwrap();
        assert_eq!(cancelled.summary.phase, "compensated");
        let [decision] = cancelled.decisions.as_slice() else { panic!("{:?}", cancelled.decisions) };
        assert_eq!((decision.verb.as_str(), decision.by.as_str()), ("cancel", "alice"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_the_operators_need_a_reason_and_a_stuck_saga() {
    let (service, saga) = start_running().await;
    let admin = service.client_of("acme", ADMIN);
    let unknown = SagaId::from_uuid(runtime::Entropy.uuid());
    for verb in ["retry", "skip", "abandon"] {
        let by_member = service.client.settle_saga(saga, verb, "because").await;
        check_refused(by_member, 403, "FORBIDDEN", "saga_operate");
        for reason in ["", " \n\t"] {
            check_refused(
                admin.settle_saga(saga, verb, reason).await,
                400,
                "REASON_INVALID",
                "needs a reason",
            );
        }
        let outcome = admin.settle_saga(saga, verb, "because").await;
        check_refused(outcome, 409, "SAGA_NOT_STUCK", "is forward: only a stuck saga");
        let outcome = admin.settle_saga(unknown, verb, "because").await;
        check_refused(outcome, 404, "SAGA_NOT_FOUND", &unknown.to_string());
    }
    assert!(
        admin.show_saga(saga).await.unwrap().decisions.is_empty(),
        "what was refused is not on the record"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_the_sagas_of_all_projects_and_nobody_else_does() {
    let (service, saga) = start_running().await;
    let (operator, stranger) = (service.client_of("other", OPERATOR), service.client_of("other", STRANGER));
    let count = async |client: &Client, phase, all| client.list_sagas(phase, all).await.unwrap().len();
    assert_eq!(count(&operator, None, false).await, 0);
    assert_eq!(count(&operator, None, true).await, 1);
    assert_eq!(count(&operator, Some("forward"), true).await, 1);
    assert_eq!(count(&operator, Some("stuck"), true).await, 0);
    assert_eq!(operator.show_saga(saga).await.unwrap().summary.project_id.as_str(), "acme");
    check_refused(stranger.list_sagas(None, true).await, 403, "FORBIDDEN", "admin");
    check_refused(stranger.show_saga(saga).await, 404, "SAGA_NOT_FOUND", &saga.to_string());
    check_refused(service.client.list_sagas(Some("sideways"), false).await, 400, "QUERY_INVALID", "sideways");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_is_drawn_as_it_may_go_and_a_saga_as_it_stands() {
    let (service, saga) = start_running().await;
    let kind = service.client.draw_saga("snapshot_create", "dot").await.unwrap();
    assert_eq!((kind.kind.as_str(), kind.format.as_str()), ("snapshot_create", "dot"));
    assert!(
        kind.text.starts_with("digraph snapshot_create {") && !kind.text.contains("fillcolor"),
        "{kind:?}"
    );
    let live = service.client.draw_saga(&saga.to_string(), "mermaid").await.unwrap();
    assert!(live.text.contains("describe_instances<br/>running\"]:::running"), "{}", live.text);
    assert!(live.text.contains("begin<br/>done\"]:::done"), "{}", live.text);
    let unknown = service.client.draw_saga("snapshot_crate", "dot").await;
    check_refused(unknown, 404, "SAGA_NOT_FOUND", "restore_new, snapshot_create");
    check_refused(
        service.client.draw_saga("restore_new", "png").await,
        400,
        "QUERY_INVALID",
        "mermaid or dot",
    );
    let stranger = service.client_of("other", STRANGER);
    check_refused(stranger.draw_saga(&saga.to_string(), "dot").await, 404, "SAGA_NOT_FOUND", "saga");
}
