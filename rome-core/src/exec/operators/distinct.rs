//! DISTINCT and DISTINCT ON: the first row of each kind.

use super::{Batch, Operator, Running};
use crate::error::Result;
use crate::exec::context::{ExecContext, row_bytes};
use crate::exec::expr::Expr;
use crate::store::ReadResult;
use crate::txn::HomeRead;
use crate::value::Value;
use async_trait::async_trait;
use std::collections::HashSet;

/// Removes duplicates.
pub(super) struct Distinct<'n> {
    input: Running<'n>,
    on: Option<&'n [Expr]>,
    seen: HashSet<Vec<Value>>,
}

impl<'n> Distinct<'n> {
    pub(super) fn new(input: Running<'n>, on: Option<&'n [Expr]>) -> Self {
        Self { input, on, seen: HashSet::new() }
    }
}

#[async_trait]
impl Operator for Distinct<'_> {
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
                let key = match self.on {
                    Some(on) => cx.evaluate_all(on, &row).await?,
                    None => row.clone(),
                };
                let bytes = row_bytes(&key);
                if self.seen.insert(key) {
                    cx.reserve(bytes)?;
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
