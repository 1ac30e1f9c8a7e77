//! Reading requests: bodies and query strings, field by field, each mistake with Nova's kind of words.

use super::error::{ApiError, ApiResult};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

/// The largest number that any field takes; Nova's own limit, a signed 32-bit integer.
pub const MAX_INTEGER: i64 = 0x7FFF_FFFF;

/// The longest name, key or value.
pub const MAX_NAME: usize = 255;

/// A JSON object as body.
#[derive(Debug)]
pub struct Body(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "The request body is too large.")
            } else {
                ApiError::bad_request("The request body could not be read.")
            }
        })?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(ApiError::bad_request("Malformed request body: it must be a JSON object.")),
            Err(error) => Err(ApiError::bad_request(format!("Malformed request body: {error}"))),
        }
    }
}

impl Body {
    /// The object under `name`, which must be there.
    ///
    /// # Errors
    /// 400
    pub fn object(&self, name: &str) -> ApiResult<Fields<'_>> {
        match self.0.get(name) {
            Some(Value::Object(object)) => Ok(Fields(object)),
            Some(value) => Err(invalid(name, value, "is not of type 'object'")),
            None => Err(missing(name)),
        }
    }

    /// The body itself.
    pub fn fields(&self) -> Fields<'_> {
        Fields(&self.0)
    }

    /// The only key, with its value: the form of actions.
    ///
    /// # Errors
    /// 400 where there are none or several.
    pub fn only(&self) -> ApiResult<(&str, &Value)> {
        let mut entries = self.0.iter();
        match (entries.next(), entries.next()) {
            (Some((name, value)), None) => Ok((name, value)),
            (None, _) => Err(ApiError::bad_request("There is no such action: the request body is empty.")),
            _ => Err(ApiError::bad_request("Only one action is allowed in a request.")),
        }
    }
}

fn missing(name: &str) -> ApiError {
    ApiError::bad_request(format!("Invalid input: '{name}' is a required property"))
}

fn invalid(name: &str, value: &Value, why: impl fmt::Display) -> ApiError {
    // Whoever sends a megabyte need not get it back.
    let shown: String = value.to_string().chars().take(100).collect();
    ApiError::bad_request(format!("Invalid input for field/attribute {name}. Value: {shown}. {shown} {why}"))
}

