//! The descent: one logical operator after the other becomes nodes, with filters, needed columns, order and row goals carried down.

use super::access::{ScanTarget, choose, expected_rows, selectivity};
use super::columns::{ColSet, conjuncts, expr_columns, has_subquery, substitute};
use super::logical::{Query, Rel};
use crate::catalog::Table;
use crate::error::Result;
use crate::exec::expr::{AggregateCall, BinaryOp, ColId, Expr, ExprKind, SortKey};
use crate::exec::node::{Node, Scan};
use crate::value::{DataType, Value};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Plans one query; its subqueries have planners of their own.
#[derive(Default)]
pub(super) struct Planner {
    /// Columns taken from the enclosing query, in the order of their `Outer` numbers.
    outside: RefCell<Vec<ColId>>,
}

/// What the operator above would like.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// Rows in this order.
    pub(super) order: &'a [SortKey],
    /// No more rows than this.
    pub(super) goal: Option<&'a Expr>,
}

/// A node, and what its rows hold.
pub(super) struct Planned {
    pub(super) node: Node,
    pub(super) layout: Vec<ColId>,
    pub(super) rows: f64,
    /// The wanted order holds.
    pub(super) ordered: bool,
}

impl Planner {
    /// Plans a whole query; its rows are exactly the output columns.
    pub(super) fn query(&self, query: &Query) -> Result<Node> {
        let output: Vec<ColId> = query.output.iter().map(|(id, _)| *id).collect();
        Ok(self.exact(&query.rel, &output, Wanted::default())?.node)
    }

    /// The number of a column of the enclosing query.
    pub(super) fn outside(&self, id: ColId) -> usize {
        let mut outside = self.outside.borrow_mut();
        outside.iter().position(|known| *known == id).unwrap_or_else(|| {
            outside.push(id);
            outside.len() - 1
        })
    }

    pub(super) fn taken_from_outside(&self) -> Vec<ColId> {
        self.outside.borrow().clone()
    }

    /// Plans a relation whose rows are exactly these columns.
    pub(super) fn exact(&self, rel: &Rel, columns: &[ColId], wanted: Wanted<'_>) -> Result<Planned> {
        let needed = columns.iter().copied().collect();
        let planned = self.relation(rel, Vec::new(), &needed, wanted)?;
        if planned.layout == columns {
            return Ok(planned);
        }
        let exprs = columns.iter().map(|id| Expr::column(*id, DataType::Unknown)).collect();
        let exprs = self.resolve_all(exprs, &planned.layout)?;
        let node = Node::Project { input: Box::new(planned.node), exprs };
        Ok(Planned { node, layout: columns.to_vec(), ..planned })
    }

