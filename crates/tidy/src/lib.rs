//! Checks of the house itself, as tests
