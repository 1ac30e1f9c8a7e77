//! FROM: tables, derived tables, joins.

use super::names;
use super::operators;
use super::scope::{Clause, Namespace, Relation, Scope, ScopeColumn, unique};
use super::{Binder, ParseLimits, coerce, too_complex};
use crate::catalog::Table;
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{ColId, CompareOp, Expr, ExprKind};
use crate::exec::node::JoinKind;
use crate::plan::logical::{Query, Rel};
use sqlparser::ast::{self, JoinConstraint, JoinOperator, TableFactor};
use std::sync::Arc;

/// A part of a FROM clause.
pub(super) struct Source {
    pub rel: Rel,
    pub namespace: Namespace,
}

impl<'a> Binder<'a> {
    /// The whole clause; without items one row.
    pub(super) fn bind_from(&mut self, items: &'a [ast::TableWithJoins]) -> Result<Source> {
        let relations: usize = items.iter().map(|item| 1 + item.joins.len()).sum();
        if relations > ParseLimits::JOINS_MAX {
            return Err(too_complex("relations in a FROM clause", ParseLimits::JOINS_MAX));
        }
        let mut all: Option<Source> = None;
        for item in items {
            let source = self.joined(item)?;
            all = Some(match all {
                None => source,
                Some(left) => cross(left, source)?,
            });
        }
        Ok(all.unwrap_or(Source { rel: Rel::OneRow, namespace: Namespace::default() }))
    }

    fn joined(&mut self, item: &'a ast::TableWithJoins) -> Result<Source> {
        self.deeper(|binder| {
            let mut left = binder.factor(&item.relation)?;
            for join in &item.joins {
                let right = binder.factor(&join.relation)?;
                left = binder.join(left, right, &join.join_operator)?;
            }
            Ok(left)
        })
    }

    fn factor(&mut self, factor: &'a TableFactor) -> Result<Source> {
        self.count_node()?;
        match factor {
            TableFactor::Table { name, alias, args: None, with_ordinality: false, sample: None, .. } => {
                self.named(name, alias.as_ref())
            }
            TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
                let query = self.deeper(|binder| binder.query(subquery))?;
                derived(query, alias.as_ref())
            }
            TableFactor::Derived { lateral: true, .. } => Err(Error::unsupported("LATERAL")),
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let mut source = self.joined(table_with_joins)?;
                if let Some(alias) = alias {
                    let mut relation = Relation {
                        name: Some(names::fold(&alias.name)),
                        hidden_name: None,
                        columns: source.namespace.columns,
                        key: vec![],
                    };
                    rename_columns(&mut relation.columns, alias)?;
                    source.namespace = Namespace::of(relation);
                }
                Ok(source)
            }
            TableFactor::Table { args: Some(_), .. } | TableFactor::Function { .. } | TableFactor::UNNEST { .. } => {
                Err(Error::unsupported("a function in FROM"))
            }
            _ => Err(Error::unsupported("this item of FROM")),
        }
    }

    /// A table, or a query that WITH has named.
    fn named(&mut self, name: &'a ast::ObjectName, alias: Option<&'a ast::TableAlias>) -> Result<Source> {
        let qualified = name.0.len() > 1;
        let name = names::relation(name)?;
        let common = self.common_tables.iter().rposition(|common| names::fold(&common.alias.name) == name);
        if let (Some(position), false) = (common, qualified) {
            return self.common_table(position, alias);
        }
        let table = self.table(&name)?;
        let alias_name = alias.map(|alias| names::fold(&alias.name));
        let (rel, mut relation, _) = self.scan(table, alias_name);
        if let Some(alias) = alias {
            rename_columns(&mut relation.columns, alias)?;
        }
        Ok(Source { rel, namespace: Namespace::of(relation) })
    }

    /// Binds the query of a WITH where it is used: it sees what was there when it was written.
    pub(super) fn common_table(&mut self, position: usize, alias: Option<&'a ast::TableAlias>) -> Result<Source> {
        let known = self.common_tables.get_mut(position).ok_or_else(|| Error::internal("a common table"))?;
        known.used = true;
        let common = *known;
        let later_tables = self.common_tables.split_off(position);
        let inner_scopes = self.scopes.split_off(common.scopes.min(self.scopes.len()));
        let query = self.deeper(|binder| binder.query(common.query));
        self.scopes.extend(inner_scopes);
        self.common_tables.extend(later_tables);
        let mut source = derived(query?, Some(common.alias))?;
        if let Some(alias) = alias
            && let [relation] = source.namespace.relations.as_mut_slice()
        {
            relation.hidden_name = relation.name.replace(names::fold(&alias.name));
            rename_columns(&mut relation.columns, alias)?;
            source.namespace = Namespace::of(relation.clone());
        }
        Ok(source)
    }

    /// A scan of all columns of a table, the relation that it makes visible, and the columns' ids by position in the table.
    pub(super) fn scan(&mut self, table: Arc<Table>, alias: Option<String>) -> (Rel, Relation, Vec<ColId>) {
        let row: Vec<ColId> = table.columns.iter().map(|_| self.new_column()).collect();
        let relation = table_relation(&table, &row, alias.clone());
        let columns = row.iter().copied().enumerate().map(|(position, id)| (id, position)).collect();
        let alias = alias.unwrap_or_else(|| table.name.clone());
        (Rel::Scan { table, columns, alias, lock: false }, relation, row)
    }

    fn join(&mut self, left: Source, right: Source, operator: &'a JoinOperator) -> Result<Source> {
        let (kind, constraint) = match operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (JoinKind::Inner, constraint),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (JoinKind::Left, constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => (JoinKind::Right, constraint),
            JoinOperator::FullOuter(constraint) => (JoinKind::Full, constraint),
            JoinOperator::CrossJoin(JoinConstraint::None) => return cross(left, right),
            _ => return Err(Error::unsupported("this kind of join")),
        };
        match constraint {
            JoinConstraint::On(condition) => {
                let mut namespace = left.namespace;
                namespace.extend(right.namespace)?;
                let scope = Scope::new(namespace, Clause::JoinOn);
                let (on, namespace) = self.within(scope, |binder| {
                    let on = binder.condition(condition, "JOIN/ON")?;
                    let namespace = binder.scopes.last().map(|scope| scope.namespace.clone()).unwrap_or_default();
                    Ok((on, namespace))
                })?;
                Ok(Source { rel: join_rel(kind, left.rel, right.rel, Some(on)), namespace })
            }
            JoinConstraint::Using(columns) => {
                let columns = columns.iter().map(names::single).collect::<Result<Vec<_>>>()?;
                using(kind, left, right, &columns)
            }
            JoinConstraint::Natural => {
                let common: Vec<String> = left
                    .namespace
                    .columns
                    .iter()
                    .filter(|column| right.namespace.columns.iter().any(|other| other.name == column.name))
                    .map(|column| column.name.clone())
                    .collect();
                if common.is_empty() && kind == JoinKind::Inner {
                    return cross(left, right);
                }
                using(kind, left, right, &common)
            }
            JoinConstraint::None => {
                Err(Error::new(SqlState::SYNTAX_ERROR, "syntax error: a join without ON, USING or NATURAL"))
            }
        }
    }
}

