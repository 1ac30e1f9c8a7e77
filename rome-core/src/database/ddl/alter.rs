//! ALTER TABLE.

use super::columns::{add_column, column_ids, names_of, undefined_column};
use super::constraints::{constraint_exists, duplicate_constraint};
use super::create::indexable;
use super::expressions::{check_condition, check_defaults, is_volatile, renamed};
use super::moves::check_settled;
use super::{Ddl, quoted};
use crate::catalog::keys::name_key;
use crate::catalog::{AlterAction, ColumnId, IndexColumn, NewColumn, Placement, SchemaView, Table};
use crate::error::{Error, Result, SqlState};
use crate::value::{DataType, Value};

impl Ddl<'_> {
    pub(super) async fn alter_table(&mut self, name: &str, if_exists: bool, actions: Vec<AlterAction>) -> Result<()> {
        if if_exists && self.catalog.table(name).is_none() {
            return Ok(());
        }
        let id = self.table(name)?.id;
        for action in actions {
            let table = Table::clone(&*self.table_by_id(id)?);
            self.alter(table, action).await?;
        }
        Ok(())
    }

    async fn alter(&mut self, mut table: Table, action: AlterAction) -> Result<()> {
        match action {
            AlterAction::AddColumn { column, if_not_exists, unique, checks, foreign_key } => {
                if if_not_exists && table.column_named(&column.name).is_some() {
                    return Ok(());
                }
                self.add_column_to(&mut table, &column).await?;
                let mut table = Table::clone(&*self.save(table)?);
                if unique {
                    let columns = [column.name.clone()];
                    self.add_unique_to(&mut table, None, &columns).await?;
                    table = Table::clone(&*self.save(table)?);
                }
                for (name, expression) in checks {
                    let name = self.add_check(&mut table, name, &expression)?;
                    self.check_existing_rows(&table, &name, &expression).await?;
                }
                if let Some(key) = foreign_key {
                    table = self.add_foreign_key(table, &key).await?;
                }
                self.save(table)?;
            }
            AlterAction::DropColumn { name, if_exists, cascade } => {
                if if_exists && table.column_named(&name).is_none() {
                    return Ok(());
                }
                self.drop_column(&mut table, &name, cascade)?;
                self.save(table)?;
            }
            AlterAction::RenameColumn { from, to } => {
                rename_column(&mut table, &from, &to)?;
                self.save(table)?;
            }
            AlterAction::RenameTable(to) => {
                if self.taken_name(&[&to]).await?.is_some() {
                    return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{to}\" already exists")));
                }
                self.delete(name_key(&table.name))?;
                self.claim_name(&to, table.id)?;
                table.name = to;
                self.save(table)?;
            }
            AlterAction::RenameConstraint { from, to } => {
                self.rename_constraint(&mut table, &from, &to).await?;
                self.save(table)?;
            }
            AlterAction::SetDefault { column, default } => {
                let found = table.columns.iter_mut().find(|found| !found.hidden && found.name == column);
                match found {
                    Some(found) => found.default = default,
                    None => return Err(undefined_column(&table, &column)),
                }
                check_defaults(&table)?;
                self.save(table)?;
            }
            AlterAction::SetNotNull { column, not_null } => {
                let (position, found) = table.column_named(&column).ok_or_else(|| undefined_column(&table, &column))?;
                if !not_null && table.primary_key.contains(&found.id) {
                    return Err(Error::new(
                        SqlState::INVALID_TABLE_DEFINITION,
                        format!("column \"{column}\" is in a primary key"),
                    ));
                }
                if !not_null && table.placement.columns().contains(&found.id) {
                    let message = format!("column \"{column}\" says where rows live");
                    return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
                }
                if not_null {
                    self.check_no_nulls(&table, &column).await?;
                }
                if let Some(found) = table.columns.get_mut(position) {
                    found.not_null = not_null;
                }
                self.save(table)?;
            }
            AlterAction::SetType { column, data_type } => {
                self.set_type(&mut table, &column, data_type).await?;
                self.save(table)?;
            }
            AlterAction::AddUnique(name, columns) => {
                self.add_unique_to(&mut table, name, &columns).await?;
                self.save(table)?;
            }
            AlterAction::AddPrimaryKey(name, columns) => {
                self.add_primary_key(&mut table, name, &columns).await?;
                self.save(table)?;
            }
            AlterAction::AddCheck(name, expression) => {
                let name = self.add_check(&mut table, name, &expression)?;
                self.check_existing_rows(&table, &name, &expression).await?;
                self.save(table)?;
            }
            AlterAction::AddForeignKey(key) => {
                let table = self.add_foreign_key(table, &key).await?;
                self.save(table)?;
            }
            AlterAction::SetOptions(options) => self.set_options(table, &options).await?,
            AlterAction::DropConstraint { name, if_exists } => {
                if self.drop_constraint(&mut table, &name, if_exists)? {
                    self.save(table)?;
                }
            }
        }
        Ok(())
    }

    /// Adds a column; rows that exist already get its default, which is evaluated now, once.
    async fn add_column_to(&mut self, table: &mut Table, new: &NewColumn) -> Result<()> {
        add_column(table, new)?;
        check_defaults(table)?;
        if self.is_empty(table).await? {
            return Ok(());
        }
        if new.identity.is_some() {
            return Err(Error::unsupported("adding an identity column to a table that has rows")
                .with_hint("Add the column without identity, fill it, and insert the rows into a new table."));
        }
        let missing = match &new.default {
            None => Value::Null,
            Some(default) => {
                if is_volatile(table, &new.name)? {
                    return Err(Error::unsupported("adding a column with a volatile default to a table that has rows")
                        .with_hint("Add the column without the default, update the rows, then set the default."));
                }
                let rows = self.query(&format!("SELECT CAST(({default}) AS {})", new.data_type)).await?;
                rows.into_iter().flatten().next().unwrap_or(Value::Null)
            }
        };
        if missing.is_null() && new.not_null {
            return Err(contains_nulls(table, &new.name));
        }
        if let Some(column) = table.columns.iter_mut().find(|column| column.name == new.name) {
            column.missing = (!missing.is_null()).then(|| missing.to_text(&new.data_type));
        }
        Ok(())
    }

    fn drop_column(&mut self, table: &mut Table, name: &str, cascade: bool) -> Result<()> {
        check_settled(table)?;
        let (position, column) = table.column_named(name).ok_or_else(|| undefined_column(table, name))?;
        let id = column.id;
        if table.primary_key.contains(&id) {
            return Err(Error::unsupported("dropping a column of the primary key")
                .with_hint("Create a new table with another key and insert the rows into it."));
        }
        if table.placement.columns().contains(&id) {
            return Err(Error::unsupported("dropping a column that says where rows live")
                .with_hint("Create a new table with another placement and insert the rows into it."));
        }
        for (child, key) in self.catalog.foreign_keys_to(table) {
            if !key.parent_columns.contains(&id) {
                continue;
            }
            if !cascade {
                return Err(Error::new(
                    SqlState::DEPENDENT_OBJECTS,
                    format!("cannot drop column {name} of table {} because other objects depend on it", table.name),
                )
                .with_detail(format!("constraint {} on table {} depends on it", key.name, child.name))
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
            }
            let mut child = Table::clone(&*self.table_by_id(child.id)?);
            child.foreign_keys.retain(|other| other.name != key.name);
            table.referenced_by.retain(|other| *other != child.id);
            self.save(child)?;
        }
        // Its own constraints and indexes go with it.
        let gone: Vec<_> = table.foreign_keys.iter().filter(|key| key.columns.contains(&id)).cloned().collect();
        table.foreign_keys.retain(|key| !key.columns.contains(&id));
        for key in gone {
            if key.parent != table.id && !table.foreign_keys.iter().any(|other| other.parent == key.parent) {
                self.forget_child(key.parent, table)?;
            }
        }
        while let Some(at) = table.indexes.iter().position(|index| index.columns.iter().any(|part| part.column == id)) {
            self.remove_index(table, at)?;
        }
        table.columns.remove(position);
        let undefined = |expression: &str, table: &Table| {
            check_condition(expression, table).is_err_and(|error| error.state() == SqlState::UNDEFINED_COLUMN)
        };
        let described = table.clone();
        table.checks.retain(|check| !undefined(&check.expression, &described));
        Ok(())
    }

    async fn rename_constraint(&mut self, table: &mut Table, from: &str, to: &str) -> Result<()> {
        if constraint_exists(table, to) {
            return Err(duplicate_constraint(table, to));
        }
        let is_relation = table.primary_key_name.as_deref() == Some(from) || table.index_named(from).is_some();
        if is_relation {
            if self.taken_name(&[to]).await?.is_some() {
                return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{to}\" already exists")));
            }
            self.delete(name_key(from))?;
            self.claim_name(to, table.id)?;
        }
        let names = table
            .indexes
            .iter_mut()
            .map(|index| &mut index.name)
            .chain(table.checks.iter_mut().map(|check| &mut check.name))
            .chain(table.foreign_keys.iter_mut().map(|key| &mut key.name))
            .chain(table.primary_key_name.as_mut());
        let mut renamed = false;
        for name in names {
            if name == from {
                *name = to.to_owned();
                renamed = true;
            }
        }
        if renamed { Ok(()) } else { Err(undefined_constraint(table, from)) }
    }

    async fn check_no_nulls(&mut self, table: &Table, column: &str) -> Result<()> {
        let sql = format!("SELECT 1 FROM {} WHERE {} IS NULL LIMIT 1", quoted(&table.name), quoted(column));
        if self.query(&sql).await?.is_empty() { Ok(()) } else { Err(contains_nulls(table, column)) }
    }

    /// Changes a type where the stored values stay as they are: a longer varchar, text, a wider integer; any change on an empty table.
    async fn set_type(&mut self, table: &mut Table, name: &str, data_type: DataType) -> Result<()> {
        check_settled(table)?;
        let (position, column) = table.column_named(name).ok_or_else(|| undefined_column(table, name))?;
        let (id, old) = (column.id, column.data_type.clone());
        let keeps = match (&old, &data_type) {
            (a, b) if a == b => true,
            (DataType::Int2, DataType::Int4 | DataType::Int8) | (DataType::Int4, DataType::Int8) => true,
            (DataType::Varchar(_), DataType::Text | DataType::Varchar(None)) => true,
            (DataType::Text, DataType::Varchar(None)) => true,
            (DataType::Varchar(Some(from)), DataType::Varchar(Some(to))) => from <= to,
            (DataType::Float4, DataType::Float8) => true,
            (DataType::Numeric(_), DataType::Numeric(None)) => true,
            _ => false,
        };
        if !keeps {
            let used = table.primary_key.contains(&id)
                || table.indexes.iter().any(|index| index.columns.iter().any(|part| part.column == id));
            if used || !self.is_empty(table).await? {
                return Err(Error::unsupported(format!(
                    "changing column \"{name}\" from {old} to {data_type} in a table with rows, or in a key,"
                ))
                .with_hint("Add a column of the new type, update it from the old one, and drop the old one."));
            }
        }
        if table.primary_key.contains(&id) {
            indexable(&data_type)?;
        }
        if let Some(column) = table.columns.get_mut(position) {
            column.data_type = data_type;
        }
        check_defaults(table)
    }

    async fn add_unique_to(&mut self, table: &mut Table, name: Option<String>, columns: &[String]) -> Result<()> {
        let ids = column_ids(table, columns)?;
        for id in &ids {
            if let Some(column) = table.column(*id) {
                indexable(&column.data_type)?;
            }
        }
        let name = match name {
            Some(name) => name,
            None => self.free_name(&table.name, columns, "key").await?,
        };
        if constraint_exists(table, &name) || self.taken_name(&[&name]).await?.is_some() {
            return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
        }
        let columns: Vec<IndexColumn> =
            ids.iter().map(|id| IndexColumn { column: *id, descending: false, nulls_first: false }).collect();
        self.make_index(table, name, columns, true, true).await
    }

    /// A primary key can only be added while there are no rows: it decides where rows lie.
    async fn add_primary_key(&mut self, table: &mut Table, name: Option<String>, columns: &[String]) -> Result<()> {
        check_settled(table)?;
        if table.primary_key_name.is_some() {
            return Err(Error::new(
                SqlState::INVALID_TABLE_DEFINITION,
                format!("multiple primary keys for table \"{}\" are not allowed", table.name),
            ));
        }
        if !self.is_empty(table).await? {
            return Err(Error::unsupported("adding a primary key to a table that has rows")
                .with_hint("Create a new table with the key and insert the rows into it."));
        }
        let ids: Vec<ColumnId> = column_ids(table, columns)?;
        let name = match name {
            Some(name) => name,
            None => self.free_name(&table.name, &[], "pkey").await?,
        };
        if self.taken_name(&[&name]).await?.is_some() {
            return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
        }
        self.claim_name(&name, table.id)?;
        for column in table.columns.iter_mut().filter(|column| ids.contains(&column.id)) {
            indexable(&column.data_type)?;
            column.not_null = true;
        }
        table.columns.retain(|column| !column.hidden);
        if let Placement::Sharded { columns, .. } = &mut table.placement
            && *columns == table.primary_key
        {
            // By the hidden key, which goes.
            columns.clone_from(&ids);
        }
        let names_home = table.placement.columns().iter().all(|column| ids.contains(column));
        table.primary_key = ids;
        table.primary_key_name = Some(name);
        if !names_home {
            table.claims = Some(self.new_spaces(1).await?);
        }
        Ok(())
    }

    /// Whether anything was dropped.
    fn drop_constraint(&mut self, table: &mut Table, name: &str, if_exists: bool) -> Result<bool> {
        if let Some(at) = table.checks.iter().position(|check| check.name == name) {
            table.checks.remove(at);
            return Ok(true);
        }
        if let Some(at) = table.foreign_keys.iter().position(|key| key.name == name) {
            let key = table.foreign_keys.remove(at);
            if !table.foreign_keys.iter().any(|other| other.parent == key.parent) {
                if key.parent == table.id {
                    table.referenced_by.retain(|id| *id != table.id);
                } else {
                    self.forget_child(key.parent, table)?;
                }
            }
            return Ok(true);
        }
        if let Some(at) = table.indexes.iter().position(|index| index.constraint && index.name == name) {
            self.remove_index(table, at)?;
            return Ok(true);
        }
        if table.primary_key_name.as_deref() == Some(name) {
            return Err(Error::unsupported("dropping a primary key")
                .with_hint("Create a new table without it and insert the rows into it."));
        }
        if if_exists { Ok(false) } else { Err(undefined_constraint(table, name)) }
    }
}

