//! What came over the bus is hostile until it was parsed.

use model::{ErrorClass, Failure};
use proptest::prelude::*;
use proto::common::v1 as wire;
use proto::convert;

const ID: &str = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f";

fn make_header() -> wire::JobHeader {
    wire::JobHeader { job_id: ID.to_owned(), saga_id: ID.to_owned(), attempt: 1, epoch: 7, deadline_at: 0 }
}

#[test]
fn a_header_survives_the_wire() {
    let header = convert::header(Some(&make_header())).unwrap();
    assert_eq!(wire::JobHeader::from(&header), make_header());
}

#[test]
fn a_refusal_names_the_field() {
    let error = convert::header(None).unwrap_err().to_string();
    assert!(error.contains("header"), "{error}");
    let error =
        convert::header(Some(&wire::JobHeader { attempt: 0, ..make_header() })).unwrap_err().to_string();
    assert!(error.contains("attempt"), "{error}");
    let error =
        convert::header(Some(&wire::JobHeader { job_id: "../x".into(), ..make_header() })).unwrap_err();
    assert!(error.to_string().contains("header.job_id"), "{error}");
}

#[test]
fn an_unknown_error_class_is_taken_as_indeterminate() {
    let info = wire::ErrorInfo { error_class: 99, code: "NEW".into(), message: "m".into() };
    assert_eq!(convert::failure(Some(&info)).class, ErrorClass::Indeterminate);
    assert_eq!(convert::failure(None).class, ErrorClass::Indeterminate);
}

#[test]
fn failures_survive_the_wire() {
    use ErrorClass::{Bug, Cancelled, Contention, Fenced, Indeterminate, Permanent, Throttled, Transient};
    for class in [Bug, Cancelled, Contention, Fenced, Indeterminate, Permanent, Throttled, Transient] {
        let failure = Failure::new(class, "CODE", "message");
        assert_eq!(convert::failure(Some(&wire::ErrorInfo::from(&failure))), failure);
    }
}

proptest! {
    #[test]
    fn arbitrary_placements_never_panic(text in ".{0,80}", kind in 0..4) {
        use wire::placement::At;
        let at = match kind {
            0 => At::InstanceId(text),
            1 => At::VolumeId(text),
            2 => At::TargetId(text),
            _ => At::Host(text),
        };
        let placement = wire::Placement { at: Some(at), ..Default::default() };
        if let Ok(parsed) = convert::placement(Some(&placement)) {
            prop_assert_eq!(wire::Placement::from(&parsed), placement);
        }
    }
}
