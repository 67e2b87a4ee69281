//! What is left in the disks' files, and what is trusted of it.

use cloud::Moment;

use crate::fake::{FakeHost, snapshot};

#[tokio::test]
async fn the_last_base_stays_until_the_next_snapshot_is_committed_whatever_is_asked_for() {
    let host = FakeHost::new();
    let cuts = host.open();
    host.commit(&cuts, 1, None).await;
    // A full one, that fails.
    cuts.cut(&host.request(2, None)).await.unwrap();
    assert_eq!(host.bitmaps(), [1, 2]);
    cuts.end_cut(host.instance, snapshot(2), false).await.unwrap();
    assert_eq!(host.bitmaps(), [1]);
    cuts.cut(&host.request(3, Some(1))).await.unwrap();
    assert!(cuts.running_source(&host.query(3, Some(1))).await.unwrap().changes.is_some());
    assert_eq!(host.bitmaps(), [1, 3]);
    cuts.end_cut(host.instance, snapshot(3), true).await.unwrap();
    assert_eq!(host.bitmaps(), [3]);
}

#[tokio::test]
async fn a_record_of_changes_that_was_false_is_a_base_for_nothing_though_its_snapshot_fails() {
    let host = FakeHost::new();
    let cuts = host.open();
    host.commit(&cuts, 1, None).await;
    cuts.cut(&host.request(2, Some(1))).await.unwrap();
    assert!(cuts.running_source(&host.query(2, Some(1))).await.unwrap().changes.is_some());
    host.set("away", ""); // nobody need be asked
    cuts.forget_changes(&host.query(2, Some(1))).await.unwrap();
    host.unset("away");
    // A transfer that is killed and begins anew, and after it the next snapshot.
    let cuts = host.open();
    let source = cuts.running_source(&host.query(2, Some(1))).await.unwrap();
    assert_eq!((source.changes, source.changes_are_false), (None, true));
    assert!(source.full_read_reason.unwrap().contains("false"));
    assert!(cuts.changes_are_false(&host.query(2, Some(1))).unwrap(), "whoever went by it reads all");
    cuts.end_cut(host.instance, snapshot(2), false).await.unwrap();
    assert_eq!(host.bitmaps(), Vec::<u8>::new());
    cuts.cut(&host.request(3, Some(1))).await.unwrap();
    let source = cuts.running_source(&host.query(3, Some(1))).await.unwrap();
    assert_eq!((source.changes, source.changes_are_false), (None, false));
    assert!(source.full_read_reason.is_some());
    cuts.end_cut(host.instance, snapshot(3), true).await.unwrap();
    cuts.forget_changes(&host.query(4, Some(1))).await.unwrap();
    cuts.cut(&host.request(4, Some(3))).await.unwrap();
    let source = cuts.running_source(&host.query(4, Some(3))).await.unwrap();
    assert!(source.changes.is_some(), "another record is another's");
}

#[tokio::test]
async fn a_domain_that_is_away_for_a_moment_costs_no_record_of_its_bitmaps() {
    let host = FakeHost::new();
    let cuts = host.open();
    host.commit(&cuts, 1, None).await;
    cuts.cut(&host.request(2, Some(1))).await.unwrap();
    host.unset("job"); // a hard reboot ends it, takes the domain away and makes it anew
    host.unset("domain.xml");
    cuts.end_cut(host.instance, snapshot(2), false).await.unwrap();
    host.open().take_up().await.unwrap();
    host.boot(2);
    assert_eq!(host.bitmaps(), [1, 2]);
    let cuts = host.open();
    host.commit(&cuts, 3, Some(1)).await;
    assert_eq!(host.bitmaps(), [3]);
}

#[tokio::test]
async fn of_an_instance_that_is_gone_nothing_stays() {
    let host = FakeHost::new();
    let cuts = host.open();
    cuts.cut(&host.request(1, None)).await.unwrap();
    host.unset("job");
    host.unset("domain.xml");
    std::fs::remove_dir_all(host.path("instances")).unwrap();
    host.open().take_up().await.unwrap();
    assert_eq!(cuts.records.instances().unwrap(), []);
    assert_eq!(std::fs::read_dir(host.path("scratch")).unwrap().count(), 0);
    cuts.end_cut(host.instance, snapshot(1), true).await.unwrap();
}

#[tokio::test]
async fn a_reset_of_an_instance_that_is_gone_forgets_it_at_once() {
    let host = FakeHost::new();
    let cuts = host.open();
    host.commit(&cuts, 1, None).await;
    host.unset("domain.xml");
    cuts.drop_changes(host.instance).await.unwrap();
    assert_eq!(cuts.records.instances().unwrap(), [host.instance], "its folder is there, it may come again");
    std::fs::remove_dir_all(host.path("instances")).unwrap();
    cuts.drop_changes(host.instance).await.unwrap();
    assert_eq!(cuts.records.instances().unwrap(), []);
}

#[tokio::test]
async fn a_bitmap_that_libvirt_does_not_take_keeps_no_other_in_the_file_and_goes_later() {
    let host = FakeHost::new();
    let cuts = host.open();
    host.commit(&cuts, 1, None).await;
    // Two that failed while the domain was away, and so stayed.
    for number in [2, 3] {
        cuts.cut(&host.request(number, Some(1))).await.unwrap();
        let domain = std::fs::read_to_string(host.path("virsh/domain.xml")).unwrap();
        host.unset("domain.xml");
        cuts.end_cut(host.instance, snapshot(number), false).await.unwrap();
        host.unset("job");
        host.set("domain.xml", &domain);
    }
    assert_eq!(host.bitmaps(), [1, 2, 3]);
    let refused = format!("refuse-holdfast-{}", snapshot(2));
    host.set(&refused, "internal error");
    host.commit(&cuts, 4, Some(1)).await;
    assert_eq!(host.bitmaps(), [2, 4], "the third had the second as its parent, the first was the base");
    host.unset(&refused);
    assert_eq!(cuts.cut(&host.request(5, Some(4))).await.unwrap(), Moment::Cut);
    cuts.end_cut(host.instance, snapshot(5), true).await.unwrap();
    assert_eq!(host.bitmaps(), [5]);
}

#[tokio::test]
async fn a_bitmap_that_was_lost_with_its_file_is_forgotten() {
    let host = FakeHost::new();
    let cuts = host.open();
    host.commit(&cuts, 1, None).await;
    std::fs::remove_file(host.path(&format!("virsh/bitmaps/holdfast-{}", snapshot(1)))).unwrap(); // a rebuild
    host.commit(&cuts, 2, None).await;
    assert_eq!(cuts.records.load(host.instance).unwrap().checkpoints, [snapshot(2)]);
}
