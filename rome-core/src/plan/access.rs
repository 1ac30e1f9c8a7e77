//! Access paths: by which key or index a table is read, given what is known to hold of its rows.
//!
//! Candidates are the primary key and every public index. Of each, the leading columns that are set equal to something known
//! (constants, parameters, columns of outer rows, IN lists) make a prefix, and comparisons on the next column bound a range. The cheapest wins;
//! among equals the primary key, then the earlier index.
//!
//! There are no statistics: a table counts as [`TABLE_ROWS`] rows, and predicates have fixed selectivities. The estimates
//! only have to rank paths, and to tell a look-up from a scan.

use super::columns::{ColSet, expr_columns, has_subquery};
use crate::catalog::{IndexState, Table};
use crate::exec::expr::{ColId, CompareOp, Expr, ExprKind, SortKey};
use crate::exec::node::{Access, KeyBound};
use crate::value::{DataType, Value};

/// Rows that a table is assumed to hold.
pub(super) const TABLE_ROWS: f64 = 10_000.0;
/// Assumed part of a table that one equality on a key column leaves.
const EQUAL_SELECTIVITY: f64 = 0.01;
/// Assumed part that a one-sided bound leaves.
const BOUND_SELECTIVITY: f64 = 0.3;
/// Assumed part that a filter without an index leaves.
const FILTER_SELECTIVITY: f64 = 0.25;
/// Cost of a row by an index, where one in key order costs 1.
const FOLLOW_COST: f64 = 2.0;
/// Cost of each separate range or key.
const RANGE_COST: f64 = 1.0;
/// More combinations of IN alternatives than this are not worth enumerating.
const MAX_COMBINATIONS: usize = 10_000;
/// Rows that LIMIT with a parameter is assumed to want.
const ASSUMED_LIMIT: f64 = 100.0;

/// A scan to be planned: a table and the ids of its columns.
pub(super) struct ScanTarget<'a> {
    pub(super) table: &'a Table,
    pub(super) columns: &'a [(ColId, usize)],
}

/// The path chosen.
pub(super) struct Choice {
    pub(super) access: Access,
    /// See [`Scan::placed`](crate::exec::node::Scan::placed).
    pub(super) placed: Option<Vec<Vec<Expr>>>,
    /// See [`Scan::by_claim`](crate::exec::node::Scan::by_claim).
    pub(super) by_claim: bool,
    pub(super) reverse: bool,
    /// Rows that the path yields, before other filters.
    pub(super) rows: f64,
    pub(super) cost: f64,
    /// The order wanted is the order in which the rows come.
    pub(super) ordered: bool,
    /// Equality terms used.
    pub(super) matched: usize,
    /// Positions of filters that the prefix alone guarantees.
    pub(super) implied: Vec<usize>,
}

struct KeyPart {
    id: Option<ColId>,
    data_type: DataType,
    descending: bool,
    nulls_first: bool,
    not_null: bool,
}

