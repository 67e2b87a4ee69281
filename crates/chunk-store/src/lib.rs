//! Work on a lineage: seal, pack, commit, read, verify, purge
