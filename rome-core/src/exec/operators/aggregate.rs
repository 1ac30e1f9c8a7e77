//! GROUP BY: one accumulator for each group and aggregate, found by hash. Groups come out in the order of their first rows.

use super::{Batch, Operator, Row, Running, take_batch};
use crate::error::Result;
use crate::exec::aggregate::Accumulator;
use crate::exec::context::{ExecContext, row_bytes};
use crate::exec::expr::{AggregateCall, Expr};
use crate::store::ReadResult;
use crate::txn::HomeRead;
use crate::value::Value;
use async_trait::async_trait;
use std::collections::HashMap;

/// An aggregation.
pub(super) struct Aggregate<'n> {
    input: Running<'n>,
    groups: &'n [Expr],
    calls: &'n [AggregateCall],
    result: Option<std::vec::IntoIter<Row>>,
}

type Group = (Vec<Value>, Vec<Accumulator>);

impl<'n> Aggregate<'n> {
    pub(super) fn new(input: Running<'n>, groups: &'n [Expr], calls: &'n [AggregateCall]) -> Self {
        Self { input, groups, calls, result: None }
    }

    fn new_group(&self, key: Vec<Value>) -> Group {
        (key, self.calls.iter().map(Accumulator::new).collect())
    }

    async fn aggregate(&mut self, cx: &mut ExecContext<'_>) -> Result<Vec<Row>> {
        let mut positions: HashMap<Vec<Value>, usize> = HashMap::new();
        let mut groups: Vec<Group> = vec![];
        if self.groups.is_empty() {
            // Without GROUP BY there is one group, also of no rows.
            groups.push(self.new_group(vec![]));
            positions.insert(vec![], 0);
        }
        while let Some(batch) = self.input.next(cx).await? {
            for row in batch {
                let key = cx.evaluate_all(self.groups, &row).await?;
                let position = match positions.get(&key) {
                    Some(position) => *position,
                    None => {
                        cx.reserve(2 * row_bytes(&key) + self.calls.len() * size_of::<Accumulator>() + 64)?;
                        groups.push(self.new_group(key.clone()));
                        positions.insert(key, groups.len() - 1);
                        groups.len() - 1
                    }
                };
                let Some((_, accumulators)) = groups.get_mut(position) else { continue };
                for (call, accumulator) in self.calls.iter().zip(accumulators) {
                    if let Some(filter) = &call.filter
                        && !cx.holds(filter, &row).await?
                    {
                        continue;
                    }
                    let args = cx.evaluate_all(&call.args, &row).await?;
                    cx.reserve(accumulator.add(args)?)?;
                }
            }
        }
        let rows = groups.into_iter().map(|(mut row, accumulators)| {
            for accumulator in accumulators {
                row.push(accumulator.finish()?);
            }
            Ok(row)
        });
        rows.collect()
    }
}

#[async_trait]
impl Operator for Aggregate<'_> {
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<HomeRead>) -> Result<()> {
        self.input.first_reads(cx, out)
    }

    fn accept(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        self.input.accept(results)
    }

    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        if self.result.is_none() {
            self.result = Some(self.aggregate(cx).await?.into_iter());
        }
        Ok(self.result.as_mut().and_then(take_batch))
    }
}
