//! The controller decides
