//! Joins by key: for many outer rows at once, the matching inner rows are read in one request.

use super::access::{Claim, Target, claims, homes, targets};
use super::scan::{begin, decode};
use super::{BATCH_ROWS, Batch, Operator, Row, Running, joined, padded_right, page_limits};
use crate::error::{Error, Result};
use crate::exec::context::{ExecContext, row_bytes};
use crate::exec::expr::Expr;
use crate::exec::node::{JoinKind, Node, Scan};
use crate::store::ReadResult;
use crate::topology::HomeNo;
use crate::txn::HomeRead;
use async_trait::async_trait;
use std::collections::HashMap;

/// How many outer rows are looked up at once.
const LOOKUP_ROWS: usize = 4096;

/// Outer rows with the inner rows that their keys found.
struct Chunk {
    outer: Vec<Row>,
    /// For each outer row positions in `found`.
    targets: Vec<Vec<usize>>,
    /// The inner rows of each distinct target.
    found: Vec<Vec<Row>>,
    /// The outer row to go on with.
    position: usize,
    held_bytes: usize,
}

/// A join by look-ups.
pub(super) struct LookupJoin<'n> {
    kind: JoinKind,
    outer: Running<'n>,
    inner: &'n Scan,
    on: Option<&'n Expr>,
    chunk: Option<Chunk>,
    /// How many outer rows to gather for the next chunk.
    gather: usize,
    outer_done: bool,
}

impl<'n> LookupJoin<'n> {
    pub(super) fn new(kind: JoinKind, outer: (&Node, Running<'n>), inner: &'n Scan, on: Option<&'n Expr>) -> Self {
        // Where only a few rows are wanted, look up those that come first and then more.
        let gather = if has_row_goal(outer.0) { 1 } else { LOOKUP_ROWS };
        Self { kind, outer: outer.1, inner, on, chunk: None, gather, outer_done: false }
    }

    async fn gather(&mut self, cx: &mut ExecContext<'_>) -> Result<Vec<Row>> {
        let mut rows = vec![];
        while !self.outer_done && rows.len() < self.gather {
            match self.outer.next(cx).await? {
                Some(batch) => rows.extend(batch),
                None => self.outer_done = true,
            }
        }
        self.gather = (self.gather * 4).min(LOOKUP_ROWS);
        Ok(rows)
    }

    /// [`LookupJoin::look_up`] by claims: one read for all claims, one more for the rows that are not beside theirs.
    async fn look_up_claims(&self, outer: Vec<Row>, cx: &mut ExecContext<'_>) -> Result<Chunk> {
        let inner = self.inner;
        let mut positions: HashMap<Claim, usize> = HashMap::new();
        let mut distinct: Vec<Claim> = vec![];
        let mut row_targets = Vec::with_capacity(outer.len());
        for row in &outer {
            let wanted = cx.answering(|cx| claims(inner, &mut |expr| cx.try_evaluate(expr, row))).await?;
            let wanted = wanted.into_iter().map(|claim| {
                *positions.entry(claim).or_insert_with_key(|claim| {
                    distinct.push(claim.clone());
                    distinct.len() - 1
                })
            });
            row_targets.push(wanted.collect::<Vec<usize>>());
        }
        let reads: Vec<HomeRead> = distinct.iter().flat_map(Claim::reads).collect();
        let limits = page_limits(reads.len());
        let mut answers = cx.txn.read(reads, limits).await?.into_iter();
        let mut entries = Vec::with_capacity(distinct.len());
        let (mut waiting, mut reads) = (vec![], vec![]);
        for claim in &distinct {
            let (beside, place) = claim.take(&mut answers)?;
            if let Some(place) = place {
                waiting.push((entries.len(), claim, place.home));
                reads.push(HomeRead::point(place.home, place.key));
            }
            entries.push(beside);
        }
        let rows = if reads.is_empty() { vec![] } else { cx.txn.read(reads, limits).await? };
        for ((position, claim, home), result) in waiting.into_iter().zip(rows) {
            if let (Some(slot), Some(entry)) = (entries.get_mut(position), result.entries.into_iter().next()) {
                claim.settle(inner, home, &entry, cx.txn)?;
                *slot = Some(entry);
            }
        }
        let mut held_bytes: usize = outer.iter().map(|row| row_bytes(row)).sum();
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut kept = vec![];
            if let Some(entry) = entry {
                cx.statistics.rows_read += 1;
                let row = decode(inner, &entry)?;
                let holds = match &inner.filter {
                    Some(filter) => cx.holds(filter, &row).await?,
                    None => true,
                };
                if holds {
                    held_bytes += row_bytes(&row);
                    kept.push(row);
                }
            }
            found.push(kept);
        }
        cx.reserve(held_bytes)?;
        Ok(Chunk { outer, targets: row_targets, found, position: 0, held_bytes })
    }

