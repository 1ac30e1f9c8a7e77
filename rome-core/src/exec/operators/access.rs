//! From an access path and its values to what is read: points and ranges of keys.
//!
//! A key expression is a cast to the column's type, and that cast may lose something: `smallint_column = 100000`, `integer_column < 2.5`. So the value before the
//! cast is compared with the one after it, and the range says what the comparison means rather than what the rounded value would.

use super::super::claims::{claim_of_row, claim_place, claimed_row};
use super::super::keys::{Located, decode_column, key_prefix};
use crate::encoding::{KeyColumn, RowReader, encode_key_value};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{Expr, ExprKind};
use crate::exec::node::{Access, KeyBound, Scan};
use crate::store::{Entry, Key, KeyRange, Read, ReadResult, successor};
use crate::topology::HomeNo;
use crate::txn::{HomeRead, Txn};
use crate::value::{DataType, Value, cast, cast_from};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// How many keys the alternatives of one access path may combine to.
const MAX_COMBINATIONS: usize = 100_000;

/// One thing to read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Target {
    /// A row by its key.
    Row(Key),
    /// Rows in the primary key's order.
    Rows(KeyRange),
    /// Rows by entries of an index.
    Entries(KeyRange),
}

impl Target {
    /// The read of it, of at most `limit` entries.
    pub(super) fn read(&self, limit: Option<usize>, reverse: bool) -> Read {
        match self {
            Self::Row(key) => Read::Point(key.clone()),
            Self::Rows(range) => Read::Range { range: range.clone(), limit, reverse },
            Self::Entries(range) => Read::Follow { range: range.clone(), limit, reverse },
        }
    }

    /// What is left after a read stopped at `last`.
    pub(super) fn after(&self, last: &Key, reverse: bool) -> Self {
        let rest = |range: &KeyRange| {
            if reverse {
                KeyRange { from: range.from.clone(), to: last.clone() }
            } else {
                KeyRange { from: successor(last), to: range.to.clone() }
            }
        };
        match self {
            Self::Row(key) => Self::Row(key.clone()),
            Self::Rows(range) => Self::Rows(rest(range)),
            Self::Entries(range) => Self::Entries(rest(range)),
        }
    }

    fn start(&self) -> &Key {
        match self {
            Self::Row(key) => key,
            Self::Rows(range) | Self::Entries(range) => &range.from,
        }
    }
}

/// A key expression's value, with the one before the cast where that differs.
struct KeyValue {
    value: Value,
    /// How the value compares with what was asked for: less if the cast made it smaller.
    rounding: Rounding,
}

enum Rounding {
    Exact,
    /// The cast made it smaller.
    Down,
    /// The cast made it greater.
    Up,
    /// Below everything that the type holds.
    BelowAll,
    /// Above everything that the type holds.
    AboveAll,
}

/// What a scan reads for these values of its key expressions, in the order of the scan. `evaluate` gives an expression's value.
///
/// # Errors
/// Those of the expressions.
pub(super) fn targets(scan: &Scan, evaluate: &mut dyn FnMut(&Expr) -> Result<Value>) -> Result<Vec<Target>> {
    let Access { index, prefix, lower, upper } = &scan.access;
    let table = &scan.table;
    let index = index.and_then(|position| table.indexes.get(position));
    let columns = match index {
        Some(index) => table.index_key_columns(index),
        None => table.primary_key_columns(),
    };
    let Some(prefixes) = prefix_values(prefix, evaluate)? else { return Ok(vec![]) };
    let bounds = (
        lower.as_ref().map(|bound| bound_value(bound, evaluate)).transpose()?,
        upper.as_ref().map(|bound| bound_value(bound, evaluate)).transpose()?,
    );
    if bounds.0.as_ref().is_some_and(|bound| bound.0.value.is_null())
        || bounds.1.as_ref().is_some_and(|bound| bound.0.value.is_null())
    {
        return Ok(vec![]);
    }
    let mut targets = vec![];
    for values in prefixes {
        let key = key_prefix(table, index, &values)?;
        if values.len() == columns.len() && lower.is_none() && upper.is_none() {
            targets.push(match index {
                Some(_) => Target::Entries(KeyRange::prefix(&key)),
                None => Target::Row(key.into()),
            });
            continue;
        }
        let Some(range) = bounded(key, columns.get(values.len()), &bounds)? else { continue };
        targets.push(if index.is_some() { Target::Entries(range) } else { Target::Rows(range) });
    }
    targets.sort_unstable_by(|left, right| left.start().cmp(right.start()));
    targets.dedup();
    if scan.reverse {
        targets.reverse();
    }
    Ok(targets)
}

