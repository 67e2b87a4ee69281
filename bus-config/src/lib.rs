//! Exchanges, queues, bindings, policies, users and rights, in one table
