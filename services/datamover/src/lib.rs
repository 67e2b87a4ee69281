//! A datamover carries
