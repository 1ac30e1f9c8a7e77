//! Scans of one table: pages of rows, decoded as far as they are needed.

use super::access::{Target, targets};
use super::{BATCH_ROWS, Batch, Operator, PAGE_ENTRIES, Row, page_limits};
use crate::encoding::RowReader;
use crate::error::{Error, Result, SqlState};
use crate::exec::context::ExecContext;
use crate::exec::keys::decode_column;
use crate::exec::node::Scan;
use crate::store::{Entry, Read, ReadResult};
use async_trait::async_trait;
use std::collections::VecDeque;

/// How many points and ranges are read in one request.
const MAX_READS: usize = 4096;

/// The first page where only some rows are wanted but a filter may drop many.
const FIRST_FILTERED_PAGE: usize = 64;

/// A part of the scan, in order.
enum Part {
    Read(std::vec::IntoIter<Entry>),
    Unread(Target),
}

/// A scan.
pub(super) struct ScanOperator<'n> {
    scan: &'n Scan,
    parts: VecDeque<Part>,
    /// Targets whose answers are to come.
    asked: Vec<Target>,
    opened: bool,
    /// Entries of the next page, where only one range is read.
    page: usize,
}

impl<'n> ScanOperator<'n> {
    pub(super) fn new(scan: &'n Scan) -> Self {
        Self { scan, parts: VecDeque::new(), asked: vec![], opened: false, page: PAGE_ENTRIES }
    }

    fn open(&mut self, targets: Vec<Target>, goal: Option<i64>) {
        if let Some(goal) = goal.and_then(|goal| usize::try_from(goal).ok()) {
            let first = if self.scan.filter.is_some() { goal.max(FIRST_FILTERED_PAGE) } else { goal };
            self.page = first.clamp(1, PAGE_ENTRIES);
        }
        self.parts = targets.into_iter().map(Part::Unread).collect();
        self.opened = true;
    }

    /// The reads of the unread parts at the front.
    fn reads(&mut self) -> Vec<Read> {
        while self.asked.len() < MAX_READS && matches!(self.parts.front(), Some(Part::Unread(_))) {
            if let Some(Part::Unread(target)) = self.parts.pop_front() {
                self.asked.push(target);
            }
        }
        let page = self.page;
        self.page = (page * 2).min(PAGE_ENTRIES);
        self.asked.iter().map(|target| target.read(Some(page), self.scan.reverse)).collect()
    }

    fn take(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        let asked = std::mem::take(&mut self.asked);
        let answers: Vec<ReadResult> = results.by_ref().take(asked.len()).collect();
        if answers.len() != asked.len() {
            return Err(Error::internal("reads of a scan were not answered"));
        }
        for (target, result) in asked.into_iter().zip(answers).rev() {
            if let Some(last) = &result.more {
                self.parts.push_front(Part::Unread(target.after(last, self.scan.reverse)));
            }
            self.parts.push_front(Part::Read(result.entries.into_iter()));
        }
        Ok(())
    }
}

#[async_trait]
impl Operator for ScanOperator<'_> {
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<Read>) -> Result<()> {
        begin(self.scan, cx)?;
        let attempt = targets(self.scan, &mut |expr| cx.try_evaluate(expr, &[])).and_then(|targets| {
            let goal = self.scan.row_goal.as_ref().map(|goal| cx.try_evaluate(goal, &[])).transpose()?;
            Ok((targets, goal))
        });
        match attempt {
            Ok((targets, goal)) => {
                let goal = match goal {
                    Some(crate::value::Value::Int(goal)) => Some(goal),
                    _ => None,
                };
                self.open(targets, goal);
                out.extend(self.reads());
                Ok(())
            }
            // A key depends on a subquery: this scan begins with its first batch.
            Err(_) if cx.drop_question() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn accept(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        self.take(results)
    }

    async fn next(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Batch>> {
        if !self.opened {
            let scan = self.scan;
            let targets = cx.answering(|cx| targets(scan, &mut |expr| cx.try_evaluate(expr, &[]))).await?;
            let goal = cx.evaluate_count(scan.row_goal.as_ref()).await?;
            self.open(targets, goal);
        }
        let mut batch = vec![];
        loop {
            match self.parts.front_mut() {
                None => return Ok((!batch.is_empty()).then_some(batch)),
                // What is there is handed on before more is read.
                Some(Part::Unread(_)) if !batch.is_empty() => return Ok(Some(batch)),
                Some(Part::Unread(_)) => {
                    let reads = self.reads();
                    let limits = page_limits(reads.len());
                    let results = cx.txn.read(reads, limits).await?;
                    self.take(&mut results.into_iter())?;
                }
                Some(Part::Read(entries)) => {
                    for entry in entries.by_ref() {
                        cx.statistics.rows_read += 1;
                        let row = decode(self.scan, &entry)?;
                        let kept = match &self.scan.filter {
                            Some(filter) => cx.holds(filter, &row).await?,
                            None => true,
                        };
                        if kept {
                            batch.push(row);
                        }
                        if batch.len() >= BATCH_ROWS {
                            return Ok(Some(batch));
                        }
                    }
                    self.parts.pop_front();
                }
            }
        }
    }
}

/// What every use of a table notes in the transaction.
pub(super) fn begin(scan: &Scan, cx: &mut ExecContext<'_>) -> Result<()> {
    cx.txn.use_table(scan.table.id, scan.table.version)?;
    if scan.lock {
        cx.txn.validate_at_commit();
    }
    Ok(())
}

/// The scan's columns of a stored row, or of the row that an index entry points to.
pub(super) fn decode(scan: &Scan, entry: &Entry) -> Result<Row> {
    let value = match (&scan.access.index, &entry.target) {
        (None, _) => &entry.value,
        (Some(_), Some(row)) => &row.value,
        (Some(_), None) => {
            let message = format!("an index entry of table \"{}\" points to no row", scan.table.name);
            return Err(Error::new(SqlState::DATA_CORRUPTED, message));
        }
    };
    let reader = RowReader::new(value)?;
    let columns = scan.columns.iter().map(|position| match scan.table.columns.get(*position) {
        Some(column) => decode_column(&reader, column),
        None => Err(Error::internal("a scan of a column that the table does not have")),
    });
    columns.collect()
}
