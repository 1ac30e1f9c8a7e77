//! How tests call the checker of histories, which is a program of its own: they include this file.

use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Everything in these histories, by name, that a strictly serializable database does not do; empty where there is nothing.
pub fn problems(histories: Vec<(String, Vec<Value>)>) -> String {
    // Whoever includes this is a crate of the workspace, one folder deep.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut checker = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--release", "--manifest-path"])
        .arg(root.join("tests/histories/Cargo.toml"))
        .arg("--target-dir")
        .arg(root.join("target/histories"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo runs");
    let mut input = checker.stdin.take().expect("a pipe");
    let count = histories.len();
    let writer = std::thread::spawn(move || {
        for (name, history) in histories {
            let line = json!({"name": name, "model": "strict-serializable", "history": history});
            writeln!(input, "{line}").expect("the checker reads");
        }
    });
    let output = checker.wait_with_output().expect("the checker ends");
    writer.join().expect("the checker reads");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    assert!(text.contains(&format!("{count} histories")), "the checker did not judge all histories: {text}");
    if output.status.success() { String::new() } else { text }
}
