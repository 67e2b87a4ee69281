//! Names of the exchanges.

/// Jobs that other services ask for.
pub const INTAKE: &str = "holdfast.intake";
/// Commands: to cloud workers, dmapi and datamovers. It has no alternate exchange, which would hide an unroutable command.
pub const CMD: &str = "holdfast.cmd";
/// Replies to the controllers.
pub const REP: &str = "holdfast.rep";
/// Heartbeats of datamovers.
pub const HB: &str = "holdfast.hb";
/// Public facts.
pub const EVT: &str = "holdfast.evt";
/// Dead letters.
pub const DLX: &str = "holdfast.dlx";
