//! The topology file: what it says, and changes of it that leave comments, order and everything else as the person wrote it.

use async_trait::async_trait;
use rome::store::Store;
use rome::{Error, Result, SqlState, TopologyFile};
use rome_core::database::Sites;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::NamedTempFile;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

/// A topology file as it was read.
pub struct SitesFile {
    path: PathBuf,
    text: String,
    local: Option<String>,
    sites: Arc<TopologyFile>,
}

impl SitesFile {
    /// Reads a file.
    ///
    /// # Errors
    /// 08001 where it can't be read or is not as [`TopologyFile`] describes.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| {
            let message = format!("the topology file \"{}\" can't be read: {error}", path.display());
            Error::new(SqlState::CONNECTION_REJECTED, message)
        })?;
        // Through links: the file that they name is the one to be replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Self::of(path, text)
    }

    fn of(path: PathBuf, text: String) -> Result<Self> {
        let sites = Arc::new(TopologyFile::parse(&text)?);
        let local = sites.local(None).ok();
        Ok(Self { path, text, local, sites })
    }

    /// The local site, where the file names one.
    pub fn local(&self) -> Option<&str> {
        self.local.as_deref()
    }

    /// The sites' stores.
    pub fn sites(&self) -> &Arc<TopologyFile> {
        &self.sites
    }

    /// Whether it names a site.
    pub fn names(&self, site: &str) -> bool {
        self.sites.names().iter().any(|name| name == site)
    }

    /// The URL of a site's store as it stands in the file, secrets included.
    pub fn url(&self, site: &str) -> Result<Option<String>> {
        let document = self.document()?;
        let text = |item: &Item| item.as_str().map(str::to_owned);
        let found = match document.get("site") {
            Some(Item::ArrayOfTables(tables)) => {
                let table = tables.iter().find(|table| table.get("name").and_then(Item::as_str) == Some(site));
                table.and_then(|table| table.get("store")).and_then(text)
            }
            Some(Item::Value(Value::Array(tables))) => {
                let mut tables = tables.iter().filter_map(Value::as_inline_table);
                let table = tables.find(|table| table.get("name").and_then(Value::as_str) == Some(site));
                table.and_then(|table| table.get("store")).and_then(Value::as_str).map(str::to_owned)
            }
            _ => None,
        };
        Ok(found)
    }

    /// The sites' stores, except that no embedded store is made where there is none: to look must not leave empty files behind, and a file that
    /// has gone is a site that can't be reached. Of a site that is about to join the store may be made.
    pub fn existing(&self, joins: Option<&str>) -> Result<Arc<dyn Sites>> {
        let mut missing = BTreeMap::new();
        for site in self.sites.names().into_iter().filter(|site| Some(site.as_str()) != joins) {
            let url = self.url(&site)?.unwrap_or_default();
            if let Some(path) = url.strip_prefix("embedded:").map(PathBuf::from)
                && !path.exists()
            {
                missing.insert(site, path);
            }
        }
        Ok(Arc::new(Existing { sites: Arc::clone(&self.sites), missing }))
    }

    fn document(&self) -> Result<DocumentMut> {
        // It has been parsed before, with better words.
        self.text.parse().map_err(|_| Error::internal("a topology file does not parse twice"))
    }

    /// The same with one site more, at the end.
    ///
    /// # Errors
    /// 22023 where the file can't be changed so.
    pub fn with(&self, site: &str, store: &str, homes: Option<u16>) -> Result<Self> {
        let mut document = self.document()?;
        let fields = || {
            let homes = homes.map(|homes| ("homes", Value::from(i64::from(homes))));
            [("name", Value::from(site)), ("store", Value::from(store))].into_iter().chain(homes)
        };
        match document.get_mut("site") {
            Some(Item::ArrayOfTables(tables)) => {
                let mut table: Table = fields().map(|(name, value)| (name, Item::Value(value))).collect();
                table.decor_mut().set_prefix("\n");
                tables.push(table);
            }
            Some(Item::Value(Value::Array(tables))) => {
                let table: InlineTable = fields().collect();
                push_like_the_last(tables, table.into());
            }
            _ => return Err(Error::internal("a topology file without sites")),
        }
        let added = Self::of(self.path.clone(), document.to_string())?;
        match added.names(site) {
            true => Ok(added),
            false => Err(Error::internal("a site was added to a topology file that does not name it")),
        }
    }

    /// The same without a site; `None` where there would be none left.
    ///
    /// # Errors
    /// 22023 where the file can't be changed so.
    pub fn without(&self, site: &str) -> Result<Option<Self>> {
        if self.sites.names().iter().all(|name| name == site) {
            return Ok(None);
        }
        let mut document = self.document()?;
        let left = match document.get_mut("site") {
            Some(Item::ArrayOfTables(tables)) => without_table(tables, site),
            Some(Item::Value(Value::Array(tables))) => {
                let named = |value: &Value| {
                    value.as_inline_table().and_then(|table| table.get("name")).and_then(Value::as_str) == Some(site)
                };
                tables.retain(|value| !named(value));
                String::new()
            }
            _ => return Err(Error::internal("a topology file without sites")),
        };
        let trailing = format!("{left}{}", document.trailing().as_str().unwrap_or_default());
        document.set_trailing(trailing);
        Self::of(self.path.clone(), document.to_string()).map(Some)
    }

    /// Writes the new text beside the file, to take its place once the database has been changed.
    ///
    /// # Errors
    /// 58030 where that is not possible.
    pub fn prepare(&self) -> Result<Pending> {
        let written = || {
            let directory = self.path.parent().unwrap_or(Path::new("."));
            let mut file = NamedTempFile::new_in(directory)?;
            file.write_all(self.text.as_bytes())?;
            // It may hold passwords, or be meant for many.
            file.as_file().set_permissions(fs::metadata(&self.path)?.permissions())?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        let file = written().map_err(|error: std::io::Error| unwritable(&self.path, &error))?;
        Ok(Pending { file, path: self.path.clone() })
    }
}

