//! Sites as a file names them.

use async_trait::async_trait;
use rome_core::database::Sites;
use rome_core::store::Store;
use rome_core::{Error, Result, SqlState};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The sites of a database and their stores, from a TOML file:
///
/// ```toml
/// local = "pisa"                          # where this client is; may be said in the URL instead
///
/// [[site]]
/// name = "pisa"
/// store = "redis://10.1.0.5:6379"         # kinds may differ from site to site
///
/// [[site]]
/// name = "rome"
/// store = "etcd://10.2.0.5:2379,10.2.0.6:2379,10.2.0.7:2379"
/// homes = 4                               # sharded tables of this site are spread over so many; 1 where it is not said
/// ```
///
/// The order of the sites matters once only: when the database begins, they are numbered by it, and the first may bring tables along. Stores are
/// connected to when they are first needed; their URLs stay in this file, since they may hold passwords.
pub struct TopologyFile {
    local: Option<String>,
    sites: Vec<FileSite>,
    opened: BTreeMap<String, OnceCell<Arc<dyn Store>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileContent {
    local: Option<String>,
    #[serde(default)]
    site: Vec<FileSite>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSite {
    name: String,
    store: String,
    /// How many homes the site gets when it joins.
    #[serde(default = "one")]
    homes: u16,
}

fn one() -> u16 {
    1
}

impl fmt::Debug for TopologyFile {
    /// Names only: the stores' URLs may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopologyFile").field("local", &self.local).field("sites", &self.names()).finish()
    }
}

impl TopologyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// 08001 where it can't be read or is not as described.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| invalid(format!("the topology file \"{}\" can't be read: {error}", path.display())))?;
        Self::parse(&text)
    }

    /// Takes a file's text.
    ///
    /// # Errors
    /// As [`TopologyFile::read`].
    pub fn parse(text: &str) -> Result<Self> {
        // The parser's own message would repeat the line, and with it a password.
        let content: FileContent = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line =
                error.span().map_or(1, |span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
            invalid(format!("the topology file is not valid: line {line}: {}", error.message()))
        })?;
        if content.site.is_empty() {
            return Err(invalid("the topology file names no site".to_owned()));
        }
        for (at, site) in content.site.iter().enumerate() {
            // Each mention of a store in memory is one of its own.
            let shared =
                |other: &&FileSite| other.name != site.name && other.store == site.store && site.store != "memory:";
            if let Some(other) = content.site.iter().take(at).find(shared) {
                return Err(invalid(format!("sites \"{}\" and \"{}\" have the same store", other.name, site.name)));
            }
        }
        let opened = content.site.iter().map(|site| (site.name.clone(), OnceCell::new())).collect();
        Ok(Self { local: content.local, sites: content.site, opened })
    }

    /// The URL of a site's store, without credentials; `None` where the file does not name the site.
    pub fn shown_store(&self, site: &str) -> Option<String> {
        self.sites.iter().find(|known| known.name == site).map(|known| crate::hide_credentials(&known.store))
    }

    /// The local site: the one given, else the file's.
    ///
    /// # Errors
    /// 08001 where neither names one.
    pub fn local(&self, given: Option<&str>) -> Result<String> {
        given
            .map(str::to_owned)
            .or_else(|| self.local.clone())
            .ok_or_else(|| invalid("nothing says which site is the local one".to_owned()))
    }
}

fn invalid(message: String) -> Error {
    Error::new(SqlState::CONNECTION_REJECTED, message).with_hint(
        "A topology file has local = \"SITE\" and for each site [[site]] with name = \"SITE\" and store = \"URL\".",
    )
}

#[async_trait]
impl Sites for TopologyFile {
    fn names(&self) -> Vec<String> {
        self.sites.iter().map(|site| site.name.clone()).collect()
    }

    fn homes(&self, site: &str) -> u16 {
        self.sites.iter().find(|known| known.name == site).map_or(1, |known| known.homes)
    }

    async fn store(&self, site: &str) -> Result<Arc<dyn Store>> {
        let known = self.sites.iter().find(|known| known.name == site).zip(self.opened.get(site));
        let Some((known, opened)) = known else {
            let message = format!("the topology file does not name site \"{site}\"");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        };
        let store = opened.get_or_try_init(|| crate::open_store(&known.store)).await;
        store.cloned().map_err(|error| error.with_detail(format!("At site \"{site}\".")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TWO: &str =
        "local = \"a\"\n[[site]]\nname = \"a\"\nstore = \"memory:\"\n[[site]]\nname = \"b\"\nstore = \"memory:\"\n";

    #[tokio::test]
    async fn a_file_opens_a_database() {
        use crate::{Queryable, connect_sites};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sites.toml");
        std::fs::write(&path, TWO).unwrap();
        let url = format!("topology:{}?local=b", path.display());
        let db = connect_sites(&url, crate::Options::default()).await.unwrap();
        db.execute("CREATE TABLE t (site text PRIMARY KEY) WITH (placement = 'by_site(site)')").await.unwrap();
        db.execute("INSERT INTO t VALUES ('a'), ('b')").await.unwrap();
        assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM t").await.unwrap(), 2);
        assert_eq!(db.topology().sites.len(), 2);
    }

    #[tokio::test]
    async fn bad_files_are_refused_without_repeating_passwords() {
        for text in [
            "",
            "[[site]]\nname = \"a\"",
            "[[site]]\nname = \"a\"\nstore = \"redis://:secret@h\"\nhouses = 3",
            "[[site]\nstore = \"redis://:secret@h\"",
            "[[site]]\nname = \"a\"\nstore = redis://:secret@h",
            "[[site]]\nname = \"a\"\nstore = \"redis://:secret@h\"\n[[site]]\nname = \"b\"\nstore = \"redis://:secret@h\"",
        ] {
            let error = TopologyFile::parse(text).unwrap_err();
            assert_eq!(error.state(), SqlState::CONNECTION_REJECTED, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let error = TopologyFile::parse("local = \"a\"\n\n[[site]]\nname = \"a\"\nstore = \"memory:\"\nhomes = -1")
            .unwrap_err();
        assert!(error.message().contains("line 6"), "{error}");
        let error = TopologyFile::parse("[[site]]\nname = \"a\"\nstore = \"memory:\"\n\n[site]\n").unwrap_err();
        assert!(error.message().contains("line 5"), "{error}");
        let file = TopologyFile::parse("[[site]]\nname = \"a\"\nstore = \"nosuch://:secret@h\"").unwrap();
        assert_eq!(file.local(None).unwrap_err().state(), SqlState::CONNECTION_REJECTED);
        assert!(!format!("{file:?}").contains("secret"));
        for error in [file.store("a").await.unwrap_err(), file.store("b").await.unwrap_err()] {
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
