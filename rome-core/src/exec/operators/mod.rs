//! Operators: each pulls batches of rows from its inputs and hands on batches of its own.
//!
//! `build` makes the tree of operators of a plan. Before the first batch, [`Operator::first_reads`] collects what the leaves can read without any
//! other row, so that one round trip serves all of them; [`Operator::accept`] then deals the answers out in the same order. Further pages, and the look-ups
//! of joins, are read as they are needed.
//!
//! Scans, filters, projections, lookup joins and limits stream. Sorts, aggregates, hash tables, DISTINCT and set operations hold rows, and
//! account for them by [`ExecContext::reserve`].

mod access;
mod aggregate;
mod distinct;
mod join;
mod lookup;
mod scan;
mod set_op;
mod simple;
mod sort;

use super::context::ExecContext;
use super::node::Node;
use crate::error::Result;
use crate::store::{ReadLimits, ReadResult};
use crate::txn::HomeRead;
use crate::value::Value;
use async_trait::async_trait;

/// A row.
pub type Row = Vec<Value>;

/// Rows on their way from one operator to the next; never empty.
pub type Batch = Vec<Row>;

/// How many rows a batch has, about.
pub(super) const BATCH_ROWS: usize = 1024;

/// Entries of one page of a scan.
pub(super) const PAGE_ENTRIES: usize = 4096;

/// The limits on a request of so many reads: a megabyte a page, less where there are many.
pub(super) fn page_limits(reads: usize) -> ReadLimits {
    const PAGE_BYTES: usize = 1 << 20;
    const REQUEST_BYTES: usize = 64 << 20;
    let bytes = (REQUEST_BYTES / reads.max(1)).clamp(16 << 10, PAGE_BYTES);
    ReadLimits { entries: PAGE_ENTRIES, bytes }
}

/// A running operator.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Appends the first reads of the leaves below that depend on no other row.
    ///
    /// # Errors
    /// Those of the key expressions.
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<HomeRead>) -> Result<()>;

    /// Takes the answers to exactly the reads that [`Operator::first_reads`] appended.
    ///
    /// # Errors
    /// Where answers are missing.
    fn accept(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()>;

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// Those of reads and expressions.
    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>>;
}

/// An operator that is running, over a plan that outlives it.
pub(super) type Running<'n> = Box<dyn Operator + 'n>;

/// The operators of a plan.
pub(super) fn build<'n>(node: &'n Node, cx: &ExecContext<'_>) -> Running<'n> {
    let operator: Running<'n> = match node {
        Node::OneRow => Box::new(simple::OneRow::default()),
        Node::Nothing { .. } => Box::new(simple::Nothing),
        Node::Values { rows } => Box::new(simple::Values::new(rows)),
        Node::Scan(scan) => Box::new(scan::ScanOperator::new(scan)),
        Node::Filter { input, predicate } => Box::new(simple::Filter::new(build(input, cx), predicate)),
        Node::Project { input, exprs } => Box::new(simple::Project::new(build(input, cx), exprs)),
        Node::LookupJoin { kind, outer, inner, on } => {
            Box::new(lookup::LookupJoin::new(*kind, (outer, build(outer, cx)), inner, on.as_ref()))
        }
        Node::HashJoin { kind, left, right, left_keys, right_keys, on, widths } => Box::new(join::Join::new(
            *kind,
            (build(left, cx), build(right, cx)),
            Some((left_keys, right_keys)),
            on.as_ref(),
            *widths,
        )),
        Node::NestedLoopJoin { kind, left, right, on, widths } => {
            Box::new(join::Join::new(*kind, (build(left, cx), build(right, cx)), None, on.as_ref(), *widths))
        }
        Node::Aggregate { input, groups, aggregates } => {
            Box::new(aggregate::Aggregate::new(build(input, cx), groups, aggregates))
        }
        Node::Sort { input, keys, limit } => Box::new(sort::Sort::new(build(input, cx), keys, limit.as_ref())),
        Node::Limit { input, limit, offset } => {
            Box::new(simple::Limit::new(build(input, cx), limit.as_ref(), offset.as_ref()))
        }
        Node::Distinct { input, on } => Box::new(distinct::Distinct::new(build(input, cx), on.as_deref())),
        Node::SetOp { op, all, left, right } => {
            Box::new(set_op::SetOperation::new(*op, *all, build(left, cx), build(right, cx)))
        }
    };
    if cx.statistics.counts_nodes() { Box::new(simple::Counted::new(node, operator)) } else { operator }
}

/// Splits the first batch off what an operator holds; `None` once nothing is left.
pub(super) fn take_batch(rows: &mut std::vec::IntoIter<Row>) -> Option<Batch> {
    let batch: Batch = rows.by_ref().take(BATCH_ROWS).collect();
    (!batch.is_empty()).then_some(batch)
}

/// `left` followed by `right`.
pub(super) fn joined(left: &[Value], right: &[Value]) -> Row {
    let mut row = Vec::with_capacity(left.len() + right.len());
    row.extend_from_slice(left);
    row.extend_from_slice(right);
    row
}

/// A row followed by NULLs.
pub(super) fn padded_right(left: &[Value], width: usize) -> Row {
    let mut row = Vec::with_capacity(left.len() + width);
    row.extend_from_slice(left);
    row.resize(left.len() + width, Value::Null);
    row
}
