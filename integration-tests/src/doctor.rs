//! What `doctor` says, waited for.

use std::time::Duration;

use anyhow::{Context as _, Result};
use model::Verdict;
use rest_api::DoctorCheck;

use crate::wait;

/// A silent service is known by its lease, which is 8 s here; answers are waited for 22 s.
pub const FOUND_MAX: Duration = Duration::from_secs(120);

/// Waits until what is not well has these codes, and no others; gives it.
pub fn wait_for_codes(
    expected: &[&str],
    mut examine: impl FnMut() -> Result<Vec<DoctorCheck>>,
) -> Result<Vec<DoctorCheck>> {
    let mut last = Vec::new();
    let found = wait::until(FOUND_MAX, &format!("doctor says {expected:?}"), || {
        last = examine()?;
        last.retain(|check| check.result != Verdict::Ok);
        let mut codes: Vec<&str> = last.iter().map(|check| check.code.as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        Ok((codes == expected).then(|| last.clone()))
    });
    found.with_context(|| format!("{last:#?}"))
}
