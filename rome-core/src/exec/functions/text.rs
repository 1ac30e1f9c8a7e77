//! Text functions. Positions and lengths are in characters, from 1; bytea variants count bytes.

use super::Pattern::{Any, Bool, Bytea, Int4, Text};
use super::{Call, MAX_TEXT_BYTES, ScalarFunction, too_long};
use crate::error::{Error, Result, SqlState};
use crate::value::{DataType, Value};

pub(super) static FUNCTIONS: &[ScalarFunction] = &[
    ScalarFunction::new("length", &[Text], Int4, length, "The number of characters."),
    ScalarFunction::new("length", &[Bytea], Int4, octet_length, "The number of bytes."),
    ScalarFunction::new("char_length", &[Text], Int4, length, "The number of characters."),
    ScalarFunction::new("character_length", &[Text], Int4, length, "The number of characters."),
    ScalarFunction::new("octet_length", &[Text], Int4, octet_length, "The number of bytes in UTF-8."),
    ScalarFunction::new("octet_length", &[Bytea], Int4, octet_length, "The number of bytes."),
    ScalarFunction::new("lower", &[Text], Text, lower, "In lower case."),
    ScalarFunction::new("upper", &[Text], Text, upper, "In upper case."),
    ScalarFunction::new("initcap", &[Text], Text, initcap, "Each word with a capital first letter."),
    ScalarFunction::new("btrim", &[Text], Text, btrim, "Without blanks at both ends."),
    ScalarFunction::new("btrim", &[Text, Text], Text, btrim, "Without the given characters at both ends."),
    ScalarFunction::new("trim", &[Text], Text, btrim, "Without blanks at both ends."),
    ScalarFunction::new("trim", &[Text, Text], Text, btrim, "Without the given characters at both ends."),
    ScalarFunction::new("ltrim", &[Text], Text, ltrim, "Without blanks at the start."),
    ScalarFunction::new("ltrim", &[Text, Text], Text, ltrim, "Without the given characters at the start."),
    ScalarFunction::new("rtrim", &[Text], Text, rtrim, "Without blanks at the end."),
    ScalarFunction::new("rtrim", &[Text, Text], Text, rtrim, "Without the given characters at the end."),
    ScalarFunction::new("substring", &[Text, Int4], Text, substring, "From a position on."),
    ScalarFunction::new("substring", &[Text, Int4, Int4], Text, substring, "So many characters from a position on."),
    ScalarFunction::new("substring", &[Bytea, Int4], Bytea, substring_bytes, "From a position on."),
    ScalarFunction::new("substring", &[Bytea, Int4, Int4], Bytea, substring_bytes, "So many bytes from a position on."),
    ScalarFunction::new("substr", &[Text, Int4], Text, substring, "From a position on."),
    ScalarFunction::new("substr", &[Text, Int4, Int4], Text, substring, "So many characters from a position on."),
    ScalarFunction::new("left", &[Text, Int4], Text, left, "The first n characters; all but the last -n."),
    ScalarFunction::new("right", &[Text, Int4], Text, right, "The last n characters; all but the first -n."),
    ScalarFunction::new("lpad", &[Text, Int4], Text, lpad, "Filled up with blanks on the left, or cut."),
    ScalarFunction::new("lpad", &[Text, Int4, Text], Text, lpad, "Filled up on the left, or cut."),
    ScalarFunction::new("rpad", &[Text, Int4], Text, rpad, "Filled up with blanks on the right, or cut."),
    ScalarFunction::new("rpad", &[Text, Int4, Text], Text, rpad, "Filled up on the right, or cut."),
    ScalarFunction::new("replace", &[Text, Text, Text], Text, replace, "Every occurrence replaced."),
    ScalarFunction::new("strpos", &[Text, Text], Int4, position, "The position of the second in the first, or 0."),
    ScalarFunction::new("position", &[Text, Text], Int4, position, "The position of the second in the first, or 0."),
    ScalarFunction::new("concat", &[Any], Text, concat, "All as text, one after the other; NULL is nothing.")
        .variadic()
        .nullable(),
    ScalarFunction::new("concat_ws", &[Text, Any], Text, concat_ws, "All but NULLs as text, with a separator.")
        .variadic()
        .nullable(),
    ScalarFunction::new("repeat", &[Text, Int4], Text, repeat, "So many times."),
    ScalarFunction::new("reverse", &[Text], Text, reverse, "Backwards."),
    ScalarFunction::new(
        "split_part",
        &[Text, Text, Int4],
        Text,
        split_part,
        "The n-th part; from the end where negative.",
    ),
    ScalarFunction::new("starts_with", &[Text, Text], Bool, starts_with, "Whether the first begins with the second."),
    ScalarFunction::new("overlay", &[Text, Text, Int4], Text, overlay, "With a part replaced, from a position on."),
    ScalarFunction::new("overlay", &[Text, Text, Int4, Int4], Text, overlay, "With so many characters replaced."),
    ScalarFunction::new("translate", &[Text, Text, Text], Text, translate, "Each character mapped to its counterpart."),
    ScalarFunction::new("ascii", &[Text], Int4, ascii, "The code of the first character."),
    ScalarFunction::new("chr", &[Int4], Text, chr, "The character of a code."),
    ScalarFunction::new("quote_literal", &[Text], Text, quote_literal, "As a literal of SQL."),
    ScalarFunction::new("quote_ident", &[Text], Text, quote_ident, "As an identifier of SQL."),
];

