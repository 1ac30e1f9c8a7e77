//! Sorting: stable, in memory, and of only the first rows where no more are wanted.

use super::{Batch, Operator, Row, Running, take_batch};
use crate::error::Result;
use crate::exec::context::{ExecContext, row_bytes};
use crate::exec::expr::{Expr, SortKey};
use crate::store::ReadResult;
use crate::txn::HomeRead;
use crate::value::Value;
use async_trait::async_trait;
use std::cmp::Ordering;

/// Below this many wanted rows the buffer is cut back as it fills.
const MIN_TOP_BUFFER: usize = 1024;

/// A sort.
pub(super) struct Sort<'n> {
    input: Running<'n>,
    keys: &'n [SortKey],
    limit: Option<&'n Expr>,
    sorted: Option<std::vec::IntoIter<Row>>,
}

impl<'n> Sort<'n> {
    pub(super) fn new(input: Running<'n>, keys: &'n [SortKey], limit: Option<&'n Expr>) -> Self {
        Self { input, keys, limit, sorted: None }
    }

    fn compare(&self, left: &[Value], right: &[Value]) -> Ordering {
        let pairs = left.iter().zip(right).zip(self.keys);
        let mut orders = pairs.map(|((left, right), key)| match (left.is_null(), right.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) if key.nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if key.nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if key.descending => right.total_cmp(left),
            (false, false) => left.total_cmp(right),
        });
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    async fn sort(&mut self, cx: &mut ExecContext<'_>) -> Result<Vec<Row>> {
        // A negative LIMIT is reported by the node above.
        let limit = cx.evaluate_count(self.limit).await?.and_then(|limit| usize::try_from(limit).ok());
        let mut rows: Vec<(Vec<Value>, Row)> = vec![];
        while let Some(batch) = self.input.next(cx).await? {
            for row in batch {
                let mut key = Vec::with_capacity(self.keys.len());
                for sort_key in self.keys {
                    key.push(cx.evaluate(&sort_key.expr, &row).await?);
                }
                cx.reserve(row_bytes(&key) + row_bytes(&row))?;
                rows.push((key, row));
            }
            if let Some(limit) = limit
                && rows.len() >= limit.saturating_mul(2).max(MIN_TOP_BUFFER)
            {
                // Rows that came earlier stay in front of equal ones.
                rows.sort_by(|left, right| self.compare(&left.0, &right.0));
                let dropped = rows.split_off(limit.min(rows.len()));
                cx.release(dropped.iter().map(|(key, row)| row_bytes(key) + row_bytes(row)).sum());
            }
        }
        rows.sort_by(|left, right| self.compare(&left.0, &right.0));
        rows.truncate(limit.unwrap_or(usize::MAX));
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }
}

#[async_trait]
impl Operator for Sort<'_> {
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<HomeRead>) -> Result<()> {
        self.input.first_reads(cx, out)
    }

    fn accept(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        self.input.accept(results)
    }

    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        if self.sorted.is_none() {
            self.sorted = Some(self.sort(cx).await?.into_iter());
        }
        Ok(self.sorted.as_mut().and_then(take_batch))
    }
}
