//! Lists to which transactions append, and the history of what each saw, for a checker to judge.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use super::{Stop, Told, any_site, at_work, breathe, draw_site};
use rome_core::Result;
use rome_core::database::{Database, DatabaseExt, Queryable};
use serde_json::{Value as Json, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Lists at each site at a time.
const LISTS: u64 = 4;
/// So many transactions later others take their place, so that none grows too long.
const GENERATION: u64 = 1_000;

/// What happened, in order.
#[derive(Debug, Default)]
pub struct History {
    events: Mutex<Vec<Json>>,
    numbers: AtomicU64,
    transactions: AtomicU64,
}

/// A list: where it is, and its number there.
type List = (&'static str, i64);

impl History {
    fn note(&self, kind: &str, process: u64, value: Json) {
        self.events.lock().unwrap().push(json!({"type": kind, "process": process, "value": value}));
    }

    /// What a transaction is to do, with the lists from `first` on: lists, and what is appended to those that are not only read.
    fn draw(&self, near: &'static str, first: i64) -> Vec<(List, Option<u64>)> {
        let number = || self.numbers.fetch_add(1, Ordering::Relaxed);
        if rand::random_bool(0.4) {
            // Two that do this at two sites at once each read what the other writes.
            return vec![((near, first), None), ((any_site(), first), Some(number()))];
        }
        (0..rand::random_range(1..4))
            .map(|_| {
                let list = (draw_site(near), first + rand::random_range(0..LISTS) as i64);
                (list, rand::random_bool(0.5).then(number))
            })
            .collect()
    }

    /// Everything, in the form that the checker reads.
    pub fn events(&self) -> Vec<Json> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    /// Reads all lists there are in one transaction, as the last event.
    pub async fn conclude(&self, db: &dyn Database) {
        let read = "SELECT site, id, items FROM list ORDER BY site, id";
        let process = self.numbers.fetch_add(1, Ordering::Relaxed);
        let lists: Vec<(String, i64, String)> = db.query_as(read).await.unwrap();
        let name = |site: &str| *at_work().iter().find(|name| **name == site).expect("a site of the test");
        let asked: Vec<Json> = lists.iter().map(|(site, id, _)| json!(["r", key((name(site), *id)), null])).collect();
        self.note("invoke", process, asked.into());
        let seen: Vec<Json> =
            lists.iter().map(|(site, id, items)| json!(["r", key((name(site), *id)), numbers(items)])).collect();
        self.note("ok", process, seen.into());
    }
}

fn key((site, id): List) -> i64 {
    let at = at_work().iter().position(|name| *name == site).expect("a site of the test");
    id * 10 + at as i64
}

fn numbers(items: &str) -> Vec<u64> {
    items.split(',').filter(|item| !item.is_empty()).map(|item| item.parse().expect("numbers")).collect()
}

/// Creates the table.
pub async fn open(db: &dyn Database) {
    let create = "CREATE TABLE list (site text, id bigint, items text NOT NULL, PRIMARY KEY (site, id)) \
                  WITH (placement = 'by_site(site)')";
    db.execute(create).await.unwrap();
}

/// Reads some lists and appends to some, until it is time to stop.
pub async fn work(db: Arc<dyn Database>, near: &'static str, history: Arc<History>, stop: Stop) {
    let mut process = history.numbers.fetch_add(1, Ordering::Relaxed);
    while !stop.is_now() {
        let generation = history.transactions.fetch_add(1, Ordering::Relaxed) / GENERATION;
        let steps = history.draw(near, (generation * LISTS) as i64);
        let asked: Vec<Json> = steps
            .iter()
            .map(|(list, appended)| match appended {
                Some(number) => json!(["append", key(*list), number]),
                None => json!(["r", key(*list), null]),
            })
            .collect();
        history.note("invoke", process, asked.clone().into());
        let result = once(db.as_ref(), &steps).await;
        match Told::by(&result) {
            Told::Done => history.note("ok", process, result.unwrap().into()),
            Told::Failed => history.note("fail", process, asked.into()),
            Told::Unknown => {
                history.note("info", process, asked.into());
                process = history.numbers.fetch_add(1, Ordering::Relaxed);
            }
        }
        breathe().await;
    }
}

async fn once(db: &dyn Database, steps: &[(List, Option<u64>)]) -> Result<Vec<Json>> {
    let transaction = db.begin().await?;
    let mut seen = vec![];
    for ((site, id), appended) in steps {
        match appended {
            Some(number) => {
                let append = "INSERT INTO list VALUES ($1, $2, $3) \
                              ON CONFLICT (site, id) DO UPDATE SET items = list.items || ',' || excluded.items";
                let values = [(*site).into(), (*id).into(), number.to_string().into()];
                transaction.execute((append, values)).await?;
                seen.push(json!(["append", key((site, *id)), number]));
            }
            None => {
                let read = "SELECT items FROM list WHERE site = $1 AND id = $2";
                let items: Option<String> = transaction.query_opt((read, [(*site).into(), (*id).into()])).await?;
                seen.push(json!(["r", key((site, *id)), numbers(&items.unwrap_or_default())]));
            }
        }
    }
    transaction.commit().await?;
    Ok(seen)
}
