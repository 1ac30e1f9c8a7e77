//! Results that are numbers: how much was explored, done, refused. The output of tests that pass is not seen, so that these lines go into a file,
//! too, whose name is in `ROME_TEST_FIGURES`; `scripts/test` prints it below its summary. Crates that this one depends on include this file by its path.

#![allow(clippy::expect_used, clippy::print_stdout)]

use std::fs::OpenOptions;
use std::io::Write;

/// Prints a line, and adds it to the file where there is one.
///
/// # Panics
/// Where the file can't be written.
pub fn note(line: &str) {
    println!("{line}");
    let Some(path) = std::env::var_os("ROME_TEST_FIGURES") else { return };
    let file = OpenOptions::new().append(true).create(true).open(path);
    // One write, so that lines of tests which run side by side are whole.
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.expect("ROME_TEST_FIGURES names a file that can be written");
}
