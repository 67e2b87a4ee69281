//! Names of the headers of an envelope.

/// Id of the job that a command or reply is about.
pub const JOB: &str = "holdfast-job";
/// Attempt of that job, from 1.
pub const ATTEMPT: &str = "holdfast-attempt";
/// Epoch of the job's lease.
pub const EPOCH: &str = "holdfast-epoch";
/// When the command loses its sense: microseconds since 1970 UTC.
pub const DEADLINE: &str = "holdfast-deadline";
/// `1` on a message that is published again because its first confirm is unknown: a copy may have been handled.
pub const REPUBLISHED: &str = "holdfast-republished";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// How often it was a dead letter, on a message that the controllers sent again.
pub const RETRIED: &str = "holdfast-retried";
/// Whose message it is that the controllers sent again. Believed of them only: to all consumers it is that user's.
pub const RETRIED_FOR: &str = "holdfast-retried-for";
/// When it died first, on a message that the controllers sent again: microseconds since 1970 UTC.
pub const FIRST_DEAD_AT: &str = "holdfast-first-dead-at";

/// What the names of all headers of a dead letter begin with.
pub const DEAD_PREFIX: &str = "holdfast-dead-";
/// Why a message is among the dead letters.
pub const DEAD_REASON: &str = "holdfast-dead-reason";
/// The queue it was taken from.
pub const DEAD_QUEUE: &str = "holdfast-dead-queue";
/// The exchange it was published to.
pub const DEAD_EXCHANGE: &str = "holdfast-dead-exchange";
/// The routing key it was published with.
pub const DEAD_ROUTING_KEY: &str = "holdfast-dead-routing-key";
/// The user who published it, as the broker had validated; missing when the message named none.
pub const DEAD_USER: &str = "holdfast-dead-user";
/// When: microseconds since 1970 UTC.
pub const DEAD_AT: &str = "holdfast-dead-at";
/// How many bytes of headers it came with, when they were left out because they do not fit beside these.
pub const DEAD_HEADERS_LOST: &str = "holdfast-dead-headers-lost";
