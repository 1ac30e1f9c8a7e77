//! Tables, columns, indexes and constraints: kept in the store, cached by schema version.

mod change;
mod format;
pub mod keys;
mod placement;
mod shadow;
mod snapshot;
mod table;

pub use change::{AlterAction, NewColumn, NewForeignKey, NewIndex, NewTable, SchemaChange};
pub use format::Format;
pub(crate) use format::number as format_number;
pub use keys::schema_version_key;
pub use placement::{Homes, Placement, share_of};
pub use shadow::{Shadow, ShadowIndex};
pub use snapshot::{Catalog, MAX_CATALOG_BYTES, stamp_of};
pub use table::{
    Check, Column, ColumnId, ForeignKey, Identity, Index, IndexColumn, IndexState, ReferentialAction, SchemaVersion,
    Table, TableId,
};

use crate::topology::Topology;
use std::sync::Arc;

/// What binding and execution need to know of the tables.
pub trait SchemaView: Send + Sync {
    /// The table of this name.
    fn table(&self, name: &str) -> Option<Arc<Table>>;

    /// The table of this number.
    fn table_by_id(&self, id: TableId) -> Option<Arc<Table>>;

    /// The sites.
    fn topology(&self) -> Arc<Topology>;

    /// The foreign keys that refer to a table, with the tables that have them.
    fn foreign_keys_to(&self, table: &Table) -> Vec<(Arc<Table>, ForeignKey)> {
        let children = table.referenced_by.iter().filter_map(|id| self.table_by_id(*id));
        children
            .flat_map(|child| {
                let keys: Vec<_> = child.foreign_keys.iter().filter(|key| key.parent == table.id).cloned().collect();
                keys.into_iter().map(move |key| (Arc::clone(&child), key))
            })
            .collect()
    }
}
