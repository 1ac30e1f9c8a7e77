//! Scans of one table: pages of rows, decoded as far as they are needed.

use super::access::{Claim, Target, claims, homes, targets};
use super::{BATCH_ROWS, Batch, Operator, PAGE_ENTRIES, Row, page_limits};
use crate::encoding::RowReader;
use crate::error::{Error, Result, SqlState};
use crate::exec::context::ExecContext;
use crate::exec::expr::Expr;
use crate::exec::keys::{Located, decode_column};
use crate::exec::node::Scan;
use crate::store::{Entry, Key, ReadResult};
use crate::topology::HomeNo;
use crate::txn::HomeRead;
use crate::value::Value;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::iter::Peekable;

/// How many points and ranges are read in one request.
const MAX_READS: usize = 4096;

/// The first page where only some rows are wanted but a filter may drop many.
const FIRST_FILTERED_PAGE: usize = 64;

/// A part of the scan, in order.
enum Part {
    Read(Peekable<std::vec::IntoIter<Entry>>),
    Unread(Target),
}

/// What is read at one home, in the order of the scan.
struct Source {
    home: HomeNo,
    parts: VecDeque<Part>,
    /// Targets whose answers are to come.
    asked: Vec<Target>,
}

impl Source {
    /// Drops what has been used up; whether it must be read on.
    fn is_dry(&mut self) -> bool {
        loop {
            match self.parts.front_mut().map(|part| match part {
                Part::Read(entries) => entries.peek().is_some(),
                Part::Unread(_) => false,
            }) {
                Some(false) if matches!(self.parts.front(), Some(Part::Unread(_))) => return true,
                Some(false) => self.parts.pop_front(),
                Some(true) | None => return false,
            };
        }
    }

    fn peek(&mut self) -> Option<&Key> {
        match self.parts.front_mut() {
            Some(Part::Read(entries)) => entries.peek().map(|entry| &entry.key),
            _ => None,
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        match self.parts.front_mut() {
            Some(Part::Read(entries)) => entries.next(),
            _ => None,
        }
    }
}

/// What comes next in a scan.
enum Next {
    Entry(Entry),
    /// More must be read first.
    Read,
    End,
}

/// A scan. The streams of several homes are merged in the order of their keys.
pub(super) struct ScanOperator<'n> {
    scan: &'n Scan,
    sources: Vec<Source>,
    /// Claims whose answers are to come, for a scan by claims.
    claims: Vec<Claim>,
    /// Claims by the rows elsewhere that they led to.
    followed: HashMap<Located, Claim>,
    /// Such claims and the rows that were there.
    found: Vec<(HomeNo, Entry, Claim)>,
    opened: bool,
    /// Entries of the next page, where only one range is read.
    page: usize,
}

impl<'n> ScanOperator<'n> {
    pub(super) fn new(scan: &'n Scan) -> Self {
        Self {
            scan,
            sources: vec![],
            claims: vec![],
            followed: HashMap::new(),
            found: vec![],
            opened: false,
            page: PAGE_ENTRIES,
        }
    }

    fn open(&mut self, opening: Opening, goal: Option<i64>) {
        if let Some(goal) = goal.and_then(|goal| usize::try_from(goal).ok()) {
            let first = if self.scan.filter.is_some() { goal.max(FIRST_FILTERED_PAGE) } else { goal };
            self.page = first.clamp(1, PAGE_ENTRIES);
        }
        match opening {
            Opening::Homes(homes, targets) => {
                let parts = || targets.iter().cloned().map(Part::Unread).collect();
                let source = |home| Source { home, parts: parts(), asked: vec![] };
                self.sources = homes.into_iter().map(source).collect();
            }
            Opening::Claims(claims) => self.claims = claims,
        }
        self.opened = true;
    }

    /// The reads of the unread parts at the front.
    fn reads(&mut self) -> Vec<HomeRead> {
        if !self.claims.is_empty() {
            return self.claims.iter().flat_map(Claim::reads).collect();
        }
        let page = self.page;
        let mut reads = vec![];
        let most = MAX_READS / self.sources.len().max(1);
        for source in &mut self.sources {
            while source.asked.len() < most.max(1) && matches!(source.parts.front(), Some(Part::Unread(_))) {
                if let Some(Part::Unread(target)) = source.parts.pop_front() {
                    source.asked.push(target);
                }
            }
            let home = source.home;
            let asked = source.asked.iter().map(|target| target.read(Some(page), self.scan.reverse));
            reads.extend(asked.map(|read| HomeRead { home, read }));
        }
        self.page = (page * 2).min(PAGE_ENTRIES);
        reads
    }

    fn take(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        if !self.claims.is_empty() {
            return self.take_claims(results);
        }
        for source in &mut self.sources {
            let asked = std::mem::take(&mut source.asked);
            let answers: Vec<ReadResult> = results.by_ref().take(asked.len()).collect();
            if answers.len() != asked.len() {
                return Err(Error::internal("reads of a scan were not answered"));
            }
            for (target, result) in asked.into_iter().zip(answers).rev() {
                if let (Target::Row(key), Some(entry), false) =
                    (&target, result.entries.first(), self.followed.is_empty())
                    && let Some(claim) = self.followed.remove(&Located { home: source.home, key: key.clone() })
                {
                    self.found.push((source.home, entry.clone(), claim));
                }
                if let Some(last) = &result.more {
                    source.parts.push_front(Part::Unread(target.after(last, self.scan.reverse)));
                }
                source.parts.push_front(Part::Read(result.entries.into_iter().peekable()));
            }
        }
        Ok(())
    }