fn contains_nulls(table: &Table, column: &str) -> Error {
    Error::new(
        SqlState::NOT_NULL_VIOLATION,
        format!("column \"{column}\" of relation \"{}\" contains null values", table.name),
    )
    .with_table(&table.name)
    .with_column(column)
}

fn undefined_constraint(table: &Table, name: &str) -> Error {
    Error::new(
        SqlState::UNDEFINED_OBJECT,
        format!("constraint \"{name}\" of relation \"{}\" does not exist", table.name),
    )
}

/// Renames a column, also where checks mention it.
fn rename_column(table: &mut Table, from: &str, to: &str) -> Result<()> {
    let (position, column) = table.column_named(from).ok_or_else(|| undefined_column(table, from))?;
    let id = column.id;
    if table.columns.iter().any(|column| column.name == to) {
        return Err(Error::new(
            SqlState::DUPLICATE_COLUMN,
            format!("column \"{to}\" of relation \"{}\" already exists", table.name),
        ));
    }
    for check in &mut table.checks {
        check.expression = renamed(&check.expression, from, to)?;
    }
    if let Some(column) = table.columns.get_mut(position) {
        column.name = to.to_owned();
    }
    debug_assert_eq!(names_of(table, &[id]), [to.to_owned()]);
    Ok(())
}
