//! Where packs rest: the port and its POSIX directory
