//! Prints the results of `cargo bench -p bench` as a Markdown table. An argument names criterion's directory.

use std::env;
use std::path::PathBuf;

fn main() -> bench::Result<()> {
    let directory = env::args_os().nth(1).map_or_else(
        || PathBuf::from(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into())).join("criterion"),
        PathBuf::from,
    );
    print!("{}", bench::report::table(&bench::report::read(&directory)?));
    Ok(())
}
