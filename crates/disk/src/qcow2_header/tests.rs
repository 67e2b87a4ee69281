//! Headers made by hand; real ones are in the crate's integration tests.

use bytes::BufMut;
use proptest::prelude::*;

use super::*;

/// A version 3 header as `qemu-img create` writes it, for a disk of 1 GiB.
fn make_header() -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(MAGIC);
    out.put_u32(3);
    out.put_u64(0); // 8: backing file offset
    out.put_u32(0); // 16: backing file length
    out.put_u32(16); // 20: cluster bits
    out.put_u64(1 << 30); // 24: size
    out.put_u32(0); // 32: encryption
    out.put_bytes(0, 36); // 36: tables and snapshots
    out.put_u64(0); // 72: incompatible features
    out.put_bytes(0, 20);
    out.put_u32(112); // 100: header length
    out.put_bytes(0, 8);
    out.put_u32(0x6803_f857); // 112: an extension that is skipped: feature names
    out.put_u32(5);
    out.put_bytes(b'x', 8);
    out.put_bytes(0, 8); // 128: the end of extensions
    out
}

#[track_caller]
fn check_refused(offset: usize, bytes: &[u8], expected: HeaderRefusal) {
    let mut header = make_header();
    header[offset..offset + bytes.len()].copy_from_slice(bytes);
    assert_eq!(Qcow2Header::parse(&header), Err(expected));
}

#[test]
fn an_image_that_stands_alone_is_accepted() {
    let expected = Qcow2Header { version: 3, cluster_bits: 16, backing_file: None, virtual_size: 1 << 30 };
    assert_eq!(Qcow2Header::parse(&make_header()), Ok(expected));
    let mut old = make_header();
    old[7] = 2;
    old[72..80].fill(0); // version 2 has its extensions here; these bytes say: none
    assert_eq!(Qcow2Header::parse(&old).unwrap().version, 2);
}

#[test]
fn harmless_features_are_accepted() {
    let mut header = make_header();
    header[79] = 0b11001;
    assert!(Qcow2Header::parse(&header).is_ok());
}

#[test]
fn what_leads_out_of_the_file_is_refused() {
    check_refused(79, &[1 << 2], HeaderRefusal::DataFile);
    check_refused(112, b"DATA", HeaderRefusal::DataFile);
}

/// `make_header` with a backing file, as `qemu-img create -b … -F raw` writes it.
fn make_overlay(path: &str, format: Option<&str>) -> Vec<u8> {
    let mut out = make_header();
    out.truncate(112);
    if let Some(format) = format {
        out.put_u32(EXTENSION_BACKING_FORMAT);
        out.put_u32(u32::try_from(format.len()).unwrap());
        out.put_slice(format.as_bytes());
        out.put_bytes(0, format.len().next_multiple_of(8) - format.len());
    }
    out.put_bytes(0, 8);
    let offset = u64::try_from(out.len()).unwrap();
    out[8..16].copy_from_slice(&offset.to_be_bytes());
    out[16..20].copy_from_slice(&u32::try_from(path.len()).unwrap().to_be_bytes());
    out.put_slice(path.as_bytes());
    out
}

#[test]
fn a_backing_file_is_named_with_its_format_and_judged_by_the_caller() {
    let header = Qcow2Header::parse(&make_overlay("/images/_base/aa", Some("raw"))).unwrap();
    let expected = BackingFile { path: "/images/_base/aa".to_owned(), format: DiskFormat::Raw };
    assert_eq!(header.backing_file, Some(expected));
}

#[test]
fn a_backing_file_that_is_not_said_clearly_is_refused() {
    let unclear = Err(HeaderRefusal::BackingFileUnclear);
    for (path, format) in [
        ("/images/_base/aa", None),
        ("/images/_base/aa", Some("vmdk")),
        ("json:{\"driver\":\"null-co\"}", Some("raw")),
        ("nbd://host/export", Some("raw")),
        ("relative", Some("raw")),
        ("/images/\0/aa", Some("raw")),
        ("", Some("raw")),
    ] {
        assert_eq!(Qcow2Header::parse(&make_overlay(path, format)), unclear, "{path:?} {format:?}");
    }
    let mut beyond = make_overlay("/images/_base/aa", Some("raw"));
    beyond.pop();
    assert_eq!(Qcow2Header::parse(&beyond), unclear);
    let mut far = make_overlay("/images/_base/aa", Some("raw"));
    far[8] = 0xff;
    assert_eq!(Qcow2Header::parse(&far), unclear);
}

#[test]
fn what_cannot_be_read_rightly_is_refused() {
    check_refused(0, b"RAW!", HeaderRefusal::NotQcow2);
    check_refused(7, &[4], HeaderRefusal::Version { version: 4 });
    check_refused(7, &[1], HeaderRefusal::Version { version: 1 });
    check_refused(23, &[8], HeaderRefusal::ClusterSize { bits: 8 });
    check_refused(20, &[0xff; 4], HeaderRefusal::ClusterSize { bits: u32::MAX });
    check_refused(35, &[2], HeaderRefusal::Encrypted);
    check_refused(112, &EXTENSION_ENCRYPTION.to_be_bytes(), HeaderRefusal::Encrypted);
    check_refused(79, &[1 << 1], HeaderRefusal::Corrupt);
    check_refused(72, &[0x80], HeaderRefusal::UnknownFeatures { bits: 1 << 63 });
    check_refused(79, &[1 << 5], HeaderRefusal::UnknownFeatures { bits: 1 << 5 });
    check_refused(103, &[96], HeaderRefusal::HeaderLength { length: 96 });
    check_refused(103, &[113], HeaderRefusal::HeaderLength { length: 113 });
    check_refused(100, &[0xff; 4], HeaderRefusal::HeaderLength { length: u32::MAX });
    check_refused(116, &[0xff; 4], HeaderRefusal::Extension { length: u32::MAX });
    check_refused(116, &[0, 1, 0, 0], HeaderRefusal::Extension { length: 1 << 16 });
}

#[test]
fn every_shorter_beginning_of_the_header_is_refused() {
    let header = make_header();
    for length in 0..112 {
        assert!(Qcow2Header::parse(&header[..length]).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(Qcow2Header::parse(&bytes).is_err());
    }

    /// Most damage passes the magic number here. Whatever is accepted names no other file.
    #[test]
    fn a_damaged_header_never_panics_and_never_leads_out(
        damage in prop::collection::vec((4..136usize, any::<u8>()), 1..12),
    ) {
        let mut header = make_header();
        for (offset, byte) in damage {
            header[offset] = byte;
        }
        if let Ok(parsed) = Qcow2Header::parse(&header) {
            let names_backing = header[8..20].iter().any(|&byte| byte != 0);
            prop_assert_eq!(parsed.backing_file.is_some(), names_backing);
            prop_assert!(header[7] == 2 || header[79] & 0b110 == 0, "a data file, or corrupt");
        }
    }
}
