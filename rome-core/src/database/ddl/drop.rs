//! DROP TABLE and TRUNCATE.

use super::{Ddl, quoted};
use crate::catalog::keys::{name_key, schema_version_key, sequence_key, table_key};
use crate::catalog::{SchemaView, Table, TableId};
use crate::error::{Error, Result, SqlState};
use std::sync::Arc;

impl Ddl<'_> {
    pub(super) async fn drop_tables(&mut self, names: &[String], if_exists: bool, cascade: bool) -> Result<()> {
        let mut tables = Vec::new();
        for name in names {
            match self.catalog.table(name) {
                Some(_) => tables.push(self.table(name)?),
                None if if_exists => {}
                None => {
                    return Err(Error::new(SqlState::UNDEFINED_TABLE, format!("table \"{name}\" does not exist"))
                        .with_table(name));
                }
            }
        }
        let dropped: Vec<TableId> = tables.iter().map(|table| table.id).collect();
        for table in &tables {
            for (child, key) in self.catalog.foreign_keys_to(table) {
                if dropped.contains(&child.id) {
                    continue;
                }
                if !cascade {
                    return Err(Error::new(
                        SqlState::DEPENDENT_OBJECTS,
                        format!("cannot drop table {} because other objects depend on it", table.name),
                    )
                    .with_detail(format!(
                        "constraint {} on table {} depends on table {}",
                        key.name, child.name, table.name
                    ))
                    .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
                }
                let mut child = Table::clone(&*self.table_by_id(child.id)?);
                child.foreign_keys.retain(|other| other.name != key.name);
                self.save(child)?;
            }
        }
        for table in tables {
            self.drop_table(&table, &dropped)?;
        }
        Ok(())
    }

    fn drop_table(&mut self, table: &Arc<Table>, dropped: &[TableId]) -> Result<()> {
        for key in &table.foreign_keys {
            if !dropped.contains(&key.parent) {
                self.forget_child(key.parent, table)?;
            }
        }
        self.tell_watchers(table)?;
        self.delete(table_key(table.id))?;
        self.delete(schema_version_key(table.id))?;
        self.delete(name_key(&table.name))?;
        if let Some(name) = &table.primary_key_name {
            self.delete(name_key(name))?;
        }
        for column in table.columns.iter().filter(|column| column.identity.is_some()) {
            self.delete(sequence_key(table.id, column.id))?;
        }
        for index in &table.indexes {
            self.delete(name_key(&index.name))?;
        }
        let copied = table.target.as_ref().map(|target| target.spaces());
        for space in table.spaces().into_iter().chain(copied.into_iter().flatten()) {
            self.discard_space(space)?;
        }
        Arc::make_mut(self.catalog).remove(table.id);
        Ok(())
    }

    /// Takes a child out of a parent's list, once no foreign key of the child refers to it.
    pub(super) fn forget_child(&mut self, parent: TableId, child: &Table) -> Result<()> {
        let mut parent = Table::clone(&*self.table_by_id(parent)?);
        parent.referenced_by.retain(|id| *id != child.id);
        self.save(parent)?;
        Ok(())
    }

    /// TRUNCATE removes rows as DELETE does, in this transaction.
    pub(super) async fn truncate(&mut self, names: &[String], cascade: bool, restart_identity: bool) -> Result<()> {
        let mut tables = Vec::new();
        for name in names {
            tables.push(self.table(name)?);
        }
        let mut at = 0;
        while let Some(table) = tables.get(at).cloned() {
            for (child, key) in self.catalog.foreign_keys_to(&table) {
                if tables.iter().any(|other| other.id == child.id) {
                    continue;
                }
                if !cascade {
                    return Err(Error::unsupported(format!(
                        "truncating table \"{}\", which is referenced by foreign key {} of table \"{}\",",
                        table.name, key.name, child.name
                    ))
                    .with_hint("Truncate both tables at once, or use TRUNCATE ... CASCADE."));
                }
                tables.push(self.table_by_id(child.id)?);
            }
            at += 1;
        }
        // Children first, so that no foreign key is in the way.
        for table in tables.iter().rev() {
            let deleted = format!("DELETE FROM {}", quoted(&table.name));
            self.query(&deleted).await?;
            if restart_identity {
                for column in table.columns.iter().filter(|column| column.identity.is_some()) {
                    self.delete(sequence_key(table.id, column.id))?;
                    self.engine.forget_numbers(table.id, column.id);
                }
            }
        }
        Ok(())
    }
}
