//! The thread that starts children.
//!
//! `PR_SET_PDEATHSIG` kills a child when the *thread* that started it ends, not the process. Threads of a runtime come
//! and go; this one stays as long as the process, so the signal means what we want: no child outlives us.

use std::io;
use std::sync::OnceLock;
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// A few children are started at a time; a caller beyond that waits a moment.
const QUEUE_LENGTH: usize = 16;

struct Order {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Starts `command` from the thread that lives as long as the process.
///
/// Cancel safe: yes, if the command kills on drop: a child that nobody waits for is dropped.
pub(crate) async fn launch(command: Command) -> io::Result<Child> {
    let (reply, child) = oneshot::channel();
    let order = Order { command, runtime: Handle::current(), reply };
    let launcher = launcher()?;
    let gone = || io::Error::other("the thread that starts children is gone");
    launcher.send(order).await.map_err(|_| gone())?;
    child.await.unwrap_or_else(|_| Err(gone()))
}

fn launcher() -> io::Result<&'static mpsc::Sender<Order>> {
    static LAUNCHER: OnceLock<io::Result<mpsc::Sender<Order>>> = OnceLock::new();
    let start = || {
        let (orders, queue) = mpsc::channel::<Order>(QUEUE_LENGTH);
        thread::Builder::new().name("disk-launcher".to_owned()).spawn(move || run(queue))?;
        Ok(orders)
    };
    let started = LAUNCHER.get_or_init(start).as_ref();
    started.map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

fn run(mut queue: mpsc::Receiver<Order>) {
    while let Some(mut order) = queue.blocking_recv() {
        let _inside = order.runtime.enter();
        let child = order.command.spawn();
        // The command's own ends of socket, file and pipes close with it, before anybody waits for the child's.
        drop(order.command);
        let _ = order.reply.send(child); // an unwanted child is killed by being dropped
    }
}