    async fn look_up(&self, outer: Vec<Row>, cx: &mut ExecContext<'_>) -> Result<Chunk> {
        let inner = self.inner;
        if inner.by_claim {
            return self.look_up_claims(outer, cx).await;
        }
        let mut positions: HashMap<(HomeNo, Target), usize> = HashMap::new();
        let mut distinct: Vec<(HomeNo, Target)> = vec![];
        let mut row_targets = Vec::with_capacity(outer.len());
        for row in &outer {
            let homes = cx.answering(|cx| homes(inner, &mut |expr| cx.try_evaluate(expr, row))).await?;
            let wanted = cx.answering(|cx| targets(inner, &mut |expr| cx.try_evaluate(expr, row))).await?;
            let places = homes.iter().flat_map(|home| wanted.iter().map(|target| (*home, target.clone())));
            let wanted = places.map(|place| {
                *positions.entry(place).or_insert_with_key(|place| {
                    distinct.push(place.clone());
                    distinct.len() - 1
                })
            });
            row_targets.push(wanted.collect::<Vec<usize>>());
        }
        let mut held_bytes: usize = outer.iter().map(|row| row_bytes(row)).sum();
        cx.reserve(held_bytes)?;
        let mut found: Vec<Vec<Row>> = Vec::new();
        found.resize_with(distinct.len(), Vec::new);
        let mut unread: Vec<(usize, (HomeNo, Target))> = distinct.into_iter().enumerate().collect();
        while !unread.is_empty() {
            let reads = unread
                .iter()
                .map(|(_, (home, target))| HomeRead { home: *home, read: target.read(None, inner.reverse) })
                .collect();
            let results = cx.txn.read(reads, page_limits(unread.len())).await?;
            if results.len() != unread.len() {
                return Err(Error::internal("reads of a join were not answered"));
            }
            let mut rest = vec![];
            for ((position, (home, target)), result) in unread.into_iter().zip(results) {
                if let Some(last) = &result.more {
                    rest.push((position, (home, target.after(last, inner.reverse))));
                }
                for entry in &result.entries {
                    cx.statistics.rows_read += 1;
                    let row = decode(inner, entry)?;
                    let kept = match &inner.filter {
                        Some(filter) => cx.holds(filter, &row).await?,
                        None => true,
                    };
                    if let (true, Some(rows)) = (kept, found.get_mut(position)) {
                        let bytes = row_bytes(&row);
                        held_bytes += bytes;
                        cx.reserve(bytes)?;
                        rows.push(row);
                    }
                }
            }
            unread = rest;
        }
        Ok(Chunk { outer, targets: row_targets, found, position: 0, held_bytes })
    }

    /// Appends the output of one outer row.
    async fn join_row(&self, chunk: &Chunk, position: usize, out: &mut Batch, cx: &mut ExecContext<'_>) -> Result<()> {
        let (Some(outer), Some(targets)) = (chunk.outer.get(position), chunk.targets.get(position)) else {
            return Ok(());
        };
        let mut matched = false;
        'targets: for target in targets {
            let Some(found) = chunk.found.get(*target) else { continue };
            for inner in found {
                let row = joined(outer, inner);
                if let Some(on) = self.on
                    && !cx.holds(on, &row).await?
                {
                    continue;
                }
                matched = true;
                match self.kind {
                    JoinKind::Semi | JoinKind::Anti => break 'targets,
                    _ => out.push(row),
                }
            }
        }
        match (self.kind, matched) {
            (JoinKind::Left, false) => out.push(padded_right(outer, self.inner.columns.len())),
            (JoinKind::Semi, true) | (JoinKind::Anti, false) => out.push(outer.clone()),
            _ => {}
        }
        Ok(())
    }
}

#[async_trait]
impl Operator for LookupJoin<'_> {
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<HomeRead>) -> Result<()> {
        if matches!(self.kind, JoinKind::Right | JoinKind::Full) {
            return Err(Error::internal("a join by look-ups can't keep unmatched inner rows"));
        }
        begin(self.inner, cx)?;
        self.outer.first_reads(cx, out)
    }

    fn accept(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        self.outer.accept(results)
    }

    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        let mut out = vec![];
        loop {
            let mut chunk = match self.chunk.take() {
                Some(chunk) => chunk,
                None => {
                    let outer = self.gather(cx).await?;
                    if outer.is_empty() {
                        return Ok((!out.is_empty()).then_some(out));
                    }
                    self.look_up(outer, cx).await?
                }
            };
            while chunk.position < chunk.outer.len() && out.len() < BATCH_ROWS {
                self.join_row(&chunk, chunk.position, &mut out, cx).await?;
                chunk.position += 1;
            }
            if chunk.position < chunk.outer.len() {
                self.chunk = Some(chunk);
            } else {
                cx.release(chunk.held_bytes);
            }
            // What is there is handed on before more is read.
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
    }
}

/// Whether only a few rows of this input are wanted.
fn has_row_goal(node: &Node) -> bool {
    match node {
        Node::Scan(scan) => scan.row_goal.is_some(),
        Node::LookupJoin { outer, .. } => has_row_goal(outer),
        Node::Filter { input, .. } | Node::Project { input, .. } => has_row_goal(input),
        _ => false,
    }
}
