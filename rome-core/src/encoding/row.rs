//! Rows as bytes: one column is decoded without the others, and rows outlive changes of their table's columns.
//!
//! Each value is filed under its column's id, which is never reused: a row that was written before a column was added has no such
//! id (the reader then takes the column's default), and the value of a column that was dropped since is passed over. Values carry
//! their kind, so that reading needs no catalog.
//!
//! ```text
//! row    = format count ids ends values       all integers little-endian
//! format = 1 byte: version (1) in the high four bits, then two bits i and two bits e, widths of 2^i and 2^e bytes
//! count  = number of columns, 2^i bytes
//! ids    = column ids, ascending, 2^i bytes each
//! ends   = for each column where its value ends, counted from the start of values, 2^e bytes each
//! values = the values, without gaps; the last end is the end of the row
//!
//! value  = nothing                   NULL
//!        | 01                        false
//!        | 02                        true
//!        | 03 integer                smallint, integer, bigint
//!        | 04 8 bytes                real, double precision: IEEE 754 double
//!        | 05 sign·128+scale mantissa   numeric; the mantissa unsigned, without leading zero bytes
//!        | 06 UTF-8                  text, varchar, char
//!        | 07 bytes                  bytea
//!        | 08 16 bytes               uuid
//!        | 09 integer                date: days since 1970-01-01
//!        | 0a integer                time: microseconds since midnight
//!        | 0b integer                timestamp: microseconds since 1970-01-01
//!        | 0c integer                timestamptz: microseconds since 1970-01-01 00:00 UTC
//!        | 0d months days integer    interval: months and days 4 bytes each, microseconds
//!        | 0e UTF-8                  json, jsonb: compact text
//!        | 0f (length value)…        array; the length in groups of 7 bits, the lowest first, the top bit set in all but the last
//! integer = two's complement in as few bytes as keep the sign; none for 0
//! ```
//!
//! The widths are the smallest that fit, so a row of up to 255 columns with ids below 256 and 255 bytes of values spends two bytes
//! for each column. These bytes are on disk: `golden_bytes` guards them.

mod value;

use crate::error::{Error, Result, SqlState};
use crate::value::Value;
use bytes::Bytes;
use std::ops::Range;

const VERSION: u8 = 1;

/// Encodes a row from column ids and values, in any order; of values of one id the last counts.
pub fn encode_row<'v>(columns: impl Iterator<Item = (u32, &'v Value)>) -> Bytes {
    let mut columns: Vec<_> = columns.collect();
    if !columns.is_sorted_by(|(left, _), (right, _)| left < right) {
        columns.reverse();
        columns.sort_by_key(|(id, _)| *id);
        columns.dedup_by_key(|(id, _)| *id);
    }
    let mut values = Vec::new();
    let mut ends = Vec::with_capacity(columns.len());
    for (_, value) in &columns {
        value::put(&mut values, value);
        ends.push(values.len());
    }
    let greatest_id = columns.last().map_or(0, |(id, _)| *id as usize);
    let ids_width = Width::fitting(greatest_id.max(columns.len()));
    let ends_width = Width::fitting(values.len());

    let header = 1 + (columns.len() + 1) * ids_width.bytes() + ends.len() * ends_width.bytes();
    let mut out = Vec::with_capacity(header + values.len());
    out.push(VERSION << 4 | ids_width.0 << 2 | ends_width.0);
    ids_width.put(&mut out, columns.len());
    columns.iter().for_each(|(id, _)| ids_width.put(&mut out, *id as usize));
    ends.iter().for_each(|end| ends_width.put(&mut out, *end));
    out.extend(values);
    out.into()
}

/// Reads columns of an encoded row, where they lie: it allocates nothing itself, and a bytea value shares the row's buffer.
#[derive(Clone, Copy, Debug)]
pub struct RowReader<'a> {
    row: &'a Bytes,
    count: usize,
    ids_width: Width,
    ends_width: Width,
}

