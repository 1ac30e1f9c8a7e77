//! A primary that Sentinels watch.

use super::{Server, raw};
use redis::Cmd;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A primary, replicas, and Sentinels that know each other and all of them.
pub struct Watched {
    pub servers: Vec<Server>,
    pub sentinels: Vec<Server>,
}

impl Watched {
    pub async fn start(replicas: usize) -> Self {
        let mut servers = vec![Server::start(&[]).await];
        for _ in 0..replicas {
            servers.push(servers[0].start_replica(&[]).await);
        }
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(Server::start_sentinel(&servers[0], &[]).await);
        }
        let watched = Self { servers, sentinels };
        for sentinel in &watched.sentinels {
            let expected = [("num-slaves", replicas.to_string()), ("num-other-sentinels", "2".to_owned())];
            watched.until(sentinel, |seen| expected.iter().all(|(name, value)| seen.get(*name) == Some(value))).await;
        }
        watched
    }

    /// Waits until a Sentinel sees the primary so.
    async fn until(&self, sentinel: &Server, holds: impl Fn(&HashMap<String, String>) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut raw = raw(&sentinel.url()).await;
        loop {
            let mut ask = Cmd::new();
            let seen = ask.arg("SENTINEL").arg("MASTER").arg("shop").query_async(&mut raw).await.unwrap();
            if holds(&seen) {
                return;
            }
            assert!(Instant::now() < deadline, "{seen:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn url(&self, parameters: &str) -> String {
        let sentinels: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis-sentinel://{}?master=shop&{parameters}", sentinels.join(","))
    }
}
