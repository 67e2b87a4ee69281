//! What the world does with volumes: volume snapshots, temporary volumes made of them, and their attachments to hosts.

use controller::sagas::answer::Answer;
use controller::sagas::remote::Command;
use proto::rep::v1 as rep;
use uuid::Uuid;

use crate::world::{World, done};

impl World {
    pub(super) fn change_volumes(&mut self, command: &Command) -> Answer {
        match command {
            Command::CreateVolumeSnapshot(it) => {
                let number = (it.volume_id.parse::<Uuid>().unwrap().as_u128() & 0xffff) / 16;
                self.create_owned(format!("volume snapshot {}", it.tag), number)
            }
            Command::DeleteVolumeSnapshots(it) => {
                let name = format!("volume snapshot {}", it.tag);
                let id = self.things.get(&name).map(ToString::to_string);
                let holds = |(volume, source): (&String, &String)| {
                    Some(source) == id.as_ref() && self.things.contains_key(volume)
                };
                assert!(!self.sources.iter().any(holds), "a volume is there that was made of {name}");
                self.remove(&name)
            }
            Command::CreateVolume(it) if !it.volume_snapshot_id.is_empty() => {
                let name = format!("volume {}", it.tag);
                self.sources.insert(name.clone(), it.volume_snapshot_id.clone());
                self.create_owned(name, self.owners[&it.volume_snapshot_id])
            }
            Command::CreateVolume(it) => self.create(format!("volume {}", it.tag)),
            Command::DeleteVolume(it) => {
                self.detach(&it.tag);
                self.remove(&format!("volume {}", it.tag))
            }
            Command::AttachVolume(it) => {
                assert_eq!(it.public_key, b"key of host-a");
                self.create(format!("attachment {}", it.volume_id));
                Answer::VolumeAttached(rep::VolumeAttached {
                    attachment_id: String::new(),
                    sealed: it.volume_id.clone().into_bytes(),
                })
            }
            Command::DetachVolumes(it) => self.detach(&it.tag),
            other => panic!("no cloud does {other:?} with volumes"),
        }
    }

    /// Something of an instance, by its number.
    fn create_owned(&mut self, name: String, number: u128) -> Answer {
        let answer = self.create(name);
        if let Answer::Created(created) = &answer {
            self.owners.insert(created.resource_id.clone(), number);
        }
        answer
    }

    fn detach(&mut self, tag: &str) -> Answer {
        match self.things.get(&format!("volume {tag}")).map(|id| format!("attachment {id}")) {
            Some(attachment) => self.remove(&attachment),
            None => done(),
        }
    }
}
