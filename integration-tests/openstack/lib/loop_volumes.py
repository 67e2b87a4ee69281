"""A Cinder driver for tests: each volume is a sparse file, and reaches a guest as a loop device of this host.

It stands for all storage that Holdfast reaches by an attachment only. It runs where the kernel has neither iSCSI nor
NVMe-oF, since os-brick and Nova know its connections as `local`. It cuts by copying: what is written meanwhile may be in
the copy or not, so a test writes nothing meanwhile.
"""

import os
import subprocess

from cinder import interface
from cinder.volume import configuration
from cinder.volume import driver
from oslo_config import cfg

OPTIONS = [cfg.StrOpt("loop_volumes_dir", help="Where the files lie.")]
cfg.CONF.register_opts(OPTIONS, group=configuration.SHARED_CONF_GROUP)


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def copy(source, destination):
    run("cp", "--sparse=always", source, destination + ".new")
    os.rename(destination + ".new", destination)


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


@interface.volumedriver
class LoopVolumes(driver.VolumeDriver):
    VERSION = "1.0.0"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)

    def check_for_setup_error(self):
        os.makedirs(self.configuration.loop_volumes_dir, exist_ok=True)

    def _path(self, name):
        return os.path.join(self.configuration.loop_volumes_dir, name)

    def _device(self, volume):
        """The loop device of a volume, if it has one."""
        lines = run("losetup", "--noheadings", "--output", "NAME", "-j", self._path(volume.name)).split()
        return lines[0] if lines else None

    def _resize(self, volume, gib):
        with open(self._path(volume.name), "ab") as file:
            file.truncate(gib << 30)

    def create_volume(self, volume):
        self._resize(volume, volume.size)

    def create_volume_from_snapshot(self, volume, snapshot):
        copy(self._path(snapshot.name), self._path(volume.name))
        self._resize(volume, volume.size)

    def create_cloned_volume(self, volume, src_vref):
        copy(self._path(src_vref.name), self._path(volume.name))
        self._resize(volume, volume.size)

    def extend_volume(self, volume, new_size):
        self._resize(volume, new_size)

    def delete_volume(self, volume):
        self.remove_export(None, volume)
        remove(self._path(volume.name))

    def create_snapshot(self, snapshot):
        copy(self._path(snapshot.volume.name), self._path(snapshot.name))

    def delete_snapshot(self, snapshot):
        remove(self._path(snapshot.name))

    def create_export(self, context, volume, connector):
        self._device(volume) or run("losetup", "--find", self._path(volume.name))

    def ensure_export(self, context, volume):
        # After a restart of the machine: an attached volume has its device again before anybody opens it.
        if volume.volume_attachment:
            self.create_export(context, volume, None)

    def remove_export(self, context, volume):
        device = self._device(volume)
        if device:
            run("losetup", "--detach", device)

    def initialize_connection(self, volume, connector):
        self.create_export(None, volume, connector)
        return {"driver_volume_type": "local", "data": {"device_path": self._device(volume)}}

    def terminate_connection(self, volume, connector, **kwargs):
        pass

    def _update_volume_stats(self):
        self._stats = {
            "volume_backend_name": self.configuration.volume_backend_name,
            "vendor_name": "Holdfast",
            "driver_version": self.VERSION,
            "storage_protocol": "local",
            "total_capacity_gb": "unknown",
            "free_capacity_gb": "unknown",
            "multiattach": False,
        }