fn join_rel(kind: JoinKind, left: Rel, right: Rel, on: Option<Expr>) -> Rel {
    Rel::Join { kind, left: Box::new(left), right: Box::new(right), on }
}

/// `a, b` and CROSS JOIN.
pub(super) fn cross(left: Source, right: Source) -> Result<Source> {
    let mut namespace = left.namespace;
    namespace.extend(right.namespace)?;
    Ok(Source { rel: join_rel(JoinKind::Inner, left.rel, right.rel, None), namespace })
}

/// USING and NATURAL: equality of the columns, each pair visible as one column, before all others.
fn using(kind: JoinKind, left: Source, right: Source, names: &[String]) -> Result<Source> {
    let mut conditions = vec![];
    let mut merged = vec![];
    for name in names {
        let left_column = side(&left.namespace, name, "left")?;
        let right_column = side(&right.namespace, name, "right")?;
        conditions.push(operators::compare(CompareOp::Eq, left_column.clone(), right_column.clone())?);
        let expr = match kind {
            JoinKind::Right => right_column,
            JoinKind::Full => {
                let (list, data_type) = coerce::unify(vec![left_column, right_column], "JOIN/USING")?;
                Expr { kind: ExprKind::Coalesce(list), data_type }
            }
            _ => left_column,
        };
        merged.push(ScopeColumn { name: name.clone(), expr });
    }
    let others = left.namespace.columns.into_iter().chain(right.namespace.columns);
    let others = others.filter(|column| !names.contains(&column.name));
    let columns = merged.into_iter().chain(others).collect();
    let mut namespace = Namespace { relations: left.namespace.relations, columns };
    namespace.add_relations(right.namespace.relations)?;
    Ok(Source { rel: join_rel(kind, left.rel, right.rel, Some(Expr::all(conditions))), namespace })
}

fn side(namespace: &Namespace, name: &str, side: &str) -> Result<Expr> {
    let found = unique(&namespace.columns, name).map_err(|_| {
        let message = format!("common column name \"{name}\" appears more than once in {side} table");
        Error::new(SqlState::AMBIGUOUS_COLUMN, message)
    })?;
    found.ok_or_else(|| {
        let message = format!("column \"{name}\" specified in USING clause does not exist in {side} table");
        Error::new(SqlState::UNDEFINED_COLUMN, message).with_column(name)
    })
}

/// What a table makes visible under an alias or its own name, its columns having these ids.
pub(super) fn table_relation(table: &Table, row: &[ColId], alias: Option<String>) -> Relation {
    let columns = table.columns.iter().zip(row).filter(|(column, _)| !column.hidden);
    let columns = columns.map(|(column, id)| ScopeColumn {
        name: column.name.clone(),
        expr: Expr::column(*id, column.data_type.clone()),
    });
    let key = table.primary_key_positions().into_iter().filter_map(|position| row.get(position).copied()).collect();
    let hidden_name = alias.is_some().then(|| table.name.clone());
    Relation { name: Some(alias.unwrap_or_else(|| table.name.clone())), hidden_name, columns: columns.collect(), key }
}

/// A subquery as a relation.
fn derived(query: Query, alias: Option<&ast::TableAlias>) -> Result<Source> {
    let columns = query.output.iter().map(|(id, column)| ScopeColumn {
        name: column.name.clone(),
        expr: Expr::column(*id, column.data_type.clone()),
    });
    let mut relation = Relation { name: None, hidden_name: None, columns: columns.collect(), key: vec![] };
    if let Some(alias) = alias {
        relation.name = Some(names::fold(&alias.name));
        rename_columns(&mut relation.columns, alias)?;
    }
    Ok(Source { rel: query.rel, namespace: Namespace::of(relation) })
}

/// `AS t (a, b)`
fn rename_columns(columns: &mut [ScopeColumn], alias: &ast::TableAlias) -> Result<()> {
    if alias.columns.len() > columns.len() {
        return Err(Error::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!(
                "table \"{}\" has {} columns available but {} columns specified",
                names::fold(&alias.name),
                columns.len(),
                alias.columns.len()
            ),
        ));
    }
    for (column, new) in columns.iter_mut().zip(&alias.columns) {
        column.name = names::fold(&new.name);
    }
    Ok(())
}