/// A file's sites, some of whose embedded stores are missing.
#[derive(Debug)]
struct Existing {
    sites: Arc<TopologyFile>,
    missing: BTreeMap<String, PathBuf>,
}

#[async_trait]
impl Sites for Existing {
    fn names(&self) -> Vec<String> {
        self.sites.names()
    }

    fn homes(&self, site: &str) -> u16 {
        self.sites.homes(site)
    }

    async fn store(&self, site: &str) -> Result<Arc<dyn Store>> {
        match self.missing.get(site) {
            None => self.sites.store(site).await,
            Some(path) => Err(Error::new(
                SqlState::CONNECTION_FAILURE,
                format!("the store of site \"{site}\" is missing: there is no file \"{}\"", path.display()),
            )),
        }
    }
}

/// A file's next content.
pub struct Pending {
    file: NamedTempFile,
    path: PathBuf,
}

impl Pending {
    /// Puts it in the file's place.
    ///
    /// # Errors
    /// 58030 where that fails.
    pub fn replace(self) -> Result<()> {
        let Self { file, path } = self;
        file.persist(&path).map(drop).map_err(|error| unwritable(&path, &error.error))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(SqlState::IO_ERROR, format!("the topology file \"{}\" can't be written: {error}", path.display()))
}

/// Adds a value to an array, on a line of its own where the last one has one.
fn push_like_the_last(values: &mut Array, mut value: Value) {
    let decor = values.iter().last().map(|last| last.decor().clone());
    match decor {
        Some(decor) => {
            *value.decor_mut() = decor;
            values.push_formatted(value);
        }
        None => values.push(value),
    }
}

/// Takes a site's table out with the comment that stands right above it. What stands further above, behind an empty line, is not about this site: it
/// moves on to the next, or is returned where there is none.
fn without_table(tables: &mut ArrayOfTables, site: &str) -> String {
    let named = |table: &Table| table.get("name").and_then(Item::as_str) == Some(site);
    let mut kept = String::new();
    loop {
        let found = tables.iter().position(named);
        let Some(at) = found else { return kept };
        let prefix = tables.get(at).and_then(|table| table.decor().prefix()).and_then(|prefix| prefix.as_str());
        let first = at == 0 && prefix.is_none_or(|prefix| !prefix.starts_with('\n'));
        let above = prefix.and_then(|prefix| prefix.rsplit_once("\n\n")).map_or("", |(above, _)| above);
        let above = if above.trim().is_empty() { String::new() } else { format!("{above}\n") };
        tables.remove(at);
        match tables.get_mut(at) {
            Some(next) => {
                let own = next.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default().to_owned();
                // A file does not begin with an empty line.
                let own = if first && above.is_empty() { own.trim_start_matches('\n').to_owned() } else { own };
                next.decor_mut().set_prefix(format!("{above}{own}"));
            }
            None => kept.push_str(&above),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const FILE: &str = "# Our sites.\n# Ask Ada before you change them.\n\nlocal = \"pisa\" # the tower\n\n\
        # near the sea\n[[site]]\nname = \"pisa\"\nstore = \"memory:\"  # for now\n\n\
        # --- the south ---\n\n# the capital\n[[site]]\nstore = \"memory:\"\nname = \"rome\"\nhomes = 4\n\n# The end.\n";

    fn file(text: &str) -> SitesFile {
        SitesFile::of(PathBuf::new(), text.to_owned()).unwrap()
    }

    #[test]
    fn a_site_is_added_at_the_end() {
        let added = file(FILE).with("turin", "redis://u:p@h", Some(2)).unwrap();
        let site = "\n[[site]]\nname = \"turin\"\nstore = \"redis://u:p@h\"\nhomes = 2\n";
        let expected = FILE.replace("\n# The end.\n", &format!("{site}\n# The end.\n"));
        assert_eq!(added.text, expected);
        assert_eq!(added.url("turin").unwrap().as_deref(), Some("redis://u:p@h"));
        assert_eq!(added.url("rome").unwrap().as_deref(), Some("memory:"));
        assert_eq!(added.without("turin").unwrap().unwrap().text, FILE);
    }

    #[test]
    fn a_site_goes_with_its_comment_only() {
        let left = file(FILE).without("rome").unwrap().unwrap();
        let rome = "# the capital\n[[site]]\nstore = \"memory:\"\nname = \"rome\"\nhomes = 4\n\n";
        assert_eq!(left.text, FILE.replace(rome, ""));
        let left = file(FILE).without("pisa").unwrap().unwrap();
        let pisa = "# near the sea\n[[site]]\nname = \"pisa\"\nstore = \"memory:\"  # for now\n\n";
        assert_eq!(left.text, FILE.replace(pisa, ""));
        assert!(left.without("rome").unwrap().is_none());
    }

    #[test]
    fn sites_in_one_line_each_stay_so() {
        let text = "site = [\n  { name = \"a\", store = \"memory:\" },\n  { name = \"b\", store = \"memory:\" },\n]\n";
        let added = file(text).with("c", "memory:", None).unwrap();
        assert_eq!(added.text, text.replace("},\n]", "},\n  { name = \"c\", store = \"memory:\" },\n]"));
        assert_eq!(added.url("c").unwrap().as_deref(), Some("memory:"));
        assert_eq!(added.without("c").unwrap().unwrap().text, text);
    }
}
