//! ALTER TABLE.

use super::ddl::{ColumnParts, Constraint, check_name, column_parts, constraint, option_pairs};
use super::from::table_relation;
use super::scope::ScopeColumn;
use super::stored::{check_over, default_of_type, text_of};
use super::{Binder, names, types};
use crate::catalog::Table;
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{ColId, Expr};
use crate::plan::logical::{AlterAction, SchemaChange};
use crate::value::DataType;
use sqlparser::ast::{self, AlterColumnOperation, AlterTableOperation};

impl Binder<'_> {
    pub(super) fn alter_table(&mut self, alter: &ast::AlterTable) -> Result<SchemaChange> {
        let name = names::relation(&alter.name)?;
        let table = self.schema.table(&name);
        if let Some(table) = &table {
            self.rely_on(table);
        } else if !alter.if_exists {
            return Err(names::undefined_table(&name));
        }
        let mut actions = vec![];
        for operation in &alter.operations {
            alter_actions(operation, table.as_deref(), &mut actions)?;
        }
        Ok(SchemaChange::AlterTable { name, if_exists: alter.if_exists, actions })
    }
}

/// One operation is one action, except that DROP COLUMN may name several, and ADD COLUMN may add a primary key.
fn alter_actions(operation: &AlterTableOperation, table: Option<&Table>, actions: &mut Vec<AlterAction>) -> Result<()> {
    let action = match operation {
        AlterTableOperation::AddColumn { if_not_exists, column_def, column_position: None, .. } => {
            let mut parts = column_parts(column_def)?;
            if let Some(table) = table {
                bind_new_checks(&mut parts, table)?;
            }
            let name = parts.column.name.clone();
            let primary_key = parts.primary_key;
            actions.push(AlterAction::AddColumn {
                column: parts.column,
                if_not_exists: *if_not_exists,
                unique: parts.unique.is_some(),
                checks: parts.checks,
                foreign_key: parts.foreign_key,
            });
            match primary_key {
                Some(constraint) => AlterAction::AddPrimaryKey(constraint, vec![name]),
                None => return Ok(()),
            }
        }
        AlterTableOperation::DropColumn { column_names, if_exists, drop_behavior, .. } => {
            actions.extend(column_names.iter().map(|name| AlterAction::DropColumn {
                name: names::fold(name),
                if_exists: *if_exists,
                cascade: matches!(drop_behavior, Some(ast::DropBehavior::Cascade)),
            }));
            return Ok(());
        }
        AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
            AlterAction::RenameColumn { from: names::fold(old_column_name), to: names::fold(new_column_name) }
        }
        AlterTableOperation::RenameTable { table_name } => {
            let (ast::RenameTableNameKind::To(name) | ast::RenameTableNameKind::As(name)) = table_name;
            AlterAction::RenameTable(names::relation(name)?)
        }
        AlterTableOperation::RenameConstraint { old_name, new_name } => {
            AlterAction::RenameConstraint { from: names::fold(old_name), to: names::fold(new_name) }
        }
        AlterTableOperation::DropConstraint { if_exists, name, .. } => {
            AlterAction::DropConstraint { name: names::fold(name), if_exists: *if_exists }
        }
        AlterTableOperation::AddConstraint { constraint: added, not_valid: false } => match constraint(added)? {
            Constraint::PrimaryKey(name, columns) => AlterAction::AddPrimaryKey(name, columns),
            Constraint::Unique(name, columns) => AlterAction::AddUnique(name, columns),
            Constraint::ForeignKey(key) => AlterAction::AddForeignKey(key),
            Constraint::Check(name, text) => add_check(name, text, table, actions)?,
        },
        AlterTableOperation::SetOptionsParens { options } => AlterAction::SetOptions(option_pairs(options)?),
        AlterTableOperation::AlterColumn { column_name, op } => alter_column(names::fold(column_name), op, table)?,
        _ => return Err(Error::unsupported("this form of ALTER TABLE")),
    };
    actions.push(action);
    Ok(())
}

/// Binds and names the checks of a column that is to be added.
fn bind_new_checks(parts: &mut ColumnParts, table: &Table) -> Result<()> {
    let row: Vec<ColId> = (0..).map(ColId).take(table.columns.len()).collect();
    let mut relation = table_relation(table, &row, None);
    if !relation.columns.iter().any(|column| column.name == parts.column.name) {
        let id = ColId(u32::try_from(table.columns.len()).unwrap_or(u32::MAX));
        let expr = Expr::column(id, parts.column.data_type.clone());
        relation.columns.push(ScopeColumn { name: parts.column.name.clone(), expr });
    }
    let mut taken: Vec<String> = table.checks.iter().map(|check| check.name.clone()).collect();
    for (name, text) in &mut parts.checks {
        let (_, mentioned) = check_over(text, relation.clone())?;
        let name = name.get_or_insert_with(|| check_name(&table.name, &mentioned, &taken));
        taken.push(name.clone());
    }
    Ok(())
}

/// A check over the table as it is; one over a column that the same statement adds is bound by execution, with the rest of its constraints.
fn add_check(
    name: Option<String>,
    text: String,
    table: Option<&Table>,
    actions: &[AlterAction],
) -> Result<AlterAction> {
    let Some(table) = table else { return Ok(AlterAction::AddCheck(name, text)) };
    let row: Vec<ColId> = (0..).map(ColId).take(table.columns.len()).collect();
    match check_over(&text, table_relation(table, &row, None)) {
        Ok((_, mentioned)) => {
            let taken: Vec<String> = table.checks.iter().map(|check| check.name.clone()).collect();
            let name = name.unwrap_or_else(|| check_name(&table.name, &mentioned, &taken));
            Ok(AlterAction::AddCheck(Some(name), text))
        }
        Err(error) if error.state() == SqlState::UNDEFINED_COLUMN && !actions.is_empty() => {
            Ok(AlterAction::AddCheck(name, text))
        }
        Err(error) => Err(error),
    }
}

fn alter_column(column: String, op: &AlterColumnOperation, table: Option<&Table>) -> Result<AlterAction> {
    Ok(match op {
        AlterColumnOperation::SetNotNull => AlterAction::SetNotNull { column, not_null: true },
        AlterColumnOperation::DropNotNull => AlterAction::SetNotNull { column, not_null: false },
        AlterColumnOperation::DropDefault => AlterAction::SetDefault { column, default: None },
        AlterColumnOperation::SetDefault { value } => {
            let text = text_of(value);
            let data_type = table.and_then(|table| table.column_named(&column)).map(|(_, known)| &known.data_type);
            // A column that does not exist is execution's to report, after the actions before this one.
            default_of_type(&text, &column, data_type.unwrap_or(&DataType::Unknown))?;
            AlterAction::SetDefault { column, default: Some(text) }
        }
        AlterColumnOperation::SetDataType { data_type, using, .. } => {
            if let Some(using) = using
                && !is_plain_cast(using, &column)
            {
                return Err(Error::unsupported("USING with anything but a cast of the column"));
            }
            AlterAction::SetType { column, data_type: types::data_type(data_type)? }
        }
        AlterColumnOperation::AddGenerated { .. } => return Err(Error::unsupported("adding an identity to a column")),
    })
}

/// `USING c` and `USING c::type`, which is what is done anyway.
fn is_plain_cast(using: &ast::Expr, column: &str) -> bool {
    match using {
        ast::Expr::Identifier(ident) => names::fold(ident) == column,
        ast::Expr::Nested(inner) | ast::Expr::Cast { expr: inner, .. } => is_plain_cast(inner, column),
        _ => false,
    }
}
