//! Ids in paths and queries.

use std::fmt;
use std::str::FromStr;

use super::error::Reply;
use crate::app;

/// Reads an id of a path. What is no id at all names nothing either, so clients see one answer for both.
///
/// Errors: 404 naming `noun` and the text.
pub(super) fn path_id<T: FromStr>(text: &str, code: &'static str, noun: &str) -> Result<T, Reply> {
    let shown = app::shown(text, 80);
    text.parse().map_err(|_| app::Error::not_found(code, noun, &shown).into())
}

/// Reads an id of a body or query.
///
/// Errors: 400 with the id's own rule.
pub(super) fn body_id<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, Reply> {
    text.parse().map_err(|error: T::Err| Reply::invalid("ID_INVALID", error.to_string()))
}