    /// Rows that were beside their claims are there; the others are read next, where their claims say.
    fn take_claims(&mut self, results: &mut std::vec::IntoIter<ReadResult>) -> Result<()> {
        let mut found: BTreeMap<HomeNo, BTreeMap<Key, Entry>> = BTreeMap::new();
        let mut elsewhere: BTreeMap<HomeNo, BTreeSet<Key>> = BTreeMap::new();
        for claim in std::mem::take(&mut self.claims) {
            match claim.take(results)? {
                (Some(row), _) => drop(found.entry(claim.home()).or_default().insert(row.key.clone(), row)),
                (None, Some(place)) => {
                    elsewhere.entry(place.home).or_default().insert(place.key.clone());
                    self.followed.insert(place, claim);
                }
                (None, None) => {}
            }
        }
        for (home, entries) in found {
            let entries: Vec<Entry> = entries.into_values().collect();
            let parts = VecDeque::from([Part::Read(entries.into_iter().peekable())]);
            self.sources.push(Source { home, parts, asked: vec![] });
        }
        for (home, keys) in elsewhere {
            let parts = keys.into_iter().map(|key| Part::Unread(Target::Row(key))).collect();
            self.sources.push(Source { home, parts, asked: vec![] });
        }
        Ok(())
    }

    fn next_entry(&mut self) -> Next {
        let mut dry = !self.claims.is_empty();
        for source in &mut self.sources {
            dry |= source.is_dry();
        }
        if dry {
            return Next::Read;
        }
        let mut first: Option<(usize, Key)> = None;
        if self.sources.len() > 1 {
            for (at, source) in self.sources.iter_mut().enumerate() {
                let Some(key) = source.peek() else { continue };
                let before =
                    first.as_ref().is_none_or(|(_, other)| if self.scan.reverse { key > other } else { key < other });
                if before {
                    first = Some((at, key.clone()));
                }
            }
        }
        let at = first.map_or(0, |(at, _)| at);
        match self.sources.get_mut(at).and_then(Source::pop) {
            Some(entry) => Next::Entry(entry),
            None => Next::End,
        }
    }
}

/// Where a scan reads what.
enum Opening {
    Homes(Vec<HomeNo>, Vec<Target>),
    Claims(Vec<Claim>),
}

fn opening(scan: &Scan, evaluate: &mut dyn FnMut(&Expr) -> Result<Value>) -> Result<Opening> {
    if scan.by_claim {
        return claims(scan, evaluate).map(Opening::Claims);
    }
    Ok(Opening::Homes(homes(scan, evaluate)?, targets(scan, evaluate)?))
}

#[async_trait]
impl Operator for ScanOperator<'_> {
    fn first_reads(&mut self, cx: &mut ExecContext<'_>, out: &mut Vec<HomeRead>) -> Result<()> {
        begin(self.scan, cx)?;
        let attempt = opening(self.scan, &mut |expr| cx.try_evaluate(expr, &[])).and_then(|opening| {
            let goal = self.scan.row_goal.as_ref().map(|goal| cx.try_evaluate(goal, &[])).transpose()?;
            Ok((opening, goal))
        });
        match attempt {
            Ok((opening, goal)) => {
                let goal = match goal {
                    Some(crate::value::Value::Int(goal)) => Some(goal),
                    _ => None,
                };
                self.open(opening, goal);
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
            let opening = cx.answering(|cx| opening(scan, &mut |expr| cx.try_evaluate(expr, &[]))).await?;
            let goal = cx.evaluate_count(scan.row_goal.as_ref()).await?;
            self.open(opening, goal);
        }
        let mut batch = vec![];
        loop {
            match self.next_entry() {
                Next::End => return Ok((!batch.is_empty()).then_some(batch)),
                // What is there is handed on before more is read.
                Next::Read if !batch.is_empty() => return Ok(Some(batch)),
                Next::Read => {
                    let reads = self.reads();
                    let limits = page_limits(reads.len());
                    let results = cx.txn.read(reads, limits).await?;
                    self.take(&mut results.into_iter())?;
                    for (home, entry, claim) in self.found.drain(..) {
                        claim.settle(self.scan, home, &entry, cx.txn)?;
                    }
                }
                Next::Entry(entry) => {
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
            }
        }
    }
}

/// What every use of a table notes in the transaction.
pub(super) fn begin(scan: &Scan, cx: &mut ExecContext<'_>) -> Result<()> {
    cx.txn.use_table(&scan.table)?;
    if scan.lock {
        cx.txn.validate_at_commit();
    }
    Ok(())
}

/// The scan's columns of a stored row, or of the row that an index entry points to.
pub(super) fn decode(scan: &Scan, entry: &Entry) -> Result<Row> {
    let value = match (&scan.access.index, &entry.target) {
        (None, _) => &entry.value,
        // A claim leads to the row itself.
        (Some(_), _) if scan.by_claim => &entry.value,
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
