//! CREATE TABLE.

use super::Ddl;
use super::columns::{add_column, column_ids};
use super::expressions::check_defaults;
use crate::catalog::{Column, ColumnId, Homes, NewTable, Placement, SchemaVersion, SchemaView, Table, TableId};
use crate::error::{Error, Result, SqlState};
use crate::value::DataType;

/// The name of the key that tables without a primary key get.
const HIDDEN_KEY: &str = "__rome_row";

impl Ddl<'_> {
    pub(super) async fn create_table(&mut self, new: NewTable, if_not_exists: bool) -> Result<()> {
        let taken = self.catalog.table(&new.name).is_some() || self.taken_name(&[&new.name]).await?.is_some();
        if taken {
            if if_not_exists {
                return Ok(());
            }
            return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{}\" already exists", new.name))
                .with_table(&new.name));
        }
        let id = TableId(self.new_spaces(1).await?);
        let mut table = Table {
            id,
            name: new.name.clone(),
            version: SchemaVersion::default(),
            stamp: 0,
            placement: Placement::First,
            rows: None,
            shadow: None,
            target: None,
            claims: None,
            authorities: Vec::new(),
            unclaimed: false,
            changes: false,
            homes: Homes::default(),
            columns: Vec::new(),
            next_column: 1,
            primary_key: Vec::new(),
            primary_key_name: None,
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            referenced_by: Vec::new(),
        };
        for column in &new.columns {
            add_column(&mut table, column)?;
        }
        match &new.primary_key {
            Some((name, columns)) => {
                table.primary_key = column_ids(&table, columns)?;
                let name = match name {
                    None => self.free_name(&new.name, &[], "pkey").await?,
                    Some(name) => match self.taken_name(&[name]).await? {
                        None => name.clone(),
                        Some(taken) => {
                            return Err(Error::new(
                                SqlState::DUPLICATE_TABLE,
                                format!("relation \"{taken}\" already exists"),
                            ));
                        }
                    },
                };
                table.primary_key_name = Some(name);
                for column in &mut table.columns {
                    column.not_null |= table.primary_key.contains(&column.id);
                    if table.primary_key.contains(&column.id) {
                        indexable(&column.data_type)?;
                    }
                }
            }
            None => {
                let key = ColumnId(table.next_column);
                table.next_column += 1;
                table.columns.push(Column {
                    id: key,
                    name: HIDDEN_KEY.to_owned(),
                    data_type: DataType::Uuid,
                    not_null: true,
                    default: None,
                    identity: None,
                    missing: None,
                    hidden: true,
                });
                table.primary_key = vec![key];
            }
        }
        self.place(&mut table, &new)?;
        self.claim_name(&table.name, id)?;
        if let Some(name) = table.primary_key_name.clone() {
            self.claim_name(&name, id)?;
        }
        for (name, expression) in &new.checks {
            self.add_check(&mut table, name.clone(), expression)?;
        }
        check_defaults(&table)?;
        for (name, columns) in &new.uniques {
            self.add_unique(&mut table, name.clone(), columns).await?;
        }
        self.claim_keys(&mut table).await?;
        // Saved before its foreign keys, which may refer to the table itself.
        let mut table = Table::clone(&*self.save(table)?);
        for key in &new.foreign_keys {
            table = self.add_foreign_key(table, key).await?;
        }
        self.save(table)?;
        Ok(())
    }
}

/// Refuses types that have no order.
pub(super) fn indexable(data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Json => Err(Error::new(
            SqlState::UNDEFINED_OBJECT,
            format!("data type {data_type} has no default operator class for access method \"btree\""),
        )
        .with_hint("Use jsonb, or index an extracted value in a column of its own.")),
        DataType::Array(element) => indexable(element),
        _ => Ok(()),
    }
}
