//! Where data lies: sites, the homes that each has, and their numbers.
//!
//! A *site* is a place with a store of its own; a *home* is one atomicity domain of a store, and a site has one or more. A database that was
//! opened on one store has one site and one home, and no topology in the store. Several are joined by a [`Topology`], which every home keeps
//! with the catalog; its epoch rises with every change.

mod sites;
pub mod tag;

use crate::error::{Error, Result, SqlState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

pub use sites::{FixedSites, Sites};

/// Most sites of a database.
pub const MAX_SITES: usize = 1_000;

/// Most homes of a site.
pub const MAX_HOMES: u16 = 64;

/// Longest name of a site, in bytes.
const MAX_SITE_NAME: usize = 63;

/// A home's number. Numbers are given once and never reused, so that what is stored may name a home by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct HomeNo(pub u16);

impl HomeNo {
    /// The home of a database that has only one.
    pub const FIRST: Self = Self(0);
}

impl fmt::Display for HomeNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A site and its homes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Site {
    /// Its name, unique.
    pub name: String,
    /// The numbers of its homes, at least one. Catalog and unsharded tables are at the first.
    pub homes: Vec<HomeNo>,
}

impl Site {
    /// The first home.
    pub fn home(&self) -> HomeNo {
        self.homes.first().copied().unwrap_or(HomeNo::FIRST)
    }
}

/// The sites of a database.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Topology {
    /// A random name that tells this database from every other, so that nobody writes into a store of another one.
    pub cluster: String,
    /// Rises with every change.
    pub epoch: u64,
    /// In the order in which they joined.
    pub sites: Vec<Site>,
    /// The number that the next home gets.
    pub next_home: u16,
}

impl Topology {
    /// The one site of a database that has only one.
    pub fn single(site: &str) -> Self {
        let sites = vec![Site { name: site.to_owned(), homes: vec![HomeNo::FIRST] }];
        Self { cluster: String::new(), epoch: 0, sites, next_home: 1 }
    }

    /// A new database at these sites, each with so many homes.
    ///
    /// # Errors
    /// 22023 where a name is empty, too long, or there twice, or there are no sites or homes or too many.
    pub fn new(cluster: String, sites: &[(String, u16)]) -> Result<Self> {
        let mut topology = Self { cluster, epoch: 1, sites: vec![], next_home: 0 };
        for (name, homes) in sites {
            topology.add(name, *homes)?;
        }
        topology.check()?;
        Ok(topology)
    }

    fn add(&mut self, name: &str, homes: u16) -> Result<()> {
        if homes == 0 || homes > MAX_HOMES {
            let message = format!("site \"{name}\" has between 1 and {MAX_HOMES} homes, not {homes}");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let next = self
            .next_home
            .checked_add(homes)
            .ok_or_else(|| Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "all numbers of homes are used up"))?;
        self.sites.push(Site { name: name.to_owned(), homes: (self.next_home..next).map(HomeNo).collect() });
        self.next_home = next;
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        if self.sites.is_empty() || self.sites.len() > MAX_SITES {
            return invalid(format!("a topology has between 1 and {MAX_SITES} sites, not {}", self.sites.len()));
        }
        let mut names = BTreeSet::new();
        for site in &self.sites {
            if site.name.is_empty() || site.name.len() > MAX_SITE_NAME {
                return invalid(format!(
                    "the site name \"{}\" is not between 1 and {MAX_SITE_NAME} bytes long",
                    site.name
                ));
            }
            if !names.insert(&site.name) {
                return invalid(format!("two sites are named \"{}\"", site.name));
            }
        }
        Ok(())
    }

    /// The same with one site more.
    ///
    /// # Errors
    /// As [`Topology::new`]; 54000 where all numbers of homes are used up.
    pub fn with(&self, name: &str, homes: u16) -> Result<Self> {
        let mut grown = self.clone();
        grown.epoch += 1;
        grown.add(name, homes)?;
        grown.check()?;
        Ok(grown)
    }

    /// The same without a site.
    ///
    /// # Errors
    /// 22023 where there is no such site, or it is the last one.
    pub fn without(&self, name: &str) -> Result<Self> {
        self.home_of_site(name)?;
        let mut shrunk = self.clone();
        shrunk.epoch += 1;
        shrunk.sites.retain(|site| site.name != name);
        shrunk.check()?;
        Ok(shrunk)
    }

    /// The site of this name.
    ///
    /// # Errors
    /// 22023 where there is no site of this name.
    pub fn site(&self, name: &str) -> Result<&Site> {
        self.sites.iter().find(|site| site.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.sites.iter().map(|site| site.name.as_str()).collect();
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("site \"{name}\" does not exist"))
                .with_hint(format!("The sites are: {}.", known.join(", ")))
        })
    }

    /// The name of the site that a home belongs to.
    pub fn site_of(&self, home: HomeNo) -> Option<&str> {
        self.sites.iter().find(|site| site.homes.contains(&home)).map(|site| site.name.as_str())
    }

    /// All homes, in the order of their sites.
    pub fn homes(&self) -> Vec<HomeNo> {
        self.sites.iter().flat_map(|site| site.homes.iter().copied()).collect()
    }

    /// The first home of a site.
    ///
    /// # Errors
    /// 22023 where there is no site of this name.
    pub fn home_of_site(&self, name: &str) -> Result<HomeNo> {
        self.site(name).map(Site::home)
    }

    /// Whether there are several homes.
    pub fn is_spread(&self) -> bool {
        self.homes().len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<(String, u16)> {
        names.iter().map(|name| ((*name).to_owned(), 1)).collect()
    }

    #[test]
    fn sites_are_numbered_in_order() {
        let topology = Topology::new("c".into(), &[("rome".into(), 2), ("pisa".into(), 1)]).unwrap();
        assert_eq!(topology.home_of_site("pisa").unwrap(), HomeNo(2));
        assert_eq!(topology.site_of(HomeNo(1)), Some("rome"));
        assert_eq!(topology.next_home, 3);
        assert!(topology.is_spread());
    }

    #[test]
    fn bad_names_are_refused() {
        for sites in [vec![], names(&["a", "a"]), names(&[""]), names(&[&"x".repeat(64)])] {
            let error = Topology::new("c".into(), &sites).unwrap_err();
            assert_eq!(error.state(), SqlState::INVALID_PARAMETER_VALUE, "{sites:?}");
        }
        for homes in [0, MAX_HOMES + 1] {
            assert!(Topology::new("c".into(), &[("a".into(), homes)]).is_err());
        }
        let error = Topology::single("here").home_of_site("there").unwrap_err();
        assert_eq!(error.message(), "site \"there\" does not exist");
    }
}
