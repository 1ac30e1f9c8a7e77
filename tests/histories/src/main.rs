//! Reads histories of list appends from its input, one a line: `{"name": .., "model": "strict-serializable", "history": [..]}`, and prints every
//! anomaly. Its last line counts them; it exits with 1 where there was any, or where a history could not be judged.

use adya::{History, Opts, Valid, Workload, check};
use serde_json::Value;
use std::io::{BufRead, Error, Result, stdin};
use std::process::ExitCode;

fn main() -> Result<ExitCode> {
    let (mut histories, mut operations, mut bad) = (0, 0, 0);
    for line in stdin().lock().lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let history = History::from_json(&line["history"].to_string()).map_err(Error::other)?;
        let model = line["model"].as_str().unwrap_or("strict-serializable").to_owned();
        let report = check(&history, Workload::ListAppend, &Opts { models: vec![model], ..Opts::default() });
        histories += 1;
        operations += history.ops.len();
        if report.valid != Valid::True {
            bad += 1;
            println!("{}: {:?}", line["name"], report.anomaly_types);
            for anomaly in report.anomalies.values().flatten().take(3) {
                println!("  {} {}", anomaly.kind, anomaly.explanation);
            }
        }
    }
    println!("{histories} histories, {operations} operations, {bad} not as they should be");
    Ok(ExitCode::from(u8::from(bad > 0 || histories == 0)))
}
