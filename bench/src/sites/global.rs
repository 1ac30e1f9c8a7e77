//! Global tables: what reading and changing them costs, and what keeps their copies.

use super::counted::{Meter, State, Traffic};
use super::world::{Cost, World, client, name, quiet, trips};
use crate::subject::expect_rows;
use crate::{Failure, Result};
use rome::{IntoStatement, Queryable};
use rome_core::database::{Executor, ReadMode};
use rome_core::txn::Patience;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How stale a copy may be that is read.
const STALE: ReadMode = ReadMode::Stale { max: Duration::from_secs(10) };
const COPYING: Duration = Duration::from_secs(10);

impl World {
    /// With a client at every site that looks after the copies there.
    pub(super) async fn global(&mut self) -> Result<()> {
        let sites = self.stores.len();
        let home = name(sites / 2);
        self.db
            .execute(format!(
                "CREATE TABLE flavor (id bigint PRIMARY KEY, cores bigint NOT NULL) WITH (placement = 'global({home})')"
            ))
            .await?;
        self.db.execute("INSERT INTO flavor VALUES (1, 1), (2, 2)").await?;
        let copies = Arc::new(Meter::default());
        let every = Patience::default().sweep_every;
        let mut clients = vec![];
        for site in 0..sites {
            clients.push(client(&self.stores, site, &copies, every).await?);
        }
        let reader = clients.first().ok_or("no sites")?;
        sleep(COPYING).await;

        let read = "SELECT cores FROM flavor WHERE id = 1";
        self.statement("read a row of a global table strongly", &[read]).await?;
        copies.take();
        let begun = Instant::now();
        let answer = reader.run_reading(read.into_statement(), STALE).await?;
        let (elapsed, passed) = (begun.elapsed(), copies.take());
        expect_rows(answer.rows.len(), 1)?;
        if answer.report.staleness.is_none() {
            return Err(Failure::from("the copy was not read"));
        }
        self.costs.push(Cost { operation: "read it from the copy at this site", trips: trips(elapsed), passed });

        self.statement("change it", &["UPDATE flavor SET cores = cores + 1 WHERE id = 1"]).await?;
        sleep(COPYING).await;
        copies.take();
        self.db.execute("UPDATE flavor SET cores = cores + 1 WHERE id = 1").await?;
        quiet().await;
        let told: Traffic = copies.take().told;
        let follows = State { far: told, ..State::default() };
        self.costs.push(Cost { operation: "what follows, to all other sites: events", trips: 0.0, passed: follows });
        sleep(COPYING).await;
        let strong: i64 = self.db.query_one(read).await?;
        for client in &clients {
            let answer = client.run_reading(read.into_statement(), STALE).await?;
            let copied = answer.rows.first().and_then(|row| row.values().first()).map(ToString::to_string);
            if copied != Some(strong.to_string()) {
                return Err(Failure::from(format!("a copy holds {copied:?}, its home {strong}")));
            }
        }
        copies.take();
        sleep(Duration::from_secs(60)).await;
        self.costs.push(Cost {
            operation: "look after the copies at all sites for a minute",
            trips: 0.0,
            passed: copies.take(),
        });
        Ok(())
    }
}
