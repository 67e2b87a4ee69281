//! The message bus: session, envelope, confirmed publishing, consuming, dead letters
