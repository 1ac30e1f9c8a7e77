//! How the stores of sites are reached.

use crate::error::{Error, Result, SqlState};
use crate::store::Store;
use async_trait::async_trait;
use std::fmt::Debug;
use std::sync::Arc;

/// The stores of sites, by name.
#[async_trait]
pub trait Sites: Send + Sync + Debug {
    /// The sites that this client knows how to reach, in the order in which a new database numbers them.
    fn names(&self) -> Vec<String>;

    /// How many homes a site gets when it joins: its sharded tables are spread over them.
    fn homes(&self, site: &str) -> u16 {
        let _ = site;
        1
    }

    /// Connects to the store of a site.
    ///
    /// # Errors
    /// 08006 where it can't be reached, 22023 where there is no such site.
    async fn store(&self, site: &str) -> Result<Arc<dyn Store>>;
}

/// Stores at hand.
#[derive(Clone, Debug)]
pub struct FixedSites {
    stores: Vec<(String, Arc<dyn Store>)>,
    homes: u16,
}

impl FixedSites {
    /// These stores, each with one home.
    pub fn new(sites: impl IntoIterator<Item = (String, Arc<dyn Store>)>) -> Self {
        Self { stores: sites.into_iter().collect(), homes: 1 }
    }

    /// The same with so many homes at each site.
    #[must_use]
    pub fn with_homes(self, homes: u16) -> Self {
        Self { homes, ..self }
    }
}

#[async_trait]
impl Sites for FixedSites {
    fn names(&self) -> Vec<String> {
        self.stores.iter().map(|(name, _)| name.clone()).collect()
    }

    fn homes(&self, _: &str) -> u16 {
        self.homes
    }

    async fn store(&self, site: &str) -> Result<Arc<dyn Store>> {
        let found = self.stores.iter().find(|(name, _)| name == site);
        found.map(|(_, store)| Arc::clone(store)).ok_or_else(|| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("the store of site \"{site}\" is not known here"))
        })
    }
}