/// Chooses the path. `filters` are conjuncts; `own` are the scan's columns and `later` those of relations that are joined after it: all other
/// columns (of rows already joined, of enclosing queries) have values when the scan starts.
pub(super) fn choose(
    target: &ScanTarget<'_>,
    filters: &[Expr],
    own: &ColSet,
    later: &ColSet,
    order: &[SortKey],
    goal: Option<&Expr>,
) -> Choice {
    let table = target.table;
    let id_at = |position: usize| target.columns.iter().find(|(_, at)| *at == position).map(|(id, _)| *id);
    let part = |position: usize, descending: bool, nulls_first: bool| {
        let column = table.columns.get(position);
        KeyPart {
            id: id_at(position),
            data_type: column.map_or(DataType::Unknown, |column| column.data_type.clone()),
            descending,
            nulls_first,
            not_null: column.is_some_and(|column| column.not_null),
        }
    };
    let primary: Vec<KeyPart> =
        table.primary_key_positions().into_iter().map(|position| part(position, false, false)).collect();
    let context = Context { filters, own, later, order, goal };
    let mut best = context.candidate(None, &primary, true);
    for (position, index) in table.indexes.iter().enumerate() {
        if index.state != IndexState::Public {
            continue;
        }
        let parts: Option<Vec<KeyPart>> = index
            .columns
            .iter()
            .map(|column| Some(part(table.position(column.column)?, column.descending, column.nulls_first)))
            .collect();
        let Some(parts) = parts else { continue };
        let candidate = context.candidate(Some(position), &parts, index.unique);
        // An index without a condition is only worth its order.
        let useful = candidate.matched > 0
            || candidate.access.lower.is_some()
            || candidate.access.upper.is_some()
            || candidate.ordered && !order.is_empty();
        if useful && candidate.cost < best.cost {
            best = candidate;
        }
    }
    let placement = table.homes.columns();
    if !placement.is_empty() {
        let alternatives = placement.iter().map(|position| {
            let column = table.columns.get(*position)?;
            context.equal_to(id_at(*position)?, &column.data_type).map(|(_, values)| values)
        });
        best.placed = alternatives.collect();
        let index = best.access.index.and_then(|at| table.indexes.get(at));
        let (claims, width) = match index {
            Some(index) => (index.claims, index.columns.len()),
            None => (table.claims, table.primary_key.len()),
        };
        if best.placed.is_none() && claims.is_some() && best.matched == width {
            best.by_claim = true;
            // They come in the order of their homes.
            best.reverse = false;
            best.ordered &= order.is_empty();
        }
    }
    best
}

struct Context<'a> {
    filters: &'a [Expr],
    own: &'a ColSet,
    later: &'a ColSet,
    order: &'a [SortKey],
    goal: Option<&'a Expr>,
}

