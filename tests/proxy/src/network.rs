//! Sites, each with the address of its store, and a link for each ordered pair of them.

#![allow(clippy::panic)]

use crate::link::{Cut, Link};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// A network of sites. Names that it does not know are mistakes of the test and panic.
pub struct Network {
    /// Where each site's store really is.
    sites: BTreeMap<String, String>,
    /// By the site that asks and the site that is asked.
    links: BTreeMap<(String, String), Link>,
}

impl Network {
    /// A network of sites, given as (name, host:port of its store), without delays and cuts.
    ///
    /// # Errors
    /// The system's, where it has no free port.
    pub async fn start(sites: &[(&str, &str)]) -> io::Result<Self> {
        let sites: BTreeMap<String, String> =
            sites.iter().map(|(name, address)| ((*name).to_owned(), (*address).to_owned())).collect();
        let mut links = BTreeMap::new();
        for from in sites.keys() {
            for (to, address) in sites.iter().filter(|(to, _)| *to != from) {
                links.insert((from.clone(), to.clone()), Link::start(address).await?);
            }
        }
        Ok(Self { sites, links })
    }

    /// The names of the sites.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        self.sites.keys().map(String::as_str)
    }

    /// Where a client at site `from` finds the store of site `to`: host:port. At its own site it is the store itself.
    #[must_use]
    pub fn endpoint(&self, from: &str, to: &str) -> String {
        match self.sites.get(to) {
            Some(address) if from == to => address.clone(),
            _ => self.link(from, to).endpoint(),
        }
    }

    /// The link by which clients at site `from` reach the store of another site `to`.
    #[must_use]
    pub fn link(&self, from: &str, to: &str) -> &Link {
        match self.links.get(&(from.to_owned(), to.to_owned())) {
            Some(link) => link,
            None => panic!("there is no link from {from} to {to} among {:?}", self.sites),
        }
    }

    /// Delays everything between any two sites.
    pub fn set_round_trip(&self, round_trip: Duration) {
        self.links.values().for_each(|link| link.set_round_trip(round_trip));
    }

    /// Delays everything between two sites.
    pub fn set_round_trip_between(&self, one: &str, other: &str, round_trip: Duration) {
        self.link(one, other).set_round_trip(round_trip);
        self.link(other, one).set_round_trip(round_trip);
    }

    /// Cuts a site off from all others, both ways, in silence. Clients there still reach its own store.
    pub fn cut(&self, site: &str) {
        let others: Vec<&str> = self.sites().filter(|other| *other != site).collect();
        self.cut_halves(&[site], &others);
    }

    /// Cuts the sites of one half off from those of the other, both ways, in silence.
    pub fn cut_halves(&self, one: &[&str], other: &[&str]) {
        for one in one {
            for other in other {
                self.link(one, other).cut(Cut::Silent);
                self.link(other, one).cut(Cut::Silent);
            }
        }
    }

    /// Lets nothing pass that site `from` sends to site `to`: requests of its clients, and its store's answers to clients
    /// at `to`.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        self.add_cut(self.link(from, to), Cut::There);
        self.add_cut(self.link(to, from), Cut::Back);
    }

    fn add_cut(&self, link: &Link, cut: Cut) {
        link.cut(match link.current_cut() {
            Some(before) if before != cut => Cut::Silent,
            _ => cut,
        });
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.links.values().for_each(Link::heal);
    }
}
