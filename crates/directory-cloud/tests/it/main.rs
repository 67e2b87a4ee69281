//! The cloud made of a folder, through its three ports, on a real file system.

mod conformance;
mod cuts;
mod effects;
mod faults;
mod hostile;
mod hosts;
mod toy;
