//! Queries from their text to their rows, over the in-memory store: answers, and the round trips that they took.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use rome_core::catalog::{
    Column, ColumnId, Homes, Index, IndexColumn, IndexState, Placement, SchemaView, Table, TableId,
};
use rome_core::exec::functions::CallContext;
use rome_core::exec::{ExecContext, NumberSource, RowRules, keys, run};
use rome_core::plan::logical::Bound;
use rome_core::store::{HomeId, MemoryStore, Store};
use rome_core::topology::{HomeNo, Topology};
use rome_core::txn::{Client, Mode};
use rome_core::{DataType, Error, Result, Value};
use std::sync::Arc;

struct Schema(Vec<Arc<Table>>);

impl SchemaView for Schema {
    fn table(&self, name: &str) -> Option<Arc<Table>> {
        self.0.iter().find(|table| table.name == name).cloned()
    }

    fn table_by_id(&self, id: TableId) -> Option<Arc<Table>> {
        self.0.iter().find(|table| table.id == id).cloned()
    }

    fn topology(&self) -> Arc<Topology> {
        Arc::new(Topology::single("here"))
    }
}

struct NoNumbers;

#[async_trait]
impl NumberSource for NoNumbers {
    async fn next(&self, _: TableId, _: &Column, _: usize) -> Result<Vec<i64>> {
        Err(Error::unsupported("identity columns in this test"))
    }
}

fn table(id: u32, name: &str, columns: &[(&str, DataType)], indexes: Vec<Index>) -> Arc<Table> {
    let columns: Vec<Column> = columns
        .iter()
        .zip(1..)
        .map(|((name, data_type), id)| Column {
            id: ColumnId(id),
            name: (*name).to_owned(),
            data_type: data_type.clone(),
            not_null: id == 1,
            default: None,
            identity: None,
            missing: None,
            hidden: false,
        })
        .collect();
    Arc::new(Table {
        id: TableId(id),
        name: name.to_owned(),
        version: Default::default(),
        next_column: columns.len() as u32 + 1,
        columns,
        primary_key: vec![ColumnId(1)],
        primary_key_name: Some(format!("{name}_pkey")),
        indexes,
        checks: vec![],
        foreign_keys: vec![],
        referenced_by: vec![],
        stamp: 0,
        placement: Placement::First,
        rows: None,
        shadow: None,
        target: None,
        claims: None,
        changes: false,
        unclaimed: false,
        authorities: vec![],
        homes: Homes::default(),
    })
}

fn index(space: u32, name: &str, column: u32, unique: bool, descending: bool) -> Index {
    Index {
        space,
        name: name.to_owned(),
        columns: vec![IndexColumn { column: ColumnId(column), descending, nulls_first: descending }],
        unique,
        claims: None,
        constraint: unique,
        state: IndexState::Public,
    }
}

struct Fixture {
    client: Arc<Client>,
    schema: Arc<Schema>,
}

impl Fixture {
    async fn new() -> Self {
        let author = table(
            101,
            "author",
            &[("id", DataType::Int4), ("name", DataType::Text), ("country", DataType::Text)],
            vec![index(201, "author_country", 3, false, false)],
        );
        let book = table(
            102,
            "book",
            &[
                ("id", DataType::Int4),
                ("author_id", DataType::Int4),
                ("title", DataType::Varchar(Some(20))),
                ("price", DataType::Numeric(Some((8, 2)))),
                ("year", DataType::Int2),
            ],
            vec![
                index(202, "book_author", 2, false, false),
                index(203, "book_title", 3, true, false),
                index(204, "book_year", 5, false, true),
            ],
        );
        let number = table(103, "number", &[("id", DataType::Int8), ("half", DataType::Int4)], vec![]);
        let schema = Arc::new(Schema(vec![author, book, number]));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let fixture = Self { client: Client::new(store, HomeId::new("h"), 7), schema };
        let text = |text: &str| Value::text(text);
        let authors =
            [(1, "Lem", Some("PL")), (2, "Le Guin", Some("US")), (3, "Borges", None), (4, "Calvino", Some("IT"))];
        let rows = authors.map(|(id, name, country)| vec![id.into(), text(name), country.into()]);
        fixture.fill("author", rows.to_vec()).await;
        let price = |cents: i64| Value::Numeric(rust_decimal::Decimal::new(cents, 2));
        let book = |id: i32, author: Option<i32>, title: &str, price, year: Option<i16>| {
            vec![id.into(), author.into(), text(title), price, year.into()]
        };
        let books = vec![
            book(10, Some(1), "Solaris", price(1250), Some(1961)),
            book(11, Some(1), "Fiasco", price(999), Some(1986)),
            book(12, Some(2), "The Dispossessed", price(1100), Some(1974)),
            book(13, Some(3), "Ficciones", Value::Null, Some(1944)),
            book(14, None, "Beowulf", price(500), None),
        ];
        fixture.fill("book", books).await;
        let numbers = (0..10_000_i64).map(|id| vec![Value::Int(id), Value::Int(id / 2)]);
        fixture.fill("number", numbers.collect()).await;
        fixture
    }

