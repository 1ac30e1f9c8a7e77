//! The description of one table, as it is kept in the store (JSON) and used by every stage above.

use super::keys;
use super::placement::{Homes, Placement};
use super::shadow::Shadow;
use crate::encoding::KeyColumn;
use crate::store::{Epoch, Version};
use crate::topology::HomeNo;
use crate::value::{DataType, Value};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a table's description was read at. Versions say something within one epoch only.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SchemaVersion {
    /// The home's epoch.
    pub epoch: Epoch,
    /// The version of the schema-version key; zero for a table that the transaction itself made.
    pub version: Version,
}

/// A table's number: never reused. Also the number of the space of its rows, until they move.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct TableId(pub u32);

/// A column's number within its table: never reused, so that rows survive added and dropped columns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ColumnId(pub u32);

/// A table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Table {
    /// Its number, also the space of its rows unless `rows` says another.
    pub id: TableId,
    /// Its name.
    pub name: String,
    /// The version of the schema-version key under which this description was read; not stored.
    #[serde(skip)]
    pub version: SchemaVersion,
    /// A hash of the stored description, the same at every home; not stored here but under the schema-version key.
    #[serde(skip)]
    pub stamp: u64,
    /// Where its rows live.
    #[serde(default)]
    pub placement: Placement,
    /// The space of its rows, once they have moved: see [`Table::row_space`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// Where it is moving to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// The table as it will be when it has moved; follows from `shadow`, not stored.
    #[serde(skip)]
    pub target: Option<Arc<Table>>,
    /// The space of claims on the primary key, where that is unique over homes without saying which: see [`crate::exec::claims`].
    #[serde(default)]
    pub claims: Option<u32>,
    /// The homes that keep claims on keys that name none themselves; changed only with the spaces of the claims.
    #[serde(default)]
    pub authorities: Vec<HomeNo>,
    /// The claims on its keys are still to be made anew, since a site was forgotten: nobody may use it before that is done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unclaimed: bool,
    /// Whether every change of a row is told in a stream of its home, for those who watch the table.
    #[serde(default)]
    pub changes: bool,
    /// The homes that `placement` means; not stored.
    #[serde(skip)]
    pub homes: Homes,
    /// The live columns in order. A table without a declared primary key has a hidden uuid column at the end.
    pub columns: Vec<Column>,
    /// The id that the next added column gets.
    pub next_column: u32,
    /// The columns of the primary key, in key order; never empty.
    pub primary_key: Vec<ColumnId>,
    /// The primary key's constraint name; `None` where the key is the hidden column.
    pub primary_key_name: Option<String>,
    /// Secondary indexes, those of UNIQUE constraints included.
    pub indexes: Vec<Index>,
    /// CHECK constraints.
    pub checks: Vec<Check>,
    /// FOREIGN KEY constraints of this table.
    pub foreign_keys: Vec<ForeignKey>,
    /// Tables with foreign keys to this one (this one included, for a self-reference).
    pub referenced_by: Vec<TableId>,
}

/// A column.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Column {
    /// Its number.
    pub id: ColumnId,
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// The default as SQL text.
    pub default: Option<String>,
    /// Set for identity and serial columns.
    pub identity: Option<Identity>,
    /// What rows hold that were written before the column was added, as PostgreSQL's text form; `None` is NULL.
    pub missing: Option<String>,
    /// Not part of `*`; only the key that Rome gives to tables without a primary key.
    pub hidden: bool,
}

/// How an identity column makes its numbers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// GENERATED ALWAYS: refuses explicit values.
    pub always: bool,
    /// The first number.
    pub start: i64,
    /// The step between numbers; not zero.
    pub increment: i64,
}

