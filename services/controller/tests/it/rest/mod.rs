//! The REST API, called by its typed client, and by hand where the client would not do it.

pub(crate) mod fixture;

mod bases;
mod dead_letters;
mod doors;
mod leftovers;
mod restores;
mod sagas;
mod snapshots;
mod status;
mod workloads;

use rest_api::Error;

/// Checks that a call was refused with this status and code, and that the message names something.
#[track_caller]
pub(crate) fn check_refused<T: std::fmt::Debug>(
    outcome: Result<T, Error>,
    status: u16,
    code: &str,
    names: &str,
) {
    match outcome {
        Err(Error::Refused { status: got, detail, request_id }) => {
            assert_eq!((got, detail.error_code.as_str()), (status, code), "{}", detail.message);
            assert_eq!(detail.code, status);
            assert!(detail.message.contains(names), "{names:?} is not in: {}", detail.message);
            assert!(request_id.unwrap().starts_with("req-"));
        }
        other => panic!("expected {status} {code}, got {other:?}"),
    }
}
