//! Durable steps with compensation: a pure machine and the typed definitions that feed it
