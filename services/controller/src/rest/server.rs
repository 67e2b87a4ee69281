//! The HTTP server: routes, limits, and what every request passes through.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::{App, HttpResponse, HttpServer, web};
use rest_api::Fault;
use tokio::runtime::Handle;

use super::asked::Door;
use super::body::BODY_SIZE_MAX;
use super::error::Reply;
use super::request_id::name_request;
use super::{
    Authenticator, dead_letters, health, leftovers, restores, sagas, snapshots, status, targets, trusts,
    workloads,
};
use crate::state::AppState;

/// Handlers only parse and wait; the work is on the runtime.
const WORKER_COUNT: usize = 2;
/// More than clients of ours keep one.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(75);
/// Running requests end within this; then the socket is closed.
const SHUTDOWN_SECONDS_MAX: u64 = 10;

/// Binds `listen` and gives the server, which serves once it is awaited, and the address it took. Signals are left to
/// the caller: stop it by `Server::handle`.
///
/// Errors: the address cannot be bound. Panics: outside of a tokio runtime.
pub fn serve(
    state: AppState,
    authenticator: Arc<dyn Authenticator>,
    listen: SocketAddr,
) -> io::Result<(Server, SocketAddr)> {
    let door = web::Data::new(Door { state, authenticator, runtime: Handle::current() });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::clone(&door))
            .app_data(web::PayloadConfig::new(BODY_SIZE_MAX))
            .wrap(NormalizePath::trim())
            .wrap(from_fn(name_request))
            .service(resource("/health").get(health::show).done())
            .service(web::scope("/v1/{project}").configure(routes))
            .default_service(web::to(no_such_path))
    })
    .keep_alive(CONNECTION_IDLE_MAX)
    .workers(WORKER_COUNT)
    .shutdown_timeout(SHUTDOWN_SECONDS_MAX)
    .disable_signals()
    .bind(listen)?;
    let address = server.addrs().first().copied().unwrap_or(listen);
    Ok((server.run(), address))
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/workloads").get(workloads::list).post(workloads::create).done())
        .service(resource("/workloads/detail").get(workloads::list).done())
        .service(
            resource("/workloads/{workload}")
                .get(workloads::show)
                .post(snapshots::create)
                .put(workloads::change)
                .delete(workloads::delete)
                .done(),
        )
        .service(resource("/workloads/{workload}/reset").post(workloads::reset).done())
        .service(resource("/workloads/{workload}/snapshots/{snapshot}").get(snapshots::show_long).done())
        .service(
            resource("/workloads/{workload}/snapshots/{snapshot}/restores")
                .get(restores::list_long)
                .post(restores::create_long)
                .done(),
        )
        .service(
            resource("/workloads/{workload}/snapshots/{snapshot}/restores/{restore}")
                .get(restores::show_long)
                .done(),
        )
        .service(resource("/snapshots").get(snapshots::list).done())
        .service(resource("/snapshots/detail").get(snapshots::list).done())
        .service(resource("/snapshots/{snapshot}").get(snapshots::show).post(restores::create).done())
        // T4O cancels by GET; POST is the clean form beside it.
        .service(
            resource("/snapshots/{snapshot}/cancel").get(snapshots::cancel).post(snapshots::cancel).done(),
        )
        .service(resource("/restores").get(restores::list).done())
        .service(resource("/restores/detail").get(restores::list).done())
        .service(resource("/restores/{restore}").get(restores::show).done())
        .service(resource("/restores/{restore}/cancel").get(restores::cancel).post(restores::cancel).done())
        .service(resource("/sagas").get(sagas::list).done())
        .service(resource("/sagas/{saga}").get(sagas::show).done())
        .service(resource("/sagas/{saga}/graph").get(sagas::draw).done())
        .service(resource("/sagas/{saga}/cancel").post(sagas::cancel).done())
        .service(resource("/sagas/{saga}/retry").post(sagas::retry).done())
        .service(resource("/sagas/{saga}/skip").post(sagas::skip).done())
        .service(resource("/sagas/{saga}/abandon").post(sagas::abandon).done())
        .service(resource("/bus/dead-letters").get(dead_letters::list).done())
        .service(resource("/bus/dead-letters/retry").post(dead_letters::retry).done())
        .service(resource("/bus/dead-letters/drop").post(dead_letters::drop).done())
        .service(resource("/bus/dead-letters/{letter}").get(dead_letters::show).done())
        .service(resource("/targets").get(targets::list).done())
        .service(resource("/trusts").get(trusts::list).post(trusts::create).done())
        .service(resource("/trusts/validate/{workload}").get(trusts::validate).done())
        .service(resource("/trusts/{trust}").get(trusts::show).delete(trusts::delete).done())
        .service(resource("/leftovers").post(leftovers::start).done())
        .service(resource("/leftovers/{saga}").get(leftovers::show).done())
        .service(resource("/status").get(status::show).done());
}

/// A path whose other methods are refused in the API's own form.
struct Routes(actix_web::Resource);

fn resource(path: &str) -> Routes {
    Routes(web::resource(path))
}

impl Routes {
    fn get<F, Args>(self, handler: F) -> Self
    where
        F: actix_web::Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: actix_web::Responder + 'static,
    {
        Self(self.0.route(web::get().to(handler)))
    }

    fn post<F, Args>(self, handler: F) -> Self
    where
        F: actix_web::Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: actix_web::Responder + 'static,
    {
        Self(self.0.route(web::post().to(handler)))
    }

    fn put<F, Args>(self, handler: F) -> Self
    where
        F: actix_web::Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: actix_web::Responder + 'static,
    {
        Self(self.0.route(web::put().to(handler)))
    }

    fn delete<F, Args>(self, handler: F) -> Self
    where
        F: actix_web::Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: actix_web::Responder + 'static,
    {
        Self(self.0.route(web::delete().to(handler)))
    }

    fn done(self) -> actix_web::Resource {
        self.0.default_service(web::to(no_such_method))
    }
}

async fn no_such_path() -> Result<HttpResponse, Reply> {
    Err(Reply::new(Fault::NotFound, "PATH_NOT_FOUND", "there is nothing under this path"))
}

async fn no_such_method() -> Result<HttpResponse, Reply> {
    Err(Reply::new(Fault::MethodNotAllowed, "METHOD_NOT_ALLOWED", "this path does not take this method"))
}
