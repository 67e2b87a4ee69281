//! The NBD protocol, client side
