//! What a controller knows of the whole, for those who watch over it: one struct (`rest_api::Status`), gathered every
//! few seconds by the actor `status_keeper`, and shown as a page, as JSON and as metrics. Whoever looks reads what was
//! gathered last: ten dashboards cost the database and the broker no more than none.
//!
//! A figure that is not known stays out, and says why: it is never shown as 0.

mod gather;
mod problems;
mod queues;

mod measure;
mod page;

#[cfg(test)]
mod sample;

pub use gather::Gatherer;
pub use queues::QueueMonitor;

use std::sync::Arc;

use rest_api::{Status, StatusBody};
use runtime::Entropy;
use service_kit::{Answer, Health};
use tokio::sync::watch;

/// What was gathered last. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Board(watch::Receiver<Option<Arc<Status>>>);

/// The writing end.
pub type BoardWriter = watch::Sender<Option<Arc<Status>>>;

impl Board {
    /// Makes both ends; nothing is gathered yet.
    #[must_use]
    pub fn new() -> (BoardWriter, Self) {
        let (writer, reader) = watch::channel(None);
        (writer, Self(reader))
    }

    /// What was gathered last; `None` in the first moments.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Status>> {
        self.0.borrow().clone()
    }

    /// Serves `/status`, `/status.json` and metrics beside the service's health.
    pub fn show_on(&self, health: &Health) {
        let (page, json, measured) = (self.clone(), self.clone(), self.clone());
        health.pages().add("/status", move || {
            page.answer(|status| ("text/html; charset=utf-8", page::render(status, &draw_nonce())))
        });
        health
            .pages()
            .add("/status.json", move || json.answer(|status| ("application/json", to_json(status))));
        health.pages().measure(move |exposition| {
            if let Some(status) = measured.latest() {
                measure::measure(&status, exposition);
            }
        });
    }

    fn answer(&self, show: impl FnOnce(&Status) -> (&'static str, String)) -> Answer {
        match self.latest() {
            Some(status) => {
                let (content_type, body) = show(&status);
                Answer { status: 200, content_type, body }
            }
            None => Answer {
                status: 503,
                content_type: "text/plain; charset=utf-8",
                body: "nothing is gathered yet: ask again in a moment\n".to_owned(),
            },
        }
    }
}

fn draw_nonce() -> String {
    Entropy.uuid().simple().to_string()
}

fn to_json(status: &Status) -> String {
    let body = StatusBody { status: status.clone() };
    serde_json::to_string_pretty(&body).expect("a status is always JSON") + "\n"
}
