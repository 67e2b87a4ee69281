//! Where things lie: typed ids to object names, and back.

use model::{LineageId, ObjectName, PackId, SnapshotId, WorkloadId};

fn make(text: String) -> ObjectName {
    text.parse().expect("ids and these words make valid names")
}

/// `repo.json`
#[must_use]
pub fn repo() -> ObjectName {
    make("repo.json".to_owned())
}

/// `w/<workload>`
#[must_use]
pub fn workload_folder(workload: WorkloadId) -> ObjectName {
    make(format!("w/{workload}"))
}

/// `w/<workload>/workload.json`
#[must_use]
pub fn workload_record(workload: WorkloadId) -> ObjectName {
    make(format!("w/{workload}/workload.json"))
}

/// `w/<workload>/<snapshot>.json`
#[must_use]
pub fn snapshot_record(workload: WorkloadId, snapshot: SnapshotId) -> ObjectName {
    make(format!("w/{workload}/{snapshot}.json"))
}

/// `l/<lineage>`
#[must_use]
pub fn lineage_folder(lineage: LineageId) -> ObjectName {
    make(format!("l/{lineage}"))
}

/// `l/<lineage>/lineage.json`
#[must_use]
pub fn lineage_record(lineage: LineageId) -> ObjectName {
    make(format!("l/{lineage}/lineage.json"))
}

/// `l/<lineage>/pack`
#[must_use]
pub fn packs_folder(lineage: LineageId) -> ObjectName {
    make(format!("l/{lineage}/pack"))
}

/// `l/<lineage>/pack/<2 hex>/<pack>.pack`; the two digits are the last of the uuid, which are random in version 7.
#[must_use]
pub fn pack(lineage: LineageId, pack: PackId) -> ObjectName {
    let last = pack.uuid().as_bytes()[15];
    make(format!("l/{lineage}/pack/{last:02x}/{pack}.pack"))
}

/// `l/<lineage>/snap`
#[must_use]
pub fn snapshots_folder(lineage: LineageId) -> ObjectName {
    make(format!("l/{lineage}/snap"))
}

/// `l/<lineage>/snap/<snapshot>`
#[must_use]
pub fn snapshot_folder(lineage: LineageId, snapshot: SnapshotId) -> ObjectName {
    make(format!("l/{lineage}/snap/{snapshot}"))
}

/// `l/<lineage>/snap/<snapshot>/manifest`
#[must_use]
pub fn manifest(lineage: LineageId, snapshot: SnapshotId) -> ObjectName {
    make(format!("l/{lineage}/snap/{snapshot}/manifest"))
}

/// `l/<lineage>/snap/<snapshot>/snapshot.json`
#[must_use]
pub fn snapshot_marker(lineage: LineageId, snapshot: SnapshotId) -> ObjectName {
    make(format!("l/{lineage}/snap/{snapshot}/snapshot.json"))
}

/// The pack that `name` names, if it is exactly the name of a pack of `lineage`.
#[must_use]
pub fn parse_pack(lineage: LineageId, name: &ObjectName) -> Option<PackId> {
    let (_, last) = name.split_last();
    let id = last.strip_suffix(".pack")?.parse().ok()?;
    (pack(lineage, id) == *name).then_some(id)
}

/// The snapshot whose manifest `name` names, if it is exactly the name of a manifest of `lineage`.
#[must_use]
pub fn parse_manifest(lineage: LineageId, name: &ObjectName) -> Option<SnapshotId> {
    let snapshot = name.segments().nth(3)?.parse().ok()?;
    (manifest(lineage, snapshot) == *name).then_some(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAGE: &str = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f";
    const OTHER: &str = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7eab";

    #[test]
    fn a_pack_lies_under_the_last_two_digits_of_its_id() {
        let name = pack(LINEAGE.parse().unwrap(), OTHER.parse().unwrap());
        assert_eq!(name.as_str(), format!("l/{LINEAGE}/pack/ab/{OTHER}.pack"));
        assert_eq!(parse_pack(LINEAGE.parse().unwrap(), &name), Some(OTHER.parse().unwrap()));
    }

    #[test]
    fn a_misplaced_pack_or_manifest_is_none() {
        let lineage = LINEAGE.parse().unwrap();
        for text in [
            format!("l/{LINEAGE}/pack/ac/{OTHER}.pack"),
            format!("l/{OTHER}/pack/ab/{OTHER}.pack"),
            "x.pack".into(),
        ] {
            assert_eq!(parse_pack(lineage, &text.parse().unwrap()), None, "{text}");
        }
        assert_eq!(
            parse_manifest(lineage, &manifest(lineage, OTHER.parse().unwrap())),
            Some(OTHER.parse().unwrap())
        );
        for text in [
            format!("l/{LINEAGE}/snap/{OTHER}/snapshot.json"),
            format!("l/{LINEAGE}/snap/x/manifest"),
            "a".into(),
        ] {
            assert_eq!(parse_manifest(lineage, &text.parse().unwrap()), None, "{text}");
        }
    }
}
