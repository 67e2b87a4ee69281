//! What `doctor` tells users and administrators of roles and trusts.

use model::Verdict;
use rest_api::{Client, DoctorCheck};

use super::{ALICE, Site, TRUSTEE};

/// What is not well with roles and trusts.
async fn codes(client: &Client) -> Vec<String> {
    let checks = client.examine(None).await.unwrap();
    let is_theirs = |check: &&DoctorCheck| check.service == "project" && check.check.contains("user");
    let bad = checks.iter().filter(is_theirs).filter(|check| check.result != Verdict::Ok);
    bad.map(|check| check.code.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_that_does_not_hold_is_told_by_the_reason_as_far_as_the_asker_may_know_it() {
    let site = Site::start().await;
    let alice = site.user("alice", ALICE);
    alice.create_workload(site.service.make_new("web", 0..1)).await.unwrap();
    let admin = || site.user("root", &["admin", "reader"]);
    assert_eq!(codes(&alice).await, [""; 0]);
    assert_eq!(codes(&admin()).await, [""; 0]);

    let reader = site.user("alice", &["reader"]);
    assert_eq!(codes(&reader).await, ["TRUSTEE_ROLE_MISSING", "TRUST_ROLE_LOST"]);
    assert_eq!(codes(&admin()).await, ["TRUST_ROLE_LOST"]);
    let bob = site.user("bob", &["reader"]);
    assert_eq!(codes(&bob).await, ["TRUSTEE_ROLE_MISSING", "TRUST_REVOKED"], "not his to know");

    site.user("alice", ALICE);
    site.keystone.disable("alice");
    assert_eq!(codes(&admin()).await, ["TRUST_USER_DISABLED"]);
    site.keystone.delete_user("alice");
    assert_eq!(codes(&admin()).await, ["TRUST_GONE"]);
    assert_eq!(
        site.service.state.catalog.read().await.unwrap().list_trusts(&Default::default()).await.unwrap()[0]
            .reason,
        None,
        "a look notes nothing"
    );

    let checks = admin().examine(None).await.unwrap();
    let whole = checks.iter().map(|check| (check.service.as_str(), check.code.as_str()));
    let whole: std::collections::BTreeSet<_> = whole.collect();
    for absent in [
        ("dmapi", "SERVICE_NEVER_SEEN"),
        ("datamover", "SERVICE_NEVER_SEEN"),
        ("controller", "BUS_UNREACHABLE"),
        ("controller", "BROKER_NOT_WATCHED"),
    ] {
        assert!(whole.contains(&absent), "{absent:?} is not in {whole:?}");
    }
    let lost = checks.iter().find(|check| check.code == "TRUST_GONE").unwrap();
    assert!(lost.message.contains("holdfast trust create") && lost.result == Verdict::Fail, "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_workload_is_only_warned_of_a_role_that_is_missing_and_sees_no_host() {
    let site = Site::start().await;
    let reader = site.user("rita", &["reader"]);
    let checks = reader.examine(None).await.unwrap();
    let role = checks.iter().find(|check| check.code == "TRUSTEE_ROLE_MISSING").unwrap();
    assert!(role.result == Verdict::Warn && role.check.contains(TRUSTEE), "{role:?}");
    assert!(checks.iter().all(|check| check.service == "project" && check.host.is_empty()), "{checks:?}");
}
