//! Which server is the primary, as Sentinels tell.
//!
//! All Sentinels are asked at once, and the answer of the newest configuration counts: a Sentinel that was cut off from the others may still
//! name the old one. Whoever is named is asked for its role before it is used.

use crate::address::{Access, Host};
use crate::failure::{Failure, connecting};
use futures::future::join_all;
use redis::{AsyncConnectionConfig, Cmd};
use rome_core::store::StoreError;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::timeout;

/// How long a Sentinel may take. One that hangs delays each search by this.
const PATIENCE: Duration = Duration::from_millis(500);

/// The Sentinels of one server.
pub(crate) struct Sentinels {
    hosts: Vec<Host>,
    master: String,
    access: Access,
}

/// What a Sentinel said.
struct Answer {
    primary: Host,
    /// Rises with each failover.
    configuration: u64,
}

impl Sentinels {
    /// Sentinels that call the server `master`.
    pub fn new(hosts: Vec<Host>, master: String, access: Access) -> Self {
        Self { hosts, master, access }
    }

    /// The primary.
    pub async fn locate(&self) -> Result<Host, Failure> {
        let answers = join_all(self.hosts.iter().map(|host| self.ask(host))).await;
        let mut newest: Option<Answer> = None;
        let mut failure = None;
        for answer in answers {
            match answer {
                Ok(answer) if newest.as_ref().is_none_or(|newest| newest.configuration < answer.configuration) => {
                    newest = Some(answer);
                }
                Ok(_) => {}
                // Of several reasons, one that trying again does not cure is the more telling.
                Err(other @ Failure::Refused(_)) => failure = Some(other),
                Err(other) => failure = failure.or(Some(other)),
            }
        }
        match (newest, failure) {
            (Some(answer), _) => Ok(answer.primary),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Failure::NotRun("no Sentinel is named".to_owned())),
        }
    }

    async fn ask(&self, host: &Host) -> Result<Answer, Failure> {
        let not_run = |reason: &str| Failure::NotRun(format!("the Sentinel at {host} {reason}"));
        match timeout(PATIENCE, self.converse(host)).await {
            Ok(result) => result,
            Err(_) => Err(not_run("did not answer in time")),
        }
    }

    async fn converse(&self, host: &Host) -> Result<Answer, Failure> {
        let address = host.to_string();
        let client = self.access.client(host).map_err(Failure::Refused)?;
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(None);
        let opened = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = opened.map_err(|error| connecting(&error, &format!("{address} (a Sentinel)")))?;
        let mut ask = Cmd::new();
        ask.arg("SENTINEL").arg("MASTER").arg(&self.master);
        let fields: HashMap<String, String> = ask.query_async(&mut connection).await.map_err(|error| {
            let text = error.to_string();
            if text.contains("No such master") {
                Failure::Refused(StoreError::Unsuitable(format!(
                    "the Sentinel at {address} watches no server by this name; correct `master` in the URL"
                )))
            } else if text.contains("unknown command") {
                Failure::Refused(StoreError::Unsuitable(format!(
                    "{address} is no Sentinel; connect to a server by redis://, to a cluster by redis-cluster://"
                )))
            } else {
                connecting(&error, &address)
            }
        })?;
        let number = |name: &str| fields.get(name).and_then(|value| value.parse::<u64>().ok());
        let primary = fields.get("ip").zip(number("port").and_then(|port| u16::try_from(port).ok()));
        match (primary, number("config-epoch")) {
            (Some((name, port)), Some(configuration)) => {
                Ok(Answer { primary: Host { name: name.clone(), port }, configuration })
            }
            _ => Err(Failure::NotRun(format!("the Sentinel at {address} sent an unexpected reply"))),
        }
    }
}