    /// Plans a relation of which `needed` columns are used above, and on whose rows `filters` must hold.
    pub(super) fn relation(
        &self,
        rel: &Rel,
        mut filters: Vec<Expr>,
        needed: &ColSet,
        wanted: Wanted<'_>,
    ) -> Result<Planned> {
        match rel {
            Rel::OneRow => {
                let planned = Planned { node: Node::OneRow, layout: vec![], rows: 1.0, ordered: true };
                self.filtered(planned, filters)
            }
            Rel::Values { columns, rows } => {
                let count = rows.len() as f64;
                let rows = rows.iter().map(|row| self.resolve_all(row.clone(), &[])).collect::<Result<_>>()?;
                let ordered = wanted.order.is_empty();
                let planned = Planned { node: Node::Values { rows }, layout: columns.clone(), rows: count, ordered };
                self.filtered(planned, filters)
            }
            Rel::Scan { table, columns, lock, .. } => self.scan(table, columns, *lock, filters, needed, wanted),
            Rel::Filter { input, predicate } => {
                let mut parts = Vec::new();
                conjuncts(predicate.clone(), &mut parts);
                let (input, parts) = super::subquery::into_joins((**input).clone(), parts);
                filters.extend(parts);
                self.relation(&input, filters, needed, wanted)
            }
            Rel::Project { input, exprs } => self.project(input, exprs, filters, needed, wanted),
            Rel::Join { .. } => self.join(rel, filters, needed, wanted),
            Rel::Aggregate { input, groups, aggregates } => self.aggregate(input, groups, aggregates, filters, needed),
            Rel::Distinct { input, on: None } => {
                let columns = input.columns();
                let below = push_filter(input, filters);
                let planned = self.exact(&below, &columns, Wanted { order: wanted.order, goal: None })?;
                Ok(Planned { node: Node::Distinct { input: Box::new(planned.node), on: None }, ..planned })
            }
            Rel::Distinct { input, on: Some(on) } => {
                let mut below = needed.clone();
                below.extend(on.iter().chain(&filters).flat_map(expr_columns));
                let planned = self.relation(input, Vec::new(), &below, Wanted { order: wanted.order, goal: None })?;
                let on = Some(self.resolve_all(on.clone(), &planned.layout)?);
                let node = Node::Distinct { input: Box::new(planned.node), on };
                self.filtered(Planned { node, ..planned }, filters)
            }
            Rel::Sort { input, keys } => {
                let mut below = needed.clone();
                below.extend(keys.iter().flat_map(|key| expr_columns(&key.expr)));
                let planned = self.relation(input, filters, &below, Wanted { order: keys, goal: wanted.goal })?;
                if planned.ordered {
                    return Ok(planned);
                }
                let keys = self.resolve_keys(keys.clone(), &planned.layout)?;
                let limit = wanted.goal.map(|goal| self.resolve(goal.clone(), &[])).transpose()?;
                let node = Node::Sort { input: Box::new(planned.node), keys, limit };
                // Sorted as this operator says, which is what any order wanted above must have meant.
                Ok(Planned { node, ordered: wanted.order.is_empty(), ..planned })
            }
            Rel::Limit { input, limit, offset } => {
                let goal = row_goal(limit.as_ref(), offset.as_ref());
                let mut below = needed.clone();
                below.extend(filters.iter().flat_map(expr_columns));
                let planned = self.relation(input, Vec::new(), &below, Wanted { order: &[], goal: goal.as_ref() })?;
                let rows = goal.as_ref().map_or(planned.rows, |goal| planned.rows.min(expected_rows(goal)));
                let node = Node::Limit {
                    input: Box::new(planned.node),
                    limit: limit.clone().map(|limit| self.resolve(limit, &[])).transpose()?,
                    offset: offset.clone().map(|offset| self.resolve(offset, &[])).transpose()?,
                };
                let ordered = wanted.order.is_empty();
                self.filtered(Planned { node, rows, ordered, ..planned }, filters)
            }
            Rel::SetOp { op, all, left, right, columns } => {
                let left = self.exact(left, &left.columns(), Wanted::default())?;
                let right = self.exact(right, &right.columns(), Wanted::default())?;
                let rows = left.rows + right.rows;
                let node = Node::SetOp { op: *op, all: *all, left: Box::new(left.node), right: Box::new(right.node) };
                let ordered = wanted.order.is_empty();
                self.filtered(Planned { node, layout: columns.clone(), rows, ordered }, filters)
            }
        }
    }

    /// Applies filters on top.
    pub(super) fn filtered(&self, planned: Planned, filters: Vec<Expr>) -> Result<Planned> {
        if filters.is_empty() {
            return Ok(planned);
        }
        let rows = filters.iter().fold(planned.rows, |rows, filter| rows * selectivity(filter));
        let predicate = self.resolve(Expr::all(filters), &planned.layout)?;
        let node = Node::Filter { input: Box::new(planned.node), predicate };
        Ok(Planned { node, rows: rows.max(1.0), ..planned })
    }