pub(super) fn text_result(text: impl AsRef<str>) -> Result<Value> {
    Ok(Value::text(text.as_ref()))
}

pub(super) fn count_result(count: usize) -> Result<Value> {
    super::integer_result(i64::try_from(count).ok(), &DataType::Int4)
}

fn length(call: &Call<'_>) -> Result<Value> {
    count_result(call.text(0)?.chars().count())
}

fn octet_length(call: &Call<'_>) -> Result<Value> {
    match call.value(0) {
        Value::Bytes(bytes) => count_result(bytes.len()),
        _ => count_result(call.text(0)?.len()),
    }
}

fn lower(call: &Call<'_>) -> Result<Value> {
    text_result(call.text(0)?.to_lowercase())
}

fn upper(call: &Call<'_>) -> Result<Value> {
    text_result(call.text(0)?.to_uppercase())
}

fn initcap(call: &Call<'_>) -> Result<Value> {
    let mut out = String::new();
    let mut inside = false;
    for c in call.text(0)?.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric();
    }
    text_result(out)
}

/// The characters that a trim removes: the second argument, a blank without it.
fn trim_set<'a>(call: &Call<'a>) -> Result<impl Fn(char) -> bool + 'a> {
    let set = if call.args.len() > 1 { call.text(1)? } else { " " };
    Ok(move |c| set.contains(c))
}

fn btrim(call: &Call<'_>) -> Result<Value> {
    let set = trim_set(call)?;
    text_result(call.text(0)?.trim_matches(set))
}

fn ltrim(call: &Call<'_>) -> Result<Value> {
    let set = trim_set(call)?;
    text_result(call.text(0)?.trim_start_matches(set))
}

fn rtrim(call: &Call<'_>) -> Result<Value> {
    let set = trim_set(call)?;
    text_result(call.text(0)?.trim_end_matches(set))
}

