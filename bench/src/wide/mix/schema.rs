//! The tables, filled. Every key begins with the site where the row lives.

use super::super::deployment::Deployment;
use super::super::settings::Settings;
use crate::Result;
use rome::{Database, Queryable};

/// Districts of a warehouse.
pub const DISTRICTS: i64 = 10;
/// Customers of a district.
pub const CUSTOMERS: i64 = 20;
/// Items; each warehouse has a stock of each.
pub const ITEMS: i64 = 200;
/// Rows of one INSERT.
const ROWS_AT_ONCE: usize = 400;

const TABLES: [&str; 10] = [
    "CREATE TABLE warehouse (site SITE NOT NULL, w bigint NOT NULL, tax bigint NOT NULL, ytd bigint NOT NULL, PRIMARY KEY (site, w))PLACED",
    "CREATE TABLE district (site SITE NOT NULL, w bigint NOT NULL, d bigint NOT NULL, tax bigint NOT NULL, ytd bigint NOT NULL, \
     next_order bigint NOT NULL, PRIMARY KEY (site, w, d))PLACED",
    "CREATE TABLE customer (site SITE NOT NULL, w bigint NOT NULL, d bigint NOT NULL, c bigint NOT NULL, name varchar(40) NOT NULL, \
     discount bigint NOT NULL, balance bigint NOT NULL, paid bigint NOT NULL, payments bigint NOT NULL, PRIMARY KEY (site, w, d, c))PLACED",
    "CREATE TABLE item (site SITE NOT NULL, i bigint NOT NULL, name varchar(40) NOT NULL, price bigint NOT NULL, PRIMARY KEY (site, i))PLACED",
    "CREATE TABLE stock (site SITE NOT NULL, w bigint NOT NULL, i bigint NOT NULL, quantity bigint NOT NULL, ytd bigint NOT NULL, \
     PRIMARY KEY (site, w, i))PLACED",
    "CREATE TABLE orders (site SITE NOT NULL, w bigint NOT NULL, d bigint NOT NULL, o bigint NOT NULL, c bigint NOT NULL, \
     order_lines bigint NOT NULL, PRIMARY KEY (site, w, d, o))PLACED",
    "CREATE INDEX orders_customer ON orders (site, w, d, c)",
    "CREATE TABLE new_order (site SITE NOT NULL, w bigint NOT NULL, d bigint NOT NULL, o bigint NOT NULL, PRIMARY KEY (site, w, d, o))PLACED",
    "CREATE TABLE order_line (site SITE NOT NULL, w bigint NOT NULL, d bigint NOT NULL, o bigint NOT NULL, line bigint NOT NULL, \
     i bigint NOT NULL, supply_site SITE NOT NULL, supply_w bigint NOT NULL, quantity bigint NOT NULL, amount bigint NOT NULL, \
     PRIMARY KEY (site, w, d, o, line))PLACED",
    "CREATE TABLE history (site SITE NOT NULL, w bigint NOT NULL, id UUID NOT NULL, d bigint NOT NULL, customer_site SITE NOT NULL, \
     amount bigint NOT NULL, PRIMARY KEY (site, w, id))PLACED",
];

/// Creates and fills the tables, each site's rows by a client of that site.
///
/// # Errors
/// The database's.
pub async fn fill(deployment: &Deployment, settings: &Settings) -> Result<()> {
    let first = deployment.client(0, 0)?;
    for table in TABLES {
        first.execute(deployment.system.ddl(table)).await?;
    }
    for (at, site) in deployment.sites.iter().enumerate() {
        let db = deployment.client(at, 0)?;
        let items = (0..ITEMS).map(|i| format!("('{site}', {i}, 'item {i:08}', {})", 100 + i * 7 % 900));
        insert(db.as_ref(), "item", items).await?;
        let mut rows: [Vec<String>; 4] = Default::default();
        let [warehouses, districts, customers, stock] = &mut rows;
        for w in 0..settings.warehouses {
            warehouses.push(format!("('{site}', {w}, {}, 0)", w % 20));
            stock.extend((0..ITEMS).map(|i| format!("('{site}', {w}, {i}, {}, 0)", 10 + (w + i) % 91)));
            for d in 0..DISTRICTS {
                districts.push(format!("('{site}', {w}, {d}, {}, 0, 0)", d % 20));
                customers.extend(
                    (0..CUSTOMERS)
                        .map(|c| format!("('{site}', {w}, {d}, {c}, 'customer {c:012}', {}, 0, 0, 0)", c % 50)),
                );
            }
        }
        for (table, rows) in ["warehouse", "district", "customer", "stock"].into_iter().zip(rows) {
            insert(db.as_ref(), table, rows).await?;
        }
    }
    Ok(())
}

async fn insert(db: &dyn Database, table: &str, rows: impl IntoIterator<Item = String>) -> Result<()> {
    let rows: Vec<String> = rows.into_iter().collect();
    for rows in rows.chunks(ROWS_AT_ONCE) {
        db.execute(format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await?;
    }
    Ok(())
}