    async fn fill(&self, table: &str, rows: Vec<Vec<Value>>) {
        let table = self.schema.table(table).unwrap();
        for rows in rows.chunks(1000) {
            let mut txn = self.client.begin(Mode::SingleStatement);
            for row in rows {
                txn.put(HomeNo::FIRST, keys::row_key(&table, row).unwrap(), keys::encode_table_row(&table, row))
                    .unwrap();
                for index in &table.indexes {
                    let (key, value) = keys::index_entry(&table, index, row).unwrap();
                    txn.put(HomeNo::FIRST, key, value).unwrap();
                }
            }
            txn.commit().await.unwrap();
        }
    }

    /// The rows and the read round trips.
    async fn try_query(&self, sql: &str, memory_bytes: Option<usize>) -> Result<(Vec<String>, u64)> {
        let statements = rome_core::sql::parse(sql)?;
        let bound = rome_core::sql::bind(&statements[0], self.schema.as_ref(), &[])?;
        let Bound::Query(query) = &bound.bound else { panic!("{sql} is no query") };
        let (node, columns) = rome_core::plan::plan_query(query)?;
        let mut txn = self.client.begin(Mode::ReadOnly);
        let calls = CallContext::at(chrono::DateTime::UNIX_EPOCH);
        let schema: Arc<dyn SchemaView> = self.schema.clone();
        let mut cx =
            ExecContext::new(&mut txn, schema, Arc::from([]), calls, Arc::new(NoNumbers), |_| Ok(RowRules::default()));
        if let Some(memory_bytes) = memory_bytes {
            cx.limits.memory_bytes = memory_bytes;
        }
        let rows = run(&node, &mut cx).await?;
        let shown = rows.iter().map(|row| {
            let values: Vec<String> = row.iter().zip(&columns).map(|(value, c)| value.to_text(&c.data_type)).collect();
            values.join("|")
        });
        Ok((shown.collect(), txn.round_trips().reads))
    }

    async fn check(&self, sql: &str, expected: &[&str], round_trips: u64) {
        let (rows, reads) = self.try_query(sql, None).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(rows, expected, "{sql}");
        assert!(reads <= round_trips, "{sql} took {reads} round trips instead of {round_trips}");
    }

    async fn check_error(&self, sql: &str, expected: &str) {
        match self.try_query(sql, None).await {
            Ok((rows, _)) => panic!("{sql} gave {rows:?}"),
            Err(error) => assert_eq!(format!("{}: {}", error.state(), error.message()), expected, "{sql}"),
        }
    }
}

#[tokio::test]
async fn keys_and_ranges() {
    let db = Fixture::new().await;
    db.check("SELECT name FROM author WHERE id = 2", &["Le Guin"], 1).await;
    db.check("SELECT name FROM author WHERE id IN (4, 1, 1, 9, NULL) ORDER BY id", &["Lem", "Calvino"], 1).await;
    db.check("SELECT id FROM author WHERE id = 3000000000", &[], 1).await;
    db.check("SELECT id FROM author WHERE id = 1.5", &[], 1).await;
    db.check("SELECT id FROM author WHERE id > 1.5 AND id < 3.5 ORDER BY id", &["2", "3"], 1).await;
    db.check("SELECT id FROM author WHERE id < 3000000000 ORDER BY id DESC", &["4", "3", "2", "1"], 1).await;
    db.check("SELECT id FROM book WHERE title = 'Fiasco'", &["11"], 1).await;
    db.check("SELECT id FROM author WHERE country > 'IT' ORDER BY country", &["1", "2"], 1).await;
    db.check("SELECT id FROM book WHERE year < 1974 ORDER BY year DESC", &["10", "13"], 1).await;
    db.check("SELECT id FROM book WHERE year >= 1974 ORDER BY year DESC", &["11", "12"], 1).await;
    db.check("SELECT id FROM book WHERE year > 100000", &[], 1).await;
    db.check("SELECT id FROM author WHERE country = NULL", &[], 0).await;
    db.check("SELECT id FROM author WHERE country IS NULL", &["3"], 1).await;
    db.check("SELECT id FROM book ORDER BY year DESC LIMIT 2", &["14", "11"], 1).await;
    db.check("SELECT count(*), sum(half), min(id), max(id) FROM number", &["10000|24995000|0|9999"], 3).await;
    db.check("SELECT id FROM number WHERE half = 4000 ORDER BY id DESC", &["8001", "8000"], 3).await;
    db.check("SELECT id FROM number ORDER BY id DESC LIMIT 2 OFFSET 1", &["9998", "9997"], 1).await;
}