/// A JSON object, read field by field. `null` counts as absent.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// Of a value that must be an object.
    ///
    /// # Errors
    /// 400
    pub fn of(name: &str, value: &'a Value) -> ApiResult<Self> {
        value.as_object().map(Self).ok_or_else(|| invalid(name, value, "is not of type 'object'"))
    }

    /// Refuses fields that are not in `known`.
    ///
    /// # Errors
    /// 400
    pub fn only_known(self, known: &[&str]) -> ApiResult<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let key: String = key.chars().take(100).collect();
                Err(ApiError::bad_request(format!("Additional properties are not allowed ('{key}' was unexpected)")))
            }
        }
    }

    /// The value as it came; `null` is a value here.
    pub fn raw(self, name: &str) -> Option<&'a Value> {
        self.0.get(name)
    }

    fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A string of at most [`MAX_NAME`] characters, empty or not.
    ///
    /// # Errors
    /// 400
    pub fn text(self, name: &str) -> ApiResult<Option<&'a str>> {
        self.long_text(name, MAX_NAME)
    }

    /// A string of at most `longest` characters.
    ///
    /// # Errors
    /// 400
    pub fn long_text(self, name: &str, longest: usize) -> ApiResult<Option<&'a str>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| invalid(name, value, "is not of type 'string'"))?;
        if text.chars().count() > longest {
            return Err(invalid(name, value, format!("is too long: at most {longest} characters are allowed")));
        }
        if text.contains('\0') {
            return Err(invalid(name, value, "contains a NUL character"));
        }
        Ok(Some(text))
    }

    /// A name: a string that is more than blanks, without blanks around it.
    ///
    /// # Errors
    /// 400
    pub fn name(self, name: &str) -> ApiResult<Option<&'a str>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(invalid(name, &Value::from(text), "is too short"));
        }
        if trimmed.chars().any(char::is_control) {
            return Err(invalid(name, &Value::from(text), "contains control characters"));
        }
        Ok(Some(trimmed))
    }

    /// A name that must be there.
    ///
    /// # Errors
    /// 400
    pub fn required_name(self, name: &str) -> ApiResult<&'a str> {
        self.name(name)?.ok_or_else(|| missing(name))
    }

    /// A whole number, or a string of its digits.
    ///
    /// # Errors
    /// 400
    pub fn integer(self, name: &str, range: RangeInclusive<i64>) -> ApiResult<Option<i64>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(digits) => digits.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| invalid(name, value, "is not of type 'integer'"))?;
        if number < *range.start() {
            return Err(invalid(name, value, format!("is less than the minimum of {}", range.start())));
        }
        if number > *range.end() {
            return Err(invalid(name, value, format!("is greater than the maximum of {}", range.end())));
        }
        Ok(Some(number))
    }

    /// A whole number that must be there.
    ///
    /// # Errors
    /// 400
    pub fn required_integer(self, name: &str, range: RangeInclusive<i64>) -> ApiResult<i64> {
        self.integer(name, range)?.ok_or_else(|| missing(name))
    }

    /// A boolean, or one of the words that Nova takes for one.
    ///
    /// # Errors
    /// 400
    pub fn boolean(self, name: &str) -> ApiResult<Option<bool>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let flag = match value {
            Value::Bool(flag) => Some(*flag),
            Value::String(word) => boolean(word),
            _ => None,
        };
        flag.map(Some).ok_or_else(|| invalid(name, value, "is not of type 'boolean'"))
    }

    /// An object.
    ///
    /// # Errors
    /// 400
    pub fn object(self, name: &str) -> ApiResult<Option<Fields<'a>>> {
        self.value(name).map(|value| Fields::of(name, value)).transpose()
    }

    /// A list.
    ///
    /// # Errors
    /// 400
    pub fn list(self, name: &str) -> ApiResult<Option<&'a [Value]>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        value.as_array().map(|list| Some(list.as_slice())).ok_or_else(|| invalid(name, value, "is not of type 'array'"))
    }

    /// The whole object as text keys and text values, each of 1 (keys) or 0 (values) to [`MAX_NAME`] characters; numbers become text.
    ///
    /// # Errors
    /// 400
    pub fn pairs(self) -> ApiResult<BTreeMap<String, String>> {
        Ok(self.nullable_pairs()?.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }

    /// As [`Fields::pairs`], with `None` for `null`.
    ///
    /// # Errors
    /// 400
    pub fn nullable_pairs(self) -> ApiResult<BTreeMap<String, Option<String>>> {
        let mut pairs = BTreeMap::new();
        for (key, value) in self.0 {
            if key.is_empty() || key.chars().count() > MAX_NAME || key.contains('\0') {
                return Err(ApiError::bad_request(format!("Invalid input: keys must have 1 to {MAX_NAME} characters")));
            }
            let text = match value {
                Value::Null => None,
                Value::String(_) => self.text(key)?.map(str::to_owned),
                Value::Number(number) => Some(number.to_string()),
                _ => return Err(invalid(key, value, "is not of type 'string'")),
            };
            pairs.insert(key.clone(), text);
        }
        Ok(pairs)
    }
}

/// The words that OpenStack takes for yes and no.
pub fn boolean(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
        _ => None,
    }
}

/// The query string, decoded; of a repeated name the last one counts.
#[derive(Clone, Debug, Default)]
pub struct QueryString(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for QueryString {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::bad_request("The query string is malformed."))?;
        Ok(Self(pairs.0.into_iter().filter(|(_, value)| !value.contains('\0')).collect()))
    }
}

impl QueryString {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that is a whole number.
    ///
    /// # Errors
    /// 400
    pub fn integer(&self, name: &str, range: RangeInclusive<i64>) -> ApiResult<Option<i64>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(invalid(
                name,
                &Value::from(text),
                format!("is not an integer from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// A parameter that is yes or no; what it is not is absent, as Nova has it.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.get(name).and_then(boolean)
    }

    /// All parameters, with one of them replaced, as a query string.
    pub fn with(&self, name: &str, value: &str) -> String {
        let mut pairs = self.0.clone();
        pairs.insert(name.to_owned(), value.to_owned());
        let encoded: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{}={}", percent(name), percent(value))).collect();
        encoded.join("&")
    }
}

fn percent(text: &str) -> String {
    use fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
