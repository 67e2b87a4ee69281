//! Notifications of Nova (unversioned and versioned) and Cinder in the words of our port.

use cloud::{Notification, Subject};
use model::{CloudChange, Timestamp};
use openstack::NotANotification;
use serde_json::Value;

/// Of what users named, in characters.
const DETAIL_LENGTH_MAX: usize = 200;

/// Reads what came; `None`: it is about nothing that matters to backups.
///
/// Errors: it is no notification.
pub fn read(body: &[u8]) -> Result<Option<Notification>, NotANotification> {
    let told = openstack::Notification::parse(body)?;
    let fields = Fields(&told.payload);
    let Some((change, detail)) = translate(&told.event_type, fields) else { return Ok(None) };
    let subject = match change {
        CloudChange::Extended => fields.volume(),
        CloudChange::Deleted if told.event_type.starts_with("volume.") => fields.volume(),
        _ => fields.instance(),
    };
    let happened_at = Timestamp(told.sent_at.timestamp_micros());
    Ok(subject.map(|subject| Notification { subject, change, detail, happened_at }))
}

/// Each change under all its names: Nova's unversioned, its versioned, Cinder's.
fn translate(event_type: &str, fields: Fields<'_>) -> Option<(CloudChange, String)> {
    let on_host = || fields.text("host").map(|host| format!("on host {host}")).unwrap_or_default();
    let with_flavor = || {
        let flavor = fields.flavor().map(|flavor| format!("flavor {flavor}"));
        [flavor, Some(on_host())]
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let of_volume = || fields.text("volume_id").map(|id| format!("volume {id}")).unwrap_or_default();
    let (change, detail) = match event_type {
        "compute.instance.delete.end" | "instance.delete.end" | "volume.delete.end" => {
            (CloudChange::Deleted, String::new())
        }
        "compute.instance.live_migration.post.dest.end" | "instance.live_migration_post_dest.end" => {
            (CloudChange::Migrated, on_host())
        }
        "compute.instance.finish_resize.end"
        | "instance.resize_finish.end"
        | "compute.instance.resize.revert.end"
        | "instance.resize_revert.end" => (CloudChange::Resized, with_flavor()),
        "compute.instance.rebuild.end" | "instance.rebuild.end" => (CloudChange::Rebuilt, String::new()),
        "compute.instance.shelve_offload.end" | "instance.shelve_offload.end" => {
            (CloudChange::Shelved, String::new())
        }
        "compute.instance.volume.attach" | "instance.volume_attach.end" => {
            (CloudChange::VolumeAttached, of_volume())
        }
        "compute.instance.volume.detach" | "instance.volume_detach.end" => {
            (CloudChange::VolumeDetached, of_volume())
        }
        "volume.resize.end" => {
            let size = fields.number("size").map(|size| format!("to {size} GiB")).unwrap_or_default();
            (CloudChange::Extended, size)
        }
        _ => return None,
    };
    let end = detail.char_indices().nth(DETAIL_LENGTH_MAX).map_or(detail.len(), |(index, _)| index);
    Some((change, detail[..end].to_owned()))
}

/// A payload: flat, or (versioned) in Nova's objects.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get("nova_object.data").unwrap_or(self.0).get(name)
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    fn number(self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }

    fn flavor(self) -> Option<&'a str> {
        self.text("instance_type").or_else(|| Fields(self.get("flavor")?).text("name"))
    }

    fn instance(self) -> Option<Subject> {
        let id = self.text("instance_id").or_else(|| self.text("uuid"))?;
        id.parse().ok().map(Subject::Instance)
    }

    fn volume(self) -> Option<Subject> {
        self.text("volume_id")?.parse().ok().map(Subject::Volume)
    }
}

#[cfg(test)]
mod tests {
    use openstack::Priority;
    use serde_json::json;

    use super::*;

    const ID: &str = "0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f";

    fn read_one(event_type: &str, payload: Value) -> Option<Notification> {
        let told = openstack::Notification {
            message_id: "1".to_owned(),
            publisher_id: "compute.host".to_owned(),
            event_type: event_type.to_owned(),
            priority: Priority::Info,
            sent_at: "2026-11-28T00:00:00Z".parse().unwrap(),
            payload,
        };
        read(&told.compose("acme")).unwrap()
    }

    #[test]
    fn both_forms_of_nova_say_the_same() {
        let flat = json!({ "instance_id": ID, "host": "node-2", "instance_type": "m1.large" });
        let objects = json!({
            "nova_object.name": "InstanceActionPayload",
            "nova_object.data": {
                "uuid": ID,
                "host": "node-2",
                "flavor": { "nova_object.name": "FlavorPayload", "nova_object.data": { "name": "m1.large" } },
            },
        });
        for (old, new) in [
            ("compute.instance.delete.end", "instance.delete.end"),
            ("compute.instance.live_migration.post.dest.end", "instance.live_migration_post_dest.end"),
            ("compute.instance.finish_resize.end", "instance.resize_finish.end"),
            ("compute.instance.rebuild.end", "instance.rebuild.end"),
        ] {
            let told = read_one(old, flat.clone()).unwrap();
            assert_eq!(Some(&told), read_one(new, objects.clone()).as_ref(), "{old}");
            assert_eq!(told.subject, Subject::Instance(ID.parse().unwrap()));
        }
        let resized = read_one("instance.resize_finish.end", objects).unwrap();
        assert_eq!(
            (resized.change, resized.detail.as_str()),
            (CloudChange::Resized, "flavor m1.large, on host node-2")
        );
    }

    #[test]
    fn a_volume_that_grew_says_to_what() {
        let told = read_one("volume.resize.end", json!({ "volume_id": ID, "size": 7 })).unwrap();
        assert_eq!((told.subject, told.detail.as_str()), (Subject::Volume(ID.parse().unwrap()), "to 7 GiB"));
    }

    #[test]
    fn what_does_not_matter_or_names_nothing_is_passed_over() {
        assert_eq!(read_one("compute.instance.power_on.end", json!({ "instance_id": ID })), None);
        assert_eq!(read_one("compute.instance.delete.end", json!({ "instance_id": "../x" })), None);
        assert_eq!(read_one("volume.delete.end", json!([])), None);
    }
}
