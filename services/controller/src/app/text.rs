//! Names, descriptions and reasons that users give.

use super::Error;

/// Characters; T4O's column.
const NAME_LENGTH_MAX: usize = 255;
/// Characters.
const DESCRIPTION_LENGTH_MAX: usize = 1024;

/// Gives the name, or `otherwise` when there is none.
///
/// Errors: `NAME_INVALID`.
pub(super) fn check_name(name: Option<&str>, otherwise: &str) -> Result<String, Error> {
    let name = name.map(str::trim).filter(|name| !name.is_empty()).unwrap_or(otherwise);
    if name.chars().count() > NAME_LENGTH_MAX || name.chars().any(char::is_control) {
        let start: String = name.chars().take(40).collect();
        return Err(Error::invalid(
            "NAME_INVALID",
            format!(
                "the name {start:?} is not valid: at most {NAME_LENGTH_MAX} characters, no control characters"
            ),
        ));
    }
    Ok(name.to_owned())
}

/// Gives the description; empty when there is none.
///
/// Errors: `DESCRIPTION_INVALID`.
pub(super) fn check_description(description: Option<&str>) -> Result<String, Error> {
    let text = description.unwrap_or_default();
    if !is_text(text) {
        return Err(Error::invalid(
            "DESCRIPTION_INVALID",
            format!(
                "the description is not valid: at most {DESCRIPTION_LENGTH_MAX} characters, no control characters"
            ),
        ));
    }
    Ok(text.to_owned())
}

/// Gives the reason of a decision: somebody will read it when it is too late to ask.
///
/// Errors: `REASON_INVALID`.
pub(super) fn check_reason(reason: &str) -> Result<String, Error> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Error::invalid("REASON_INVALID", "a decision needs a reason: it is kept with the saga"));
    }
    if !is_text(reason) {
        return Err(Error::invalid(
            "REASON_INVALID",
            format!(
                "the reason is not valid: at most {DESCRIPTION_LENGTH_MAX} characters, no control characters"
            ),
        ));
    }
    Ok(reason.to_owned())
}

/// The start of what somebody sent, for a message about it: at most so many characters, none of them a control character.
pub(crate) fn shown(text: &str, length_max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(length_max).collect()
}

/// Whether somebody may have written it for people to read.
fn is_text(text: &str) -> bool {
    let allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().count() <= DESCRIPTION_LENGTH_MAX && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_name_becomes_the_default_and_a_bad_one_is_refused() {
        assert_eq!(check_name(Some("  "), "snapshot").unwrap(), "snapshot");
        assert_eq!(check_name(Some(" a "), "snapshot").unwrap(), "a");
        assert!(check_name(Some(&"x".repeat(256)), "").is_err());
        assert!(check_name(Some("a\x1b[2J"), "").is_err());
        assert!(check_description(Some("two\nlines")).is_ok());
        assert!(check_description(Some("\0")).is_err());
    }

    #[test]
    fn a_reason_is_never_blank() {
        assert_eq!(check_reason(" disk replaced\n").unwrap(), "disk replaced");
        for reason in ["", " \t\n", "a\x1b[2J", &"x".repeat(1025)] {
            assert!(check_reason(reason).is_err(), "{reason:?}");
        }
    }
}
