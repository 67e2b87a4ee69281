//! Whatever happens to the datamover and to libvirt: no cut stands without a watch.

use crate::fake::{FakeHost, snapshot, wait_for};

/// A cut that stands, made by a process that is gone.
async fn leave_a_cut(host: &FakeHost) {
    let host_then = host.open();
    host_then.cut(&host.request(1, None)).await.unwrap();
    // The watch of that process is killed with it.
    host_then.watches.lock().unwrap().clear();
    assert!(host.has("job"));
}

#[tokio::test]
async fn a_cut_ends_before_its_room_does() {
    let (host, number) = (FakeHost::new(), 1);
    let cuts = host.open();
    cuts.cut(&host.request(number, None)).await.unwrap();
    host.fill_scratch(number);
    wait_for("the job to be ended", || !host.has("job")).await;
    let lost = cuts.check_running(&host.query(number, None)).await.unwrap_err().to_string();
    assert!(lost.contains("scratch folder"), "{lost}");
}

#[tokio::test]
async fn a_cut_that_is_found_again_is_watched() {
    let host = FakeHost::new();
    // Of a process that was killed between the job and its watch, and while libvirt was away at the start of the next.
    host.open().cut(&host.request(1, None)).await.unwrap();
    let cuts = host.open();
    assert!(cuts.watches.lock().unwrap().is_empty());
    cuts.cut(&host.request(1, None)).await.unwrap();
    assert!(cuts.watches.lock().unwrap().contains_key(&(host.instance, snapshot(1))));
    cuts.end_cut(host.instance, snapshot(1), false).await.unwrap();
    wait_for("the watch to end", || cuts.watches.lock().unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_cut_is_watched_from_the_start_also_when_libvirt_is_away() {
    let host = FakeHost::new();
    leave_a_cut(&host).await;
    host.set("away", "");
    let cuts = host.open();
    cuts.take_up().await.unwrap();
    host.fill_scratch(1);
    wait_for("a look at libvirt", || {
        let calls = std::fs::read_to_string(host.path("virsh/calls")).unwrap();
        calls.matches("backup-dumpxml").count() > 1
    })
    .await;
    assert!(host.has("job"));
    host.unset("away");
    wait_for("the job to be ended", || !host.has("job")).await;
}

#[tokio::test]
async fn an_end_that_fails_is_tried_again() {
    let host = FakeHost::new();
    let cuts = host.open();
    host.set("refuse-domjobabort", "cannot acquire state change lock");
    cuts.cut(&host.request(1, None)).await.unwrap();
    host.fill_scratch(1);
    wait_for("an attempt to end it", || {
        std::fs::read_to_string(host.path("virsh/calls")).unwrap().contains("domjobabort")
    })
    .await;
    assert!(host.has("job"));
    host.unset("refuse-domjobabort");
    wait_for("the job to be ended", || !host.has("job")).await;
}

#[tokio::test]
async fn a_guest_that_is_paused_goes_on_also_after_its_domain_was_away() {
    let host = FakeHost::new();
    let cuts = host.open();
    cuts.cut(&host.request(1, None)).await.unwrap();
    host.unset("domain.xml");
    let looks = || std::fs::read_to_string(host.path("virsh/calls")).unwrap().matches("domstate").count();
    let before = looks();
    wait_for("a look at the guest", || looks() > before + 1).await;
    host.boot(1);
    host.set("state", "paused (I/O error)\n");
    wait_for("the job to be ended", || !host.has("job")).await;
    wait_for("the guest to go on", || {
        std::fs::read_to_string(host.path("virsh/state")).unwrap().starts_with("running")
    })
    .await;
}
