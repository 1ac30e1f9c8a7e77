//! A burst: many servers booted at once through the APIs of all sites, watched until the last is ACTIVE, and deleted.

use super::client::{Client, Endpoint};
use super::commands::BurstArguments;
use super::{CliError, CliResult};
use crate::clock::{self, Micros};
use axum::http::{Method, StatusCode};
use futures::stream::{self, StreamExt};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often the lists are asked.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// A burst that is ready to be fired.
#[derive(Debug)]
pub struct Burst {
    client: Client,
    computes: Vec<Endpoint>,
    flavor: String,
    image: String,
    arguments: BurstArguments,
    /// From a server's id to the compute endpoint it lives at.
    servers: BTreeMap<String, String>,
    started_at: Micros,
}

/// How it went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Servers asked for.
    pub count: usize,
    /// Servers that became ACTIVE.
    pub active: usize,
    /// What went wrong, with how often.
    pub errors: BTreeMap<String, usize>,
    /// From the first request to the last server being ACTIVE.
    pub took: Duration,
    /// From a server's request to it being ACTIVE, sorted.
    pub to_active: Vec<Duration>,
    /// How long `POST /servers` took, sorted.
    pub requests: Vec<Duration>,
    /// From a site to its hosts, each with its servers.
    pub spread: BTreeMap<String, BTreeMap<String, usize>>,
}

struct Requested {
    id: CliResult<String>,
    compute: String,
    asked_at: Micros,
    took: Duration,
}

impl Burst {
    /// Finds the sites, the flavor and the image.
    ///
    /// # Errors
    /// Where one of them is not there.
    pub async fn prepare(client: Client, arguments: &BurstArguments, regions: Option<&[String]>) -> CliResult<Self> {
        let mut computes = client.endpoints("compute");
        if let Some(regions) = regions {
            computes.retain(|endpoint| regions.contains(&endpoint.region));
        }
        let first = computes.first().ok_or_else(|| {
            CliError::new("the catalog names no compute API")
                .with_hint("Check --region; without it all sites are used.")
        })?;
        let flavors = client.get(&format!("{}/flavors", first.url)).await?;
        let flavor = find(&flavors, "flavors", &arguments.flavor)?;
        let image_endpoint = client.endpoints("image").into_iter().next();
        let image_url = image_endpoint.ok_or_else(|| CliError::new("the catalog names no image API"))?.url;
        let images = client.get(&format!("{image_url}/v2/images")).await?;
        let image = find(&images, "images", &arguments.image)?;
        Ok(Self {
            client,
            computes,
            flavor,
            image,
            arguments: arguments.clone(),
            servers: BTreeMap::new(),
            started_at: 0,
        })
    }

    /// Asks for all servers and waits until each is ACTIVE or in ERROR.
    ///
    /// # Errors
    /// Where an API can't be reached, or servers are still building after the time-out.
    pub async fn boot(&mut self, progress: &ProgressBar) -> CliResult<Outcome> {
        let begun = Instant::now();
        self.started_at = clock::now();
        let name: Arc<str> = format!("burst-{}", &Uuid::new_v4().simple().to_string()[..8]).into();
        let mut outcome = Outcome { count: self.arguments.count as usize, ..Outcome::default() };
        let mut asked_at = HashMap::new();
        let requests: Vec<Requested> = self.request_all(&name).await;
        for requested in requests {
            outcome.requests.push(requested.took);
            match requested.id {
                Ok(id) => {
                    asked_at.insert(id.clone(), requested.asked_at);
                    self.servers.insert(id, requested.compute);
                }
                Err(error) => *outcome.errors.entry(error.message).or_default() += 1,
            }
        }
        let failed = self.wait_until_built(begun, progress).await?;
        let observed = begun.elapsed();
        self.inspect(&mut outcome, &asked_at, observed).await?;
        for (message, count) in failed {
            *outcome.errors.entry(message).or_default() += count;
        }
        outcome.requests.sort_unstable();
        outcome.to_active.sort_unstable();
        Ok(outcome)
    }

    async fn request_all(&self, name: &str) -> Vec<Requested> {
        let sites = self.computes.len().max(1);
        let requests = (0..self.arguments.count as usize).filter_map(|number| {
            let compute = self.computes.get(number % sites)?.url.clone();
            let body = json!({"server": {
                "name": format!("{name}-{number}"),
                "flavorRef": self.flavor,
                "imageRef": self.image,
                "networks": "none",
            }});
            let client = self.client.clone();
            Some(async move {
                let (asked_at, begun) = (clock::now(), Instant::now());
                let answer = client.request(Method::POST, &format!("{compute}/servers"), Some(body)).await;
                let took = begun.elapsed();
                let id = answer.and_then(|answer| answer.success("boot a server")).and_then(|body| {
                    let id = body.pointer("/server/id").and_then(Value::as_str);
                    id.map(str::to_owned).ok_or_else(|| CliError::new("the API gave no id"))
                });
                Requested { id, compute, asked_at, took }
            })
        });
        stream::iter(requests).buffer_unordered(usize::from(self.arguments.concurrency)).collect().await
    }

