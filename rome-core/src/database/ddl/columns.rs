//! Columns by name.

use crate::catalog::{Column, ColumnId, NewColumn, Table};
use crate::error::{Error, Result, SqlState};

/// Most columns that a table may have.
pub(super) const MAX_COLUMNS: usize = 1_600;

pub(super) fn column_ids(table: &Table, names: &[String]) -> Result<Vec<ColumnId>> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let (_, column) = table.column_named(name).ok_or_else(|| undefined_column(table, name))?;
        if ids.contains(&column.id) {
            return Err(Error::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" appears twice in the constraint or index"),
            ));
        }
        ids.push(column.id);
    }
    Ok(ids)
}

pub(super) fn undefined_column(table: &Table, name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" of relation \"{}\" does not exist", table.name))
        .with_table(&table.name)
        .with_column(name)
}

/// Appends a column to a table's description.
pub(super) fn add_column(table: &mut Table, new: &NewColumn) -> Result<()> {
    if table.columns.iter().any(|column| column.name == new.name) {
        return Err(Error::new(
            SqlState::DUPLICATE_COLUMN,
            format!("column \"{}\" of relation \"{}\" already exists", new.name, table.name),
        ));
    }
    if table.columns.len() >= MAX_COLUMNS {
        return Err(Error::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("tables can have at most {MAX_COLUMNS} columns"),
        ));
    }
    let column = Column {
        id: ColumnId(table.next_column),
        name: new.name.clone(),
        data_type: new.data_type.clone(),
        not_null: new.not_null || new.identity.is_some(),
        default: new.default.clone(),
        identity: new.identity.clone(),
        missing: None,
        hidden: false,
    };
    table.next_column += 1;
    // The hidden key, if there is one, stays last.
    let at = table.columns.iter().position(|column| column.hidden).unwrap_or(table.columns.len());
    table.columns.insert(at, column);
    Ok(())
}

/// The names of columns, for messages and made-up names.
pub(super) fn names_of(table: &Table, ids: &[ColumnId]) -> Vec<String> {
    ids.iter().filter_map(|id| table.column(*id)).map(|column| column.name.clone()).collect()
}
