//! The scripts that run in the server, and calls of them.
//!
//! The text of those that answer calls is `scripts/state.lua`, which they share, and its own file. The server knows a script by the SHA-1 of its text.
//! Scripts are loaded when a connection opens; a server that lost them answers `NOSCRIPT`, and [`Link`](crate::link::Link) loads
//! them again.

use crate::keys::RedisKey;
use redis::{Cmd, Pipeline, Script};
use std::sync::LazyLock;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Text::new(concat!(include_str!("scripts/state.lua"), include_str!($file))))
    };
}

/// `scripts/read.lua`.
pub(crate) static READ: LazyLock<Text> = script!("scripts/read.lua");
/// `scripts/commit.lua`.
pub(crate) static COMMIT: LazyLock<Text> = script!("scripts/commit.lua");
/// `scripts/watch.lua`.
pub(crate) static WATCH: LazyLock<Text> = script!("scripts/watch.lua");

/// `scripts/adopt.lua`, which shares nothing.
pub(crate) static ADOPT: LazyLock<Text> = LazyLock::new(|| Text::new(include_str!("scripts/adopt.lua")));

/// A script.
pub(crate) struct Text {
    source: &'static str,
    hash: String,
}

impl Text {
    fn new(source: &'static str) -> Self {
        Self { source, hash: Script::new(source).get_hash().to_owned() }
    }

    /// A call of the script: `EVALSHA hash count keys.. arguments..`. `size` is an estimate of the bytes of keys and arguments.
    pub fn call(&self, keys: &[RedisKey], arguments: usize, size: usize) -> Cmd {
        let mut cmd = Cmd::with_capacity(3 + keys.len() + arguments, self.hash.len() + 16 + size);
        cmd.arg("EVALSHA").arg(&self.hash).arg(keys.len());
        for key in keys {
            cmd.arg(&key.0);
        }
        cmd
    }
}

/// Appends the commands that load all scripts, and returns how many they are.
pub(crate) fn load(pipeline: &mut Pipeline) -> usize {
    let all = [&*READ, &*COMMIT, &*WATCH, &*ADOPT];
    for script in all {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source);
    }
    all.len()
}
