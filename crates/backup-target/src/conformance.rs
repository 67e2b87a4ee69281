//! What every backup target must do, as a test that any of them passes.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::{ByteCount, ObjectName};

use crate::BackupTarget;

fn name(text: &str) -> ObjectName {
    text.parse().expect("the test's names are valid")
}

/// Checks all promises on a target that holds nothing but its own record, and leaves it so.
///
/// Panics: a promise is broken.
pub async fn check(target: &dyn BackupTarget) {
    let before = listing(target).await;
    check_write_once(target).await;
    check_ranges(target).await;
    check_listing(target).await;
    check_replace(target).await;
    check_removal(target).await;
    check_rivals(target).await;
    target.remove_empty_dirs(&name("conformance")).await.expect("folders can be removed");
    assert_eq!(listing(target).await, before, "the target is as before");
    assert!(target.space().await.expect("there is an answer").total > ByteCount(0));
}

async fn listing(target: &dyn BackupTarget) -> BTreeSet<String> {
    let found = target.list(None).await.expect("a target can be listed");
    assert!(found.is_sorted(), "listings ascend");
    found.into_iter().map(|object| object.name.to_string()).collect()
}

#[track_caller]
fn assert_code<R: std::fmt::Debug>(outcome: Result<R, crate::Error>, code: &str) {
    assert_eq!(outcome.expect_err("it must fail").code(), code);
}

async fn check_write_once(target: &dyn BackupTarget) {
    let object = name("conformance/a/b/once");
    let content = Bytes::from(vec![7; 3 << 20]);
    assert_eq!(target.size(&object).await.expect("an answer"), None);
    assert_code(target.get(&object).await, "OBJECT_MISSING");
    target.put(&object, content.clone()).await.expect("the first put");
    target.put(&object, content.clone()).await.expect("the same again");
    assert_code(target.put(&object, Bytes::from_static(b"other")).await, "OBJECT_EXISTS");
    let mut altered = content.to_vec();
    altered[2 << 20] ^= 1;
    assert_code(target.put(&object, altered.into()).await, "OBJECT_EXISTS");
    assert_eq!(target.get(&object).await.expect("it is there"), content);
    assert_eq!(target.size(&object).await.expect("an answer"), Some(ByteCount(3 << 20)));
    assert_eq!(listing(target).await.iter().filter(|name| name.starts_with("conformance/")).count(), 1);
}

async fn check_ranges(target: &dyn BackupTarget) {
    let object = name("conformance/ranges");
    target.put(&object, Bytes::from_static(b"0123456789")).await.expect("a put");
    assert_eq!(target.get_range(&object, 3, 4).await.expect("a range"), "3456");
    assert_eq!(target.get_range(&object, 10, 0).await.expect("an empty range"), "");
    assert_code(target.get_range(&object, 8, 3).await, "OBJECT_TOO_SHORT");
    assert_code(target.get_range(&object, u64::MAX, 1).await, "OBJECT_TOO_SHORT");
    assert_code(target.get_range(&object, 0, u64::MAX).await, "OBJECT_TOO_LARGE");
    assert_code(target.get_range(&name("conformance/none"), 0, 1).await, "OBJECT_MISSING");
    let empty = name("conformance/empty");
    target.put(&empty, Bytes::new()).await.expect("an empty object");
    assert_eq!(target.get(&empty).await.expect("it is there"), "");
}

async fn check_listing(target: &dyn BackupTarget) {
    let found = target.list(Some(&name("conformance"))).await.expect("a folder");
    let sizes: Vec<_> = found.iter().map(|object| (object.name.as_str(), object.size.0)).collect();
    assert_eq!(
        sizes,
        [("conformance/a/b/once", 3 << 20), ("conformance/empty", 0), ("conformance/ranges", 10)]
    );
    assert_eq!(target.list(Some(&name("conformance/nowhere"))).await.expect("an empty folder"), []);
}

async fn check_replace(target: &dyn BackupTarget) {
    let object = name("conformance/record");
    for content in ["first", "second", "second"] {
        target.replace(&object, Bytes::from_static(content.as_bytes())).await.expect("a replace");
        assert_eq!(target.get(&object).await.expect("it is there"), content);
    }
}

async fn check_removal(target: &dyn BackupTarget) {
    for object in target.list(Some(&name("conformance"))).await.expect("a folder") {
        target.delete(&object.name).await.expect("a delete");
        target.delete(&object.name).await.expect("once more");
        assert_eq!(target.size(&object.name).await.expect("an answer"), None);
    }
    target.delete(&name("conformance/never/there")).await.expect("what was never there");
    target.remove_temps(&name("conformance")).await.expect("nothing to remove");
    target.remove_temps(&name("conformance/nowhere")).await.expect("nothing to remove");
}

/// Of many writers of one name one wins, and the others are told; readers never see a mix.
async fn check_rivals(target: &dyn BackupTarget) {
    let object = name("conformance/rivals/one");
    let puts = (0..8u8).map(|writer| target.put(&object, vec![writer; 100_000].into()));
    let mut winners = 0;
    let mut pending: Vec<_> = puts.collect();
    for put in join_all(&mut pending).await {
        match put {
            Ok(()) => winners += 1,
            Err(error) => assert_eq!(error.code(), "OBJECT_EXISTS"),
        }
    }
    assert_eq!(winners, 1, "one writer wins");
    let content = target.get(&object).await.expect("it is there");
    assert!(content.len() == 100_000 && content.iter().all(|byte| *byte == content[0]), "no mix");
    target.delete(&object).await.expect("a delete");
}

/// Polls all futures together until each is ready.
async fn join_all<F: Future + Unpin>(futures: &mut [F]) -> Vec<F::Output> {
    use std::pin::Pin;
    use std::task::Poll;
    let mut outcomes: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, outcome) in futures.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let Poll::Ready(output) = Pin::new(future).poll(context)
            {
                *outcome = Some(output);
            }
        }
        if outcomes.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}
