//! UNION, INTERSECT and EXCEPT; with ALL they count how often a row occurs. NULLs are equal here.

use super::simple::collect;
use super::{Batch, Operator, Row, Running};
use crate::error::Result;
use crate::exec::context::{ExecContext, row_bytes};
use crate::exec::node::SetOp;
use crate::store::ReadResult;
use crate::txn::HomeRead;
use async_trait::async_trait;
use std::collections::{HashMap, HashSet};

/// A set operation.
pub(super) struct SetOperation<'n> {
    op: SetOp,
    all: bool,
    left: Running<'n>,
    right: Running<'n>,
    left_done: bool,
    /// How often the right side has each row, less what was used up; for INTERSECT and EXCEPT.
    right_counts: Option<HashMap<Row, usize>>,
    /// Rows that were handed on, without ALL.
    seen: HashSet<Row>,
}

impl<'n> SetOperation<'n> {
    pub(super) fn new(op: SetOp, all: bool, left: Running<'n>, right: Running<'n>) -> Self {
        Self { op, all, left, right, left_done: false, right_counts: None, seen: HashSet::new() }
    }

    async fn pull(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        if self.op != SetOp::Union {
            if self.right_counts.is_none() {
                let mut counts = HashMap::new();
                for row in collect(&mut self.right, cx).await? {
                    *counts.entry(row).or_insert(0) += 1;
                }
                self.right_counts = Some(counts);
            }
            return self.left.next(cx).await;
        }
        if !self.left_done {
            match self.left.next(cx).await? {
                Some(batch) => return Ok(Some(batch)),
                None => self.left_done = true,
            }
        }
        self.right.next(cx).await
    }

    /// Whether the result has this row (once more).
    fn wants(&mut self, row: &Row) -> bool {
        let count = self.right_counts.as_mut().and_then(|counts| counts.get_mut(row));
        let in_right = match count {
            Some(count) if *count > 0 => {
                if self.all {
                    *count -= 1;
                }
                true
            }
            _ => false,
        };
        let wanted = match self.op {
            SetOp::Union => true,
            SetOp::Intersect => in_right,
            SetOp::Except => !in_right,
        };
        wanted && (self.all || self.seen.insert(row.clone()))
    }
}

#[async_trait]
impl Operator for SetOperation<'_> {
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<HomeRead>) -> Result<()> {
        self.left.first_reads(cx, out)?;
        self.right.first_reads(cx, out)
    }

    fn accept(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        self.left.accept(results)?;
        self.right.accept(results)
    }

    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        while let Some(mut batch) = self.pull(cx).await? {
            batch.retain(|row| self.wants(row));
            if !self.all {
                cx.reserve(batch.iter().map(|row| row_bytes(row)).sum())?;
            }
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}
