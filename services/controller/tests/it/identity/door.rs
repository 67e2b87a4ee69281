//! Who comes in, and what they may do.

use rest_api::NewSnapshot;

use super::fake_keystone::FakeKeystone;
use super::{ALICE, Site, TRUSTEE};
use crate::rest::check_refused;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_its_own_project_and_nothing_else() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    assert!(alice.list_workloads().await.unwrap().is_empty());
    let foreign = site.keystone.log_in("carol", Some("other"), ALICE);
    let client = |token: &str| site.service.client_of("acme", token);
    check_refused(client(&foreign).list_workloads().await, 403, "PROJECT_MISMATCH", "project other");
    let unscoped = site.keystone.log_in("alice", None, &[]);
    check_refused(client(&unscoped).list_workloads().await, 403, "TOKEN_UNSCOPED", "scoped to the project");
    check_refused(client("garbage").list_workloads().await, 401, "TOKEN_REFUSED", "not valid");
    check_refused(client("two words").list_workloads().await, 401, "TOKEN_REFUSED", "not valid");
    let ended = site.keystone.log_in("dave", Some("acme"), ALICE);
    site.keystone.revoke(&ended);
    check_refused(client(&ended).list_workloads().await, 401, "TOKEN_REFUSED", "not valid");
    let disabled = site.user("erin", ALICE);
    site.keystone.disable("erin");
    check_refused(disabled.list_workloads().await, 401, "TOKEN_REFUSED", "not valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_trustee_role_nobody_writes_and_admin_does_not_replace_it() {
    let site = Site::start().await;
    let new = || site.service.make_new("web", 0..1);
    let member = site.user("bob", &["member", "reader"]);
    check_refused(member.create_workload(new()).await, 403, "FORBIDDEN", "lacks role backup in project acme");
    assert!(member.list_workloads().await.unwrap().is_empty(), "a member reads");
    let admin = site.user("root", &["admin", "member", "reader"]);
    check_refused(admin.create_workload(new()).await, 403, "FORBIDDEN", "role admin does not replace it");
    check_refused(
        site.user("nobody", &["auditor"]).list_workloads().await,
        403,
        "FORBIDDEN",
        "reader or member",
    );
    assert!(site.keystone.trusts().is_empty(), "who may not write entrusts nobody");
    // Roles of Keystone are the same whatever their case.
    let alice = site.user("alice", &["member", "Backup"]);
    let workload = alice.create_workload(new()).await.unwrap().summary.id;
    check_refused(
        admin.create_snapshot(workload, true, NewSnapshot::default()).await,
        403,
        "FORBIDDEN",
        "Policy doesn't allow workload:workload_snapshot to be performed.",
    );
    check_refused(alice.list_sagas(None, true).await, 403, "FORBIDDEN", "");
    assert!(admin.list_sagas(None, true).await.unwrap().is_empty());
    assert_eq!(TRUSTEE, "backup");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_found_good_is_not_asked_about_again_at_once() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    for _ in 0..5 {
        alice.list_workloads().await.unwrap();
    }
    assert_eq!(site.keystone.reads(), 1);
    site.keystone.set_down(true);
    alice.list_workloads().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keystone_that_does_not_answer_is_no_refusal() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    site.keystone.set_down(true);
    check_refused(alice.list_workloads().await, 503, "KEYSTONE_UNAVAILABLE", "cannot be asked");
    site.keystone.set_down(false);
    alice.list_workloads().await.unwrap();
    let away = Site::start_at("http://127.0.0.1:1/v3", FakeKeystone::start()).await;
    let outcome = away.service.client_of("acme", "token-of-somebody").list_workloads().await;
    check_refused(outcome, 503, "KEYSTONE_UNAVAILABLE", "try again");
}
