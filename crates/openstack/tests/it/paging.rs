use openstack::{Error, Service};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::{Fake, Reply, Seen};

fn parameter(seen: &Seen, name: &str) -> Option<String> {
    let (_, query) = seen.target.split_once('?')?;
    let pair = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    pair.map(str::to_owned)
}

/// Items `0..count`, `limit` at a time.
fn page(seen: &Seen, count: usize, with_links: bool) -> Reply {
    let limit = parameter(seen, "limit").map_or(count, |text| text.parse().unwrap());
    let begin = parameter(seen, "marker").map_or(0, |marker| marker.parse::<usize>().unwrap() + 1);
    let end = (begin + limit).min(count);
    let items: Vec<_> = (begin..end).map(|id| json!({ "id": id.to_string() })).collect();
    let mut body = json!({ "servers": items });
    if with_links && end < count {
        // Behind a proxy that services know nothing of.
        let href = format!("http://inner.invalid:1/servers/detail?limit={limit}&marker={}&x=a%26b", end - 1);
        body["servers_links"] = json!([{ "rel": "next", "href": href }]);
    }
    Reply::Json(200, body)
}

async fn ids(fake: &Fake, path: &str) -> Vec<usize> {
    let all: Vec<Value> = fake.session().list(Service::Compute, path, "servers").await.unwrap();
    all.iter().map(|item| item["id"].as_str().unwrap().parse().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn each_item_of_a_list_comes_once_whatever_the_pages(count in 0_usize..20, limit in 1_usize..8, with_links: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fake = Fake::start(move |seen| page(seen, count, with_links)).await;
            let all = ids(&fake, &format!("/servers/detail?limit={limit}&name=a%20b")).await;
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        });
    }
}

#[tokio::test]
async fn filters_stay_on_all_pages_and_without_a_limit_the_list_is_whole() {
    let fake = Fake::start(|seen| page(seen, 5, false)).await;
    assert_eq!(ids(&fake, "/servers/detail?limit=2&name=a%26b").await.len(), 5);
    assert!(fake.seen().iter().all(|seen| parameter(seen, "name").as_deref() == Some("a%26b")));
    let fake = Fake::start(|seen| page(seen, 5, false)).await;
    assert_eq!(ids(&fake, "/servers/detail").await.len(), 5);
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn links_that_go_in_a_circle_are_an_error() {
    let fake = Fake::start(|_| {
        let href = "/v2/images?marker=1";
        Reply::Json(200, json!({ "images": [{ "id": "1" }], "next": href }))
    })
    .await;
    let all = fake.session().list::<Value>(Service::Image, "/images", "images").await;
    let error = all.unwrap_err();
    assert!(matches!(&error, Error::AnswerInvalid { reason, .. } if reason.contains("circle")), "{error}");
}

#[tokio::test]
async fn an_answer_without_the_list_is_an_error() {
    let fake = Fake::start(|_| Reply::Json(200, json!({ "server": [] }))).await;
    let error = fake.session().list::<Value>(Service::Compute, "/servers", "servers").await.unwrap_err();
    assert!(error.to_string().contains("there is no list \"servers\""), "{error}");
}

#[tokio::test]
async fn a_list_that_does_not_end_is_an_error() {
    let fake = Fake::start(|seen| page(seen, usize::MAX, true)).await;
    let all = fake.session().list::<Value>(Service::Compute, "/servers/detail?limit=1", "servers").await;
    let error = all.unwrap_err();
    assert!(
        matches!(&error, Error::AnswerInvalid { reason, .. } if reason.contains("1000 pages")),
        "{error}"
    );
    assert_eq!(fake.seen().len(), 1001);
}
