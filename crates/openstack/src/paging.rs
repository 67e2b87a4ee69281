//! Lists, page after page: by the links that services give, else by the last item as marker.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::{Error, Service, Session};

/// What one list may bring: a project with more is one that nobody can show, and a service that never ends is none.
const PAGE_COUNT_MAX: usize = 1000;
const ITEM_COUNT_MAX: usize = 200_000;

impl Session {
    /// All items of a list, of all its pages. `key` names the list in the body: `/servers/detail`, `servers`.
    ///
    /// Only a path with a `limit` is paged by marker where the service gives no links.
    ///
    /// Errors: those of the requests; `AnswerInvalid` when a page comes twice, since that would never end, and when there
    /// are more than 1000 pages or 200 000 items.
    pub async fn list<T: DeserializeOwned>(
        &self,
        service: Service,
        path: &str,
        key: &str,
    ) -> Result<Vec<T>, Error> {
        let bare = path.split_once('?').map_or(path, |(bare, _)| bare);
        let mut items = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let request = self.get(service, &path);
            let invalid = |reason: String| request_error(service, &path, reason);
            let mut body: Value = request.json().await?;
            let Some(Value::Array(page)) = body.get_mut(key).map(Value::take) else {
                return Err(invalid(format!("there is no list {key:?}")));
            };
            if !seen.insert(path.clone()) {
                return Err(invalid("the pages of the list go in a circle".to_owned()));
            }
            if seen.len() > PAGE_COUNT_MAX || items.len() + page.len() > ITEM_COUNT_MAX {
                let reason = format!(
                    "the list has more than {PAGE_COUNT_MAX} pages or {ITEM_COUNT_MAX} items: delete what is not needed in the project"
                );
                return Err(invalid(reason));
            }
            next = next_query(&body, key, &path, &page).map(|query| format!("{bare}?{query}"));
            for item in page {
                items.push(serde_json::from_value(item).map_err(|error| invalid(error.to_string()))?);
            }
        }
        Ok(items)
    }
}

fn request_error(service: Service, path: &str, reason: String) -> Error {
    let call = crate::Call {
        method: "GET".to_owned(),
        url: format!("{service}{path}"),
        request_id: String::new(),
        is_repeatable: true,
    };
    Error::AnswerInvalid { call: Box::new(call), reason, request_id: "of the page".to_owned() }
}

/// The query of the next page. Of a link only the query is taken: behind a proxy its scheme and host are often not those by which
/// we came, and the token would go there.
fn next_query(body: &Value, key: &str, path: &str, page: &[Value]) -> Option<String> {
    let links = &body[format!("{key}_links")];
    if let Some(links) = links.as_array() {
        let next = links.iter().find(|link| link["rel"] == "next")?;
        return query_of(next["href"].as_str()?);
    }
    // Glance; Keystone.
    if let Some(next) = body["next"].as_str().or_else(|| body["links"]["next"].as_str()) {
        return query_of(next);
    }
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let pairs: Vec<(String, String)> = parse_query(query);
    let limit: usize = pairs.iter().find(|(name, _)| name == "limit")?.1.parse().ok()?;
    // Nova, Cinder and Neutron leave the links out on the last page: a full one may be it, and then one more is empty.
    if page.len() != limit || limit == 0 {
        return None;
    }
    let last = page.last()?;
    let marker = last["id"].as_str().or_else(|| last["uuid"].as_str())?;
    let mut serializer = url::form_urlencoded::Serializer::new(String::new());
    serializer.extend_pairs(pairs.iter().filter(|(name, _)| name != "marker"));
    serializer.append_pair("marker", marker);
    Some(serializer.finish())
}

fn query_of(link: &str) -> Option<String> {
    let base = Url::parse("http://localhost/").expect("a constant");
    base.join(link).ok()?.query().map(str::to_owned)
}

fn parse_query(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}
