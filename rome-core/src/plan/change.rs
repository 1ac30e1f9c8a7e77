//! INSERT, UPDATE and DELETE.

use super::logical::{BoundDelete, BoundInsert, BoundRules, BoundUpdate, Rel};
use super::relation::{Planner, Wanted};
use crate::error::{Error, Result};
use crate::exec::RowRules;
use crate::exec::expr::{ColId, Expr};
use crate::exec::node::{Assignment, Change, ConflictUpdate, Delete, Insert, Node, OnConflict, OutputColumn, Update};

type Returning = Option<Vec<(Expr, OutputColumn)>>;

fn returned(
    planner: &Planner,
    returning: &Returning,
    layout: &[ColId],
) -> Result<(Option<Vec<Expr>>, Vec<OutputColumn>)> {
    let Some(returning) = returning else { return Ok((None, Vec::new())) };
    let (exprs, columns): (Vec<Expr>, Vec<OutputColumn>) = returning.iter().cloned().unzip();
    Ok((Some(planner.resolve_all(exprs, layout)?), columns))
}

fn defaults(planner: &Planner, defaults: &[Option<Expr>]) -> Result<Vec<Option<Expr>>> {
    defaults.iter().map(|default| default.clone().map(|default| planner.resolve(default, &[])).transpose()).collect()
}

fn checks(planner: &Planner, checks: &[(String, Expr)], row: &[ColId]) -> Result<Vec<(String, Expr)>> {
    checks.iter().map(|(name, check)| Ok((name.clone(), planner.resolve(check.clone(), row)?))).collect()
}

pub(super) fn rules(rules: &BoundRules) -> Result<RowRules> {
    let planner = Planner::default();
    let checks = checks(&planner, &rules.checks, &rules.row)?;
    let defaults = defaults(&planner, &rules.defaults)?;
    closed(&planner, RowRules { checks, defaults })
}

fn assignments(
    planner: &Planner,
    assignments: &[(usize, Option<Expr>)],
    layout: &[ColId],
) -> Result<Vec<(usize, Assignment)>> {
    let resolved = assignments.iter().map(|(position, value)| {
        let value = match value {
            Some(value) => Assignment::Expr(planner.resolve(value.clone(), layout)?),
            None => Assignment::Default,
        };
        Ok((*position, value))
    });
    resolved.collect()
}

/// A statement's own columns must all be found: nothing encloses it.
fn closed<T>(planner: &Planner, planned: T) -> Result<T> {
    match planner.taken_from_outside().first() {
        None => Ok(planned),
        Some(id) => Err(Error::internal(format!("column {} belongs to no relation of the statement", id.0))),
    }
}

pub(super) fn insert(insert: &BoundInsert) -> Result<(Change, Vec<OutputColumn>)> {
    let planner = Planner::default();
    let source = planner.query(&insert.source)?;
    let both: Vec<ColId> = insert.row.iter().chain(&insert.excluded).copied().collect();
    let on_conflict = match &insert.on_conflict {
        None => None,
        Some(conflict) => {
            let update = match &conflict.update {
                None => None,
                Some((values, predicate)) => Some(ConflictUpdate {
                    assignments: assignments(&planner, values, &both)?,
                    predicate: predicate.clone().map(|predicate| planner.resolve(predicate, &both)).transpose()?,
                }),
            };
            Some(OnConflict { target: conflict.target, update })
        }
    };
    let (returning, columns) = returned(&planner, &insert.returning, &insert.row)?;
    let planned = Insert {
        table: insert.table.clone(),
        source,
        targets: insert.targets.clone(),
        default_marks: insert.default_marks.clone(),
        defaults: defaults(&planner, &insert.defaults)?,
        overriding_system: insert.overriding_system,
        on_conflict,
        checks: checks(&planner, &insert.checks, &insert.row)?,
        returning,
    };
    closed(&planner, (Change::Insert(planned), columns))
}

/// Plans the rows of an UPDATE or DELETE: the target's full row, then what else RETURNING and assignments may use.
fn source(planner: &Planner, source: &Rel, row: &[ColId]) -> Result<(Node, Vec<ColId>)> {
    let mut layout = row.to_vec();
    layout.extend(source.columns().into_iter().filter(|id| !row.contains(id)));
    let planned = planner.exact(source, &layout, Wanted::default())?;
    Ok((planned.node, layout))
}

pub(super) fn update(update: &BoundUpdate) -> Result<(Change, Vec<OutputColumn>)> {
    let planner = Planner::default();
    let (node, layout) = source(&planner, &update.source, &update.row)?;
    let (returning, columns) = returned(&planner, &update.returning, &layout)?;
    let planned = Update {
        table: update.table.clone(),
        source: node,
        assignments: assignments(&planner, &update.assignments, &layout)?,
        defaults: defaults(&planner, &update.defaults)?,
        checks: checks(&planner, &update.checks, &update.row)?,
        returning,
    };
    closed(&planner, (Change::Update(planned), columns))
}

pub(super) fn delete(delete: &BoundDelete) -> Result<(Change, Vec<OutputColumn>)> {
    let planner = Planner::default();
    let (node, layout) = source(&planner, &delete.source, &delete.row)?;
    let (returning, columns) = returned(&planner, &delete.returning, &layout)?;
    closed(&planner, (Change::Delete(Delete { table: delete.table.clone(), source: node, returning }), columns))
}
