//! Where a test's server comes from: in this order
//!
//! 1. the URL that an environment variable names, unless the test needs a server of its own, which it kills or fills;
//! 2. the server's program, where it is on PATH (PostgreSQL's also where Debian keeps it);
//! 3. a container, where a Docker engine answers (see [`super::container`]);
//!
//! and where there is none of these, an error that names them all.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A kind of server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Redis 7
    Redis,
    /// etcd 3.4
    Etcd,
    /// MariaDB 10.11
    MariaDb,
    /// PostgreSQL 15
    Postgres,
}

impl Kind {
    /// What `scripts/servers` and `scripts/images` call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Etcd => "etcd",
            Self::MariaDb => "mariadb",
            Self::Postgres => "postgres",
        }
    }

    /// The environment variable with the URL of one that tests share.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Redis => "ROME_TEST_REDIS_URL",
            Self::Etcd => "ROME_TEST_ETCD_URL",
            Self::MariaDb => "ROME_TEST_MARIADB_URL",
            Self::Postgres => "ROME_TEST_POSTGRES_URL",
        }
    }

    /// The program that stands for all that are needed to run it.
    pub fn program(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Etcd => "etcd",
            Self::MariaDb => "mariadbd",
            Self::Postgres => "initdb",
        }
    }
}

/// Where a server comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// It runs already.
    Url(String),
    /// A program on PATH.
    Program,
    /// A container.
    Container,
}

/// What there is. Asked in order, and no more than is needed: an engine may be slow to answer.
pub struct Probes<'p> {
    /// The URL in the environment. For a server of the test's own: `None`.
    pub url: Option<&'p dyn Fn() -> Option<String>>,
    /// Whether the program is there.
    pub program: &'p dyn Fn() -> bool,
    /// Why no Docker engine answers, where none does.
    pub engine: &'p dyn Fn() -> Result<(), String>,
}

impl Probes<'_> {
    /// The first source that there is.
    ///
    /// # Errors
    /// Where there is none: what was looked for, and what to do.
    pub fn source(&self, kind: Kind) -> Result<Source, String> {
        if let Some(url) = self.url.and_then(|url| url()) {
            return Ok(Source::Url(url));
        }
        if (self.program)() {
            return Ok(Source::Program);
        }
        let Err(engine) = (self.engine)() else { return Ok(Source::Container) };
        let (variable, program) = (kind.variable(), kind.program());
        let url = match self.url {
            Some(_) => format!("{variable} is not set"),
            None => format!("{variable} is of no use, since this test needs a server of its own"),
        };
        Err(format!(
            "there is no {kind:?} server for this test: {url}, {program} is not on PATH, and no Docker engine answers ({engine}). \
             Run `scripts/servers install`, or start Docker (`scripts/images` builds the images where no registry is reachable)"
        ))
    }
}

/// Whether the program of a kind is on PATH, or where Debian keeps what is not for users.
pub fn has_program(kind: Kind) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    match kind {
        Kind::MariaDb => directories.extend(["/usr/sbin".into(), "/sbin".into()]),
        Kind::Postgres => directories.extend(versions(Path::new("/usr/lib/postgresql"))),
        Kind::Redis | Kind::Etcd => {}
    }
    directories.iter().any(|directory| is_executable(&directory.join(kind.program())))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn versions(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|version| version.path().join("bin")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const ENGINE: &str = "no such socket";

    /// The source, and what was asked for.
    fn source(url: Option<Option<&str>>, program: bool, engine: bool) -> (Result<Source, String>, Vec<&'static str>) {
        let asked = RefCell::new(vec![]);
        let ask_url = || {
            asked.borrow_mut().push("url");
            url.flatten().map(str::to_owned)
        };
        let probes = Probes {
            url: url.is_some().then_some(&ask_url as &dyn Fn() -> Option<String>),
            program: &|| {
                asked.borrow_mut().push("program");
                program
            },
            engine: &|| {
                asked.borrow_mut().push("engine");
                engine.then_some(()).ok_or_else(|| ENGINE.to_owned())
            },
        };
        (probes.source(Kind::Redis), asked.into_inner())
    }

    #[test]
    fn a_url_comes_before_a_program_before_a_container() {
        let url = Some(Some("redis://there"));
        assert_eq!(source(url, true, true), (Ok(Source::Url("redis://there".to_owned())), vec!["url"]));
        assert_eq!(source(Some(None), true, true), (Ok(Source::Program), vec!["url", "program"]));
        assert_eq!(source(Some(None), false, true), (Ok(Source::Container), vec!["url", "program", "engine"]));
    }

    #[test]
    fn a_server_of_its_own_never_comes_from_a_url() {
        assert_eq!(source(None, true, true), (Ok(Source::Program), vec!["program"]));
        assert_eq!(source(None, false, true), (Ok(Source::Container), vec!["program", "engine"]));
    }

    #[test]
    fn the_error_names_all_three() {
        for url in [Some(None), None] {
            let error = source(url, false, false).0.unwrap_err();
            for word in [
                "Redis",
                "ROME_TEST_REDIS_URL",
                "redis-server is not on PATH",
                "no Docker engine",
                ENGINE,
                "scripts/images",
            ] {
                assert!(error.contains(word), "{error}");
            }
        }
    }
}
