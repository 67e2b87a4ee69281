use proptest::prelude::*;

use super::*;

/// As libvirt 9.0 described a running instance with two volumes.
const VOLUMES: &str = include_str!("volumes.xml");
const INSTANCE: &str = "89437e38-133b-4bcb-a223-9be6bbe797a2";

fn parse(text: &str) -> Result<Domain, Error> {
    Domain::parse(INSTANCE.parse().unwrap(), text)
}

fn make_domain(devices: &str) -> String {
    format!("<domain type='qemu'><uuid>{INSTANCE}</uuid><devices>{devices}</devices></domain>")
}

fn make_local(path: &str, format: &str) -> String {
    make_domain(&format!(
        "<disk type='file'><driver name='qemu' type='{format}'/><source file='{path}'/><target dev='vda'/></disk>"
    ))
}

fn only_source(text: &str) -> Source {
    let [disk] = parse(text).unwrap().disks.try_into().unwrap();
    disk.source
}

#[test]
fn a_running_instance_is_known_by_its_volumes_its_run_and_its_agent() {
    let domain = parse(VOLUMES).unwrap();
    assert_eq!((domain.run_id, domain.agent), (Some(1), Agent::Connected));
    let id: DiskId = "212ae905-b87f-4f82-8266-5e726edde1e8".parse().unwrap();
    let disk = domain.disk(&id).unwrap();
    assert_eq!(disk.device.as_str(), "vdb");
    let Source::Rbd(rbd) = &disk.source else { panic!("{disk:?}") };
    assert_eq!((rbd.pool.as_str(), rbd.image.as_str()), ("volumes", format!("volume-{id}").as_str()));
    assert_eq!(rbd.monitors, ["127.0.0.1:11021"]);
    assert_eq!(rbd.secret.as_deref(), Some("5583a440-23ab-422b-8bd9-f3ac3765b92b"));
}

#[test]
fn a_volume_is_not_found_by_its_device_nor_a_local_disk_by_a_volumes_id() {
    assert_eq!(parse(VOLUMES).unwrap().disk(&"vda".parse().unwrap()), None);
    let local = parse(&make_local("/i/disk", "qcow2")).unwrap();
    assert_eq!((local.run_id, local.agent), (None, Agent::None));
    assert!(local.disk(&"vda".parse().unwrap()).is_some());
    assert_eq!(local.disk(&"212ae905-b87f-4f82-8266-5e726edde1e8".parse().unwrap()), None);
}

#[test]
fn a_local_disk_has_a_path_and_a_format_that_is_told() {
    let expected = Source::File { path: "/i/a & b".into(), format: DiskFormat::Qcow2 };
    assert_eq!(only_source(&make_local("/i/a &amp; b", "qcow2")), expected);
    for text in [make_local("relative", "qcow2"), make_local("/i/disk", ""), make_local("/i/disk", "vmdk")] {
        assert!(matches!(only_source(&text), Source::Other(_)), "{text}");
    }
}

#[test]
fn names_that_could_be_options_or_other_images_are_refused() {
    for name in ["volumes", "volumes/-x", "a/b@c", "a/b/c", "--conf/x", "/x", "a/"] {
        let text = make_domain(&format!(
            "<disk type='network'><driver type='raw'/><source protocol='rbd' name='{name}'/><target dev='vda'/></disk>"
        ));
        assert!(matches!(only_source(&text), Source::Other(_)), "{name}");
    }
}

#[test]
fn another_instance_a_bomb_and_a_flood_are_refused() {
    let other = VOLUMES.replace(INSTANCE, "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f");
    let bomb = format!("<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]>{}", make_domain("&b;"));
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    let long = make_domain(&" ".repeat(LENGTH_MAX));
    let many = make_domain(&"<a/>".repeat(300_000));
    for text in [other.as_str(), &bomb, &deep, &long, &many, "", "<domain/>"] {
        assert!(matches!(parse(text), Err(Error::Domain { .. })), "{}", short(text));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    /// Of what was right once, a piece is overwritten: this reaches deeper than noise.
    #[test]
    fn no_damage_makes_the_parser_panic(at in 0..6000usize, piece in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = VOLUMES.as_bytes().to_vec();
        let end = (at + piece.len()).min(bytes.len());
        let at = at.min(end);
        bytes.splice(at..end, piece);
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn what_is_escaped_is_read_back(text in "[ -~]{0,40}") {
        let xml = format!("<a b='{}'/>", escape(&text));
        let document = read(&xml).unwrap();
        prop_assert_eq!(document.root_element().attribute("b"), Some(text.as_str()));
    }
}
