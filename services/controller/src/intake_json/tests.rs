use proptest::prelude::*;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _, SerializeOptions};
use proto::common::v1::ErrorClass;
use proto::intake::v1::{RestoreInstance, RestoreSnapshot, SnapshotWorkload, SubmitJob};

use super::*;

/// The message as the descriptor knows it: an implementation of protobuf's JSON that shares nothing with ours.
fn reflect<M: Message + Name>(message: &M) -> DynamicMessage {
    let pool = DescriptorPool::decode(proto::DESCRIPTOR).unwrap();
    let descriptor = pool.get_message_by_name(&M::full_name()).unwrap();
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).unwrap()
}

fn to_json<M: Message + Name>(message: &M, options: &SerializeOptions) -> Vec<u8> {
    let mut text = serde_json::Serializer::new(Vec::new());
    reflect(message).serialize_with_options(&mut text, options).unwrap();
    text.into_inner()
}

fn arbitrary_job() -> impl Strategy<Value = SubmitJob> {
    let text = || ".{0,12}";
    let snapshot =
        (text(), any::<bool>(), text(), text()).prop_map(|(workload_id, full, name, description)| {
            Job::SnapshotWorkload(SnapshotWorkload { workload_id, full, name, description })
        });
    let instance =
        (text(), text()).prop_map(|(instance_id, new_name)| RestoreInstance { instance_id, new_name });
    let restore =
        (text(), text(), prop::collection::vec(instance, 0..4)).prop_map(|(snapshot_id, name, instances)| {
            Job::RestoreSnapshot(RestoreSnapshot { snapshot_id, name, instances })
        });
    let job = prop::option::of(prop_oneof![snapshot, restore]);
    (text(), text(), job).prop_map(|(idempotency_key, project_id, job)| SubmitJob {
        idempotency_key,
        project_id,
        job,
    })
}

proptest! {
    /// A field that the schema gets and our structs do not would show here as an unknown one.
    #[test]
    fn the_json_of_any_job_is_the_job_that_its_protobuf_is(job in arbitrary_job()) {
        for camel in [true, false] {
            for defaults in [true, false] {
                let options = SerializeOptions::new().use_proto_field_name(!camel).skip_default_fields(!defaults);
                let text = to_json(&job, &options);
                prop_assert_eq!(decode(&text), Ok(job.clone()), "{}", String::from_utf8_lossy(&text));
            }
        }
    }

    #[test]
    fn whatever_comes_as_json_is_a_job_or_an_error(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&body);
    }

    #[test]
    fn a_job_cut_short_or_followed_by_more_is_an_error(job in arbitrary_job(), cut in 1_usize..40) {
        let text = to_json(&job, &SerializeOptions::new());
        let end = text.len().saturating_sub(cut);
        prop_assert!(decode(&text[..end]).is_err());
        let followed = [text.as_slice(), b"{}"].concat();
        prop_assert!(decode(&followed).is_err());
    }

    #[test]
    fn answers_in_json_are_those_of_the_schema(key in ".{0,12}", code in ".{0,12}", duplicate in any::<bool>()) {
        let accepted = Accepted {
            idempotency_key: key.clone(), job_id: code.clone(), object_id: key.clone(), duplicate,
        };
        check_answer(&accepted);
        let error = ErrorInfo { error_class: ErrorClass::Permanent.into(), code, message: key.clone() };
        check_answer(&Rejected { idempotency_key: key, error: Some(error) });
    }
}

#[track_caller]
fn check_answer<M: Answer + Message + Name + Default + PartialEq + fmt::Debug>(message: &M) {
    let descriptor = reflect(message).descriptor();
    let read = DynamicMessage::deserialize(descriptor, message.json()).unwrap();
    assert_eq!(read.transcode_to::<M>().unwrap(), *message);
}

#[track_caller]
fn check_refused(body: &str, names: &str) {
    let error = decode(body.as_bytes()).expect_err("decoded");
    assert!(error.contains(names), "{error}");
}

#[test]
fn what_is_unknown_doubled_or_of_another_type_is_named_with_its_place() {
    let with = |field: &str| format!(r#"{{"idempotencyKey":"k","projectId":"p",{field}}}"#);
    check_refused(&with(r#""snapshot_worklod":{}"#), "snapshot_worklod");
    check_refused(&with(r#""snapshotWorkload":{"workloadId":"w","Full":true}"#), "Full");
    check_refused(&with(r#""restoreSnapshot":{"instances":[{"id":"i"}]}"#), "`id`");
    check_refused(&with(r#""projectId":"q""#), "duplicate field `project_id`");
    check_refused(&with(r#""project_id":"q""#), "duplicate field `project_id`");
    check_refused(&with(r#""snapshotWorkload":{},"snapshotWorkload":{}"#), "duplicate field");
    check_refused(&with(r#""snapshotWorkload":{"full":"yes"}"#), "invalid type: string \"yes\"");
    check_refused(&with(r#""snapshotWorkload":{"workloadId":7}"#), "line 1 column");
    check_refused(&with(r#""snapshotWorkload":{},"restoreSnapshot":{}"#), "both");
    check_refused(r#"["k","p"]"#, "expected an object");
    check_refused(&with(r#""snapshotWorkload":["w",true]"#), "expected an object");
    check_refused("", "EOF");
    check_refused(&"[".repeat(100_000), "line 1 column");
}

#[test]
fn a_null_is_a_field_that_is_not_set() {
    let nulls =
        r#"{"idempotencyKey":"k","projectId":null,"restoreSnapshot":null,"snapshotWorkload":{"full":null}}"#;
    let job = decode(nulls.as_bytes()).unwrap();
    assert_eq!(job, decode(br#"{"idempotency_key":"k","snapshot_workload":{}}"#).unwrap());
}