/// The homes at which a scan reads for these values of its placement columns: a site that does not exist has no rows.
///
/// # Errors
/// Those of the expressions.
pub(super) fn homes(scan: &Scan, evaluate: &mut dyn FnMut(&Expr) -> Result<Value>) -> Result<Vec<HomeNo>> {
    let Some(placed) = &scan.placed else { return Ok(scan.table.homes.all()) };
    let mut homes = BTreeSet::new();
    for values in prefix_values(placed, evaluate)?.unwrap_or_default() {
        homes.extend(scan.table.homes.of_values(&values)?);
    }
    Ok(homes.into_iter().collect())
}

/// A key by whose claim a row is looked for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Claim {
    place: Located,
    /// The row's key, where that is the claimed key itself: the row may be right beside the claim.
    row: Option<Key>,
}

/// The claims that a scan by claims reads for these values of its key expressions.
///
/// # Errors
/// Those of the expressions.
pub(super) fn claims(scan: &Scan, evaluate: &mut dyn FnMut(&Expr) -> Result<Value>) -> Result<Vec<Claim>> {
    let index = scan.access.index.and_then(|position| scan.table.indexes.get(position));
    let mut claims = vec![];
    for values in prefix_values(&scan.access.prefix, evaluate)?.unwrap_or_default() {
        if let Some(place) = claim_place(&scan.table, index, &values)? {
            let row = match index {
                Some(_) => None,
                None => Some(key_prefix(&scan.table, None, &values)?.into()),
            };
            claims.push(Claim { place, row });
        }
    }
    Ok(claims)
}

impl Claim {
    /// What to read.
    pub(super) fn reads(&self) -> Vec<HomeRead> {
        let keys = [Some(&self.place.key), self.row.as_ref()];
        keys.into_iter().flatten().map(|key| HomeRead::point(self.place.home, key.clone())).collect()
    }

    /// Takes the answers to these reads: the row where it was beside its claim, else where it is; neither where there is no such row.
    pub(super) fn take(
        &self,
        results: &mut impl Iterator<Item = ReadResult>,
    ) -> Result<(Option<Entry>, Option<Located>)> {
        let mut next = || results.next().ok_or_else(|| Error::internal("reads of claims were not answered"));
        let claim = next()?.entries.into_iter().next();
        let beside = match self.row {
            Some(_) => next()?.entries.into_iter().next(),
            None => None,
        };
        let Some(claim) = claim else { return Ok((None, None)) };
        let row = claimed_row(&claim.value)?;
        match beside {
            Some(entry) if row.home == self.place.home => Ok((Some(entry), None)),
            _ => Ok((None, Some(row))),
        }
    }

    pub(super) fn home(&self) -> HomeNo {
        self.place.home
    }

    /// Forgets the claim where the row that it led to, at another home, has the claimed key: since the key is unique, the row alone is the answer,
    /// whatever has led to it. A row by itself then needs no validation.
    ///
    /// # Errors
    /// XX001 where the row can't be decoded.
    pub(super) fn settle(&self, scan: &Scan, home: HomeNo, entry: &Entry, txn: &mut Txn) -> Result<()> {
        if home == self.place.home {
            return Ok(());
        }
        let proved = match (&self.row, scan.access.index.and_then(|position| scan.table.indexes.get(position))) {
            (Some(row), _) => entry.key == *row,
            (None, index) => {
                let reader = RowReader::new(&entry.value)?;
                let columns = scan.table.columns.iter().map(|column| decode_column(&reader, column));
                let claim = claim_of_row(&scan.table, index, &columns.collect::<Result<Vec<_>>>()?)?;
                claim.is_some_and(|(place, _)| place == self.place)
            }
        };
        if proved {
            txn.forget(self.place.home, [Some(&self.place.key), self.row.as_ref()].into_iter().flatten());
        }
        Ok(())
    }
}

