//! LIKE: `%` is any text, `_` any character. Iterative, with one point to return to, so the time is at most pattern times text.

use crate::error::{Error, Result, SqlState};

/// Whether all of `text` matches.
///
/// # Errors
/// 22025 where the pattern ends with the escape character.
pub(super) fn matches(text: &str, pattern: &str, escape: Option<char>) -> Result<bool> {
    let mut text = text.chars();
    let mut pattern = pattern.chars();
    // After the last `%`: the pattern behind it, and the text from which to try next.
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let mut rest = pattern.clone();
        let fits = match rest.next() {
            None if text.as_str().is_empty() => return Ok(true),
            None => false,
            Some('%') if escape != Some('%') => {
                if rest.as_str().is_empty() {
                    return Ok(true);
                }
                retry = Some((rest.clone(), text.clone()));
                pattern = rest;
                continue;
            }
            Some('_') if escape != Some('_') => text.next().is_some(),
            Some(c) if escape == Some(c) => match rest.next() {
                Some(literal) => text.next() == Some(literal),
                None => {
                    let message = "LIKE pattern must not end with escape character";
                    return Err(Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, message));
                }
            },
            Some(c) => text.next() == Some(c),
        };
        if fits {
            pattern = rest;
            continue;
        }
        // One more character for the last `%`.
        let Some((after, from)) = &mut retry else { return Ok(false) };
        if from.next().is_none() {
            return Ok(false);
        }
        pattern = after.clone();
        text = from.clone();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "%", true),
            ("a", "", false),
            ("abc", "a%c", true),
            ("abcbc", "a%bc", true),
            ("abcb", "a%bc", false),
            ("héllo", "h_llo", true),
            ("a%c", "a\\%c", true),
            ("abc", "a\\%c", false),
            ("mississippi", "%iss%ip%", true),
            ("abc", "%%%_", true),
            ("abc", "____", false),
        ] {
            assert_eq!(matches(text, pattern, Some('\\')).unwrap(), expected, "{text:?} LIKE {pattern:?}");
        }
        assert!(matches("a\\b", "a\\b", None).unwrap());
        assert_eq!(matches("ab", "a\\", Some('\\')).unwrap_err().state(), SqlState::INVALID_ESCAPE_SEQUENCE);
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = "%a".repeat(2000) + "b";
        assert!(!matches(&"a".repeat(2000), &pattern, None).unwrap());
    }
}
