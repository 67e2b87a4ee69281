//! What libvirt says of an instance: its domain, as XML.
//!
//! Pure: text in, facts out. A tenant chooses names and metadata in it, so it is a stranger's word: its length is
//! bounded, it may define no entities, and what is no disk of ours is not looked at.

use std::path::PathBuf;

use model::{DiskFormat, DiskId, InstanceId, Owner, VolumeId};
use roxmltree::{Document, Node, ParsingOptions};

use crate::Error;

/// The longest description that is read: a domain with its limit of devices has some 100 KiB. Units: bytes.
pub(crate) const LENGTH_MAX: usize = 4 << 20;
/// Elements, attributes and texts of it.
const NODES_MAX: u32 = 200_000;
/// The agent's channel, by its name in all hypervisors of qemu.
const AGENT_CHANNEL: &str = "org.qemu.guest_agent.0";

/// A domain of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Domain {
    /// Absent: it does not run. Else another number after each start.
    pub(crate) run_id: Option<u32>,
    pub(crate) agent: Agent,
    pub(crate) disks: Vec<DomainDisk>,
    /// As Nova noted it.
    pub(crate) owner: Option<Owner>,
}

/// What is known of the guest's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    /// The instance has no channel for it.
    None,
    /// Nobody is at the guest's end.
    Away,
    Connected,
}

/// A disk of a domain; no CD-ROM, no floppy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DomainDisk {
    /// As the domain names it: `vda`.
    pub(crate) device: DiskId,
    /// The volume that it is; absent: a local disk.
    pub(crate) volume: Option<VolumeId>,
    pub(crate) source: Source,
}

/// What a disk is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    File {
        path: PathBuf,
        format: DiskFormat,
    },
    Rbd(RbdSource),
    /// Something that this crate cannot read; in a few words.
    Other(String),
}

/// An image in a Ceph cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RbdSource {
    pub(crate) pool: String,
    pub(crate) image: String,
    /// `host:port`, or `host`.
    pub(crate) monitors: Vec<String>,
    /// The uuid by which libvirt keeps the user's key.
    pub(crate) secret: Option<String>,
}

impl Domain {
    /// Reads a description.
    ///
    /// Errors: `Domain`: it is too long, no XML, or of another instance.
    pub(crate) fn parse(instance: InstanceId, text: &str) -> Result<Self, Error> {
        let unreadable = |reason: String| Error::Domain { instance, reason };
        let document = read(text).map_err(unreadable)?;
        let domain = document.root_element();
        let uuid = text_of(domain, "uuid").unwrap_or_default();
        if domain.tag_name().name() != "domain" || uuid != instance.to_string() {
            return Err(unreadable("it is no description of this instance".to_owned()));
        }
        let run_id = match domain.attribute("id").map(str::parse) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return Err(unreadable("its number is none".to_owned())),
        };
        let devices = children(domain, "devices").next();
        let disks = devices.into_iter().flat_map(|devices| children(devices, "disk"));
        let disks = disks.filter(|disk| disk.attribute("device").is_none_or(|device| device == "disk"));
        let disks: Result<_, _> = disks.map(read_disk).collect();
        let agent = devices.map_or(Agent::None, read_agent);
        Ok(Self { run_id, agent, disks: disks.map_err(unreadable)?, owner: read_owner(domain) })
    }

    /// The disk that an id names: a volume's id, or the device of a local disk.
    pub(crate) fn disk(&self, id: &DiskId) -> Option<&DomainDisk> {
        let volume: Option<VolumeId> = id.as_str().parse().ok();
        self.disks.iter().find(|disk| match volume {
            Some(volume) => disk.volume == Some(volume),
            None => disk.volume.is_none() && disk.device == *id,
        })
    }
}

/// Reads XML of libvirt's, of whatever kind.
pub(crate) fn read(text: &str) -> Result<Document<'_>, String> {
    if text.len() > LENGTH_MAX {
        return Err(format!("it has {} bytes", text.len()));
    }
    // Without document types there are no entities, and what is read is never longer than what was given.
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| error.to_string())
}

