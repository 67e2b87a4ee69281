//! Reading and writing virtual disks through qemu-nbd children
