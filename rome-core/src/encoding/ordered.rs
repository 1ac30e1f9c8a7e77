//! The pieces that order-preserving encodings are made of: integers, strings and decimals, as [`super::key`] specifies them.

use crate::error::{Error, Result, SqlState};
use crate::value::digits::Digits;

const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const STRING_END: u8 = 0x00;

const NEGATIVE: u8 = 0x01;
const ZERO: u8 = 0x02;
const POSITIVE: u8 = 0x03;
const DIGITS_END: u8 = 0x00;

/// SQLSTATE XX001.
pub(super) fn corrupt(what: impl std::fmt::Display) -> Error {
    Error::new(SqlState::DATA_CORRUPTED, format!("corrupt key in the store: {what}"))
}

pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    out.extend((value ^ i64::MIN).to_be_bytes());
}

pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    for (position, run) in bytes.split(|byte| *byte == 0).enumerate() {
        if position > 0 {
            out.extend([ESCAPE, ESCAPED_ZERO]);
        }
        out.extend_from_slice(run);
    }
    out.extend([ESCAPE, STRING_END]);
}

pub(super) fn put_decimal(out: &mut Vec<u8>, number: &Digits) -> Result<()> {
    if number.digits.is_empty() {
        out.push(ZERO);
        return Ok(());
    }
    let exponent = i16::try_from(number.exponent)
        .map_err(|_| Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "number out of range for a key"))?;
    out.push(if number.negative { NEGATIVE } else { POSITIVE });
    let start = out.len();
    out.extend((exponent ^ i16::MIN).to_be_bytes());
    for pair in number.digits.chunks(2) {
        let tens = pair.first().copied().unwrap_or_default();
        out.push(tens * 10 + pair.get(1).copied().unwrap_or_default() + 1);
    }
    out.push(DIGITS_END);
    if number.negative {
        out.iter_mut().skip(start).for_each(|byte| *byte = !*byte);
    }
    Ok(())
}

/// Takes pieces off the front of a key; every byte of a payload is xor-ed with the mask of the column's direction.
pub(super) struct Reader<'i, 'a> {
    input: &'i mut &'a [u8],
    mask: u8,
}

impl<'i, 'a> Reader<'i, 'a> {
    pub(super) fn new(input: &'i mut &'a [u8], mask: u8) -> Self {
        Self { input, mask }
    }

    /// A byte that the direction does not invert.
    pub(super) fn plain_byte(&mut self) -> Result<u8> {
        let (first, rest) = self.input.split_first().ok_or_else(truncated)?;
        *self.input = rest;
        Ok(*first)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.plain_byte()? ^ self.mask)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (first, rest) = self.input.split_first_chunk::<N>().ok_or_else(truncated)?;
        *self.input = rest;
        Ok(first.map(|byte| byte ^ self.mask))
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<()> {
        *self.input = self.input.get(count..).ok_or_else(truncated)?;
        Ok(())
    }

    pub(super) fn signed(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.fixed()?) ^ i64::MIN)
    }

    /// Passes the runs between escapes to `each`, up to and without the end of the string.
    fn runs(&mut self, mut each: impl FnMut(&[u8], u8)) -> Result<()> {
        loop {
            let escape = ESCAPE ^ self.mask;
            let length = self.input.iter().position(|byte| *byte == escape).ok_or_else(truncated)?;
            let (run, rest) = self.input.split_at_checked(length).ok_or_else(truncated)?;
            *self.input = rest;
            each(run, self.mask);
            self.skip(1)?;
            match self.byte()? {
                STRING_END => return Ok(()),
                ESCAPED_ZERO => each(&[escape], self.mask),
                other => return Err(corrupt(format!("escape {other:#04x}"))),
            }
        }
    }

    pub(super) fn string(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.runs(|run, mask| bytes.extend(run.iter().map(|byte| byte ^ mask)))?;
        Ok(bytes)
    }

    pub(super) fn skip_string(&mut self) -> Result<()> {
        self.runs(|_, _| ())
    }

    pub(super) fn text(&mut self) -> Result<String> {
        String::from_utf8(self.string()?).map_err(|_| corrupt("text that is not UTF-8"))
    }

    pub(super) fn decimal(&mut self) -> Result<Digits> {
        match self.byte()? {
            ZERO => Ok(Digits::default()),
            POSITIVE => self.magnitude(false),
            NEGATIVE => {
                self.mask = !self.mask;
                let magnitude = self.magnitude(true);
                self.mask = !self.mask;
                magnitude
            }
            other => Err(corrupt(format!("sign {other:#04x}"))),
        }
    }

    fn magnitude(&mut self, negative: bool) -> Result<Digits> {
        let exponent = i16::from_be_bytes(self.fixed()?) ^ i16::MIN;
        let mut digits = Vec::new();
        loop {
            match self.byte()? {
                DIGITS_END => break,
                pair @ 1..=100 => digits.extend([(pair - 1) / 10, (pair - 1) % 10]),
                other => return Err(corrupt(format!("digits {other:#04x}"))),
            }
        }
        Digits::new(negative, i32::from(exponent), digits).ok_or_else(|| corrupt("an exponent out of range"))
    }
}

fn truncated() -> Error {
    corrupt("it ends too early")
}