#[tokio::test]
async fn joins() {
    let db = Fixture::new().await;
    db.check(
        "SELECT a.name, b.title FROM author a JOIN book b ON b.author_id = a.id WHERE a.country = 'PL' ORDER BY b.title",
        &["Lem|Fiasco", "Lem|Solaris"],
        2,
    )
    .await;
    let left = "SELECT a.name, b.title FROM author a LEFT JOIN book b ON b.author_id = a.id AND b.price > 10 ORDER BY a.id, b.id";
    db.check(left, &["Lem|Solaris", "Le Guin|The Dispossessed", "Borges|NULL", "Calvino|NULL"], 2).await;
    let full = "SELECT a.name, b.title FROM author a FULL JOIN book b ON b.author_id = a.id \
                WHERE a.id IS NULL OR b.id IS NULL ORDER BY 1";
    db.check(full, &["Calvino|NULL", "NULL|Beowulf"], 1).await;
    let right = "SELECT a.name, b.title FROM author a RIGHT JOIN book b ON b.author_id = a.id AND a.country IS NOT NULL ORDER BY b.id";
    db.check(right, &["Lem|Solaris", "Lem|Fiasco", "Le Guin|The Dispossessed", "NULL|Ficciones", "NULL|Beowulf"], 2)
        .await;
    db.check("SELECT count(*) FROM author a CROSS JOIN book b", &["20"], 1).await;
    db.check("SELECT count(*) FROM author a JOIN book b ON a.id < b.author_id", &["3"], 1).await;
    let wide = "SELECT count(*) FROM number n JOIN number m ON m.id = n.half WHERE n.id < 3000";
    let (rows, reads) = db.try_query(wide, None).await.unwrap();
    assert_eq!(rows, ["3000"]);
    assert!(reads <= 3, "a join of 3,000 rows took {reads} round trips");
}

#[tokio::test]
async fn lookups_of_many_rows_take_one_round_trip() {
    let db = Fixture::new().await;
    let sql = "SELECT b.id, n.half FROM book b JOIN number n ON n.id = b.id WHERE b.year > 1950 ORDER BY b.id";
    db.check(sql, &["10|5", "11|5", "12|6"], 2).await;
    let sql = "SELECT b.id, n.half FROM book b LEFT JOIN number n ON n.id = b.year * 10 ORDER BY b.id";
    let (rows, _) = db.try_query(sql, None).await.unwrap();
    assert_eq!(rows, ["10|NULL", "11|NULL", "12|NULL", "13|NULL", "14|NULL"]);
    let sql = "SELECT id FROM book b WHERE NOT EXISTS (SELECT 1 FROM number n WHERE n.id = b.author_id AND n.half > 0) ORDER BY id";
    db.check(sql, &["10", "11", "14"], 3).await;
    let sql = "SELECT id FROM book b WHERE b.author_id IN (SELECT id FROM number WHERE half = 1) ORDER BY id";
    let (rows, _) = db.try_query(sql, None).await.unwrap();
    assert_eq!(rows, ["12", "13"]);
}