/// A secondary index. Each entry's value is the key of its row.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Index {
    /// The space of its entries: never reused.
    pub space: u32,
    /// Its name, unique in the database.
    pub name: String,
    /// Its columns in order.
    pub columns: Vec<IndexColumn>,
    /// Whether two rows may not agree on all columns (NULLs never agree). The entry's key then is the columns alone, unless one is
    /// NULL; otherwise the columns followed by the primary key.
    pub unique: bool,
    /// The space of claims on its keys, where it is unique over homes without saying which.
    #[serde(default)]
    pub claims: Option<u32>,
    /// Whether it belongs to a UNIQUE constraint (and can't be dropped as an index).
    pub constraint: bool,
    /// How far its creation has come.
    pub state: IndexState,
}

/// One column of an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IndexColumn {
    /// The column.
    pub column: ColumnId,
    /// DESC
    pub descending: bool,
    /// NULLS FIRST
    pub nulls_first: bool,
}

/// The states that an index passes through while it is made or dropped; every session writes according to the state that its commit's
/// schema guard confirms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum IndexState {
    /// Deletes and updates remove entries; nothing adds them; nothing reads them.
    DeleteOnly,
    /// All writes maintain it; nothing reads it; existing rows are being added.
    WriteOnly,
    /// Complete.
    Public,
}

/// A CHECK constraint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// The condition as SQL text.
    pub expression: String,
}

/// A FOREIGN KEY constraint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// The referencing columns.
    pub columns: Vec<ColumnId>,
    /// The referenced table.
    pub parent: TableId,
    /// The referenced columns: the parent's primary key or a unique index's columns, in the order of `columns`.
    pub parent_columns: Vec<ColumnId>,
    /// What deleting a parent does.
    pub on_delete: ReferentialAction,
    /// What changing a parent's referenced columns does.
    pub on_update: ReferentialAction,
}

/// What happens to children.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReferentialAction {
    /// Refuse (also NO ACTION).
    Restrict,
    /// Follow the parent.
    Cascade,
    /// Set the referencing columns to NULL.
    SetNull,
    /// Set the referencing columns to their defaults.
    SetDefault,
}

impl Table {
    /// The stream, the same at each of its homes, that tells of every change of its rows, if one does.
    pub fn stream(&self) -> Option<Bytes> {
        match &self.placement {
            Placement::Global { .. } => Some(keys::replicated_stream()),
            _ => self.changes.then(|| keys::table_stream(self.id)),
        }
    }

    /// Whether any unique key has claims.
    pub fn claims_anything(&self) -> bool {
        self.claims.is_some() || self.indexes.iter().any(|index| index.claims.is_some())
    }

    /// The position of a column in [`Table::columns`].
    pub fn position(&self, id: ColumnId) -> Option<usize> {
        self.columns.iter().position(|column| column.id == id)
    }

    /// The column of this number.
    pub fn column(&self, id: ColumnId) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// The visible column of this name, with its position.
    pub fn column_named(&self, name: &str) -> Option<(usize, &Column)> {
        self.columns.iter().enumerate().find(|(_, column)| !column.hidden && column.name == name)
    }

    /// Positions of the primary key's columns, in key order.
    pub fn primary_key_positions(&self) -> Vec<usize> {
        self.primary_key.iter().filter_map(|id| self.position(*id)).collect()
    }

    /// How the primary key's columns are encoded.
    pub fn primary_key_columns(&self) -> Vec<KeyColumn> {
        let columns = self.primary_key.iter().filter_map(|id| self.column(*id));
        columns.map(|column| KeyColumn::ascending(column.data_type.clone())).collect()
    }

    /// How an index's own columns (without the primary key) are encoded.
    pub fn index_key_columns(&self, index: &Index) -> Vec<KeyColumn> {
        let parts = index.columns.iter().filter_map(|part| Some((part, self.column(part.column)?)));
        parts
            .map(|(part, column)| KeyColumn {
                data_type: column.data_type.clone(),
                descending: part.descending,
                nulls_first: part.nulls_first,
            })
            .collect()
    }

    /// The index of this name.
    pub fn index_named(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.name == name)
    }
}

impl Column {
    /// What a row holds that was written before the column existed.
    pub fn missing_value(&self) -> Value {
        match &self.missing {
            Some(text) => crate::value::cast(Value::text(text), &self.data_type).unwrap_or(Value::Null),
            None => Value::Null,
        }
    }
}
