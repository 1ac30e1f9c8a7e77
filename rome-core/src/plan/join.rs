//! Joins: which relation comes next, and whether it is looked up or hashed.
//!
//! Inner joins that touch each other form one region, ordered greedily: the relation with the fewest rows first, then always the
//! one whose joining costs least and leaves fewest rows. Each is joined in the cheapest of three ways:
//!
//! - *look-up*: for a batch of rows at hand, one read fetches the matching rows by key or index;
//! - *hash*: the relation is read whole (its first page in the same round trip as everything else that is read whole) and hashed;
//! - *nested loop*: where nothing is equal.
//!
//! Outer joins are joined where they stand. RIGHT is LEFT with its sides exchanged; columns have ids, so nobody notices.

use super::access::{ScanTarget, choose, selectivity};
use super::columns::{ColSet, conjuncts, expr_columns, has_subquery};
use super::logical::Rel;
use super::relation::{Planned, Planner, Wanted};
use crate::error::{Error, Result};
use crate::exec::expr::{ColId, CompareOp, Expr, ExprKind};
use crate::exec::node::{JoinKind, Node};

/// Cost of the round trip that a look-up adds, in rows.
const LOOKUP_TRIP: f64 = 50.0;

impl Planner {
    /// Plans a join, or the whole region of inner joins that begins here.
    pub(super) fn join(&self, rel: &Rel, filters: Vec<Expr>, needed: &ColSet, wanted: Wanted<'_>) -> Result<Planned> {
        let Rel::Join { kind, left, right, on } = rel else {
            return Err(Error::internal("the join planner was given something else"));
        };
        match kind {
            JoinKind::Inner => self.region(rel, filters, needed, wanted),
            JoinKind::Right => self.one_sided(JoinKind::Left, right, left, on.as_ref(), filters, needed, wanted),
            JoinKind::Left | JoinKind::Semi | JoinKind::Anti => {
                self.one_sided(*kind, left, right, on.as_ref(), filters, needed, wanted)
            }
            JoinKind::Full => {
                let mut used = needed.clone();
                used.extend(on.iter().chain(&filters).flat_map(expr_columns));
                let left = self.relation(left, Vec::new(), &used, Wanted::default())?;
                let right = self.relation(right, Vec::new(), &used, Wanted::default())?;
                let mut condition = Vec::new();
                on.iter().cloned().for_each(|on| conjuncts(on, &mut condition));
                let planned = self.combine(JoinKind::Full, left, right, condition)?;
                self.filtered(planned, filters)
            }
        }
    }

    /// LEFT, semi- and anti-joins.
    #[allow(clippy::too_many_arguments)]
    fn one_sided(
        &self,
        kind: JoinKind,
        left: &Rel,
        right: &Rel,
        on: Option<&Expr>,
        filters: Vec<Expr>,
        needed: &ColSet,
        wanted: Wanted<'_>,
    ) -> Result<Planned> {
        let right_columns: ColSet = right.columns().into_iter().collect();
        // What is asked of the left side alone may be asked before the join.
        let (above, below): (Vec<Expr>, Vec<Expr>) =
            filters.into_iter().partition(|filter| !expr_columns(filter).is_disjoint(&right_columns));
        let mut condition = Vec::new();
        on.iter().copied().cloned().for_each(|on| conjuncts(on, &mut condition));
        let rejects = above.iter().any(|filter| rejects_nulls(filter, &right_columns));
        if kind == JoinKind::Left && rejects {
            // The padded rows would not survive the filters above.
            let inner = Rel::Join {
                kind: JoinKind::Inner,
                left: Box::new(left.clone()),
                right: Box::new(right.clone()),
                on: on.cloned(),
            };
            return self.region(&inner, above.into_iter().chain(below).collect(), needed, wanted);
        }
        let mut used = needed.clone();
        used.extend(above.iter().chain(&condition).flat_map(expr_columns));
        let left = self.relation(left, below, &used, Wanted { order: wanted.order, goal: None })?;
        let joined = self.attach(kind, left, right, condition, &ColSet::new(), &used)?;
        self.filtered(joined, above)
    }

