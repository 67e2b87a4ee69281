//! The small HTTP server for people and monitors: health, metrics, and what a service adds. Reading only, without a
//! token: it listens where the operator says, on a loopback address unless there is a reason.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, HttpServer, web};
use futures::future::BoxFuture;

use crate::actors::Counts;
use crate::config::HealthSection;
use crate::metrics::{self, Exposition, Kind, count};
use crate::{Health, StartError};

/// A consumer that does not tell its counts in time is left out; its own watchdog deals with it.
const COUNTS_TIMEOUT: Duration = Duration::from_secs(1);

/// What is served under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
}

type Render = Arc<dyn Fn() -> Answer + Send + Sync>;
type Measure = Arc<dyn Fn(&mut Exposition) + Send + Sync>;
type ReadCounts = Arc<dyn Fn() -> BoxFuture<'static, Option<Counts>> + Send + Sync>;

/// What a service serves besides its health. Cheap to clone.
#[derive(Clone, Default)]
pub struct Pages(Arc<Mutex<Parts>>);

#[derive(Clone, Default)]
struct Parts {
    pages: Vec<(&'static str, Render)>,
    measures: Vec<Measure>,
    consumers: Vec<(String, ReadCounts)>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = self.parts();
        f.debug_list().entries(parts.pages.iter().map(|(path, _)| path)).finish()
    }
}

impl Pages {
    /// Serves `render` under `path`. It runs on the server's thread: it must not block.
    pub fn add(&self, path: &'static str, render: impl Fn() -> Answer + Send + Sync + 'static) {
        self.change(|parts| parts.pages.push((path, Arc::new(render))));
    }

    /// Adds figures to `/metrics`. It must not block.
    pub fn measure(&self, measure: impl Fn(&mut Exposition) + Send + Sync + 'static) {
        self.change(|parts| parts.measures.push(Arc::new(measure)));
    }

    pub(crate) fn add_consumer(&self, name: String, read: ReadCounts) {
        self.change(|parts| parts.consumers.push((name, read)));
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn parts(&self) -> Parts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// See [`Health::serve`].
pub(crate) fn serve(health: &Health, section: &HealthSection) -> Result<Option<SocketAddr>, StartError> {
    let Some(listen) = section.listen else { return Ok(None) };
    let health = health.clone();
    let server = HttpServer::new(move || {
        let pages = health.pages().parts().pages;
        let mut app = App::new()
            .app_data(web::Data::new(health.clone()))
            .route("/health", web::get().to(show_health))
            .route("/metrics", web::get().to(show_metrics));
        for (path, render) in pages {
            let show = move || {
                let render = Arc::clone(&render);
                async move { respond(render()) }
            };
            app = app.route(path, web::get().to(show));
        }
        app
    })
    .workers(1)
    .disable_signals()
    .bind(listen)
    .map_err(|source| StartError::failed(format!("failed to listen on {listen}: {source}")))?;
    let address = server.addrs().first().copied().unwrap_or(listen);
    if let Some(path) = &section.address_file {
        std::fs::write(path, address.to_string()).map_err(|source| {
            StartError::failed(format!("failed to write the address to {}: {source}", path.display()))
        })?;
    }
    // It ends with the process: there is nothing in it to lose.
    drop(tokio::spawn(server.run()));
    Ok(Some(address))
}

async fn show_health(health: web::Data<Health>) -> HttpResponse {
    respond(health.answer())
}

async fn show_metrics(health: web::Data<Health>) -> HttpResponse {
    let parts = health.pages().parts();
    let mut exposition = Exposition::default();
    health.measure(&mut exposition);
    measure_consumers(&parts.consumers, &mut exposition).await;
    for measure in &parts.measures {
        measure(&mut exposition);
    }
    respond(Answer { status: 200, content_type: metrics::CONTENT_TYPE, body: exposition.into_text() })
}

async fn measure_consumers(consumers: &[(String, ReadCounts)], exposition: &mut Exposition) {
    let mut family = exposition.family(
        "holdfast_messages_handled_total",
        Kind::Counter,
        "Messages that a consumer took from its queue, by what became of them.",
    );
    for (name, read) in consumers {
        let Ok(Some(counts)) = tokio::time::timeout(COUNTS_TIMEOUT, read()).await else { continue };
        let Counts { done, retried, dead, panicked } = counts;
        for (outcome, value) in [("done", done), ("retried", retried), ("dead", dead), ("panicked", panicked)]
        {
            family.sample(&[("consumer", name), ("outcome", outcome)], count(value));
        }
    }
}

fn respond(answer: Answer) -> HttpResponse {
    HttpResponse::build(StatusCode::from_u16(answer.status).expect("we give statuses that exist"))
        .content_type(answer.content_type)
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .insert_header(("X-Frame-Options", "DENY"))
        .body(answer.body)
}
