use model::{ByteCount, Consistency, DiskFormat, SnapshotKind, Timestamp};
use target_format::{
    Digest, DiskRecord, InstanceError, InstanceRecord, LineageRecord, Record, SnapshotMarker, SnapshotRecord,
    WorkloadInstance, WorkloadRecord,
};

const ID: &str = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f";

fn make_disk() -> DiskRecord {
    DiskRecord {
        disk_id: "vda".parse().unwrap(),
        lineage_id: ID.parse().unwrap(),
        volume_id: Some(ID.parse().unwrap()),
        device: "vda".to_owned(),
        size: ByteCount::gib(20),
        disk_format: DiskFormat::Qcow2,
        chunk_size: ByteCount::mib(1),
        parent_snapshot_id: None,
        full_read_reason: None,
        manifest_digest: Some(Digest::of(b"x")),
        bytes_stored: ByteCount(7),
    }
}

fn make_snapshot() -> SnapshotRecord {
    let instance = InstanceRecord {
        instance_id: ID.parse().unwrap(),
        name: "web \u{1f980}\"\n".to_owned(),
        consistency: Some(Consistency::Filesystem),
        error: None,
        description: serde_json::json!({"flavor": {"vcpus": 2}, "nics": []}),
        disks: vec![make_disk()],
    };
    let left_out = InstanceRecord {
        instance_id: ID.parse().unwrap(),
        name: "db".to_owned(),
        consistency: None,
        error: Some(InstanceError {
            code: "INSTANCE_IN_ERROR".to_owned(),
            message: "it is broken".to_owned(),
        }),
        description: serde_json::Value::Null,
        disks: Vec::new(),
    };
    SnapshotRecord {
        format: 0,
        snapshot_id: ID.parse().unwrap(),
        workload_id: ID.parse().unwrap(),
        project_id: "demo".parse().unwrap(),
        user_id: "alice".parse().unwrap(),
        name: "nightly".to_owned(),
        description: String::new(),
        kind: SnapshotKind::Incremental,
        consistency: None,
        created_at: Timestamp(1),
        finished_at: None,
        instances: vec![instance, left_out],
    }
}

#[track_caller]
fn check_record<R: Record + PartialEq + std::fmt::Debug>(record: &R) {
    let bytes = record.encode();
    assert_eq!(R::decode(&bytes).unwrap(), *record);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with("}\n") && text.lines().count() > 5, "a person can read it: {text}");
    let newer = text.replacen("\"format\": 0", "\"format\": 1, \"more\": true", 1);
    let error = R::decode(newer.as_bytes()).unwrap_err().to_string();
    assert!(error.contains(R::NOUN) && error.contains("format 1"), "{error}");
    let same = text.replacen("\"format\": 0", "\"format\": 0, \"more\": true", 1);
    assert_eq!(R::decode(same.as_bytes()).unwrap(), *record, "unknown fields are let through");
}

#[test]
fn every_record_comes_back() {
    check_record(&make_snapshot());
    check_record(&WorkloadRecord {
        format: 0,
        workload_id: ID.parse().unwrap(),
        project_id: "demo".parse().unwrap(),
        user_id: "alice".parse().unwrap(),
        name: "shop".to_owned(),
        description: String::new(),
        instances: vec![WorkloadInstance { instance_id: ID.parse().unwrap(), name: "web".to_owned() }],
        created_at: Timestamp(1),
        updated_at: Timestamp(2),
    });
    check_record(&LineageRecord {
        format: 0,
        lineage_id: ID.parse().unwrap(),
        target_id: ID.parse().unwrap(),
        workload_id: ID.parse().unwrap(),
        instance_id: ID.parse().unwrap(),
        disk_id: "vda".parse().unwrap(),
        chunk_size: ByteCount::mib(1),
        created_at: Timestamp(1),
    });
    check_record(&SnapshotMarker {
        format: 0,
        snapshot_id: ID.parse().unwrap(),
        lineage_id: ID.parse().unwrap(),
        workload_id: ID.parse().unwrap(),
        instance_id: ID.parse().unwrap(),
        disk_id: "vda".parse().unwrap(),
        size: ByteCount(5),
        manifest_digest: Digest::of(b"x"),
        consistency: Consistency::Crash,
        created_at: Timestamp(1),
        committed_at: Timestamp(2),
    });
}

#[test]
fn a_record_with_a_name_that_leaves_its_folder_is_refused() {
    let text = String::from_utf8(make_snapshot().encode()).unwrap();
    for (from, to) in
        [("\"disk_id\": \"vda\"", "\"disk_id\": \"../vda\""), (ID, "../../x"), ("incremental", "odd")]
    {
        let altered = text.replace(from, to);
        assert_ne!(altered, text);
        assert!(SnapshotRecord::decode(altered.as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn a_record_longer_than_any_can_be_is_refused_unread() {
    let error = WorkloadRecord::decode(&vec![b' '; (16 << 20) + 1]).unwrap_err().to_string();
    assert!(error.contains("longer than 16 MiB"), "{error}");
}