/// The child elements of that name.
pub(crate) fn children<'a, 'input>(
    of: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    of.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

/// A text as it stands in an XML attribute or element.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn text_of<'a>(of: Node<'a, '_>, name: &'static str) -> Option<&'a str> {
    children(of, name).next()?.text()
}

fn read_agent(devices: Node<'_, '_>) -> Agent {
    let targets = children(devices, "channel").flat_map(|channel| children(channel, "target"));
    let mut states = targets
        .filter(|target| target.attribute("name") == Some(AGENT_CHANNEL))
        .map(|target| target.attribute("state"));
    match states.next() {
        None => Agent::None,
        Some(Some("connected")) => Agent::Connected,
        Some(_) => Agent::Away,
    }
}

/// Project and user by their ids: a tenant chooses no id.
fn read_owner(domain: Node<'_, '_>) -> Option<Owner> {
    let metadata = children(domain, "metadata").next()?;
    let owner = children(children(metadata, "instance").next()?, "owner").next()?;
    let id = |name| children(owner, name).next()?.attribute("uuid");
    Some(Owner { project_id: id("project")?.parse().ok()?, user_id: id("user")?.parse().ok()? })
}

fn read_disk(disk: Node<'_, '_>) -> Result<DomainDisk, String> {
    let device = children(disk, "target").next().and_then(|target| target.attribute("dev"));
    let device = device.unwrap_or_default().parse().map_err(|_| "a disk has no device".to_owned())?;
    // Nova gives volumes their id as serial number. Another serial says nothing: a flavor or image may set one.
    let volume = text_of(disk, "serial").and_then(|serial| serial.parse().ok());
    Ok(DomainDisk { device, volume, source: read_source(disk) })
}

fn read_source(disk: Node<'_, '_>) -> Source {
    let kind = disk.attribute("type").unwrap_or_default();
    let format = children(disk, "driver").next().and_then(|driver| driver.attribute("type"));
    let source = children(disk, "source").next();
    if children(disk, "encryption").next().is_some()
        || source.is_some_and(|source| children(source, "encryption").next().is_some())
    {
        return Source::Other("encrypted".to_owned());
    }
    let format = match format.unwrap_or_default().parse::<DiskFormat>() {
        Ok(format) => format,
        Err(_) => return Source::Other(format!("of the format {:?}", short(format.unwrap_or_default()))),
    };
    let attribute = |name| source.and_then(|source| source.attribute(name));
    match (kind, attribute("protocol")) {
        ("file", _) => match attribute("file") {
            Some(path) if path.starts_with('/') => Source::File { path: path.into(), format },
            _ => Source::Other("a file without a path".to_owned()),
        },
        ("network", Some("rbd")) if format == DiskFormat::Raw => {
            let name = attribute("name").and_then(|name| name.split_once('/'));
            match name.zip(source) {
                Some(((pool, image), source)) if is_plain(pool) && is_plain(image) => {
                    Source::Rbd(read_rbd(disk, source, (pool, image)))
                }
                _ => Source::Other("an RBD image of an odd name".to_owned()),
            }
        }
        ("network", protocol) => {
            Source::Other(format!("reached by {:?}", short(protocol.unwrap_or_default())))
        }
        (kind, _) => Source::Other(format!("of the type {:?}", short(kind))),
    }
}

fn read_rbd(disk: Node<'_, '_>, source: Node<'_, '_>, (pool, image): (&str, &str)) -> RbdSource {
    // libvirt takes `auth` beside the source, and within it.
    let auths = children(disk, "auth").chain(children(source, "auth"));
    let mut secrets = auths.flat_map(|auth| children(auth, "secret"));
    let secret = secrets.find_map(|secret| secret.attribute("uuid")).map(str::to_owned);
    let hosts = children(source, "host").filter_map(|host| {
        let name = host.attribute("name")?;
        Some(host.attribute("port").map_or_else(|| name.to_owned(), |port| format!("{name}:{port}")))
    });
    RbdSource { pool: pool.to_owned(), image: image.to_owned(), monitors: hosts.collect(), secret }
}

/// Whether a name of Ceph's may be an argument: no option, no other image, no snapshot.
pub(crate) fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 255 && name.chars().all(allowed)
}

/// The beginning of a stranger's word.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