    /// Joins one more relation to what is there, in the cheapest way.
    fn attach(
        &self,
        kind: JoinKind,
        left: Planned,
        right: &Rel,
        condition: Vec<Expr>,
        later: &ColSet,
        used: &ColSet,
    ) -> Result<Planned> {
        let right_columns: ColSet = right.columns().into_iter().collect();
        let left_columns: ColSet = left.layout.iter().copied().collect();
        let (own, between): (Vec<Expr>, Vec<Expr>) = condition.into_iter().partition(|part| {
            let columns = expr_columns(part);
            columns.is_disjoint(&left_columns) && !columns.is_disjoint(&right_columns) && !has_subquery(part)
        });
        if let Some((scan, scan_filters)) = plain_scan(right) {
            let Rel::Scan { table, columns, lock, .. } = scan else {
                return Err(Error::internal("a plain scan is a scan"));
            };
            let (subqueries, mut known): (Vec<Expr>, Vec<Expr>) =
                scan_filters.into_iter().chain(own.clone()).partition(has_subquery);
            let own_count = known.len();
            let (late, usable): (Vec<Expr>, Vec<Expr>) = between.iter().cloned().partition(has_subquery);
            known.extend(usable);
            let choice = choose(&ScanTarget { table, columns }, &known, &right_columns, later, &[], None);
            let looks_up = choice.implied.iter().any(|at| *at >= own_count);
            let hash_cost = {
                let alone = known.get(..own_count).unwrap_or_default();
                let none = ColSet::new();
                choose(&ScanTarget { table, columns }, alone, &right_columns, &none, &[], None).cost
            };
            if looks_up && subqueries.is_empty() && left.rows * choice.cost + LOOKUP_TRIP < hash_cost {
                let on_filters: Vec<Expr> = known.split_off(own_count);
                let implied = choice.implied.clone();
                let mut all = known;
                all.extend(on_filters);
                // Of the conditions between the sides, the path's own are implied; the rest are checked on the joined row.
                let mut inner_filters = Vec::new();
                let mut on = late;
                for (at, filter) in all.into_iter().enumerate() {
                    if implied.contains(&at) {
                        continue;
                    }
                    if at < own_count { inner_filters.push(filter) } else { on.push(filter) }
                }
                let mut inner_used = used.clone();
                inner_used.extend(on.iter().flat_map(expr_columns));
                let per_row = choice.rows;
                let choice = super::access::Choice { implied: Vec::new(), reverse: false, ..choice };
                let (inner, inner_layout, _) =
                    self.scan_node(table, columns, *lock, inner_filters, &inner_used, choice, &left.layout, None)?;
                let keeps_right = !matches!(kind, JoinKind::Semi | JoinKind::Anti);
                let both: Vec<ColId> = left.layout.iter().chain(&inner_layout).copied().collect();
                let rows = on.iter().fold(left.rows * per_row, |rows, part| rows * selectivity(part)).max(1.0);
                let on = if on.is_empty() { None } else { Some(self.resolve(Expr::all(on), &both)?) };
                let node = Node::LookupJoin { kind, outer: Box::new(left.node), inner, on };
                return Ok(Planned {
                    node,
                    layout: if keeps_right { both } else { left.layout },
                    rows: if keeps_right { rows } else { left.rows },
                    ordered: left.ordered,
                });
            }
        }
        let right = self.relation(right, own, used, Wanted::default())?;
        self.combine(kind, left, right, between)
    }

    /// Joins two planned sides by hash where something is equal, else by nested loop.
    fn combine(&self, kind: JoinKind, left: Planned, right: Planned, condition: Vec<Expr>) -> Result<Planned> {
        let left_columns: ColSet = left.layout.iter().copied().collect();
        let right_columns: ColSet = right.layout.iter().copied().collect();
        let (mut left_keys, mut right_keys, mut on) = (Vec::new(), Vec::new(), Vec::new());
        for part in condition {
            match equality(&part, &left_columns, &right_columns) {
                Some((left_key, right_key)) => {
                    left_keys.push(self.resolve(left_key, &left.layout)?);
                    right_keys.push(self.resolve(right_key, &right.layout)?);
                }
                None => on.push(part),
            }
        }
        let both: Vec<ColId> = left.layout.iter().chain(&right.layout).copied().collect();
        let widths = (left.layout.len(), right.layout.len());
        let pairs = left.rows * right.rows;
        let matched = if left_keys.is_empty() { pairs } else { pairs / left.rows.max(right.rows).max(1.0) };
        let rows = on.iter().fold(matched, |rows, part| rows * selectivity(part)).max(1.0);
        let on = if on.is_empty() { None } else { Some(self.resolve(Expr::all(on), &both)?) };
        let (left_node, right_node) = (Box::new(left.node), Box::new(right.node));
        let node = if left_keys.is_empty() {
            Node::NestedLoopJoin { kind, left: left_node, right: right_node, on, widths }
        } else {
            Node::HashJoin { kind, left: left_node, right: right_node, left_keys, right_keys, on, widths }
        };
        let keeps_right = !matches!(kind, JoinKind::Semi | JoinKind::Anti);
        Ok(Planned {
            node,
            layout: if keeps_right { both } else { left.layout },
            rows: if keeps_right {
                rows.max(left.rows * f64::from(u8::from(kind != JoinKind::Inner)))
            } else {
                left.rows
            },
            // Both kinds emit left rows in their order; right rows without a match come last.
            ordered: left.ordered && kind != JoinKind::Full,
        })
    }