    /// The ids of this burst that are listed under `status`, at all sites.
    async fn listed(&self, status: &str) -> CliResult<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        for compute in &self.computes {
            for server in self.pages(&format!("{}/servers", compute.url), status).await? {
                if let Some(id) = server.get("id").and_then(Value::as_str).filter(|id| self.servers.contains_key(*id)) {
                    ids.insert(id.to_owned());
                }
            }
        }
        Ok(ids)
    }

    async fn pages(&self, url: &str, status: &str) -> CliResult<Vec<Value>> {
        let since = clock::to_seconds_text(self.started_at);
        let mut all = Vec::new();
        let mut query = format!("?changes-since={since}&limit=1000{status}");
        loop {
            let body = self.client.get(&format!("{url}{query}")).await?;
            let page = body.get("servers").and_then(Value::as_array).cloned().unwrap_or_default();
            let last = page.last().and_then(|server| server.get("id")).and_then(Value::as_str).map(str::to_owned);
            all.extend(page);
            match last.filter(|_| body.get("servers_links").is_some()) {
                Some(marker) => query = format!("?changes-since={since}&limit=1000{status}&marker={marker}"),
                None => return Ok(all),
            }
        }
    }

    /// Waits for the last server; gives what went wrong with those in ERROR.
    async fn wait_until_built(&self, begun: Instant, progress: &ProgressBar) -> CliResult<BTreeMap<String, usize>> {
        let give_up = Duration::from_secs(self.arguments.timeout_s);
        let mut failed = BTreeSet::new();
        loop {
            let active = self.listed("&status=ACTIVE").await?;
            progress.set_position(active.len() as u64);
            if active.len() + failed.len() < self.servers.len() {
                failed = self.listed("&status=ERROR").await?;
            }
            if active.len() + failed.len() >= self.servers.len() {
                break;
            }
            if begun.elapsed() > give_up {
                let missing = self.servers.len() - active.len() - failed.len();
                return Err(CliError::new(format!(
                    "{missing} servers are still building after {} s",
                    give_up.as_secs()
                ))
                .with_hint("Do schedulers and agents run at every site? Raise --timeout-s if they are only slow."));
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        let mut faults = BTreeMap::new();
        for id in failed {
            let compute = self.servers.get(&id).cloned().unwrap_or_default();
            let body = self.client.get(&format!("{compute}/servers/{id}")).await?;
            let message = body.pointer("/server/fault/message").and_then(Value::as_str).unwrap_or("no fault recorded");
            *faults.entry(message.to_owned()).or_default() += 1;
        }
        Ok(faults)
    }

    /// Reads when and where each server came up.
    async fn inspect(
        &self,
        outcome: &mut Outcome,
        asked_at: &HashMap<String, Micros>,
        observed: Duration,
    ) -> CliResult<()> {
        for compute in &self.computes {
            for server in self.pages(&format!("{}/servers/detail", compute.url), "&status=ACTIVE").await? {
                let text = |name: &str| server.get(name).and_then(Value::as_str);
                let Some(asked_at) = text("id").and_then(|id| asked_at.get(id)) else { continue };
                outcome.active += 1;
                let host = text("OS-EXT-SRV-ATTR:host").or(text("hostId")).unwrap_or("?").to_owned();
                *outcome.spread.entry(compute.region.clone()).or_default().entry(host).or_default() += 1;
                // The agent's clock: exact on one machine, and never later than what was seen from here.
                let launched = text("OS-SRV-USG:launched_at").and_then(clock::parse).unwrap_or_else(clock::now);
                let since = |from: Micros| {
                    Duration::from_micros(u64::try_from(launched.saturating_sub(from)).unwrap_or(0)).min(observed)
                };
                outcome.to_active.push(since(*asked_at));
                outcome.took = outcome.took.max(since(self.started_at));
            }
        }
        Ok(())
    }

    /// Deletes all servers of the burst and waits until the last is gone.
    ///
    /// # Errors
    /// Where an API can't be reached or refuses, or servers are still there after the time-out.
    pub async fn delete(&mut self, progress: &ProgressBar) -> CliResult<Duration> {
        let begun = Instant::now();
        let total = self.servers.len();
        let client = self.client.clone();
        let requests = self.servers.clone().into_iter().map(|(id, compute)| {
            let client = client.clone();
            async move {
                let answer = client.request(Method::DELETE, &format!("{compute}/servers/{id}"), None).await?;
                if answer.status == StatusCode::NOT_FOUND {
                    return Ok(());
                }
                answer.success("delete a server").map(drop)
            }
        });
        let mut answers = stream::iter(requests).buffer_unordered(usize::from(self.arguments.concurrency));
        while let Some(answer) = answers.next().await {
            answer?;
        }
        loop {
            let left = self.listed("").await?.len();
            progress.set_position((total - left) as u64);
            if left == 0 {
                self.servers.clear();
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > Duration::from_secs(self.arguments.timeout_s) {
                return Err(CliError::new(format!("{left} servers are still being deleted")));
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

/// The id of what is named, in a list of an API.
fn find(body: &Value, list: &str, wanted: &str) -> CliResult<String> {
    let all = body.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let found = all.iter().find(|item| text(item, "name") == wanted || text(item, "id") == wanted);
    found.map(|item| text(item, "id")).ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|item| text(item, "name")).collect();
        CliError::new(format!("there is no \"{wanted}\" among the {list}"))
            .with_hint(format!("There are: {}.", names.join(", ")))
    })
}

/// Success where every server became ACTIVE.
///
/// # Errors
/// Otherwise, with what went wrong most often.
pub fn verdict(outcome: &Outcome) -> CliResult<()> {
    if outcome.active == outcome.count {
        return Ok(());
    }
    let worst = outcome.errors.iter().max_by_key(|(_, count)| **count);
    let reason = worst.map_or_else(String::new, |(message, count)| format!("; {count} times: {message}"));
    Err(CliError::new(format!("{} of {} servers became ACTIVE{reason}", outcome.active, outcome.count)).with_hint(
        "Are there hosts with room left? Give them more with --vcpus, --ram-mb and --disk-gb, or add --hosts.",
    ))
}