impl Context<'_> {
    fn candidate(&self, index: Option<usize>, parts: &[KeyPart], unique: bool) -> Choice {
        let mut prefix: Vec<Vec<Expr>> = Vec::new();
        let mut combinations = 1_usize;
        let mut implied = Vec::new();
        for part in parts {
            let Some((filter, alternatives)) = part.id.and_then(|id| self.equal_to(id, &part.data_type)) else { break };
            if combinations.saturating_mul(alternatives.len()) > MAX_COMBINATIONS {
                break;
            }
            combinations *= alternatives.len();
            implied.push(filter);
            prefix.push(alternatives);
        }
        let matched = prefix.len();
        let complete = unique && matched == parts.len();
        let (mut lower, mut upper) = (None, None);
        if let Some(part) = parts.get(matched)
            && let Some(id) = part.id
        {
            (lower, upper) = self.bounds(id, &part.data_type);
        }
        let mut rows = if complete {
            combinations as f64
        } else {
            let each = TABLE_ROWS * EQUAL_SELECTIVITY.powi(i32::try_from(matched).unwrap_or(i32::MAX));
            each.max(2.0) * combinations as f64
        };
        for bound in [&lower, &upper] {
            if bound.is_some() {
                rows = (rows * BOUND_SELECTIVITY).max(2.0);
            }
        }
        let rows = rows.min(TABLE_ROWS);
        let order = self.order_served(parts, &prefix, complete);
        let read = match (self.goal, order.is_some() || self.order.is_empty()) {
            (Some(goal), true) => rows.min(expected_rows(goal)),
            _ => rows,
        };
        // Sorting what comes in another order costs about as much again as reading it.
        let sorting = if order.is_none() && !self.order.is_empty() { rows } else { 0.0 };
        let per_row = if index.is_some() { FOLLOW_COST } else { 1.0 };
        Choice {
            access: Access { index, prefix, lower, upper },
            placed: None,
            by_claim: false,
            reverse: order.unwrap_or(false),
            rows,
            cost: read * per_row + sorting + RANGE_COST * combinations as f64,
            ordered: order.is_some(),
            matched,
            implied,
        }
    }

    /// Whether a value is known when the scan starts: it refers to nothing of the scan itself, nor of relations joined later.
    fn is_known(&self, expr: &Expr) -> bool {
        if has_subquery(expr) {
            return false;
        }
        let used = expr_columns(expr);
        used.is_disjoint(self.own) && used.is_disjoint(self.later)
    }

    /// The alternatives to which a column is set equal by some filter: the fewest.
    fn equal_to(&self, id: ColId, data_type: &DataType) -> Option<(usize, Vec<Expr>)> {
        let filters = self.filters.iter().enumerate();
        let candidates = filters.filter_map(|(at, filter)| Some((at, self.alternatives(filter, id, data_type)?)));
        candidates.min_by_key(|(_, alternatives)| alternatives.len())
    }

    fn alternatives(&self, filter: &Expr, id: ColId, data_type: &DataType) -> Option<Vec<Expr>> {
        match &filter.kind {
            ExprKind::Compare(CompareOp::Eq, left, right) => {
                let value = if is_column(left, id) {
                    right
                } else if is_column(right, id) {
                    left
                } else {
                    return None;
                };
                self.key_value(value, data_type).map(|value| vec![value])
            }
            ExprKind::InList(left, list) if is_column(left, id) => {
                list.iter().map(|value| self.key_value(value, data_type)).collect()
            }
            ExprKind::QuantifiedArray { left, op: CompareOp::Eq, array, all: false } if is_column(left, id) => {
                match &array.kind {
                    ExprKind::Array(items) => items.iter().map(|value| self.key_value(value, data_type)).collect(),
                    ExprKind::Literal(Value::Array(items)) => {
                        let DataType::Array(element) = &array.data_type else { return None };
                        let items = items.iter().map(|item| Expr::literal(item.clone(), (**element).clone()));
                        items.map(|value| self.key_value(&value, data_type)).collect()
                    }
                    _ => None,
                }
            }
            ExprKind::Or(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(self.alternatives(part, id, data_type)?);
                }
                Some(all)
            }
            // A boolean column by itself.
            ExprKind::Column(column) if *column == id => Some(vec![Expr::bool(true)]),
            ExprKind::Not(inner) if is_column(inner, id) && inner.data_type == DataType::Bool => {
                Some(vec![Expr::bool(false)])
            }
            _ => None,
        }
    }

    fn key_value(&self, value: &Expr, data_type: &DataType) -> Option<Expr> {
        (self.is_known(value) && same_key_family(&value.data_type, data_type)).then(|| value.clone())
    }

    fn bounds(&self, id: ColId, data_type: &DataType) -> (Option<KeyBound>, Option<KeyBound>) {
        let (mut lower, mut upper) = (None, None);
        for filter in self.filters {
            match &filter.kind {
                ExprKind::Compare(op, left, right) => {
                    let (op, value) = if is_column(left, id) {
                        (*op, right)
                    } else if is_column(right, id) {
                        (op.flipped(), left)
                    } else {
                        continue;
                    };
                    let Some(value) = self.key_value(value, data_type) else { continue };
                    match op {
                        CompareOp::Gt => lower = lower.or(Some(KeyBound { value, inclusive: false })),
                        CompareOp::GtEq => lower = lower.or(Some(KeyBound { value, inclusive: true })),
                        CompareOp::Lt => upper = upper.or(Some(KeyBound { value, inclusive: false })),
                        CompareOp::LtEq => upper = upper.or(Some(KeyBound { value, inclusive: true })),
                        CompareOp::Eq | CompareOp::NotEq => {}
                    }
                }
                ExprKind::Like { text, pattern, case_insensitive: false, escape } if is_column(text, id) => {
                    if let (Some((from, to)), true) = (like_prefix(pattern, *escape), data_type.is_text()) {
                        let bound = |text: String, inclusive| {
                            Some(KeyBound { value: Expr::literal(Value::from(text), DataType::Text), inclusive })
                        };
                        lower = lower.or_else(|| bound(from, true));
                        upper = upper.or_else(|| to.and_then(|to| bound(to, false)));
                    }
                }
                _ => {}
            }
        }
        (lower, upper)
    }

    /// Whether the path yields the order wanted: `Some(reverse)`.
    fn order_served(&self, parts: &[KeyPart], prefix: &[Vec<Expr>], complete: bool) -> Option<bool> {
        if self.order.is_empty() {
            return Some(false);
        }
        let single = prefix.iter().all(|alternatives| alternatives.len() == 1);
        if !single {
            return None;
        }
        if complete {
            return Some(false);
        }
        let fixed: ColSet = parts.iter().take(prefix.len()).filter_map(|part| part.id).collect();
        let mut remaining = parts.iter().skip(prefix.len());
        let mut reverse = None;
        for key in self.order {
            let ExprKind::Column(id) = key.expr.kind else { return None };
            if fixed.contains(&id) {
                continue;
            }
            let part = remaining.next()?;
            if part.id != Some(id) {
                return None;
            }
            let turned = key.descending != part.descending;
            if !part.not_null && key.nulls_first != (part.nulls_first != turned) {
                return None;
            }
            if *reverse.get_or_insert(turned) != turned {
                return None;
            }
        }
        reverse.or(Some(false))
    }
}

