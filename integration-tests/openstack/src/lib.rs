//! Hands for the tests on a real OpenStack: the cloud by its ordinary clients (`openstack`, `virsh`, `rbd`), and the
//! product's own data path from disk to target and back.
//!
//! Called by `tests/it` alone. It is no driver: whatever the product does with a cloud is done by its own crates.

pub mod account;
pub mod broker_user;
pub mod carrier;
pub mod ceph_user;
pub mod compute;
pub mod cutting_proxy;
pub mod database_user;
pub mod estate;
pub mod flavor;
pub mod guest;
pub mod halted_service;
pub mod hypervisor;
pub mod lab;
pub mod oslo_listener;
pub mod people;
pub mod phase;
pub mod project;
pub mod rbd;
pub mod scratch;
pub mod second_ceph;
pub mod site;
pub mod surroundings;
mod tool;