    /// Plans a region of inner joins.
    fn region(&self, rel: &Rel, filters: Vec<Expr>, needed: &ColSet, wanted: Wanted<'_>) -> Result<Planned> {
        let mut relations = Vec::new();
        let mut condition = filters;
        flatten(rel, &mut relations, &mut condition);
        let mut used = needed.clone();
        used.extend(condition.iter().flat_map(expr_columns));
        let mut remaining: Vec<Member> = relations
            .into_iter()
            .map(|rel| Member { columns: rel.columns().into_iter().collect(), rel, filters: Vec::new() })
            .collect();
        // What is asked of one relation alone is asked there.
        condition.retain(|part| {
            let columns = expr_columns(part);
            let all: Vec<usize> = (0..remaining.len())
                .filter(|at| remaining.get(*at).is_some_and(|member| !member.columns.is_disjoint(&columns)))
                .collect();
            match all.as_slice() {
                [only] => {
                    if let Some(member) = remaining.get_mut(*only) {
                        member.filters.push(part.clone());
                    }
                    false
                }
                _ => true,
            }
        });
        // The order wanted is only of use if the first relation has it.
        let mut alone = Vec::with_capacity(remaining.len());
        for member in &remaining {
            let order_here = wanted.order.iter().all(|key| expr_columns(&key.expr).is_subset(&member.columns));
            let order = if order_here { wanted.order } else { &[] };
            let planned = self.relation(&member.rel, member.filters.clone(), &used, Wanted { order, goal: None })?;
            let ordered = planned.ordered && (order_here || wanted.order.is_empty());
            alone.push(Planned { ordered, ..planned });
        }
        let first = smallest(alone.iter().map(|planned| planned.rows));
        let mut at_hand = alone.swap_remove(first);
        let start = remaining.swap_remove(first);
        let mut joined: ColSet = start.columns;
        at_hand = self.apply(at_hand, &mut condition, &joined, &remaining)?;
        while !remaining.is_empty() {
            let next = self.cheapest(&at_hand, &joined, &remaining, &alone, &condition);
            let member = remaining.swap_remove(next);
            alone.swap_remove(next);
            joined.extend(member.columns.iter().copied());
            let later: ColSet = remaining.iter().flat_map(|member| member.columns.iter().copied()).collect();
            let (ready, waiting): (Vec<Expr>, Vec<Expr>) =
                condition.into_iter().partition(|part| expr_columns(part).is_disjoint(&later) && !has_subquery(part));
            condition = waiting;
            let relation = with_filters(member.rel, member.filters);
            at_hand = self.attach(JoinKind::Inner, at_hand, &relation, ready, &later, &used)?;
            at_hand = self.apply(at_hand, &mut condition, &joined, &remaining)?;
        }
        self.filtered(at_hand, condition)
    }

    /// Applies the conditions whose relations are all at hand and that are not part of a join.
    fn apply(
        &self,
        at_hand: Planned,
        condition: &mut Vec<Expr>,
        joined: &ColSet,
        remaining: &[Member],
    ) -> Result<Planned> {
        let later: ColSet = remaining.iter().flat_map(|member| member.columns.iter().copied()).collect();
        let (ready, waiting): (Vec<Expr>, Vec<Expr>) = std::mem::take(condition).into_iter().partition(|part| {
            let columns = expr_columns(part);
            columns.is_disjoint(&later) && (!columns.is_disjoint(joined) || columns.is_empty() || remaining.is_empty())
        });
        *condition = waiting;
        self.filtered(at_hand, ready)
    }

    /// Which remaining relation to join next.
    fn cheapest(
        &self,
        at_hand: &Planned,
        joined: &ColSet,
        remaining: &[Member],
        alone: &[Planned],
        condition: &[Expr],
    ) -> usize {
        let costs = remaining.iter().zip(alone).map(|(member, planned)| {
            let others: ColSet = remaining
                .iter()
                .filter(|other| other.columns != member.columns)
                .flat_map(|other| other.columns.iter().copied())
                .collect();
            let ready: Vec<Expr> = condition
                .iter()
                .filter(|part| {
                    let columns = expr_columns(part);
                    columns.is_disjoint(&others) && !columns.is_disjoint(&member.columns) && !has_subquery(part)
                })
                .cloned()
                .collect();
            let linked = ready.iter().any(|part| equality(part, joined, &member.columns).is_some());
            let pairs = at_hand.rows * planned.rows;
            let hashed = if linked { pairs / at_hand.rows.max(planned.rows).max(1.0) } else { pairs };
            let mut best = planned.rows + hashed;
            if let Some((Rel::Scan { table, columns, .. }, own)) = plain_scan(&member.rel) {
                let all: Vec<Expr> = own.into_iter().chain(member.filters.iter().cloned()).chain(ready).collect();
                let choice = choose(&ScanTarget { table, columns }, &all, &member.columns, &others, &[], None);
                if choice.matched > 0 {
                    best = best.min(at_hand.rows * (choice.cost + choice.rows) + LOOKUP_TRIP);
                }
            }
            best
        });
        smallest(costs)
    }
}