/// Every combination of the alternatives of the leading columns; `None` where one of them has no alternative that can match.
fn prefix_values(
    prefix: &[Vec<Expr>],
    evaluate: &mut dyn FnMut(&Expr) -> Result<Value>,
) -> Result<Option<Vec<Vec<Value>>>> {
    let mut combinations = vec![vec![]];
    for alternatives in prefix {
        let mut values = vec![];
        for expr in alternatives {
            let key = key_value(expr, evaluate)?;
            if matches!(key.rounding, Rounding::Exact) && !key.value.is_null() && !values.contains(&key.value) {
                values.push(key.value);
            }
        }
        if values.is_empty() {
            return Ok(None);
        }
        if combinations.len().saturating_mul(values.len()) > MAX_COMBINATIONS {
            let message = format!("the IN lists combine to more than {MAX_COMBINATIONS} keys");
            return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        let extended = combinations.iter().flat_map(|head: &Vec<Value>| {
            values.iter().map(move |value| head.iter().cloned().chain([value.clone()]).collect())
        });
        combinations = extended.collect();
    }
    Ok(Some(combinations))
}

fn key_value(expr: &Expr, evaluate: &mut dyn FnMut(&Expr) -> Result<Value>) -> Result<KeyValue> {
    let exact = |value| KeyValue { value, rounding: Rounding::Exact };
    let ExprKind::Cast(inner) = &expr.kind else { return Ok(exact(evaluate(expr)?)) };
    let before = evaluate(inner)?;
    let cast_to = |before: Value| match &inner.data_type {
        DataType::Unknown => cast(before, &expr.data_type),
        from => cast_from(before, from, &expr.data_type),
    };
    let value = match cast_to(before.clone()) {
        Ok(value) => value,
        Err(error) if error.state() == SqlState::NUMERIC_OUT_OF_RANGE && inner.data_type.is_number() => {
            let rounding =
                if before.total_cmp(&Value::Int(0)).is_lt() { Rounding::BelowAll } else { Rounding::AboveAll };
            return Ok(KeyValue { value: before, rounding });
        }
        Err(error) => return Err(error),
    };
    // A char(n) is padded, which comparisons ignore; other kinds only compare within their own.
    let comparable = inner.data_type.is_number() && expr.data_type.is_number()
        || matches!((&before, &value), (Value::Text(_), Value::Text(_)))
            && !matches!(expr.data_type, DataType::Char(_))
        || matches!((&before, &value), (Value::Timestamp(_) | Value::TimestampTz(_), Value::Date(_)));
    if !comparable {
        return Ok(exact(value));
    }
    let rounding = match value.sql_cmp(&before) {
        Some(Ordering::Less) => Rounding::Down,
        Some(Ordering::Greater) => Rounding::Up,
        Some(Ordering::Equal) | None => Rounding::Exact,
    };
    Ok(KeyValue { value, rounding })
}

type Bound = (KeyValue, bool);

fn bound_value(bound: &KeyBound, evaluate: &mut dyn FnMut(&Expr) -> Result<Value>) -> Result<Bound> {
    Ok((key_value(&bound.value, evaluate)?, bound.inclusive))
}

/// The edge of a range by value.
enum Edge<'a> {
    Open,
    At(&'a Value, bool),
    Empty,
}

fn lower_edge(bound: &Bound) -> Edge<'_> {
    match (&bound.0.rounding, bound.1) {
        (Rounding::Exact, inclusive) => Edge::At(&bound.0.value, inclusive),
        (Rounding::Up, _) => Edge::At(&bound.0.value, true),
        (Rounding::Down, _) => Edge::At(&bound.0.value, false),
        (Rounding::BelowAll, _) => Edge::Open,
        (Rounding::AboveAll, _) => Edge::Empty,
    }
}

fn upper_edge(bound: &Bound) -> Edge<'_> {
    match (&bound.0.rounding, bound.1) {
        (Rounding::Exact, inclusive) => Edge::At(&bound.0.value, inclusive),
        (Rounding::Up, _) => Edge::At(&bound.0.value, false),
        (Rounding::Down, _) => Edge::At(&bound.0.value, true),
        (Rounding::BelowAll, _) => Edge::Empty,
        (Rounding::AboveAll, _) => Edge::Open,
    }
}

/// The keys that begin with `prefix` and whose next column lies within the bounds; `None` where there can be none. With any bound NULLs are outside.
fn bounded(
    prefix: Vec<u8>,
    column: Option<&KeyColumn>,
    bounds: &(Option<Bound>, Option<Bound>),
) -> Result<Option<KeyRange>> {
    let all = KeyRange::prefix(&prefix);
    let (column, (lower, upper)) = match (column, bounds) {
        (Some(column), bounds) if bounds.0.is_some() || bounds.1.is_some() => (column, bounds),
        _ => return Ok(Some(all)),
    };
    let lower = lower.as_ref().map_or(Edge::Open, lower_edge);
    let upper = upper.as_ref().map_or(Edge::Open, upper_edge);
    let extended = |value: &Value| -> Result<KeyRange> {
        let mut key = prefix.clone();
        encode_key_value(&mut key, value, column)?;
        Ok(KeyRange::prefix(&key))
    };
    // Where the column descends, the greater values come first.
    let (first, last) = if column.descending { (upper, lower) } else { (lower, upper) };
    let from = match first {
        Edge::Empty => return Ok(None),
        Edge::At(value, true) => extended(value)?.from,
        Edge::At(value, false) => extended(value)?.to,
        Edge::Open if column.nulls_first => extended(&Value::Null)?.to,
        Edge::Open => all.from,
    };
    let to = match last {
        Edge::Empty => return Ok(None),
        Edge::At(value, true) => extended(value)?.to,
        Edge::At(value, false) => extended(value)?.from,
        Edge::Open if column.nulls_first => all.to,
        Edge::Open => extended(&Value::Null)?.from,
    };
    let range = KeyRange { from, to };
    Ok((!range.is_empty()).then_some(range))
}
