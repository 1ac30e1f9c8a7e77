//! The operators that keep no rows: constants, filters, projections, limits, and the one that counts for EXPLAIN ANALYZE.

use super::{BATCH_ROWS, Batch, Operator, Row, Running};
use crate::error::{Error, Result, SqlState};
use crate::exec::context::ExecContext;
use crate::exec::expr::Expr;
use crate::exec::node::Node;
use crate::store::ReadResult;
use crate::txn::HomeRead;
use async_trait::async_trait;

/// One row without columns.
#[derive(Default)]
pub(super) struct OneRow {
    done: bool,
}

#[async_trait]
impl Operator for OneRow {
    fn first_reads(&mut self, _: &mut ExecContext<'_>, _: &mut Vec<HomeRead>) -> Result<()> {
        Ok(())
    }

    fn accept(&mut self, _: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        Ok(())
    }

    async fn next(&mut self, _: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        Ok(if std::mem::replace(&mut self.done, true) { None } else { Some(vec![vec![]]) })
    }
}

/// No rows.
pub(super) struct Nothing;

#[async_trait]
impl Operator for Nothing {
    fn first_reads(&mut self, _: &mut ExecContext<'_>, _: &mut Vec<HomeRead>) -> Result<()> {
        Ok(())
    }

    fn accept(&mut self, _: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        Ok(())
    }

    async fn next(&mut self, _: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        Ok(None)
    }
}

/// Computed rows.
pub(super) struct Values<'n> {
    rows: std::slice::Iter<'n, Vec<Expr>>,
}

impl<'n> Values<'n> {
    pub(super) fn new(rows: &'n [Vec<Expr>]) -> Self {
        Self { rows: rows.iter() }
    }
}

#[async_trait]
impl Operator for Values<'_> {
    fn first_reads(&mut self, _: &mut ExecContext<'_>, _: &mut Vec<HomeRead>) -> Result<()> {
        Ok(())
    }

    fn accept(&mut self, _: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        Ok(())
    }

    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        let mut batch = vec![];
        for exprs in self.rows.by_ref().take(BATCH_ROWS) {
            batch.push(cx.evaluate_all(exprs, &[]).await?);
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}

/// Rows for which a predicate is true.
pub(super) struct Filter<'n> {
    input: Running<'n>,
    predicate: &'n Expr,
}

impl<'n> Filter<'n> {
    pub(super) fn new(input: Running<'n>, predicate: &'n Expr) -> Self {
        Self { input, predicate }
    }
}

#[async_trait]
impl Operator for Filter<'_> {
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<HomeRead>) -> Result<()> {
        self.input.first_reads(cx, out)
    }

    fn accept(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        self.input.accept(results)
    }

    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        while let Some(batch) = self.input.next(cx).await? {
            let mut kept = vec![];
            for row in batch {
                if cx.holds(self.predicate, &row).await? {
                    kept.push(row);
                }
            }
            if !kept.is_empty() {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }
}

/// A new row computed from each.
pub(super) struct Project<'n> {
    input: Running<'n>,
    exprs: &'n [Expr],
}

impl<'n> Project<'n> {
    pub(super) fn new(input: Running<'n>, exprs: &'n [Expr]) -> Self {
        Self { input, exprs }
    }
}

#[async_trait]
impl Operator for Project<'_> {
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<HomeRead>) -> Result<()> {
        self.input.first_reads(cx, out)
    }

    fn accept(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        self.input.accept(results)
    }

    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        let Some(mut batch) = self.input.next(cx).await? else { return Ok(None) };
        for row in &mut batch {
            *row = cx.evaluate_all(self.exprs, row).await?;
        }
        Ok(Some(batch))
    }
}

/// Skips rows, then hands on so many, then pulls no more.
pub(super) struct Limit<'n> {
    input: Running<'n>,
    limit: Option<&'n Expr>,
    offset: Option<&'n Expr>,
    /// Rows to skip and, unless unlimited, to hand on; set by the first pull.
    left: Option<(usize, Option<usize>)>,
}

impl<'n> Limit<'n> {
    pub(super) fn new(input: Running<'n>, limit: Option<&'n Expr>, offset: Option<&'n Expr>) -> Self {
        Self { input, limit, offset, left: None }
    }

    async fn counts(&mut self, cx: &mut ExecContext<'_>) -> Result<(usize, Option<usize>)> {
        if let Some(left) = self.left {
            return Ok(left);
        }
        let limit = match cx.evaluate_count(self.limit).await? {
            Some(limit) => Some(
                usize::try_from(limit)
                    .map_err(|_| Error::new(SqlState::INVALID_LIMIT, "LIMIT must not be negative"))?,
            ),
            None => None,
        };
        let offset = cx.evaluate_count(self.offset).await?.unwrap_or(0);
        let offset =
            usize::try_from(offset).map_err(|_| Error::new(SqlState::INVALID_OFFSET, "OFFSET must not be negative"))?;
        Ok(*self.left.insert((offset, limit)))
    }
}

#[async_trait]
impl Operator for Limit<'_> {
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<HomeRead>) -> Result<()> {
        self.input.first_reads(cx, out)
    }

    fn accept(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        self.input.accept(results)
    }

    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        let (mut skip, mut take) = self.counts(cx).await?;
        while take != Some(0) {
            let Some(mut batch) = self.input.next(cx).await? else { break };
            let skipped = skip.min(batch.len());
            skip -= skipped;
            batch.drain(..skipped);
            if let Some(take) = &mut take {
                batch.truncate(*take);
                *take -= batch.len();
            }
            self.left = Some((skip, take));
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

/// Counts what another operator produces.
pub(super) struct Counted<'n> {
    node: &'n Node,
    operator: Running<'n>,
    started: bool,
}

impl<'n> Counted<'n> {
    pub(super) fn new(node: &'n Node, operator: Running<'n>) -> Self {
        Self { node, operator, started: false }
    }
}

#[async_trait]
impl Operator for Counted<'_> {
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<HomeRead>) -> Result<()> {
        self.operator.first_reads(cx, out)
    }

    fn accept(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        self.operator.accept(results)
    }

    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        let batch = self.operator.next(cx).await?;
        let runs = u64::from(!std::mem::replace(&mut self.started, true));
        cx.statistics.add(self.node, batch.as_ref().map_or(0, Vec::len), runs);
        Ok(batch)
    }
}

/// Pulls everything, accounting for it.
pub(super) async fn collect(input: &mut Running<'_>, cx: &mut ExecContext<'_>) -> Result<Vec<Row>> {
    let mut rows = vec![];
    while let Some(batch) = input.next(cx).await? {
        cx.reserve(batch.iter().map(|row| crate::exec::context::row_bytes(row)).sum())?;
        rows.extend(batch);
    }
    Ok(rows)
}