/// The window of a substring as (items to skip, items to take); positions may lie before the start.
fn window(call: &Call<'_>) -> Result<(usize, usize)> {
    let from = call.int(1)?;
    let end = if call.args.len() > 2 {
        let count = call.int(2)?;
        if count < 0 {
            return Err(Error::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        from.saturating_add(count)
    } else {
        i64::MAX
    };
    let start = from.max(1);
    let skip = usize::try_from(start - 1).unwrap_or(usize::MAX);
    Ok((skip, usize::try_from(end.saturating_sub(start)).unwrap_or(0)))
}

fn substring(call: &Call<'_>) -> Result<Value> {
    let (skip, take) = window(call)?;
    text_result(call.text(0)?.chars().skip(skip).take(take).collect::<String>())
}

fn substring_bytes(call: &Call<'_>) -> Result<Value> {
    let (skip, take) = window(call)?;
    let bytes: Vec<u8> = call.bytes(0)?.iter().copied().skip(skip).take(take).collect();
    Ok(Value::Bytes(bytes.into()))
}

/// How many of `length` characters `n` names: that many, or all but `-n`.
fn clamp_count(n: i64, length: usize) -> usize {
    let magnitude = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    if n >= 0 { magnitude.min(length) } else { length.saturating_sub(magnitude) }
}

fn left(call: &Call<'_>) -> Result<Value> {
    let text = call.text(0)?;
    let take = clamp_count(call.int(1)?, text.chars().count());
    text_result(text.chars().take(take).collect::<String>())
}

fn right(call: &Call<'_>) -> Result<Value> {
    let text = call.text(0)?;
    let length = text.chars().count();
    let take = clamp_count(call.int(1)?, length);
    text_result(text.chars().skip(length - take).collect::<String>())
}

/// The text cut to the wanted length, and what to fill up with.
fn pad(call: &Call<'_>) -> Result<(String, String)> {
    let wanted = usize::try_from(call.int(1)?).unwrap_or(0);
    let fill = if call.args.len() > 2 { call.text(2)? } else { " " };
    if wanted > MAX_TEXT_BYTES / 4 {
        return Err(too_long());
    }
    let kept: String = call.text(0)?.chars().take(wanted).collect();
    let missing = wanted - kept.chars().count();
    let padding = if fill.is_empty() { String::new() } else { fill.chars().cycle().take(missing).collect() };
    Ok((kept, padding))
}

fn lpad(call: &Call<'_>) -> Result<Value> {
    let (text, padding) = pad(call)?;
    text_result(padding + &text)
}

fn rpad(call: &Call<'_>) -> Result<Value> {
    let (text, padding) = pad(call)?;
    text_result(text + &padding)
}

fn replace(call: &Call<'_>) -> Result<Value> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    if from.is_empty() {
        return text_result(text);
    }
    let growth = text.matches(from).count().saturating_mul(to.len());
    if growth > MAX_TEXT_BYTES {
        return Err(too_long());
    }
    text_result(text.replace(from, to))
}

fn position(call: &Call<'_>) -> Result<Value> {
    let (text, sought) = (call.text(0)?, call.text(1)?);
    match text.split_once(sought) {
        Some((before, _)) => count_result(before.chars().count() + 1),
        None => Ok(Value::Int(0)),
    }
}

fn join(call: &Call<'_>, first: usize, separator: &str) -> Result<Value> {
    let mut out = String::new();
    let mut any = false;
    for (position, value) in call.args.iter().enumerate().skip(first) {
        if value.is_null() {
            continue;
        }
        if std::mem::replace(&mut any, true) {
            out.push_str(separator);
        }
        out.push_str(&value.to_text(call.arg_type(position)));
    }
    text_result(out)
}

fn concat(call: &Call<'_>) -> Result<Value> {
    join(call, 0, "")
}

fn concat_ws(call: &Call<'_>) -> Result<Value> {
    if call.value(0).is_null() { Ok(Value::Null) } else { join(call, 1, call.text(0)?) }
}

fn repeat(call: &Call<'_>) -> Result<Value> {
    let text = call.text(0)?;
    let count = usize::try_from(call.int(1)?).unwrap_or(0);
    if text.len().saturating_mul(count) > MAX_TEXT_BYTES {
        return Err(too_long());
    }
    text_result(text.repeat(count))
}

fn reverse(call: &Call<'_>) -> Result<Value> {
    text_result(call.text(0)?.chars().rev().collect::<String>())
}

fn split_part(call: &Call<'_>) -> Result<Value> {
    let (text, separator, n) = (call.text(0)?, call.text(1)?, call.int(2)?);
    if n == 0 {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "field position must not be zero"));
    }
    if separator.is_empty() {
        return text_result(if n.abs() == 1 { text } else { "" });
    }
    let index = usize::try_from(n.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let part = if n > 0 { text.split(separator).nth(index) } else { text.rsplit(separator).nth(index) };
    text_result(part.unwrap_or_default())
}

fn starts_with(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Bool(call.text(0)?.starts_with(call.text(1)?)))
}

fn overlay(call: &Call<'_>) -> Result<Value> {
    let (text, replacement, from) = (call.text(0)?, call.text(1)?, call.int(2)?);
    let count = if call.args.len() > 3 { call.int(3)? } else { replacement.chars().count() as i64 };
    if from <= 0 {
        return Err(Error::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let before = usize::try_from(from - 1).unwrap_or(usize::MAX);
    let after = usize::try_from((from - 1).saturating_add(count)).unwrap_or(0);
    let mut out: String = text.chars().take(before).collect();
    out.push_str(replacement);
    out.extend(text.chars().skip(after));
    text_result(out)
}

fn translate(call: &Call<'_>) -> Result<Value> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    let mapped = text.chars().filter_map(|c| match from.chars().position(|other| other == c) {
        Some(position) => to.chars().nth(position),
        None => Some(c),
    });
    text_result(mapped.collect::<String>())
}

fn ascii(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Int(call.text(0)?.chars().next().map_or(0, |c| i64::from(u32::from(c)))))
}

fn chr(call: &Call<'_>) -> Result<Value> {
    let code = call.int(0)?;
    if code == 0 {
        return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "null character not permitted"));
    }
    match u32::try_from(code).ok().and_then(char::from_u32) {
        Some(c) => text_result(c.to_string()),
        None => {
            let message = format!("requested character not valid for encoding: {code}");
            Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message))
        }
    }
}

fn quote_literal(call: &Call<'_>) -> Result<Value> {
    text_result(quoted_literal(call.text(0)?))
}

/// A text as a literal of SQL.
pub(super) fn quoted_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

fn quote_ident(call: &Call<'_>) -> Result<Value> {
    text_result(quoted_identifier(call.text(0)?))
}

/// A name as SQL needs it written: quoted unless it is all lower case letters, digits and underscores.
pub(super) fn quoted_identifier(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if starts_plain && name.chars().all(plain) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