#[tokio::test]
async fn subqueries() {
    let db = Fixture::new().await;
    let sql = "SELECT name FROM author a WHERE EXISTS (SELECT 1 FROM book b WHERE b.author_id = a.id AND b.price < 10)";
    db.check(sql, &["Lem"], 2).await;
    let sql = "SELECT name FROM author WHERE id NOT IN (SELECT author_id FROM book WHERE author_id IS NOT NULL)";
    assert_eq!(db.try_query(sql, None).await.unwrap().0, ["Calvino"]);
    // With a NULL among the values nothing is surely outside.
    let sql = "SELECT name FROM author WHERE id NOT IN (SELECT author_id FROM book)";
    assert_eq!(db.try_query(sql, None).await.unwrap().0, Vec::<String>::new());
    let sql = "SELECT name, (SELECT count(*) FROM book b WHERE b.author_id = a.id) FROM author a ORDER BY id";
    assert_eq!(db.try_query(sql, None).await.unwrap().0, ["Lem|2", "Le Guin|1", "Borges|1", "Calvino|0"]);
    let sql = "SELECT title FROM book WHERE price = (SELECT max(price) FROM book)";
    assert_eq!(db.try_query(sql, None).await.unwrap().0, ["Solaris"]);
    let sql =
        "SELECT title FROM book WHERE price > ALL (SELECT price FROM book WHERE year > 1970) AND price IS NOT NULL";
    assert_eq!(db.try_query(sql, None).await.unwrap().0, ["Solaris"]);
    let sql = "SELECT ARRAY(SELECT id FROM author ORDER BY id)";
    assert_eq!(db.try_query(sql, None).await.unwrap().0, ["{1,2,3,4}"]);
    db.check_error(
        "SELECT (SELECT id FROM author)",
        "21000: more than one row returned by a subquery used as an expression",
    )
    .await;
    // The branch that is not taken asks nothing.
    let sql = "SELECT CASE WHEN true THEN 1 ELSE (SELECT id FROM author) END";
    db.check(sql, &["1"], 0).await;
}

#[tokio::test]
async fn groups_sets_and_order() {
    let db = Fixture::new().await;
    let sql = "SELECT author_id, count(*), avg(price), string_agg(title, '/') FILTER (WHERE price < 10) FROM book \
               GROUP BY author_id HAVING count(*) >= 1 ORDER BY author_id NULLS FIRST";
    db.check(
        sql,
        &[
            "NULL|1|5.0000000000000000|Beowulf",
            "1|2|11.2450000000000000|Fiasco",
            "2|1|11.0000000000000000|NULL",
            "3|1|NULL|NULL",
        ],
        1,
    )
    .await;
    db.check("SELECT count(*), sum(price) FROM book WHERE id > 99", &["0|NULL"], 1).await;
    db.check("SELECT count(DISTINCT author_id) FROM book", &["3"], 1).await;
    db.check("SELECT DISTINCT author_id FROM book ORDER BY author_id DESC", &["NULL", "3", "2", "1"], 1).await;
    db.check(
        "SELECT DISTINCT ON (author_id) author_id, title FROM book WHERE author_id = 1 ORDER BY author_id, title",
        &["1|Fiasco"],
        1,
    )
    .await;
    let sql = "SELECT id FROM author UNION ALL SELECT author_id FROM book ORDER BY 1 NULLS FIRST LIMIT 4";
    db.check(sql, &["NULL", "1", "1", "1"], 1).await;
    db.check("SELECT id FROM author INTERSECT SELECT author_id FROM book ORDER BY 1", &["1", "2", "3"], 1).await;
    db.check("SELECT author_id FROM book EXCEPT ALL SELECT id FROM author ORDER BY 1", &["1", "NULL"], 1).await;
    db.check("SELECT id FROM number ORDER BY half DESC, id LIMIT 3", &["9998", "9999", "9996"], 3).await;
    db.check_error("SELECT id FROM author LIMIT -1", "2201W: LIMIT must not be negative").await;
    db.check_error("SELECT 1 / (id - id) FROM author", "22012: division by zero").await;
}

#[tokio::test]
async fn memory_is_limited() {
    let db = Fixture::new().await;
    let error = db.try_query("SELECT id FROM number ORDER BY half", Some(100_000)).await.unwrap_err();
    assert_eq!(error.state().code(), "53200");
    // Streaming takes no memory, and a sort for a few rows little.
    let sorted =
        db.try_query("SELECT count(*) FROM (SELECT id FROM number ORDER BY half LIMIT 3) t", Some(400_000)).await;
    assert_eq!(sorted.unwrap().0, ["3"]);
    assert_eq!(db.try_query("SELECT count(*) FROM number WHERE half > 2", Some(10_000)).await.unwrap().0, ["9994"]);
}
