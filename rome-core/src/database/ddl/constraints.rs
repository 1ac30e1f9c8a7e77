//! CHECK, UNIQUE and FOREIGN KEY.

use super::columns::{column_ids, names_of};
use super::create::indexable;
use super::expressions::check_condition;
use super::index::wanted_order;
use super::moves::check_settled;
use super::{Ddl, made_up_name, quoted, undefined_table};
use crate::catalog::{Check, ColumnId, ForeignKey, Index, IndexColumn, IndexState, NewForeignKey, SchemaView, Table};
use crate::error::{Error, Result, SqlState};
use std::sync::Arc;

impl Ddl<'_> {
    /// Adds a CHECK to a description. Existing rows are not looked at.
    pub(super) fn add_check(&mut self, table: &mut Table, name: Option<String>, expression: &str) -> Result<String> {
        check_condition(expression, table)?;
        let taken = |name: &str| constraint_exists(table, name);
        let name = match name {
            Some(name) if taken(&name) => return Err(duplicate_constraint(table, &name)),
            Some(name) => name,
            None => made_up_name(&table.name, &[], "check", taken),
        };
        table.checks.push(Check { name: name.clone(), expression: expression.to_owned() });
        Ok(name)
    }

    /// Adds a unique constraint's index to a description of a table without rows.
    pub(super) async fn add_unique(
        &mut self,
        table: &mut Table,
        name: Option<String>,
        columns: &[String],
    ) -> Result<String> {
        let ids = column_ids(table, columns)?;
        let name = match name {
            Some(name) => name,
            None => self.free_name(&table.name, columns, "key").await?,
        };
        self.add_index(table, name.clone(), &ids, true, true).await?;
        Ok(name)
    }

    /// Adds an index in public state to a description of a table without rows.
    async fn add_index(
        &mut self,
        table: &mut Table,
        name: String,
        columns: &[ColumnId],
        unique: bool,
        constraint: bool,
    ) -> Result<()> {
        check_settled(table)?;
        if constraint_exists(table, &name) {
            return Err(duplicate_constraint(table, &name));
        }
        if let Some(taken) = self.taken_name(&[&name]).await? {
            return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{taken}\" already exists")));
        }
        for id in columns {
            if let Some(column) = table.column(*id) {
                indexable(&column.data_type)?;
            }
        }
        let space = self.new_spaces(1).await?;
        self.claim_name(&name, table.id)?;
        let columns =
            columns.iter().map(|id| IndexColumn { column: *id, descending: false, nulls_first: false }).collect();
        table.indexes.push(Index { space, name, columns, unique, claims: None, constraint, state: IndexState::Public });
        Ok(())
    }

    /// Adds a foreign key to a saved table, and an index on its columns where there is none: deleting a parent must find its children by it.
    /// Existing rows are checked. Returns the new description, not yet saved.
    pub(super) async fn add_foreign_key(&mut self, mut table: Table, new: &NewForeignKey) -> Result<Table> {
        let parent = self.catalog.table(&new.parent).ok_or_else(|| undefined_table(&new.parent))?;
        self.txn.use_table(&parent)?;
        let columns = column_ids(&table, &new.columns)?;
        let parent_columns = match new.parent_columns.is_empty() {
            true if parent.primary_key_name.is_some() => parent.primary_key.clone(),
            true => {
                return Err(Error::new(
                    SqlState::UNDEFINED_OBJECT,
                    format!("there is no primary key for referenced table \"{}\"", parent.name),
                ));
            }
            false => column_ids(&parent, &new.parent_columns)?,
        };
        if columns.len() != parent_columns.len() {
            return Err(Error::new(
                SqlState::INVALID_FOREIGN_KEY,
                "number of referencing and referenced columns for foreign key disagree",
            ));
        }
        check_key_exists(&parent, &parent_columns)?;
        super::placement::check_foreign_key(&table, &parent, &parent_columns)?;
        let name = match &new.name {
            Some(name) if constraint_exists(&table, name) => return Err(duplicate_constraint(&table, name)),
            Some(name) => name.clone(),
            None => made_up_name(&table.name, &new.columns, "fkey", |name| constraint_exists(&table, name)),
        };
        for (child, parent_column) in columns.iter().zip(&parent_columns) {
            let (Some(child), Some(referenced)) = (table.column(*child), parent.column(*parent_column)) else {
                continue;
            };
            let alike = child.data_type == referenced.data_type
                || child.data_type.is_integer() && referenced.data_type.is_integer()
                || child.data_type.is_text() && referenced.data_type.is_text();
            if !alike {
                return Err(Error::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!("foreign key constraint \"{name}\" cannot be implemented"),
                )
                .with_detail(format!(
                    "Key columns \"{}\" and \"{}\" are of incompatible types: {} and {}.",
                    child.name, referenced.name, child.data_type, referenced.data_type
                )));
            }
        }
        let empty = self.is_empty(&table).await?;
        if !empty {
            self.check_existing_children(&table, &parent, &name, &columns, &parent_columns).await?;
        }
        if !wanted_order(&table, &columns) {
            let index = self.free_name(&table.name, &new.columns, "fkey_idx").await?;
            if empty {
                self.add_index(&mut table, index, &columns, false, false).await?;
            } else {
                table = self.add_filled_index(table, index, &columns).await?;
            }
        }
        table.foreign_keys.push(ForeignKey {
            name,
            columns,
            parent: parent.id,
            parent_columns,
            on_delete: new.on_delete,
            on_update: new.on_update,
        });
        if parent.id == table.id {
            if !table.referenced_by.contains(&table.id) {
                table.referenced_by.push(table.id);
            }
        } else if !parent.referenced_by.contains(&table.id) {
            let mut parent = Table::clone(&parent);
            parent.referenced_by.push(table.id);
            self.save(parent)?;
        }
        Ok(table)
    }

    async fn check_existing_children(
        &mut self,
        table: &Table,
        parent: &Arc<Table>,
        name: &str,
        columns: &[ColumnId],
        parent_columns: &[ColumnId],
    ) -> Result<()> {
        let children = names_of(table, columns);
        let parents = names_of(parent, parent_columns);
        let equal: Vec<String> =
            children.iter().zip(&parents).map(|(c, p)| format!("p.{} = c.{}", quoted(p), quoted(c))).collect();
        let present: Vec<String> = children.iter().map(|c| format!("c.{} IS NOT NULL", quoted(c))).collect();
        let sql = format!(
            "SELECT 1 FROM {} AS c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {}) LIMIT 1",
            quoted(&table.name),
            present.join(" AND "),
            quoted(&parent.name),
            equal.join(" AND ")
        );
        if self.query(&sql).await?.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            SqlState::FOREIGN_KEY_VIOLATION,
            format!("insert or update on table \"{}\" violates foreign key constraint \"{name}\"", table.name),
        )
        .with_detail(format!("A row of the table has no parent in table \"{}\".", parent.name))
        .with_table(&table.name)
        .with_constraint(name))
    }

    /// Checks that all rows satisfy a condition that is about to become a CHECK.
    pub(super) async fn check_existing_rows(&mut self, table: &Table, name: &str, expression: &str) -> Result<()> {
        let sql = format!("SELECT 1 FROM {} WHERE NOT ({expression}) LIMIT 1", quoted(&table.name));
        if self.query(&sql).await?.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            SqlState::CHECK_VIOLATION,
            format!("check constraint \"{name}\" of relation \"{}\" is violated by some row", table.name),
        )
        .with_table(&table.name)
        .with_constraint(name))
    }
}

/// The referenced columns must be the primary key's or a unique constraint's.
fn check_key_exists(parent: &Table, columns: &[ColumnId]) -> Result<()> {
    let same = |key: Vec<ColumnId>| key.len() == columns.len() && columns.iter().all(|column| key.contains(column));
    let found = same(parent.primary_key.clone())
        || parent.indexes.iter().any(|index| {
            index.unique
                && index.state == IndexState::Public
                && same(index.columns.iter().map(|part| part.column).collect())
        });
    if found {
        return Ok(());
    }
    Err(Error::new(
        SqlState::INVALID_FOREIGN_KEY,
        format!("there is no unique constraint matching given keys for referenced table \"{}\"", parent.name),
    ))
}

pub(super) fn constraint_exists(table: &Table, name: &str) -> bool {
    table.primary_key_name.as_deref() == Some(name)
        || table.indexes.iter().any(|index| index.name == name)
        || table.checks.iter().any(|check| check.name == name)
        || table.foreign_keys.iter().any(|key| key.name == name)
}

pub(super) fn duplicate_constraint(table: &Table, name: &str) -> Error {
    Error::new(
        SqlState::DUPLICATE_OBJECT,
        format!("constraint \"{name}\" for relation \"{}\" already exists", table.name),
    )
}
