//! What is read: tables and columns of OpenStack's services. Grants are made of it; the tests run every statement with the
//! printed rights, and see that there is no other right.

/// A table with the columns we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
}

/// Of `nova_api`: which cell has an instance.
pub(crate) const INSTANCE_MAPPINGS: Table =
    Table { name: "instance_mappings", columns: &["instance_uuid", "cell_id", "queued_for_delete"] };

/// Of `nova_api`: the cells, when all are told by our own config.
pub(crate) const CELL_MAPPINGS: Table = Table { name: "cell_mappings", columns: &["id", "uuid", "name"] };

/// Of `nova_api`: the cells, when their places are read from there. That column holds Nova's own password too.
pub(crate) const CELL_MAPPINGS_WITH_PLACES: Table =
    Table { name: "cell_mappings", columns: &["id", "uuid", "name", "database_connection"] };

/// Of each cell.
pub(crate) const INSTANCES: Table =
    Table { name: "instances", columns: &["uuid", "host", "vm_state", "task_state", "deleted"] };

/// Of `cinder`.
pub(crate) const VOLUMES: Table = Table { name: "volumes", columns: &["id", "host", "deleted"] };
