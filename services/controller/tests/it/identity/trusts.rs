//! Trusts over their life.

use controller::app::{Caller, snapshots};
use controller::cloud_jobs::{CloudCommand, CloudJobs};
use model::{Owner, SnapshotKind, WorkloadId};
use proto::cmd::v1 as cmd;
use rest_api::NewSnapshot;
use runtime::Entropy;

use super::{ALICE, Site, TRUSTEE};
use crate::rest::check_refused;

fn owner(user: &str) -> Owner {
    Owner { project_id: "acme".parse().unwrap(), user_id: user.parse().unwrap() }
}

/// A job that comes over the bus, on the workload's trust.
async fn submit(site: &Site, workload_id: WorkloadId) -> Result<(), (String, String)> {
    let caller = Caller::intake("holdfast-intake-billing".parse().unwrap(), "acme".parse().unwrap());
    let request = snapshots::Request { workload_id, kind: SnapshotKind::Full, name: None, description: None };
    let started = snapshots::create(&site.service.state, &caller, &request, None).await;
    started.map(drop).map_err(|error| {
        let failure = error.failure();
        (failure.code, failure.message)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_is_made_once_for_two_workloads_and_holds_no_token() {
    let site = Site::start().await;
    let token = site.keystone.log_in("alice", Some("acme"), ALICE);
    let alice = site.service.client_of("acme", &token);
    for (name, range) in [("web", 0..1), ("shop", 1..2)] {
        alice.create_workload(site.service.make_new(name, range)).await.unwrap();
    }
    let trusts = site.keystone.trusts();
    let [trust] = trusts.as_slice() else { panic!("{trusts:?}") };
    assert_eq!(
        (trust["trustor_user_id"].as_str(), trust["trustee_user_id"].as_str(), trust["project_id"].as_str()),
        (Some("alice"), Some("holdfast"), Some("acme"))
    );
    assert_eq!((trust["impersonation"].as_bool(), trust["expires_at"].is_null()), (Some(true), true));
    let roles: Vec<_> = trust["roles"].as_array().unwrap().iter().map(|role| role["name"].clone()).collect();
    assert_eq!(roles, [TRUSTEE, "member"], "what the services need, and no more");
    let listed = alice.list_trusts().await.unwrap();
    assert_eq!((listed.len(), listed[0].status.as_str()), (1, "available"));
    assert_eq!(listed[0].value, trust["id"].as_str().unwrap());
    assert!(listed[0].description.contains("user alice"), "{}", listed[0].description);
    for name in ["catalog.sqlite", "catalog.sqlite-wal"] {
        let bytes = std::fs::read(site.service.dir.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(token.len()).any(|part| part == token.as_bytes()), "{name} holds the token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_requests_at_once_leave_one_trust() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    let create = |name: &str, range| alice.create_workload(site.service.make_new(name, range));
    let (one, two, three) = tokio::join!(create("a", 0..1), create("b", 1..2), create("c", 2..3));
    for outcome in [one, two, three] {
        outcome.unwrap();
    }
    assert_eq!(site.keystone.trusts().len(), 1);
    assert_eq!(
        alice.list_trusts().await.unwrap()[0].value,
        site.keystone.trusts()[0]["id"].as_str().unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_on_the_trust_of_the_workloads_user_whoever_asks() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    let workload = alice.create_workload(site.service.make_new("web", 0..1)).await.unwrap().summary.id;
    let session = site.trusts.session_for(&owner("alice")).await.unwrap();
    assert_eq!(session.user_id().await.unwrap(), "alice", "the trust impersonates");
    submit(&site, workload).await.unwrap();
    let rows = site.service.client_of("acme", &site.keystone.log_in("alice", Some("acme"), ALICE));
    site.service.commit(rows.list_snapshots(None).await.unwrap()[0].id).await;
    let bob = site.user("bob", ALICE);
    bob.create_snapshot(workload, true, NewSnapshot::default()).await.unwrap();
    assert_eq!(site.keystone.trusts().len(), 1, "bob was not asked to entrust anything");
    assert!(bob.list_trusts().await.unwrap().is_empty());
    let failure = site.trusts.session_for(&owner("bob")).await.unwrap_err();
    assert_eq!(failure.code, "TRUST_MISSING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_trust_is_kept() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    alice.create_workload(site.service.make_new("web", 0..1)).await.unwrap();
    let session = site.trusts.session_for(&owner("alice")).await.unwrap();
    session.token().await.unwrap();
    let logins = site.keystone.trust_logins();
    for _ in 0..5 {
        site.trusts.session_for(&owner("alice")).await.unwrap().token().await.unwrap();
    }
    assert_eq!(site.keystone.trust_logins(), logins);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_that_does_not_hold_any_more_is_said_in_words_and_made_again_by_its_user() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    let workload = alice.create_workload(site.service.make_new("web", 0..1)).await.unwrap().summary.id;
    let bob = site.user("bob", ALICE);
    site.keystone.take_role("alice", "acme", TRUSTEE);
    let (code, message) = submit(&site, workload).await.unwrap_err();
    assert_eq!(code, "TRUST_REVOKED");
    for part in
        ["user alice", "project acme", "lost a role that it lends (backup, member)", "holdfast trust create"]
    {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    let outcome = bob.create_snapshot(workload, true, NewSnapshot::default()).await;
    check_refused(outcome, 409, "TRUST_REVOKED", "user alice");
    let validity = bob.validate_trust(workload).await.unwrap();
    assert!(!validity.is_valid && validity.reason.unwrap().contains("lost a role"));
    assert_eq!(validity.trust.unwrap().status, "error");

    let alice = site.user("alice", ALICE);
    submit(&site, workload).await.unwrap();
    assert_eq!(alice.list_trusts().await.unwrap()[0].status, "available", "with the role it holds again");
    let [ref made] = site.keystone.trusts()[..] else { panic!() };

    let admin = site.user("root", &["admin", "reader", TRUSTEE]);
    let name = admin.list_trusts().await.unwrap()[0].name.clone();
    admin.delete_trust(&name).await.unwrap();
    assert!(site.keystone.trusts().is_empty(), "an administrator takes it back in Keystone too");
    site.service.commit(alice.list_snapshots(None).await.unwrap()[0].id).await;
    let (code, message) = submit(&site, workload).await.unwrap_err();
    assert!(code == "TRUST_MISSING" && message.contains("user alice"), "{code} {message}");
    alice.create_snapshot(workload, true, NewSnapshot::default()).await.unwrap();
    let [ref anew] = site.keystone.trusts()[..] else { panic!() };
    assert_ne!(made["id"], anew["id"]);
    assert!(alice.validate_trust(workload).await.unwrap().is_valid);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trust_of_a_deleted_user_is_gone() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    let workload = alice.create_workload(site.service.make_new("web", 0..1)).await.unwrap().summary.id;
    site.keystone.delete_user("alice");
    let (code, message) = submit(&site, workload).await.unwrap_err();
    assert_eq!(code, "TRUST_REVOKED");
    assert!(message.contains("the user or the project was deleted"), "{message}");
    site.keystone.set_down(true);
    assert_eq!(
        submit(&site, workload).await.unwrap_err().0,
        "KEYSTONE_UNAVAILABLE",
        "which says nothing of the trust"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_the_cloud_that_fails_since_the_trust_was_revoked_says_so() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    alice.create_workload(site.service.make_new("web", 0..1)).await.unwrap();
    let state = &site.service.state;
    let jobs = CloudJobs::new(state.cloud.clone(), Vec::new()).with_trusts(state.trusts.clone());
    let command = CloudCommand::DescribeInstance(cmd::DescribeInstance {
        header: None,
        project_id: "acme".to_owned(),
        instance_id: Entropy.uuid().to_string(),
        user_id: "alice".to_owned(),
    });
    assert_eq!(jobs.run(&command).await.unwrap_err().failure.code, "INSTANCE_NOT_FOUND", "the trust holds");
    site.keystone.disable("alice");
    let failure = jobs.run(&command).await.unwrap_err().failure;
    assert_eq!(failure.code, "TRUST_REVOKED");
    assert!(failure.message.contains("the user was disabled"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_takes_his_trust_back_and_gives_it_again() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    let made = alice.create_trust(None).await.unwrap();
    assert_eq!(alice.create_trust(Some(TRUSTEE.to_owned())).await.unwrap().name, made.name, "it holds");
    check_refused(
        alice.create_trust(Some("admin".to_owned())).await,
        400,
        "TRUST_ROLE_INVALID",
        "lends role backup",
    );
    check_refused(site.user("bob", ALICE).show_trust(&made.name).await, 404, "TRUST_NOT_FOUND", &made.name);
    assert_eq!(alice.show_trust(&made.name).await.unwrap().value, made.value);
    alice.delete_trust(&made.name).await.unwrap();
    assert!(site.keystone.trusts().is_empty() && alice.list_trusts().await.unwrap().is_empty());
    check_refused(alice.delete_trust(&made.name).await, 404, "TRUST_NOT_FOUND", &made.name);
    let restricted = site.service.client_of("acme", &site.keystone.restricted_token("alice", "acme"));
    check_refused(
        restricted.create_trust(None).await,
        409,
        "TRUST_REFUSED",
        "restricted application credential",
    );
    alice.create_trust(None).await.unwrap();
    restricted.create_workload(site.service.make_new("web", 0..1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cloud_that_vouches_for_users_there_are_no_trusts() {
    let service = crate::rest::fixture::Service::start().await;
    check_refused(service.client.list_trusts().await, 409, "TRUSTS_NOT_USED", "auth.kind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_whose_answer_was_lost_is_found_again() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    site.keystone.lose_the_next_answer();
    let new = || site.service.make_new("web", 0..1);
    assert!(alice.create_workload(new()).await.is_err());
    let made = site.keystone.trusts();
    assert_eq!(made.len(), 1);
    alice.create_workload(new()).await.unwrap();
    assert_eq!(site.keystone.trusts(), made, "no other was made");
    assert_eq!(alice.list_trusts().await.unwrap()[0].value, made[0]["id"].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trust_goes_with_the_last_workload_of_its_user_and_not_before() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    for (name, range) in [("web", 0..1), ("shop", 1..2)] {
        alice.create_workload(site.service.make_new(name, range)).await.unwrap();
    }
    let jobs = CloudJobs::new(site.service.state.cloud.clone(), Vec::new())
        .with_trusts(site.service.state.trusts.clone());
    let revoke = CloudCommand::RevokeTrust(cmd::RevokeTrust {
        project_id: "acme".to_owned(),
        user_id: "alice".to_owned(),
        ..Default::default()
    });
    for (workload, trusts_left) in alice.list_workloads().await.unwrap().into_iter().zip([1, 0]) {
        let mut tx = site.service.state.catalog.begin().await.unwrap();
        tx.delete_workload(workload.id).await.unwrap();
        tx.commit().await.unwrap();
        for _ in 0..2 {
            jobs.run(&revoke).await.unwrap();
        }
        let there = (site.keystone.trusts().len(), alice.list_trusts().await.unwrap().len());
        assert_eq!(there, (trusts_left, trusts_left));
    }
}
