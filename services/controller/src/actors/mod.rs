//! The actors at work. They are thin: they hold the order and the waiting; what anything means is in `engine`, `app` and
//! `cloud_jobs`. Each loop is supervised: a panic ends the process, which starts anew from what is durable.
//!
//! | actor | takes | gives |
//! |---|---|---|
//! | `reply_consumer` | `holdfast.q.ctrl.rep` | engine |
//! | `heartbeat_consumer` | `holdfast.q.ctrl.hb` | engine, `LeaseExtend` |
//! | `cloud_consumer` | `holdfast.q.ctrl.cloud` | `cloud_worker` |
//! | `cloud_worker` | jobs accepted in the catalog | cloud, targets, replies |
//! | `intake_consumer` | `holdfast.q.intake` | app, `Accepted` or `Rejected` |
//! | `fact_emitter` | `holdfast.q.ctrl.evt` | notifications on OpenStack's broker |
//! | `notification_listener` | notifications of OpenStack's services | the catalog |
//! | `outbox_relay` | the outbox | the bus |
//! | `timer_keeper` | due timers | engine |
//! | `lease_keeper` | expired leases | engine |
//! | `base_keeper` | kept bases, the cloud | sagas that remove the needless |
//! | `leftover_keeper` | the clock | a sweep for each turn of it |
//! | `status_keeper` | figures of catalog and broker | the status |

pub mod base_keeper;
pub mod cloud_consumer;
pub mod cloud_worker;
pub mod fact_emitter;
pub mod heartbeat_consumer;
pub mod intake_consumer;
pub mod lease_keeper;
pub mod leftover_keeper;
pub mod notification_listener;
pub mod outbox_relay;
mod patience;
pub mod reply_consumer;
pub mod status_keeper;
pub mod timer_keeper;
