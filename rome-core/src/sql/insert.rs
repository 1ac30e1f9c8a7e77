//! INSERT.

use super::Binder;
use super::from::table_relation;
use super::names;
use super::parse::syntax_error;
use super::scope::{Clause, Namespace, Relation, Scope, ScopeColumn};
use super::select::Unknowns;
use super::stored::{bind_checks, bind_defaults};
use super::target::{assign_to, is_default, target_namespace, target_position};
use crate::catalog::{ColumnId, Table};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{ColId, Expr};
use crate::exec::node::{ConflictTarget, OutputColumn};
use crate::plan::logical::{BoundInsert, BoundOnConflict, Query, Rel};
use crate::value::{DataType, Value};
use sqlparser::ast::{self, SetExpr};

/// The rows of an INSERT, the targets that they fill, and where they say DEFAULT.
struct Rows {
    query: Query,
    targets: Vec<usize>,
    default_marks: Vec<(usize, usize)>,
}

impl<'a> Binder<'a> {
    pub(super) fn insert(&mut self, insert: &'a ast::Insert) -> Result<BoundInsert> {
        check_clauses(insert)?;
        let name = match &insert.table {
            ast::TableObject::TableName(name) => names::relation(name)?,
            _ => return Err(Error::unsupported("INSERT into anything but a table")),
        };
        let table = self.table(&name)?;
        let alias = insert.table_alias.as_ref().map(|alias| names::fold(&alias.alias));
        let named = !insert.columns.is_empty();
        let targets = if named { named_targets(&table, &insert.columns)? } else { all_targets(&table) };
        let rows = match insert.source.as_deref() {
            None => self.default_row(),
            Some(query) => match plain_values(query) {
                Some(values) => self.value_rows(&table, values, targets, named)?,
                None => self.selected_rows(&table, query, targets, named)?,
            },
        };
        let row: Vec<ColId> = table.columns.iter().map(|_| self.new_column()).collect();
        let excluded: Vec<ColId> = table.columns.iter().map(|_| self.new_column()).collect();
        let on_conflict = match &insert.on {
            None => None,
            Some(ast::OnInsert::OnConflict(clause)) => {
                Some(self.on_conflict(&table, clause, alias.clone(), &row, &excluded)?)
            }
            Some(_) => return Err(Error::unsupported("ON DUPLICATE KEY UPDATE")),
        };
        let returning = self.returning(insert.returning.as_ref(), target_namespace(&table, &row, alias))?;
        Ok(BoundInsert {
            defaults: bind_defaults(&table)?,
            checks: bind_checks(&table, &row)?,
            targets: rows.targets,
            source: rows.query,
            default_marks: rows.default_marks,
            // Where the parser's tree keeps OVERRIDING SYSTEM VALUE.
            overriding_system: insert.ignore,
            on_conflict,
            row,
            excluded,
            returning,
            table,
        })
    }

    /// DEFAULT VALUES: one row that fills nothing.
    fn default_row(&mut self) -> Rows {
        let rel = Rel::Values { columns: vec![], rows: vec![vec![]] };
        Rows { query: Query { rel, output: vec![] }, targets: vec![], default_marks: vec![] }
    }

    fn value_rows(
        &mut self,
        table: &Table,
        values: &'a ast::Values,
        mut targets: Vec<usize>,
        named: bool,
    ) -> Result<Rows> {
        let width = values.rows.first().map_or(0, |row| row.content.len());
        if values.rows.iter().any(|row| row.content.len() != width) {
            return Err(syntax_error("VALUES lists must all be the same length"));
        }
        fit_targets(&mut targets, width, named)?;
        let mut default_marks = vec![];
        let mut rows = vec![];
        let scope = Scope::new(Namespace::default(), Clause::Values);
        self.within(scope, |binder| {
            for (row_index, row) in values.rows.iter().enumerate() {
                let mut exprs = Vec::with_capacity(width);
                for ((target, expr), position) in row.content.iter().enumerate().zip(&targets) {
                    if is_default(expr) {
                        default_marks.push((row_index, target));
                        let data_type = table.columns.get(*position).map_or(DataType::Unknown, |c| c.data_type.clone());
                        exprs.push(Expr::literal(Value::Null, data_type));
                        continue;
                    }
                    let expr = binder.expr(expr)?;
                    exprs.push(assign_to(table, *position, expr)?);
                }
                rows.push(exprs);
            }
            Ok(())
        })?;
        let output = self.target_output(table, &targets);
        let columns = output.iter().map(|(id, _)| *id).collect();
        Ok(Rows { query: Query { rel: Rel::Values { columns, rows }, output }, targets, default_marks })
    }

    fn target_output(&mut self, table: &Table, targets: &[usize]) -> Vec<(ColId, OutputColumn)> {
        let columns = targets.iter().filter_map(|position| table.columns.get(*position));
        let columns = columns.map(|column| {
            let output = OutputColumn { name: column.name.clone(), data_type: column.data_type.clone() };
            (self.new_column(), output)
        });
        columns.collect()
    }

    fn selected_rows(
        &mut self,
        table: &Table,
        query: &'a ast::Query,
        mut targets: Vec<usize>,
        named: bool,
    ) -> Result<Rows> {
        let query = self.query_with(query, Unknowns::Keep)?;
        fit_targets(&mut targets, query.output.len(), named)?;
        let mut exprs = vec![];
        let mut output = vec![];
        for ((id, column), position) in query.output.into_iter().zip(&targets) {
            let expr = assign_to(table, *position, Expr::column(id, column.data_type))?;
            let id = self.new_column();
            output.push((id, OutputColumn { name: column.name, data_type: expr.data_type.clone() }));
            exprs.push((id, expr));
        }
        let rel = Rel::Project { input: Box::new(query.rel), exprs };
        Ok(Rows { query: Query { rel, output }, targets, default_marks: vec![] })
    }