impl<'a> RowReader<'a> {
    /// Checks the header.
    ///
    /// # Errors
    /// XX001 where the bytes are no row.
    pub fn new(row: &'a Bytes) -> Result<Self> {
        let format = *row.first().ok_or_else(|| corrupt("it is empty"))?;
        if format >> 4 != VERSION {
            return Err(corrupt(format!("format {format:#04x}")));
        }
        let (ids_width, ends_width) = (Width(format >> 2 & 3), Width(format & 3));
        let count = ids_width.get(row, 1, 0)?;
        let reader = Self { row, count, ids_width, ends_width };
        if reader.values_at().is_none_or(|at| at > row.len()) {
            return Err(corrupt("it ends within its header"));
        }
        let end = if count == 0 { 0 } else { reader.end(count - 1)? };
        if reader.values_at().and_then(|at| at.checked_add(end)) != Some(row.len()) {
            return Err(corrupt("its length is not that of its columns"));
        }
        Ok(reader)
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the row has no columns at all.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value of the column of this id; `None` where the row has no such column, that is, was written before there was one.
    ///
    /// # Errors
    /// XX001 where the bytes are corrupt.
    pub fn get(&self, column: u32) -> Result<Option<Value>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.id(middle)?.cmp(&column) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.value(middle).map(Some),
            }
        }
        Ok(None)
    }

    /// All columns in the order of their ids.
    pub fn columns(&self) -> impl Iterator<Item = Result<(u32, Value)>> + use<'a> {
        let reader = *self;
        (0..reader.count).map(move |position| Ok((reader.id(position)?, reader.value(position)?)))
    }

    fn ids_at(&self) -> usize {
        1 + self.ids_width.bytes()
    }

    /// `None` where no row could be so long.
    fn ends_at(&self) -> Option<usize> {
        self.count.checked_mul(self.ids_width.bytes())?.checked_add(self.ids_at())
    }

    fn values_at(&self) -> Option<usize> {
        self.count.checked_mul(self.ends_width.bytes())?.checked_add(self.ends_at()?)
    }

    fn id(&self, position: usize) -> Result<u32> {
        let id = self.ids_width.get(self.row, self.ids_at(), position)?;
        u32::try_from(id).map_err(|_| corrupt("a column id of more than 32 bits"))
    }

    fn end(&self, position: usize) -> Result<usize> {
        self.ends_width.get(self.row, self.ends_at().ok_or_else(|| corrupt("too many columns"))?, position)
    }

    fn value(&self, position: usize) -> Result<Value> {
        let start = match position.checked_sub(1) {
            Some(previous) => self.end(previous)?,
            None => 0,
        };
        let range = self.values_at().and_then(|at| {
            Some(Range { start: at.checked_add(start)?, end: at.checked_add(self.end(position).ok()?)? })
        });
        value::take(self.row, range.ok_or_else(|| corrupt("an offset out of range"))?)
    }
}

/// The number of bytes of each integer of a list, as the power of two that the format byte holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Width(u8);

impl Width {
    fn fitting(greatest: usize) -> Self {
        match greatest {
            0..=0xff => Self(0),
            0x100..=0xffff => Self(1),
            0x1_0000..=0xffff_ffff => Self(2),
            _ => Self(3),
        }
    }

    fn bytes(self) -> usize {
        1 << self.0
    }

    fn put(self, out: &mut Vec<u8>, value: usize) {
        out.extend((value as u64).to_le_bytes().iter().take(self.bytes()));
    }

    /// The integer at a position of the list that starts at `at`.
    fn get(self, row: &[u8], at: usize, position: usize) -> Result<usize> {
        let start = position.checked_mul(self.bytes()).and_then(|offset| offset.checked_add(at));
        let found = start.and_then(|start| row.get(start..start.checked_add(self.bytes())?));
        let found = found.ok_or_else(|| corrupt("it ends within its header"))?;
        let value = found.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| corrupt("an offset out of range"))
    }
}

/// SQLSTATE XX001.
fn corrupt(what: impl std::fmt::Display) -> Error {
    Error::new(SqlState::DATA_CORRUPTED, format!("corrupt row in the store: {what}"))
}

#[cfg(test)]
mod tests;
