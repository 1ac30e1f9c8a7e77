//! UPDATE and DELETE.

use super::from::{Source, cross};
use super::parse::syntax_error;
use super::scope::{Clause, Namespace, Scope};
use super::stored::{bind_checks, bind_defaults};
use super::{Binder, names};
use crate::catalog::Table;
use crate::error::{Error, Result};
use crate::exec::expr::{ColId, Expr};
use crate::plan::logical::{BoundDelete, BoundUpdate, Rel};
use sqlparser::ast;
use std::sync::Arc;

/// The target of a change with what it is joined to.
struct Target {
    table: Arc<Table>,
    row: Vec<ColId>,
    rel: Rel,
    namespace: Namespace,
}

impl<'a> Binder<'a> {
    pub(super) fn update(&mut self, update: &'a ast::Update) -> Result<BoundUpdate> {
        let foreign =
            update.output.is_some() || update.or.is_some() || !update.order_by.is_empty() || update.limit.is_some();
        if foreign {
            return Err(Error::unsupported("this clause of UPDATE"));
        }
        let from: &[ast::TableWithJoins] = match &update.from {
            None => &[],
            Some(ast::UpdateTableFromKind::AfterSet(from)) => from,
            Some(ast::UpdateTableFromKind::BeforeSet(_)) => {
                return Err(syntax_error("syntax error at or near \"FROM\""));
            }
        };
        let target = self.change_target(&update.table, from)?;
        let assignments = self.assignments(&target.table, &update.assignments, &target.namespace)?;
        let filter = self.where_clause(update.selection.as_ref(), &target.namespace)?;
        let returning = self.returning(update.returning.as_ref(), target.namespace)?;
        Ok(BoundUpdate {
            source: filtered(target.rel, filter),
            assignments,
            defaults: bind_defaults(&target.table)?,
            checks: bind_checks(&target.table, &target.row)?,
            returning,
            row: target.row,
            table: target.table,
        })
    }

    pub(super) fn delete(&mut self, delete: &'a ast::Delete) -> Result<BoundDelete> {
        let foreign = !delete.tables.is_empty()
            || delete.output.is_some()
            || !delete.order_by.is_empty()
            || delete.limit.is_some();
        if foreign {
            return Err(Error::unsupported("this clause of DELETE"));
        }
        let (ast::FromTable::WithFromKeyword(tables) | ast::FromTable::WithoutKeyword(tables)) = &delete.from;
        let [table] = tables.as_slice() else {
            return Err(syntax_error("syntax error: DELETE takes one table"));
        };
        let using = delete.using.as_deref().unwrap_or_default();
        let target = self.change_target(table, using)?;
        let filter = self.where_clause(delete.selection.as_ref(), &target.namespace)?;
        let returning = self.returning(delete.returning.as_ref(), target.namespace)?;
        Ok(BoundDelete { source: filtered(target.rel, filter), returning, row: target.row, table: target.table })
    }

    /// The target's scan, joined with the items of FROM or USING.
    fn change_target(&mut self, target: &'a ast::TableWithJoins, others: &'a [ast::TableWithJoins]) -> Result<Target> {
        let (name, alias) = match &target.relation {
            ast::TableFactor::Table { name, alias, args: None, .. } if target.joins.is_empty() => (name, alias),
            _ => return Err(Error::unsupported("changing anything but one table")),
        };
        let table = self.table(&names::relation(name)?)?;
        let alias = match alias {
            None => None,
            Some(alias) if alias.columns.is_empty() => Some(names::fold(&alias.name)),
            Some(_) => return Err(syntax_error("syntax error: the target's alias can't rename columns")),
        };
        let (rel, relation, row) = self.scan(Arc::clone(&table), alias);
        let mut source = Source { rel, namespace: Namespace::of(relation) };
        if !others.is_empty() {
            let others = self.bind_from(others)?;
            source = cross(source, others)?;
        }
        Ok(Target { table, row, rel: source.rel, namespace: source.namespace })
    }

    fn where_clause(&mut self, condition: Option<&'a ast::Expr>, namespace: &Namespace) -> Result<Option<Expr>> {
        let Some(condition) = condition else { return Ok(None) };
        let scope = Scope::new(namespace.clone(), Clause::Where);
        self.within(scope, |binder| binder.condition(condition, "WHERE")).map(Some)
    }
}

fn filtered(rel: Rel, filter: Option<Expr>) -> Rel {
    match filter {
        None => rel,
        Some(predicate) => Rel::Filter { input: Box::new(rel), predicate },
    }
}
