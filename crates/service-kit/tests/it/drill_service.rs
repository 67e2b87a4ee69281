//! A service without a bus: one actix actor, one supervised task, one thread. Each panics when the drill names it.

use std::time::Duration;

use actix::{Actor, AsyncContext as _, Context, Handler};
use service_kit::config::HealthSection;
use service_kit::{Exit, Ping, StartError, drill, run};

struct Clerk;

impl Actor for Clerk {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Duration::from_millis(20), |_, _| drill::maybe_panic("clerk"));
    }
}

impl Handler<Ping> for Clerk {
    type Result = ();
    fn handle(&mut self, _: Ping, _ctx: &mut Self::Context) {}
}

fn main() -> Exit {
    run("service-kit-drill", |service| async move {
        let address_file = std::env::var_os("ADDRESS_FILE").map(Into::into);
        let health = HealthSection { listen: Some(([127, 0, 0, 1], 0).into()), address_file };
        service.watchdog().watch("clerk", &Clerk.start());
        let mut drain = service.drain();
        service.supervise("porter", async move {
            drill::maybe_panic("porter");
            drain.begun().await;
        });
        let drain = service.drain();
        let thread = service.watchdog().supervise_thread("bell", move || {
            drill::maybe_panic("bell");
            while !drain.has_begun() {
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        thread.map_err(|error| StartError::failed(error.to_string()))?;
        service.health().serve(&health)?;
        if std::env::var_os("REFUSED").is_some() {
            service.fail(StartError::refused("the broker refused us: ACCESS_REFUSED"));
        }
        Ok(())
    })
}