    fn scan(
        &self,
        table: &Arc<Table>,
        columns: &[(ColId, usize)],
        lock: bool,
        filters: Vec<Expr>,
        needed: &ColSet,
        wanted: Wanted<'_>,
    ) -> Result<Planned> {
        let (above, inside): (Vec<Expr>, Vec<Expr>) = filters.into_iter().partition(has_subquery);
        let own: ColSet = columns.iter().map(|(id, _)| *id).collect();
        let goal = wanted.goal.filter(|_| above.is_empty());
        let choice = choose(&ScanTarget { table, columns }, &inside, &own, &ColSet::new(), wanted.order, goal);
        let mut used = needed.clone();
        used.extend(above.iter().flat_map(expr_columns));
        let ordered = choice.ordered;
        let goal = goal.filter(|_| ordered || wanted.order.is_empty()).cloned();
        let (scan, layout, rows) = self.scan_node(table, columns, lock, inside, &used, choice, &[], goal)?;
        self.filtered(Planned { node: Node::Scan(scan), layout, rows, ordered }, above)
    }

    /// A scan by a chosen path; the path's values are over rows of `outer`. Returns the layout of its rows and their estimated number.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn scan_node(
        &self,
        table: &Arc<Table>,
        columns: &[(ColId, usize)],
        lock: bool,
        filters: Vec<Expr>,
        used: &ColSet,
        choice: super::access::Choice,
        outer: &[ColId],
        goal: Option<Expr>,
    ) -> Result<(Scan, Vec<ColId>, f64)> {
        let remaining: Vec<Expr> = filters
            .into_iter()
            .enumerate()
            .filter(|(at, _)| !choice.implied.contains(at))
            .map(|(_, filter)| filter)
            .collect();
        let mut used = used.clone();
        used.extend(remaining.iter().flat_map(expr_columns));
        let mut kept: Vec<(ColId, usize)> = columns.iter().filter(|(id, _)| used.contains(id)).copied().collect();
        kept.sort_by_key(|(_, position)| *position);
        let layout: Vec<ColId> = kept.iter().map(|(id, _)| *id).collect();
        let rows = remaining.iter().fold(choice.rows, |rows, filter| rows * selectivity(filter)).max(1.0);
        let mut access = choice.access;
        for value in access.prefix.iter_mut().flatten() {
            *value = self.resolve(value.clone(), outer)?;
        }
        for bound in access.lower.iter_mut().chain(&mut access.upper) {
            bound.value = self.resolve(bound.value.clone(), outer)?;
        }
        let placed = choice.placed.map(|columns| {
            columns.into_iter().map(|values| self.resolve_all(values, outer)).collect::<Result<Vec<_>>>()
        });
        let placed = placed.transpose()?;
        let filter = if remaining.is_empty() { None } else { Some(self.resolve(Expr::all(remaining), &layout)?) };
        let scan = Scan {
            table: Arc::clone(table),
            columns: kept.iter().map(|(_, position)| *position).collect(),
            access,
            placed,
            by_claim: choice.by_claim,
            filter,
            reverse: choice.reverse,
            row_goal: goal.map(|goal| self.resolve(goal, &[])).transpose()?,
            lock,
            estimated_rows: rows,
        };
        Ok((scan, layout, rows))
    }

    fn project(
        &self,
        input: &Rel,
        exprs: &[(ColId, Expr)],
        filters: Vec<Expr>,
        needed: &ColSet,
        wanted: Wanted<'_>,
    ) -> Result<Planned> {
        let by: HashMap<ColId, Expr> = exprs.iter().cloned().collect();
        // A filter goes below unless it would compute a subquery twice.
        let movable =
            |filter: &Expr| expr_columns(filter).iter().all(|id| by.get(id).is_none_or(|expr| !has_subquery(expr)));
        let (mut below, above): (Vec<Expr>, Vec<Expr>) = filters.into_iter().partition(movable);
        below.iter_mut().for_each(|filter| substitute(filter, &by));
        let mut needed_here = needed.clone();
        needed_here.extend(above.iter().flat_map(expr_columns));
        let kept: Vec<(ColId, Expr)> = exprs.iter().filter(|(id, _)| needed_here.contains(id)).cloned().collect();
        let needed_below: ColSet = kept.iter().flat_map(|(_, expr)| expr_columns(expr)).collect();
        let order: Vec<SortKey> = wanted
            .order
            .iter()
            .cloned()
            .map(|mut key| {
                substitute(&mut key.expr, &by);
                key
            })
            .collect();
        let goal = wanted.goal.filter(|_| above.is_empty());
        let planned = self.relation(input, below, &needed_below, Wanted { order: &order, goal })?;
        let planned = match renamed(&planned.layout, &kept) {
            Some(layout) => Planned { layout, ..planned },
            None => {
                let (layout, exprs): (Vec<ColId>, Vec<Expr>) = kept.into_iter().unzip();
                let exprs = self.resolve_all(exprs, &planned.layout)?;
                Planned { node: Node::Project { input: Box::new(planned.node), exprs }, layout, ..planned }
            }
        };
        self.filtered(planned, above)
    }

    fn aggregate(
        &self,
        input: &Rel,
        groups: &[(ColId, Expr)],
        aggregates: &[(ColId, AggregateCall)],
        filters: Vec<Expr>,
        needed: &ColSet,
    ) -> Result<Planned> {
        let by: HashMap<ColId, Expr> = groups.iter().cloned().collect();
        let made: ColSet = aggregates.iter().map(|(id, _)| *id).collect();
        // Without groups there is a row even where the input has none, so no filter may go below.
        let movable =
            |filter: &Expr| !groups.is_empty() && !has_subquery(filter) && expr_columns(filter).is_disjoint(&made);
        let (mut below, above): (Vec<Expr>, Vec<Expr>) = filters.into_iter().partition(movable);
        below.iter_mut().for_each(|filter| substitute(filter, &by));
        let mut used = needed.clone();
        used.extend(above.iter().flat_map(expr_columns));
        let aggregates: Vec<_> = aggregates.iter().filter(|(id, _)| used.contains(id)).cloned().collect();
        let calls = aggregates.iter().flat_map(|(_, call)| call.args.iter().chain(&call.filter));
        let needed_below: ColSet = groups.iter().map(|(_, expr)| expr).chain(calls).flat_map(expr_columns).collect();
        let planned = self.relation(input, below, &needed_below, Wanted::default())?;
        let layout = groups.iter().map(|(id, _)| *id).chain(aggregates.iter().map(|(id, _)| *id)).collect();
        let rows = if groups.is_empty() { 1.0 } else { (planned.rows / 10.0).max(1.0) };
        let node = Node::Aggregate {
            groups: self.resolve_all(groups.iter().map(|(_, expr)| expr.clone()).collect(), &planned.layout)?,
            aggregates: aggregates
                .into_iter()
                .map(|(_, call)| self.resolve_call(call, &planned.layout))
                .collect::<Result<_>>()?,
            input: Box::new(planned.node),
        };
        self.filtered(Planned { node, layout, rows, ordered: false }, above)
    }
}

