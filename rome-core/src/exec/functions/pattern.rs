//! Regular expressions, and the cache of compiled ones. The syntax is that of the `regex` crate: PostgreSQL's without back references and look-around.

use super::Pattern::{Bool, Int4, Text, Texts};
use super::text::text_result;
use super::{Call, ScalarFunction};
use crate::error::{Error, Result, SqlState};
use crate::value::Value;
use parking_lot::Mutex;
use regex::{Regex, RegexBuilder};
use std::collections::HashMap;
use std::sync::LazyLock;

pub(super) static FUNCTIONS: &[ScalarFunction] = &[
    ScalarFunction::new(
        "regexp_replace",
        &[Text, Text, Text],
        Text,
        regexp_replace,
        "The first match replaced; \\1 is a group.",
    ),
    ScalarFunction::new(
        "regexp_replace",
        &[Text, Text, Text, Text],
        Text,
        regexp_replace,
        "With flags: g for all, i, m, s, x.",
    ),
    ScalarFunction::new(
        "regexp_match",
        &[Text, Text],
        Texts,
        regexp_match,
        "The groups of the first match, or the match.",
    ),
    ScalarFunction::new("regexp_match", &[Text, Text, Text], Texts, regexp_match, "With flags."),
    ScalarFunction::new("regexp_like", &[Text, Text], Bool, regexp_like, "Whether there is a match."),
    ScalarFunction::new("regexp_like", &[Text, Text, Text], Bool, regexp_like, "With flags."),
    ScalarFunction::new("regexp_count", &[Text, Text], Int4, regexp_count, "The number of matches."),
    ScalarFunction::new("regexp_split_to_array", &[Text, Text], Texts, regexp_split, "The parts between matches."),
    ScalarFunction::new(
        "substring",
        &[Text, Text],
        Text,
        substring_match,
        "The first group of the first match, or the match.",
    ),
];

/// How many compiled expressions are kept.
const CACHED_EXPRESSIONS: usize = 256;

/// The largest size of a compiled expression, in bytes.
const MAX_COMPILED_BYTES: usize = 1 << 20;

type Cache = HashMap<(String, String), Regex>;

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(|| Mutex::new(HashMap::new()));

/// A compiled regular expression; flags are PostgreSQL's letters, `g` being the caller's business.
///
/// # Errors
/// 2201B for an invalid expression, 22023 for an unknown flag.
pub(crate) fn compile(pattern: &str, flags: &str) -> Result<Regex> {
    let key = (pattern.to_owned(), flags.to_owned());
    if let Some(regex) = CACHE.lock().get(&key) {
        return Ok(regex.clone());
    }
    let mut builder = RegexBuilder::new(pattern);
    // PostgreSQL's dot matches a newline unless newline-sensitive matching is asked for.
    builder.size_limit(MAX_COMPILED_BYTES).dot_matches_new_line(true);
    for flag in flags.chars() {
        match flag {
            'g' => {}
            'i' => {
                builder.case_insensitive(true);
            }
            'c' => {
                builder.case_insensitive(false);
            }
            'm' | 'n' => {
                builder.multi_line(true).dot_matches_new_line(false);
            }
            's' => {
                builder.multi_line(false).dot_matches_new_line(true);
            }
            'x' => {
                builder.ignore_whitespace(true);
            }
            other => {
                let message = format!("invalid regular expression option: \"{other}\"");
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
    }
    let regex = builder.build().map_err(|error| {
        Error::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {error}"))
    })?;
    let mut cache = CACHE.lock();
    if cache.len() >= CACHED_EXPRESSIONS {
        // Rare enough that starting over beats keeping an order.
        cache.clear();
    }
    cache.insert(key, regex.clone());
    Ok(regex)
}

fn flags<'a>(call: &Call<'a>, position: usize) -> Result<&'a str> {
    if call.args.len() > position { call.text(position) } else { Ok("") }
}

fn regexp_replace(call: &Call<'_>) -> Result<Value> {
    let flags = flags(call, 3)?;
    let regex = compile(call.text(1)?, flags)?;
    let text = call.text(0)?;
    let replacement = call.text(2)?;
    let limit = if flags.contains('g') { usize::MAX } else { 1 };
    let mut out = String::new();
    let mut rest_from = 0;
    for groups in regex.captures_iter(text).take(limit) {
        let Some(whole) = groups.get(0) else { continue };
        out.push_str(text.get(rest_from..whole.start()).unwrap_or_default());
        expand(&mut out, replacement, &groups);
        rest_from = whole.end();
    }
    out.push_str(text.get(rest_from..).unwrap_or_default());
    text_result(out)
}

/// Appends the replacement with `\1` to `\9` and `\&` filled in.
fn expand(out: &mut String, replacement: &str, groups: &regex::Captures<'_>) {
    let mut chars = replacement.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('&') => out.push_str(groups.get(0).map_or("", |group| group.as_str())),
            Some(digit @ '1'..='9') => {
                let group = digit.to_digit(10).and_then(|digit| groups.get(digit as usize));
                out.push_str(group.map_or("", |group| group.as_str()));
            }
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
}

fn regexp_match(call: &Call<'_>) -> Result<Value> {
    let regex = compile(call.text(1)?, flags(call, 2)?)?;
    let Some(groups) = regex.captures(call.text(0)?) else { return Ok(Value::Null) };
    let value = |group: Option<regex::Match<'_>>| group.map_or(Value::Null, |group| Value::text(group.as_str()));
    let skip = usize::from(groups.len() > 1);
    Ok(Value::Array(groups.iter().skip(skip).map(value).collect()))
}

fn regexp_like(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Bool(compile(call.text(1)?, flags(call, 2)?)?.is_match(call.text(0)?)))
}

fn regexp_count(call: &Call<'_>) -> Result<Value> {
    super::text::count_result(compile(call.text(1)?, "")?.find_iter(call.text(0)?).count())
}

fn regexp_split(call: &Call<'_>) -> Result<Value> {
    let regex = compile(call.text(1)?, "")?;
    Ok(Value::Array(regex.split(call.text(0)?).map(Value::text).collect()))
}

fn substring_match(call: &Call<'_>) -> Result<Value> {
    let regex = compile(call.text(1)?, "")?;
    let Some(groups) = regex.captures(call.text(0)?) else { return Ok(Value::Null) };
    let group = if groups.len() > 1 { groups.get(1) } else { groups.get(0) };
    Ok(group.map_or(Value::Null, |group| Value::text(group.as_str())))
}