    fn on_conflict(
        &mut self,
        table: &Table,
        clause: &'a ast::OnConflict,
        alias: Option<String>,
        row: &[ColId],
        excluded: &[ColId],
    ) -> Result<BoundOnConflict> {
        let target = clause.conflict_target.as_ref().map(|target| conflict_target(table, target)).transpose()?;
        let update = match &clause.action {
            ast::OnConflictAction::DoNothing => return Ok(BoundOnConflict { target, update: None }),
            ast::OnConflictAction::DoUpdate(update) => update,
        };
        if target.is_none() {
            return Err(syntax_error("ON CONFLICT DO UPDATE requires inference specification or constraint name")
                .with_hint("For example, ON CONFLICT (column_name)."));
        }
        let mut namespace = target_namespace(table, row, alias);
        namespace.extend(Namespace::of(excluded_relation(table, excluded)))?;
        let assignments = self.assignments(table, &update.assignments, &namespace)?;
        let predicate = match &update.selection {
            None => None,
            Some(condition) => {
                let scope = Scope::new(namespace, Clause::Where);
                Some(self.within(scope, |binder| binder.condition(condition, "WHERE"))?)
            }
        };
        Ok(BoundOnConflict { target, update: Some((assignments, predicate)) })
    }
}

/// The row that was to be inserted.
fn excluded_relation(table: &Table, excluded: &[ColId]) -> Relation {
    let relation = table_relation(table, excluded, None);
    let columns: Vec<ScopeColumn> = relation.columns;
    Relation { name: Some("excluded".to_owned()), hidden_name: None, columns, key: vec![] }
}

/// VALUES without anything around it, where DEFAULT may stand.
fn plain_values(query: &ast::Query) -> Option<&ast::Values> {
    let plain = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty();
    match &*query.body {
        SetExpr::Values(values) if plain => Some(values),
        _ => None,
    }
}

fn all_targets(table: &Table) -> Vec<usize> {
    let columns = table.columns.iter().enumerate().filter(|(_, column)| !column.hidden);
    columns.map(|(position, _)| position).collect()
}

fn named_targets(table: &Table, columns: &[ast::ObjectName]) -> Result<Vec<usize>> {
    let mut targets = vec![];
    for column in columns {
        let position = target_position(table, column)?;
        if targets.contains(&position) {
            let name = table.columns.get(position).map_or("", |column| column.name.as_str());
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once"))
                .with_column(name));
        }
        targets.push(position);
    }
    Ok(targets)
}

/// As many targets as there are values; without a list of columns, the first ones.
fn fit_targets(targets: &mut Vec<usize>, width: usize, named: bool) -> Result<()> {
    if width > targets.len() {
        return Err(syntax_error("INSERT has more expressions than target columns"));
    }
    if width < targets.len() && named {
        return Err(syntax_error("INSERT has more target columns than expressions"));
    }
    targets.truncate(width);
    Ok(())
}

/// The uniqueness that ON CONFLICT means: the primary key or a unique index of exactly these columns, or a constraint's.
fn conflict_target(table: &Table, target: &ast::ConflictTarget) -> Result<ConflictTarget> {
    let columns = match target {
        ast::ConflictTarget::OnConstraint(name) => {
            let name = names::single(name)?;
            if table.primary_key_name.as_deref() == Some(name.as_str()) {
                return Ok(ConflictTarget::PrimaryKey);
            }
            let index = table.indexes.iter().position(|index| index.unique && index.constraint && index.name == name);
            return index.map(ConflictTarget::Index).ok_or_else(|| {
                let message = format!("constraint \"{name}\" for table \"{}\" does not exist", table.name);
                Error::new(SqlState::UNDEFINED_OBJECT, message).with_constraint(name.as_str())
            });
        }
        ast::ConflictTarget::Columns(columns) => columns,
    };
    let mut wanted: Vec<ColumnId> = vec![];
    for ident in columns {
        let name = names::fold(ident);
        let (_, column) = table.column_named(&name).ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"))
                .with_column(name.as_str())
        })?;
        if !wanted.contains(&column.id) {
            wanted.push(column.id);
        }
    }
    let same_set = |ids: &[ColumnId]| ids.len() == wanted.len() && ids.iter().all(|id| wanted.contains(id));
    if table.primary_key_name.is_some() && same_set(&table.primary_key) {
        return Ok(ConflictTarget::PrimaryKey);
    }
    let index = table.indexes.iter().position(|index| {
        let ids: Vec<ColumnId> = index.columns.iter().map(|part| part.column).collect();
        index.unique && same_set(&ids)
    });
    index.map(ConflictTarget::Index).ok_or_else(|| {
        Error::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            "there is no unique or exclusion constraint matching the ON CONFLICT specification",
        )
    })
}

fn check_clauses(insert: &ast::Insert) -> Result<()> {
    let foreign = insert.or.is_some()
        || insert.overwrite
        || !insert.assignments.is_empty()
        || insert.partitioned.is_some()
        || !insert.after_columns.is_empty()
        || insert.output.is_some()
        || insert.replace_into
        || insert.priority.is_some()
        || insert.insert_alias.is_some()
        || insert.settings.is_some()
        || insert.multi_table_insert_type.is_some();
    if foreign { Err(Error::unsupported("this clause of INSERT")) } else { Ok(()) }
}