/// One relation of a region, with the filters on it alone.
struct Member {
    rel: Rel,
    columns: ColSet,
    filters: Vec<Expr>,
}

fn smallest(values: impl Iterator<Item = f64>) -> usize {
    values.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(at, _)| at)
}

fn with_filters(rel: Rel, filters: Vec<Expr>) -> Rel {
    if filters.is_empty() { rel } else { Rel::Filter { input: Box::new(rel), predicate: Expr::all(filters) } }
}

/// Collects the relations and conditions of touching inner joins.
fn flatten(rel: &Rel, relations: &mut Vec<Rel>, condition: &mut Vec<Expr>) {
    match rel {
        Rel::Join { kind: JoinKind::Inner, left, right, on } => {
            flatten(left, relations, condition);
            flatten(right, relations, condition);
            on.iter().cloned().for_each(|on| conjuncts(on, condition));
        }
        Rel::Filter { input, predicate } => {
            let mut parts = Vec::new();
            conjuncts(predicate.clone(), &mut parts);
            let (input, parts) = super::subquery::into_joins((**input).clone(), parts);
            condition.extend(parts);
            match &input {
                Rel::Filter { .. } => relations.push(input),
                _ => flatten(&input, relations, condition),
            }
        }
        _ => relations.push(rel.clone()),
    }
}

/// A scan under nothing but filters, with those filters.
fn plain_scan(rel: &Rel) -> Option<(&Rel, Vec<Expr>)> {
    match rel {
        Rel::Scan { .. } => Some((rel, Vec::new())),
        Rel::Filter { input, predicate } => {
            let (scan, mut filters) = plain_scan(input)?;
            conjuncts(predicate.clone(), &mut filters);
            Some((scan, filters))
        }
        _ => None,
    }
}

/// `f(left) = g(right)`, in that order.
fn equality(part: &Expr, left: &ColSet, right: &ColSet) -> Option<(Expr, Expr)> {
    let ExprKind::Compare(CompareOp::Eq, a, b) = &part.kind else { return None };
    if has_subquery(part) {
        return None;
    }
    let (a_columns, b_columns) = (expr_columns(a), expr_columns(b));
    let only =
        |columns: &ColSet, this: &ColSet, other: &ColSet| !columns.is_disjoint(this) && columns.is_disjoint(other);
    if only(&a_columns, left, right) && only(&b_columns, right, left) {
        Some(((**a).clone(), (**b).clone()))
    } else if only(&b_columns, left, right) && only(&a_columns, right, left) {
        Some(((**b).clone(), (**a).clone()))
    } else {
        None
    }
}

/// Whether a filter is never true where all these columns are NULL.
fn rejects_nulls(filter: &Expr, columns: &ColSet) -> bool {
    match &filter.kind {
        ExprKind::Compare(_, left, right) => is_null_strict(left, columns) || is_null_strict(right, columns),
        ExprKind::Like { text, .. } => is_null_strict(text, columns),
        ExprKind::InList(value, _) => is_null_strict(value, columns),
        ExprKind::Not(inner) => match &inner.kind {
            ExprKind::IsNull(value) => is_null_strict(value, columns),
            ExprKind::Compare(_, left, right) => is_null_strict(left, columns) || is_null_strict(right, columns),
            _ => false,
        },
        ExprKind::And(parts) => parts.iter().any(|part| rejects_nulls(part, columns)),
        ExprKind::Or(parts) => parts.iter().all(|part| rejects_nulls(part, columns)),
        _ => false,
    }
}

/// Whether an expression is NULL where these columns are.
fn is_null_strict(expr: &Expr, columns: &ColSet) -> bool {
    match &expr.kind {
        ExprKind::Column(id) => columns.contains(id),
        ExprKind::Cast(inner) | ExprKind::Unary(_, inner) => is_null_strict(inner, columns),
        ExprKind::Binary(_, left, right) => is_null_strict(left, columns) || is_null_strict(right, columns),
        _ => false,
    }
}
