//! The whole, with real processes around a real broker
