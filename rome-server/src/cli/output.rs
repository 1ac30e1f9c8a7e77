//! Answers and errors, as text for people and JSON for programs.

use rome::Error;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Duration;

/// What a command has to say.
#[derive(Debug, Default)]
pub struct Answer {
    /// For people.
    text: String,
    /// For programs.
    value: Value,
    /// What is not as it should be, each in a sentence.
    problems: Vec<String>,
    /// What the person may want to know although nothing is wrong.
    notes: Vec<String>,
}

impl Answer {
    /// An answer.
    pub fn new(text: impl Into<String>, value: Value) -> Self {
        Self { text: text.into(), value, ..Self::default() }
    }

    /// Adds something that is not as it should be: the program fails.
    pub fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Adds something worth knowing.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Prints an answer.
pub fn answer(answer: &Answer, json: bool) {
    if json {
        let mut value = answer.value.clone();
        if let Value::Object(fields) = &mut value {
            fields.insert("problems".to_owned(), json!(answer.problems));
            fields.insert("notes".to_owned(), json!(answer.notes));
        }
        return print(&format!("{value:#}"));
    }
    print(answer.text.trim_end());
    for note in &answer.notes {
        complain(&format!("note: {note}"));
    }
    for problem in &answer.problems {
        complain(&format!("problem: {problem}"));
    }
}

/// Prints an error.
pub fn error(error: &Error, json: bool) {
    if json {
        return print(&format!("{:#}", json!({ "error": error_value(error) })));
    }
    complain(&format!("error: {}", error.message()));
    if let Some(detail) = error.detail() {
        complain(&format!("detail: {detail}"));
    }
    if let Some(hint) = error.hint() {
        complain(&format!("hint: {hint}"));
    }
    complain(&format!("SQLSTATE: {}", error.state().code()));
}

/// An error in JSON.
pub fn error_value(error: &Error) -> Value {
    json!({
        "message": error.message(),
        "detail": error.detail(),
        "hint": error.hint(),
        "sqlstate": error.state().code(),
    })
}

/// An error in one line, the hint left out.
pub fn error_line(error: &Error) -> String {
    let detail = error.detail().map(|detail| format!(" {detail}")).unwrap_or_default();
    let stop = if error.message().ends_with('.') || detail.is_empty() { "" } else { "." };
    format!("{}{stop}{detail} (SQLSTATE {})", error.message(), error.state().code())
}

// Whoever has closed the pipe does not want to read on.
fn print(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// How the cells of a column stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows below their titles, aligned.
pub fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |at: usize, title: &str| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain([title.chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(|(at, (title, _))| width(at, title)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(columns).zip(&widths).map(|((cell, (_, align)), width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        let joined = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", joined.trim_end())
    };
    let titles = line(&mut columns.iter().map(|(title, _)| *title));
    rows.iter().fold(titles, |text, row| text + &line(&mut row.iter().map(String::as_str)))
}

/// A count with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in the unit that suits it.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut value = size as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"");
    while value >= 1024.0 {
        let Some(next) = units.next() else { break };
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A number of things: `1 site`, `2 sites`.
pub fn several(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A duration for people.
pub fn time(time: Duration) -> String {
    match time.as_micros() {
        0..100 => format!("{} us", time.as_micros()),
        _ => format!("{:.1} ms", time.as_secs_f64() * 1e3),
    }
}

/// A duration in milliseconds, for programs.
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(count), ["0", "999", "1,000", "12,345,678"]);
        assert_eq!([0, 1023, 1024, 1536 << 10, 5 << 40].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 TiB"]);
        assert_eq!((several(1, "site"), several(0, "site")), ("1 site".to_owned(), "0 sites".to_owned()));
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["köln".to_owned(), "20".to_owned()]];
        assert_eq!(table(&[("S", Align::Left), ("N", Align::Right)], &rows), "S      N\na      1\nköln  20\n");
    }
}