/// The rows that a LIMIT is taken to want.
pub(super) fn expected_rows(goal: &Expr) -> f64 {
    match &goal.kind {
        ExprKind::Literal(Value::Int(rows)) => *rows as f64,
        _ => ASSUMED_LIMIT,
    }
}

/// The assumed part of rows for which a filter that no index serves is true.
pub(super) fn selectivity(filter: &Expr) -> f64 {
    match &filter.kind {
        ExprKind::Compare(CompareOp::Eq, ..) => 0.1,
        ExprKind::Literal(Value::Bool(true)) => 1.0,
        _ => FILTER_SELECTIVITY,
    }
}

/// Whether an expression is the column itself, perhaps in a cast that keeps its key encoding.
fn is_column(expr: &Expr, id: ColId) -> bool {
    match &expr.kind {
        ExprKind::Column(column) => *column == id,
        ExprKind::Cast(inner) => same_key_family(&inner.data_type, &expr.data_type) && is_column(inner, id),
        _ => false,
    }
}

/// Whether values of two types have one key encoding, so that a value of one finds keys of the other.
fn same_key_family(value: &DataType, column: &DataType) -> bool {
    let unpadded = |data_type: &DataType| matches!(data_type, DataType::Text | DataType::Varchar(_));
    let float = |data_type: &DataType| matches!(data_type, DataType::Float4 | DataType::Float8);
    let numeric = |data_type: &DataType| matches!(data_type, DataType::Numeric(_));
    value == column
        || value.is_integer() && column.is_integer()
        || unpadded(value) && unpadded(column)
        || float(value) && float(column)
        || numeric(value) && numeric(column)
}

/// The range of texts that begin as a constant pattern does: `LIKE 'ab%'` is within `'ab'` to `'ac'`.
fn like_prefix(pattern: &Expr, escape: Option<char>) -> Option<(String, Option<String>)> {
    let ExprKind::Literal(Value::Text(pattern)) = &pattern.kind else { return None };
    let mut prefix = String::new();
    let mut chars = pattern.chars();
    while let Some(next) = chars.next() {
        match next {
            _ if Some(next) == escape => prefix.push(chars.next()?),
            '%' | '_' => break,
            _ => prefix.push(next),
        }
    }
    if prefix.is_empty() {
        return None;
    }
    // The next text after all those with the prefix: the last character that has a successor is raised.
    let mut end: Vec<char> = prefix.chars().collect();
    while let Some(last) = end.pop() {
        let next = (last as u32 + 1..=char::MAX as u32).find_map(char::from_u32);
        if let Some(next) = next {
            end.push(next);
            return Some((prefix, Some(end.into_iter().collect())));
        }
    }
    Some((prefix, None))
}