/// A projection that only picks and renames columns needs no node: the layout after it, or `None` where it computes, repeats
/// or leaves out too much to be worth keeping.
fn renamed(layout: &[ColId], kept: &[(ColId, Expr)]) -> Option<Vec<ColId>> {
    if layout.len() != kept.len() {
        return None;
    }
    let name = |slot: &ColId| {
        let mut names = kept.iter().filter(|(_, expr)| matches!(expr.kind, ExprKind::Column(id) if id == *slot));
        let (id, _) = names.next()?;
        names.next().is_none().then_some(*id)
    };
    layout.iter().map(name).collect()
}

fn push_filter(input: &Rel, filters: Vec<Expr>) -> Rel {
    if filters.is_empty() {
        input.clone()
    } else {
        Rel::Filter { input: Box::new(input.clone()), predicate: Expr::all(filters) }
    }
}

/// LIMIT plus OFFSET.
fn row_goal(limit: Option<&Expr>, offset: Option<&Expr>) -> Option<Expr> {
    let limit = limit?;
    let Some(offset) = offset else { return Some(limit.clone()) };
    if let (ExprKind::Literal(Value::Int(limit)), ExprKind::Literal(Value::Int(offset))) = (&limit.kind, &offset.kind) {
        return Some(Expr::literal(Value::Int(limit.saturating_add(*offset)), DataType::Int8));
    }
    let sum = ExprKind::Binary(BinaryOp::Add, Box::new(limit.clone()), Box::new(offset.clone()));
    Some(Expr { kind: sum, data_type: DataType::Int8 })
}
