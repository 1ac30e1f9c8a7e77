//! Servers at their places, the network between them, and a database client at each site.

use super::dialect::System;
use super::settings::Settings;
use crate::{Failure, Result};
use async_trait::async_trait;
use rome::{Database, Options, Queryable, RomeDatabase};
use rome_core::database::Sites;
use rome_core::store::{CountingStore, Store};
use rome_proxy::Network;
use rome_tests::server::{Program, Server};
use std::env;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Connections that one client of a SQL server opens at most (`rome-sql`).
const CONNECTIONS: usize = 32;

/// A system that runs, with clients at all sites.
pub struct Deployment {
    /// What it is.
    pub system: System,
    /// The names of the sites. A central server is at the first.
    pub sites: Vec<String>,
    /// For each site its clients, each with connections of its own.
    clients: Vec<Vec<Arc<dyn Database>>>,
    network: Network,
    /// The stores of other sites, as all clients reach them.
    far: Arc<Mutex<Vec<Arc<CountingStore>>>>,
    /// What removes everything from a server that goes on.
    removal: Option<(Arc<dyn Database>, String)>,
    /// End with the value.
    _servers: Vec<Server>,
}

impl Deployment {
    /// Starts it, empty. Central servers are those of the environment; `None` where there is none.
    ///
    /// # Errors
    /// Those of the servers.
    pub async fn start(system: System, settings: &Settings) -> Result<Option<Self>> {
        let sites: Vec<String> = (1..=settings.sites).map(|number| format!("site{number}")).collect();
        match system.variable().map(env::var) {
            None => Self::spread(sites).await.map(Some),
            Some(Ok(url)) => Self::central(system, sites, &url, settings).await.map(Some),
            Some(Err(_)) => {
                eprintln!("{} is left out: {} is not set", system.name(), system.variable().unwrap_or_default());
                Ok(None)
            }
        }
    }

    async fn spread(sites: Vec<String>) -> Result<Self> {
        let mut servers = vec![];
        for _ in &sites {
            servers.push(Server::start(Program::Redis).await);
        }
        let addresses: Vec<String> = servers.iter().map(|server| authority(&server.url()).to_owned()).collect();
        let pairs: Vec<(&str, &str)> = sites.iter().zip(&addresses).map(|(site, at)| (&**site, &**at)).collect();
        let network = Network::start(&pairs).await?;
        let far = Arc::new(Mutex::new(vec![]));
        let mut clients: Vec<Vec<Arc<dyn Database>>> = vec![];
        for local in &sites {
            let urls = sites
                .iter()
                .map(|site| (site.clone(), format!("redis://{}?durability=fsync", network.endpoint(local, site))));
            let near = Near { local: local.clone(), urls: urls.collect(), far: Arc::clone(&far) };
            clients.push(vec![Arc::new(RomeDatabase::open_sites(local, Arc::new(near), Options::default()).await?)]);
        }
        Ok(Self { system: System::Rome, sites, clients, network, far, removal: None, _servers: servers })
    }

    async fn central(system: System, sites: Vec<String>, url: &str, settings: &Settings) -> Result<Self> {
        let address = authority(url).to_owned();
        let pairs: Vec<(&str, &str)> = sites.iter().map(|site| (&**site, &*address)).collect();
        let network = Network::start(&pairs).await?;
        let first = sites.first().cloned().unwrap_or_default();
        let name = format!("wide_{}", Uuid::new_v4().simple());
        let admin = rome::connect(url).await?;
        let url_by = |address: &str| match system {
            System::Postgres => Ok(format!("{}?options[search_path]={name}", at_address(url, address))),
            _ => {
                let url = at_address(url, address);
                let (server, _) = url.rsplit_once('/').ok_or("a URL without a database")?;
                Ok::<_, Failure>(format!("{server}/{name}"))
            }
        };
        let kind = if system == System::Postgres { "SCHEMA" } else { "DATABASE" };
        admin.execute(format!("CREATE {kind} {name}")).await?;
        let most = settings.clients.iter().copied().max().unwrap_or(1);
        let mut clients = vec![];
        for site in &sites {
            let url = url_by(&network.endpoint(site, &first))?;
            let mut pools = vec![];
            for _ in 0..most.div_ceil(CONNECTIONS) {
                pools.push(rome::connect(&url).await?);
            }
            clients.push(pools);
        }
        let cascade = if system == System::Postgres { " CASCADE" } else { "" };
        let removal = Some((admin, format!("DROP {kind} {name}{cascade}")));
        Ok(Self { system, sites, clients, network, far: Arc::default(), removal, _servers: vec![] })
    }

    /// The database as the `number`th client at a site reaches it.
    ///
    /// # Errors
    /// Where there is no such site.
    pub fn client(&self, site: usize, number: usize) -> Result<Arc<dyn Database>> {
        let pools = self.clients.get(site).map(Vec::as_slice).unwrap_or_default();
        pools.get(number % pools.len().max(1)).cloned().ok_or_else(|| Failure::from("there is no such site"))
    }

    /// The name of a site; counted round, so that each has a next one.
    #[must_use]
    pub fn site(&self, number: usize) -> String {
        self.sites.get(number % self.sites.len().max(1)).cloned().unwrap_or_default()
    }

    /// Takes everything away again.
    ///
    /// # Errors
    /// The central server's.
    pub async fn remove(mut self) -> Result<()> {
        self.set_round_trip(Duration::ZERO);
        self.clients.clear();
        if let Some((admin, drop)) = self.removal.take() {
            admin.execute(drop).await?;
        }
        Ok(())
    }

    /// From now on, between any two sites.
    pub fn set_round_trip(&self, delay: Duration) {
        self.network.set_round_trip(delay);
    }

    /// Requests to stores of other sites so far, those that follow an answer among them. Rome only.
    #[must_use]
    pub fn far_requests(&self) -> u64 {
        let far = self.far.lock().unwrap_or_else(PoisonError::into_inner);
        far.iter().map(|store| store.counts().total()).sum()
    }
}

/// The sites as a client at one of them reaches them.
#[derive(Debug)]
struct Near {
    local: String,
    urls: Vec<(String, String)>,
    far: Arc<Mutex<Vec<Arc<CountingStore>>>>,
}

#[async_trait]
impl Sites for Near {
    fn names(&self) -> Vec<String> {
        self.urls.iter().map(|(site, _)| site.clone()).collect()
    }

    async fn store(&self, site: &str) -> rome::Result<Arc<dyn Store>> {
        let Some((_, url)) = self.urls.iter().find(|(name, _)| name == site) else {
            return Err(rome::Error::new(rome::SqlState::INVALID_PARAMETER_VALUE, format!("there is no site {site}")));
        };
        let store = rome::open_store(url).await?;
        if site == self.local {
            return Ok(store);
        }
        let counted = Arc::new(CountingStore::new(store));
        self.far.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counted));
        Ok(counted)
    }
}

/// host:port of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['/', '?']).next().unwrap_or_default();
    rest.rsplit_once('@').map_or(rest, |(_, address)| address)
}

/// The URL with another host:port.
fn at_address(url: &str, address: &str) -> String {
    url.replacen(authority(url), address, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_bent_to_the_network() {
        for (url, expected) in [
            ("redis://127.0.0.1:7000", "redis://near:1"),
            ("mysql://root@127.0.0.1:3306/rome", "mysql://root@near:1/rome"),
            ("postgres://rome:a@b@127.0.0.1:5432/rome?x=1", "postgres://rome:a@b@near:1/rome?x=1"),
        ] {
            assert_eq!(at_address(url, "near:1"), expected);
        }
    }
}
