//! The round-trip budget, row for row and on every store, counted by a store that wraps the real one; and that `EXPLAIN` predicts and `EXPLAIN
//! ANALYZE` reports what is counted.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use rome_core::database::{Database, DatabaseExt, Executor, Queryable, RomeDatabase, Statement, TransactionOptions};
use rome_core::store::{CountingStore, Counts, Store};
use rome_tests::place::{Engine, Place, database};
use std::sync::Arc;

/// A database whose store counts.
struct Counted {
    store: Arc<CountingStore>,
    db: RomeDatabase,
    _place: Place,
}

impl Counted {
    /// With a shop in it: 20 customers, 60 orders of 10 of them, 120 items of 12 products.
    async fn new(engine: Engine) -> Self {
        let place = Place::new(engine);
        let store = Arc::new(CountingStore::new(place.store().await));
        let db = database(store.clone()).await;
        for statement in [
            "CREATE TABLE customer (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, city text)",
            "CREATE TABLE product (id bigint PRIMARY KEY, name text NOT NULL)",
            "CREATE TABLE purchase (id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customer (id), total bigint)",
            "CREATE INDEX purchase_customer ON purchase (customer_id)",
            "CREATE TABLE item (purchase_id bigint, number bigint, product_id bigint NOT NULL, PRIMARY KEY (purchase_id, number))",
            "CREATE INDEX item_product ON item (product_id)",
            "CREATE TABLE event (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text NOT NULL)",
        ] {
            db.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let rows = |count: i64, row: fn(i64) -> String| (0..count).map(row).collect::<Vec<_>>().join(", ");
        for (table, rows) in [
            ("customer", rows(20, |n| format!("({n}, 'c{n}@example.org', 'city {}')", n % 4))),
            ("product", rows(12, |n| format!("({n}, 'product {n}')"))),
            ("purchase", rows(30, |n| format!("({n}, {}, {})", n % 10, n * 10))),
            ("purchase", rows(30, |n| format!("({}, {}, {})", n + 30, n % 10, n * 10))),
            ("item", rows(60, |n| format!("({}, {}, {})", n / 2, n % 2, n % 12))),
            ("item", rows(60, |n| format!("({}, {}, {})", 30 + n / 2, n % 2, n % 12))),
        ] {
            db.execute(format!("INSERT INTO {table} VALUES {rows}")).await.unwrap();
        }
        Self { store, db, _place: place }
    }

    /// What index entries with their rows cost.
    fn indexed(&self) -> u64 {
        if self.store.capabilities().follow { 1 } else { 2 }
    }

    /// What a statement costs as a transaction of its own.
    async fn cost(&self, statement: &str) -> Counts {
        let before = self.store.counts();
        self.db.run(Statement::text(statement, vec![])).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        self.store.counts() - before
    }

    /// Checks that a query costs this, that EXPLAIN foretells it, costs nothing, and that EXPLAIN ANALYZE tells and costs it.
    async fn query_costs(&self, query: &str, reads: u64) {
        self.explained(query, Counts { reads, commits: 0 }).await;
        // With a plan from the cache it is the same.
        for _ in 0..2 {
            assert_eq!(self.cost(query).await, Counts { reads, commits: 0 }, "{query}");
        }
        let before = self.store.counts();
        let lines = self.lines(&format!("EXPLAIN ANALYZE {query}")).await;
        assert_eq!(self.store.counts() - before, Counts { reads, commits: 0 }, "EXPLAIN ANALYZE {query}");
        self.told(&lines, "Actual: ", Counts { reads, commits: 0 });
    }

    /// Checks that a change costs this, that EXPLAIN foretells it, and that EXPLAIN ANALYZE tells and costs it. `change` makes a different statement of each
    /// number.
    async fn change_costs(&self, change: impl Fn(i64) -> String, cost: Counts) {
        // The first commit opens a lane.
        self.cost(&change(1)).await;
        self.explained(&change(2), cost).await;
        assert_eq!(self.cost(&change(2)).await, cost, "{}", change(2));
        let before = self.store.counts();
        let lines = self.lines(&format!("EXPLAIN ANALYZE {}", change(3))).await;
        assert_eq!(self.store.counts() - before, cost, "EXPLAIN ANALYZE {}", change(3));
        self.told(&lines, "Actual: ", cost);
    }

    async fn explained(&self, statement: &str, cost: Counts) {
        let before = self.store.counts();
        let lines = self.lines(&format!("EXPLAIN {statement}")).await;
        assert_eq!(self.store.counts() - before, Counts::default(), "EXPLAIN {statement}");
        self.told(&lines, "Round trips: ", cost);
    }

    async fn lines(&self, statement: &str) -> Vec<String> {
        self.db.query_as(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    /// Checks the numbers in a line of EXPLAIN.
    fn told(&self, lines: &[String], start: &str, cost: Counts) {
        let line =
            lines.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in {lines:?}"));
        let numbers = format!("{} (reads {}, commits {})", cost.total(), cost.reads, cost.commits);
        assert!(line.contains(&numbers), "{line} instead of {numbers}: {lines:?}");
    }
}

async fn select_by_primary_key(shop: Counted) {
    shop.query_costs("SELECT * FROM customer WHERE id = 7", 1).await;
    shop.query_costs("SELECT product_id FROM item WHERE purchase_id = 4 AND number = 1", 1).await;
    shop.query_costs("SELECT * FROM customer WHERE id = 777", 1).await;
}

/// The entry and then the row where the store does not follow: an index like any other.
async fn select_by_unique_key(shop: Counted) {
    shop.query_costs("SELECT city FROM customer WHERE email = 'c7@example.org'", shop.indexed()).await;
}

async fn select_in_list_of_keys(shop: Counted) {
    shop.query_costs("SELECT * FROM customer WHERE id IN (1, 5, 9, 13, 400)", 1).await;
}

async fn select_by_secondary_index(shop: Counted) {
    shop.query_costs("SELECT id, total FROM purchase WHERE customer_id = 3", shop.indexed()).await;
}

async fn select_by_range(shop: Counted) {
    shop.query_costs("SELECT * FROM customer WHERE id BETWEEN 3 AND 11 ORDER BY id", 1).await;
    shop.query_costs("SELECT number FROM item WHERE purchase_id = 4", 1).await;
}

/// Joins of n tables, each look-up for all rows together.
async fn join_along_keys_and_indexes(shop: Counted) {
    let one = shop.indexed();
    let by_key = "SELECT c.city, p.total FROM purchase p JOIN customer c ON c.id = p.customer_id WHERE p.id = 7";
    shop.query_costs(by_key, 2).await;
    let by_index =
        "SELECT c.city, p.total FROM customer c JOIN purchase p ON p.customer_id = c.id WHERE c.id IN (1, 2, 3)";
    shop.within(by_index, 2, 1 + one).await;
    let three = "SELECT c.city, p.total, i.number FROM customer c JOIN purchase p ON p.customer_id = c.id \
                 JOIN item i ON i.purchase_id = p.id WHERE c.id = 3";
    shop.within(three, 3, 2 + one).await;
    let four = "SELECT c.city, p.total, i.number, x.name FROM customer c JOIN purchase p ON p.customer_id = c.id \
                JOIN item i ON i.purchase_id = p.id JOIN product x ON x.id = i.product_id WHERE c.id IN (3, 4)";
    shop.within(four, 4, 3 + one).await;
    let outer = "SELECT c.city, p.total FROM customer c LEFT JOIN purchase p ON p.customer_id = c.id WHERE c.id < 15";
    shop.within(outer, 2, 1 + one).await;
}

impl Counted {
    /// Checks that a query over `tables` tables costs at most `most` (and that within n or 2n), and as much as EXPLAIN foretells.
    async fn within(&self, query: &str, tables: u64, most: u64) {
        assert!(most <= tables * self.indexed());
        let cost = self.cost(query).await;
        assert!(
            cost.reads <= most,
            "{query}: {cost:?} instead of {most}: {:?}",
            self.lines(&format!("EXPLAIN {query}")).await
        );
        self.query_costs(query, cost.reads).await;
    }
}

async fn insert(shop: Counted) {
    let once = Counts { reads: 0, commits: 1 };
    shop.change_costs(|n| format!("INSERT INTO product VALUES ({}, 'new')", 100 + n), once).await;
    // A unique column, and a reference.
    shop.change_costs(|n| format!("INSERT INTO customer VALUES ({}, 'new{n}', NULL)", 100 + n), once).await;
    shop.change_costs(|n| format!("INSERT INTO purchase VALUES ({}, 4, 1)", 100 + n), once).await;
    // Numbers of its own, once a block is reserved.
    shop.change_costs(|n| format!("INSERT INTO event (what) VALUES ('event {n}')"), once).await;
}

async fn insert_many_rows(shop: Counted) {
    let once = Counts { reads: 0, commits: 1 };
    let rows = |n: i64| (0..40).map(|row| format!("({}, {row}, 1)", n * 1_000)).collect::<Vec<_>>().join(", ");
    shop.change_costs(|n| format!("INSERT INTO item VALUES {}", rows(n)), once).await;
    let rows = (0..40).map(|_| "('many')").collect::<Vec<_>>().join(", ");
    shop.change_costs(|_| format!("INSERT INTO event (what) VALUES {rows}"), once).await;
}

async fn update_by_key(shop: Counted) {
    let cost = Counts { reads: 1, commits: 1 };
    shop.change_costs(|n| format!("UPDATE product SET name = 'renamed {n}' WHERE id = {n}"), cost).await;
    // An indexed column, and an expression.
    shop.change_costs(|n| format!("UPDATE purchase SET customer_id = 5, total = total + 1 WHERE id = {n}"), cost).await;
    shop.change_costs(|n| format!("UPDATE customer SET email = 'moved{n}' WHERE id = {n}"), cost).await;
}

async fn delete_by_key(shop: Counted) {
    let cost = Counts { reads: 1, commits: 1 };
    shop.change_costs(|n| format!("DELETE FROM product WHERE id = {n}"), cost).await;
    shop.change_costs(|n| format!("DELETE FROM item WHERE purchase_id = {n} AND number = 1"), cost).await;
    shop.change_costs(|n| format!("DELETE FROM purchase WHERE id = {n}"), cost).await;
}

/// Reads and one commit, however much was written.
async fn transaction(shop: Counted) {
    shop.cost("UPDATE product SET name = 'opens a lane' WHERE id = 1").await;
    let before = shop.store.counts();
    let tx = shop.db.begin().await.unwrap();
    tx.query("SELECT * FROM customer WHERE id = 3").await.unwrap();
    tx.query("SELECT * FROM purchase WHERE id IN (3, 4)").await.unwrap();
    tx.query("SELECT * FROM item WHERE purchase_id = 3").await.unwrap();
    assert_eq!(shop.store.counts() - before, Counts { reads: 3, commits: 0 });
    tx.execute("UPDATE purchase SET total = 0 WHERE id = 3").await.unwrap();
    tx.execute("UPDATE purchase SET total = 0 WHERE id = 4").await.unwrap();
    let reads = (shop.store.counts() - before).reads;
    assert!(reads <= 5, "{reads} reads for five statements by key");
    tx.commit().await.unwrap();
    assert_eq!(shop.store.counts() - before, Counts { reads, commits: 1 });
}

async fn read_only_transaction(shop: Counted) {
    let before = shop.store.counts();
    let options = TransactionOptions { read_only: true, ..TransactionOptions::default() };
    let tx = shop.db.begin_with(options).await.unwrap();
    tx.query("SELECT * FROM customer WHERE id = 3").await.unwrap();
    tx.query("SELECT * FROM item WHERE purchase_id = 3").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(shop.store.counts() - before, Counts { reads: 2, commits: 0 });
}

/// Nothing at all.
async fn empty_and_rolled_back_transactions(shop: Counted) {
    let before = shop.store.counts();
    shop.db.begin().await.unwrap().commit().await.unwrap();
    shop.db.begin().await.unwrap().rollback().await.unwrap();
    drop(shop.db.begin().await.unwrap());
    assert_eq!(shop.store.counts() - before, Counts::default());
}

/// A row of the table, on all stores.
macro_rules! budget {
    ($($engine:ident as $name:ident),+: $rows:tt) => {$( budget!(@ $engine $name $rows); )+};
    (@ $engine:ident $name:ident { $($row:ident)+ }) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $row() {
                    super::$row(super::Counted::new(super::Engine::$engine).await).await;
                }
            )+
        }
    };
}

budget! { Memory as memory, Embedded as embedded, Redis as redis, Etcd as etcd: {
    select_by_primary_key select_by_unique_key select_in_list_of_keys select_by_secondary_index select_by_range
    join_along_keys_and_indexes insert insert_many_rows update_by_key delete_by_key transaction read_only_transaction
    empty_and_rolled_back_transactions
} }
