//! What is told of cuts that were left, and what goes.

use cloud::LeftoverKey;

use crate::bitmaps::checkpoint_name;
use crate::fake::{FakeHost, snapshot};

/// What is told, in a few words.
async fn told(host: &FakeHost) -> Vec<String> {
    let found = host.open().list_leftovers().await.unwrap();
    let mut words: Vec<_> = found
        .iter()
        .map(|it| {
            let number = it.key.snapshot().to_string();
            let base = if it.base_of.is_some() { " base" } else { "" };
            format!("{} {}{base}", it.key.kind(), &number[number.len() - 1..])
        })
        .collect();
    words.sort();
    words
}

fn in_file(host: &FakeHost) -> Vec<String> {
    disk::qcow2_bitmaps(&host.path("disk")).unwrap()
}

#[tokio::test]
async fn what_stands_is_told_with_owner_and_age_and_what_a_snapshot_needs_is_told_as_base() {
    let host = FakeHost::new();
    let cuts = host.open();
    assert_eq!(told(&host).await, Vec::<String>::new());
    host.commit(&cuts, 1, None).await;
    cuts.cut(&host.request(2, Some(1))).await.unwrap();
    std::fs::create_dir(host.path("scratch").join(snapshot(3).to_string())).unwrap();
    std::fs::create_dir(host.path("scratch/somebody else's")).unwrap();
    assert_eq!(told(&host).await, ["bitmap 1 base", "bitmap 2", "cut 2", "scratch 3"]);
    let found = host.open().list_leftovers().await.unwrap();
    let cut = found.iter().find(|it| matches!(it.key, LeftoverKey::Cut { .. })).unwrap();
    assert_eq!(cut.owner.as_ref().unwrap().project_id.as_str(), "acme");
    assert!(cut.age.unwrap().as_secs() < 3600 && cut.size.is_some(), "{cut:?}");
}

#[tokio::test]
async fn all_that_is_left_goes_by_its_ids_though_the_records_were_lost() {
    let host = FakeHost::new();
    host.make_disk(&[checkpoint_name(snapshot(1)), "somebody-elses".to_owned()]);
    let cuts = host.open();
    host.commit(&cuts, 1, None).await;
    cuts.cut(&host.request(2, Some(1))).await.unwrap();
    let checkpoint =
        "<domaincheckpoint><name>holdfast-00000000-0000-4000-8000-000000000002</name></domaincheckpoint>";
    host.set(&format!("checkpoints/{}", checkpoint_name(snapshot(2))), checkpoint);
    host.set("checkpoints/somebody-elses", "<domaincheckpoint/>");
    std::fs::remove_dir_all(host.path("state")).unwrap();
    let cuts = host.open();
    assert_eq!(told(&host).await, ["bitmap 1", "checkpoint 2", "cut 2"]);
    let instance = host.instance;
    for _ in 0..2 {
        cuts.remove_leftover(LeftoverKey::Cut { instance, snapshot: snapshot(2) }).await.unwrap();
        cuts.remove_leftover(LeftoverKey::Scratch { snapshot: snapshot(2) }).await.unwrap();
        cuts.remove_leftover(LeftoverKey::Checkpoint { instance, snapshot: snapshot(2) }).await.unwrap();
    }
    assert!(!host.has("job") && host.has("checkpoints/somebody-elses"));
    cuts.remove_leftover(LeftoverKey::Bitmap { instance, snapshot: snapshot(1) }).await.unwrap();
    assert_eq!(host.bitmaps(), Vec::<u8>::new(), "by the hypervisor, which the instance runs in");
    assert_eq!(std::fs::read_dir(host.path("scratch")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_snapshot_that_is_under_way_reads_stays() {
    let host = FakeHost::new();
    let cuts = host.open();
    host.commit(&cuts, 1, None).await;
    cuts.cut(&host.request(2, Some(1))).await.unwrap();
    let instance = host.instance;
    let bitmap = cuts.remove_leftover(LeftoverKey::Bitmap { instance, snapshot: snapshot(1) }).await;
    let scratch = cuts.remove_leftover(LeftoverKey::Scratch { snapshot: snapshot(2) }).await;
    for refused in [bitmap, scratch] {
        assert_eq!(refused.unwrap_err().failure().code, "CUT_BUSY");
    }
    assert_eq!((host.bitmaps(), host.has("job")), (vec![1, 2], true));
}

#[tokio::test]
async fn bitmaps_of_a_stopped_instance_go_from_its_file_when_nothing_follows_them() {
    let host = FakeHost::new();
    let ours = checkpoint_name(snapshot(1));
    host.make_disk(&[ours.clone(), "somebody-elses".to_owned()]);
    let cuts = host.open();
    host.commit(&cuts, 1, None).await;
    host.stop();
    cuts.drop_changes(host.instance).await.unwrap();
    assert_eq!(in_file(&host), ["somebody-elses"]);
    assert_eq!(cuts.records.instances().unwrap(), []);

    // Of one of which nothing is known any more, too.
    host.make_disk(&[ours]);
    let key = LeftoverKey::Bitmap { instance: host.instance, snapshot: snapshot(1) };
    cuts.remove_leftover(key).await.unwrap();
    assert_eq!(in_file(&host), Vec::<String>::new());
}

#[tokio::test]
async fn a_bitmap_in_a_file_that_somebody_has_open_stays_for_the_next_look() {
    let host = FakeHost::new();
    let ours = checkpoint_name(snapshot(1));
    host.make_disk(std::slice::from_ref(&ours));
    let cuts = host.open();
    host.commit(&cuts, 1, None).await;
    host.stop();
    let image = host.path("disk");
    let mut holder = tokio::process::Command::new("qemu-io");
    holder.arg("-f").arg("qcow2").arg(&image).kill_on_drop(true);
    let mut holder =
        holder.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    // Its prompt: it has the file open.
    let mut prompt = [0; 8];
    let out = holder.stdout.as_mut().unwrap();
    tokio::io::AsyncReadExt::read_exact(out, &mut prompt).await.unwrap();
    cuts.drop_changes(host.instance).await.unwrap();
    assert_eq!(in_file(&host), std::slice::from_ref(&ours));
    let key = LeftoverKey::Bitmap { instance: host.instance, snapshot: snapshot(1) };
    assert_eq!(cuts.remove_leftover(key).await.unwrap_err().failure().code, "BITMAP_KEPT");
    drop(holder.stdin.take());
    holder.wait().await.unwrap();
    cuts.remove_leftover(key).await.unwrap();
    assert_eq!(in_file(&host), Vec::<String>::new());
}
