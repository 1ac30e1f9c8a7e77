//! Joins with the right side in memory: by hash of the keys, or of each pair where there are none.

use super::simple::collect;
use super::{BATCH_ROWS, Batch, Operator, Row, Running, joined, padded_right};
use crate::error::Result;
use crate::exec::context::ExecContext;
use crate::exec::expr::Expr;
use crate::exec::node::JoinKind;
use crate::store::ReadResult;
use crate::txn::HomeRead;
use crate::value::Value;
use async_trait::async_trait;
use std::collections::HashMap;

/// The right side. Rows of one key form a chain, in their order.
struct Built {
    rows: Vec<Row>,
    matched: Vec<bool>,
    /// The first row of each key.
    heads: HashMap<Vec<Value>, usize>,
    /// The row after each in its chain.
    next: Vec<Option<usize>>,
}

/// The left row at hand.
struct Cursor {
    batch: Batch,
    row: usize,
    /// The right row to compare with next; outside: not looked up yet.
    candidate: Option<Option<usize>>,
    matched: bool,
}

/// A join of any kind.
pub(super) struct Join<'n> {
    kind: JoinKind,
    left: Running<'n>,
    right: Running<'n>,
    keys: Option<(&'n [Expr], &'n [Expr])>,
    on: Option<&'n Expr>,
    widths: (usize, usize),
    built: Option<Built>,
    cursor: Option<Cursor>,
    left_done: bool,
    /// The right row from which unmatched ones are handed on.
    unmatched: usize,
}

impl<'n> Join<'n> {
    pub(super) fn new(
        kind: JoinKind,
        (left, right): (Running<'n>, Running<'n>),
        keys: Option<(&'n Vec<Expr>, &'n Vec<Expr>)>,
        on: Option<&'n Expr>,
        widths: (usize, usize),
    ) -> Self {
        let keys = keys.map(|(left, right)| (left.as_slice(), right.as_slice()));
        Self { kind, left, right, keys, on, widths, built: None, cursor: None, left_done: false, unmatched: 0 }
    }

    async fn build(&mut self, cx: &mut ExecContext<'_>) -> Result<Built> {
        let rows = collect(&mut self.right, cx).await?;
        let mut built = Built { matched: vec![false; rows.len()], heads: HashMap::new(), next: vec![], rows };
        let Some((_, right_keys)) = self.keys else {
            // One chain of all rows.
            built.next = (1..=built.rows.len()).map(|next| (next < built.rows.len()).then_some(next)).collect();
            return Ok(built);
        };
        built.next = vec![None; built.rows.len()];
        // From the back, so that each chain is in the order of the rows.
        for position in (0..built.rows.len()).rev() {
            let Some(row) = built.rows.get(position) else { continue };
            let key = cx.evaluate_all(right_keys, row).await?;
            if key.iter().any(Value::is_null) {
                continue;
            }
            cx.reserve(super::super::context::row_bytes(&key) + 16)?;
            let after = built.heads.insert(key, position);
            if let Some(next) = built.next.get_mut(position) {
                *next = after;
            }
        }
        Ok(built)
    }

    /// The first right row to compare with a left row.
    async fn first_candidate(&self, built: &Built, left: &[Value], cx: &mut ExecContext<'_>) -> Result<Option<usize>> {
        match self.keys {
            None => Ok((!built.rows.is_empty()).then_some(0)),
            Some((left_keys, _)) => {
                let key = cx.evaluate_all(left_keys, left).await?;
                Ok(if key.iter().any(Value::is_null) { None } else { built.heads.get(&key).copied() })
            }
        }
    }

    /// Goes on with the left row at the cursor until it is done or the batch is full; whether it is done.
    async fn advance(
        &self,
        built: &mut Built,
        cursor: &mut Cursor,
        out: &mut Batch,
        cx: &mut ExecContext<'_>,
    ) -> Result<bool> {
        let Some(left) = cursor.batch.get(cursor.row) else { return Ok(true) };
        let mut candidate = match cursor.candidate {
            Some(candidate) => candidate,
            None => self.first_candidate(built, left, cx).await?,
        };
        while let Some(position) = candidate {
            if out.len() >= BATCH_ROWS {
                cursor.candidate = Some(candidate);
                return Ok(false);
            }
            candidate = built.next.get(position).copied().flatten();
            let Some(right) = built.rows.get(position) else { continue };
            let row = joined(left, right);
            if let Some(on) = self.on
                && !cx.holds(on, &row).await?
            {
                continue;
            }
            cursor.matched = true;
            if let Some(matched) = built.matched.get_mut(position) {
                *matched = true;
            }
            match self.kind {
                JoinKind::Semi | JoinKind::Anti => break,
                _ => out.push(row),
            }
        }
        match (self.kind, cursor.matched) {
            (JoinKind::Left | JoinKind::Full, false) => out.push(padded_right(left, self.widths.1)),
            (JoinKind::Semi, true) | (JoinKind::Anti, false) => out.push(left.clone()),
            _ => {}
        }
        Ok(true)
    }

    /// Right rows without a match, at the end.
    fn unmatched(&mut self, built: &Built, out: &mut Batch) {
        while out.len() < BATCH_ROWS {
            let position = self.unmatched;
            let (Some(row), Some(matched)) = (built.rows.get(position), built.matched.get(position)) else { return };
            self.unmatched += 1;
            if !matched {
                out.push(joined(&vec![Value::Null; self.widths.0], row));
            }
        }
    }
}

#[async_trait]
impl Operator for Join<'_> {
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<HomeRead>) -> Result<()> {
        self.left.first_reads(cx, out)?;
        self.right.first_reads(cx, out)
    }

    fn accept(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        self.left.accept(results)?;
        self.right.accept(results)
    }

    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        let mut built = match self.built.take() {
            Some(built) => built,
            None => {
                let built = self.build(cx).await?;
                // Without right rows these have no output at all.
                self.left_done =
                    built.rows.is_empty() && matches!(self.kind, JoinKind::Inner | JoinKind::Right | JoinKind::Semi);
                built
            }
        };
        let mut out = vec![];
        while !self.left_done && out.len() < BATCH_ROWS {
            let mut cursor = match self.cursor.take() {
                Some(cursor) => cursor,
                None => match self.left.next(cx).await? {
                    Some(batch) => Cursor { batch, row: 0, candidate: None, matched: false },
                    None => {
                        self.left_done = true;
                        break;
                    }
                },
            };
            while cursor.row < cursor.batch.len() && out.len() < BATCH_ROWS {
                if self.advance(&mut built, &mut cursor, &mut out, cx).await? {
                    cursor = Cursor { row: cursor.row + 1, candidate: None, matched: false, batch: cursor.batch };
                }
            }
            if cursor.row < cursor.batch.len() {
                self.cursor = Some(cursor);
            }
        }
        if self.left_done && matches!(self.kind, JoinKind::Right | JoinKind::Full) {
            self.unmatched(&built, &mut out);
        }
        self.built = Some(built);
        Ok((!out.is_empty()).then_some(out))
    }
}
