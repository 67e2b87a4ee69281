//! A POSIX target on real file systems.

mod conforms;
mod faults;
mod hostile;
mod mounts;
mod trouble;
