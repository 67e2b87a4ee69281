//! Instances that could not be brought back as they were, whatever their state: refused by a clear sentence, when they are
//! added to a workload and at every snapshot. Pure. The table for people is docs/instance-states.md.

use cloud::{DiskDescription, InstanceDescription};
use model::{ErrorClass, Failure, VolumeId};

use crate::wire::cinder;

/// Cinder's states in which nobody works on an attached volume.
const USABLE: [&str; 2] = ["in-use", "available"];

/// Refuses what is no matter of states.
pub(crate) fn check(instance: &InstanceDescription) -> Result<(), Failure> {
    let InstanceDescription { name, id, flavor, .. } = instance;
    let refuse = |code: &str, sentence: &str| {
        Err(Failure::permanent(code, format!("instance {name} ({id}) {sentence}")))
    };
    if is_set(instance, &["hw:tpm_version", "hw:tpm_model"], &["hw_tpm_version", "hw_tpm_model"]) {
        return refuse(
            "INSTANCE_HAS_VTPM",
            "has a virtual TPM, whose secrets cannot be saved: what is sealed with it could never be opened again",
        );
    }
    if is_set(instance, &["hw:mem_encryption"], &["hw_mem_encryption"]) {
        return refuse(
            "INSTANCE_HAS_ENCRYPTED_MEMORY",
            "has encrypted memory (SEV): its disks cannot be cut while it runs; Holdfast does not protect such instances",
        );
    }
    if flavor.ephemeral_gib > 0 {
        let sentence = format!(
            "has an ephemeral disk of {} GiB by its flavor {}, which would not be saved: put its data on a volume and use a \
             flavor without one",
            flavor.ephemeral_gib, flavor.name
        );
        return refuse("INSTANCE_HAS_EPHEMERAL_DISK", &sentence);
    }
    match instance.disks_to_back_up().find(|disk| disk.volume.encrypted) {
        Some(DiskDescription { id: volume, volume: described, .. }) => refuse(
            "VOLUME_ENCRYPTED",
            &format!(
                "has the encrypted volume {} ({volume}), whose bytes cannot be saved in a form that could be read again: move \
                 its data to a volume of a type without encryption, or exclude it (volume metadata \
                 exclude_from_backup=True)",
                described.name
            ),
        ),
        None => Ok(()),
    }
}

/// Whether flavor or image asks for something. A word like `false` asks for nothing.
fn is_set(instance: &InstanceDescription, specs: &[&str], properties: &[&str]) -> bool {
    let image = instance.server.image.iter().map(|image| &image.properties);
    let boot_volume = instance.disks.first().map(|disk| &disk.volume.image_metadata);
    let of_flavor = specs.iter().filter_map(|key| instance.flavor.extra_specs.get(*key));
    let of_image =
        image.chain(boot_volume).flat_map(|of| properties.iter().filter_map(move |key| of.get(*key)));
    let asks = |value: &String| !value.is_empty() && !value.eq_ignore_ascii_case("false");
    of_flavor.chain(of_image).any(asks)
}

/// Refuses a volume of which no snapshot can be made now.
pub(crate) fn check_volume(volume: &cinder::Volume) -> Result<(), Failure> {
    let cinder::Volume { name, id, status, .. } = volume;
    if USABLE.contains(&status.as_str()) {
        return Ok(());
    }
    if status.contains("error") {
        let message = format!(
            "volume {} is in state {status}: have it repaired and its state reset, or exclude it",
            called(name, id)
        );
        return Err(Failure::permanent("VOLUME_IN_ERROR", message));
    }
    let message = format!("volume {} is in state {status}: wait until it is in use again", called(name, id));
    Err(Failure::new(ErrorClass::Contention, "VOLUME_BUSY", message))
}

/// A volume's name may be empty.
fn called(name: &str, id: &VolumeId) -> String {
    if name.is_empty() { id.to_string() } else { format!("{name} ({id})") }
}
