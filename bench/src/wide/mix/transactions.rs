//! What a client does.

use super::super::dialect::{System, parameters, rows};
use super::books::Told;
use super::schema::{CUSTOMERS, DISTRICTS, ITEMS};
use crate::Result;
use futures::future::BoxFuture;
use rand::seq::index::sample;
use rome::{Database, DatabaseExt, Queryable, Transaction, Value};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Of a thousand transactions so many are new orders, and so many new orders or payments; the others look at an order.
const NEW_ORDERS: u32 = 489;
const CHANGES: u32 = 956;
/// Of new orders and payments so many have a part at another site, so that of all transactions it is a tenth.
const REMOTE: f64 = 0.1 * 1000.0 / CHANGES as f64;

/// A kind of transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Several items from one warehouse, one of them perhaps from a warehouse of another site
    NewOrder,
    /// By a customer, perhaps of another site
    Payment,
    /// The last order of a customer
    OrderStatus,
}

/// A client at a warehouse.
pub struct Terminal {
    /// What the database stands on.
    pub system: System,
    /// The database.
    pub db: Arc<dyn Database>,
    /// Its site.
    pub here: String,
    /// The other sites.
    pub others: Vec<String>,
    /// Warehouses at each site.
    pub warehouses: i64,
    /// Its warehouse.
    pub warehouse: i64,
    /// Where attempts are counted.
    pub attempts: Arc<AtomicU64>,
    /// Where it is noted what was done.
    pub told: Arc<Told>,
}

/// An order as it is drawn, before its first attempt.
struct Order {
    here: String,
    w: i64,
    d: i64,
    c: i64,
    /// Item, quantity; the first one from elsewhere if there is an `elsewhere`.
    lines: Vec<(i64, i64)>,
    elsewhere: Option<(String, i64)>,
}

impl Terminal {
    /// One transaction, drawn at random; what it was, and whether it had a part at another site.
    ///
    /// # Errors
    /// The database's, where it is not that others were faster, again and again.
    pub async fn work(&self) -> Result<(Kind, bool)> {
        let remote = rand::random_bool(REMOTE);
        let elsewhere = self.others.get(rand::random_range(0..self.others.len())).filter(|_| remote).cloned();
        let (d, c) = (rand::random_range(0..DISTRICTS), rand::random_range(0..CUSTOMERS));
        let (kind, remote) = match rand::random_range(0..1000) {
            0..NEW_ORDERS => {
                let items = sample(&mut rand::rng(), usize::try_from(ITEMS)?, rand::random_range(5..=15));
                let lines = items.into_iter().map(|item| (item as i64, rand::random_range(1..=10))).collect();
                let elsewhere = elsewhere.map(|site| (site, rand::random_range(0..self.warehouses)));
                let order = Order { here: self.here.clone(), w: self.warehouse, d, c, lines, elsewhere };
                self.new_order(Arc::new(order)).await?;
                (Kind::NewOrder, remote)
            }
            NEW_ORDERS..CHANGES => {
                let customer = match elsewhere {
                    Some(site) => (site, rand::random_range(0..self.warehouses)),
                    None => (self.here.clone(), self.warehouse),
                };
                self.payment(d, customer, c).await?;
                (Kind::Payment, remote)
            }
            _ => {
                self.order_status(d, c).await?;
                (Kind::OrderStatus, false)
            }
        };
        self.told.note(kind, remote);
        Ok((kind, remote))
    }

    async fn new_order(&self, order: Arc<Order>) -> Result<()> {
        let (system, attempts) = (self.system, &self.attempts);
        let done = self.db.transaction(|tx: &dyn Transaction| {
            attempts.fetch_add(1, Ordering::Relaxed);
            let order = Arc::clone(&order);
            Box::pin(async move { place(system, tx, &order).await }) as BoxFuture<'_, rome::Result<()>>
        });
        Ok(done.await?)
    }

    async fn payment(&self, d: i64, customer: (String, i64), c: i64) -> Result<()> {
        let (system, attempts) = (self.system, &self.attempts);
        let (here, w, amount) = (self.here.clone(), self.warehouse, rand::random_range(100..=500_000));
        let drawn = Arc::new((here, customer));
        let done = self.db.transaction(|tx: &dyn Transaction| {
            attempts.fetch_add(1, Ordering::Relaxed);
            let drawn = Arc::clone(&drawn);
            Box::pin(async move {
                let (here, customer) = drawn.as_ref();
                pay(system, tx, (here, w, d), (&customer.0, customer.1, c), amount).await
            }) as BoxFuture<'_, rome::Result<()>>
        });
        Ok(done.await?)
    }

    async fn order_status(&self, d: i64, c: i64) -> Result<()> {
        let (system, attempts) = (self.system, &self.attempts);
        let (here, w) = (Arc::<str>::from(self.here.as_str()), self.warehouse);
        let done = self.db.transaction(|tx: &dyn Transaction| {
            attempts.fetch_add(1, Ordering::Relaxed);
            let here = Arc::clone(&here);
            Box::pin(async move {
                let district = || vec![Value::from(&*here), w.into(), d.into()];
                let with = |last: i64| [district(), vec![last.into()]].concat();
                let balance = "SELECT balance FROM customer WHERE site = $1 AND w = $2 AND d = $3 AND c = $4";
                let _: i64 = tx.query_one(system.statement(balance, with(c))).await?;
                let last = "SELECT max(o) FROM orders WHERE site = $1 AND w = $2 AND d = $3 AND c = $4";
                let last: Option<i64> = tx.query_one(system.statement(last, with(c))).await?;
                if let Some(last) = last {
                    let lines = "SELECT i, supply_w, quantity, amount FROM order_line \
                                 WHERE site = $1 AND w = $2 AND d = $3 AND o = $4";
                    tx.query(system.statement(lines, with(last))).await?;
                }
                Ok(())
            }) as BoxFuture<'_, rome::Result<()>>
        });
        Ok(done.await?)
    }
}

async fn place(system: System, tx: &dyn Transaction, order: &Order) -> rome::Result<()> {
    let Order { here, w, d, c, lines, elsewhere } = order;
    let here = || Value::from(here.as_str());
    let tax = "SELECT tax FROM warehouse WHERE site = $1 AND w = $2";
    let warehouse_tax: i64 = tx.query_one(system.statement(tax, vec![here(), (*w).into()])).await?;
    let district = "SELECT tax, next_order FROM district WHERE site = $1 AND w = $2 AND d = $3 FOR UPDATE";
    let district = system.statement(district, vec![here(), (*w).into(), (*d).into()]);
    let (district_tax, o): (i64, i64) = tx.query_one(district).await?;
    let next = "UPDATE district SET next_order = $1 WHERE site = $2 AND w = $3 AND d = $4";
    tx.execute(system.statement(next, vec![(o + 1).into(), here(), (*w).into(), (*d).into()])).await?;
    let discount = "SELECT discount FROM customer WHERE site = $1 AND w = $2 AND d = $3 AND c = $4";
    let discount = system.statement(discount, vec![here(), (*w).into(), (*d).into(), (*c).into()]);
    let discount: i64 = tx.query_one(discount).await?;
    let items: Vec<Value> = lines.iter().map(|(item, _)| (*item).into()).collect();
    let prices = format!("SELECT i, price FROM item WHERE site = $1 AND i IN ({})", parameters(2, items.len()));
    let prices: Vec<(i64, i64)> = tx.query_as(system.statement(&prices, [vec![here()], items].concat())).await?;
    let is_far = |at: usize| at == 0 && elsewhere.is_some();
    let near: Vec<(i64, i64)> =
        lines.iter().enumerate().filter(|(at, _)| !is_far(*at)).map(|(_, line)| *line).collect();
    take_stock(system, tx, &order.here, *w, &near).await?;
    if let (Some((site, warehouse)), Some(line)) = (elsewhere, lines.first()) {
        take_stock(system, tx, site, *warehouse, &[*line]).await?;
    }
    let insert = "INSERT INTO orders VALUES ($1, $2, $3, $4, $5, $6)";
    let count = Value::from(lines.len() as i64);
    let values = vec![here(), (*w).into(), (*d).into(), o.into(), (*c).into(), count];
    tx.execute(system.statement(insert, values)).await?;
    let insert = "INSERT INTO new_order VALUES ($1, $2, $3, $4)";
    tx.execute(system.statement(insert, vec![here(), (*w).into(), (*d).into(), o.into()])).await?;
    let mut values: Vec<Value> = vec![];
    for (at, (item, quantity)) in lines.iter().enumerate() {
        let price = prices.iter().find(|(other, _)| other == item).map_or(0, |(_, price)| *price);
        let amount = quantity * price * (100 - discount) * (100 + warehouse_tax + district_tax) / 10_000;
        let (site, supply) = match elsewhere {
            Some((site, supply)) if at == 0 => (Value::from(site.as_str()), *supply),
            _ => (here(), *w),
        };
        values.extend([here(), (*w).into(), (*d).into(), o.into(), (at as i64).into(), (*item).into()]);
        values.extend([site, supply.into(), (*quantity).into(), amount.into()]);
    }
    let insert = format!("INSERT INTO order_line VALUES {}", rows(lines.len(), 10));
    tx.execute(system.statement(&insert, values)).await.map(drop)
}

/// Takes items from a warehouse's stock: one statement that reads, one that writes.
async fn take_stock(
    system: System,
    tx: &dyn Transaction,
    site: &str,
    w: i64,
    lines: &[(i64, i64)],
) -> rome::Result<()> {
    let key: Vec<Value> = vec![site.into(), w.into()];
    let items: Vec<Value> = lines.iter().map(|(item, _)| (*item).into()).collect();
    let select = format!(
        "SELECT i, quantity, ytd FROM stock WHERE site = $1 AND w = $2 AND i IN ({}) FOR UPDATE",
        parameters(3, items.len())
    );
    let stock = system.statement(&select, [key.clone(), items.clone()].concat());
    let stock: Vec<(i64, i64, i64)> = tx.query_as(stock).await?;
    let (mut left, mut taken) = (String::new(), String::new());
    let (mut left_values, mut taken_values): (Vec<Value>, Vec<Value>) = (vec![], vec![]);
    for (at, (item, quantity)) in lines.iter().enumerate() {
        let Some((_, there, ytd)) = stock.iter().find(|(other, ..)| other == item) else { continue };
        let refill = if there - quantity < 10 { 91 } else { 0 };
        let _ = write!(left, " WHEN ${} THEN ${}", 2 * at + 1, 2 * at + 2);
        let second = 2 * (lines.len() + at);
        let _ = write!(taken, " WHEN ${} THEN ${}", second + 1, second + 2);
        left_values.extend([Value::from(*item), (there - quantity + refill).into()]);
        taken_values.extend([Value::from(*item), (ytd + quantity).into()]);
    }
    let first = 4 * lines.len() + 1;
    let update = format!(
        "UPDATE stock SET quantity = CASE i{left} ELSE quantity END, ytd = CASE i{taken} ELSE ytd END \
         WHERE site = ${first} AND w = ${} AND i IN ({})",
        first + 1,
        parameters(first + 2, items.len())
    );
    let values = [left_values, taken_values, key, items].concat();
    tx.execute(system.statement(&update, values)).await.map(drop)
}

async fn pay(
    system: System,
    tx: &dyn Transaction,
    (here, w, d): (&str, i64, i64),
    (site, customer_w, c): (&str, i64, i64),
    amount: i64,
) -> rome::Result<()> {
    let update = "UPDATE warehouse SET ytd = ytd + $1 WHERE site = $2 AND w = $3";
    tx.execute(system.statement(update, vec![amount.into(), here.into(), w.into()])).await?;
    let update = "UPDATE district SET ytd = ytd + $1 WHERE site = $2 AND w = $3 AND d = $4";
    tx.execute(system.statement(update, vec![amount.into(), here.into(), w.into(), d.into()])).await?;
    let update = "UPDATE customer SET balance = balance - $1, paid = paid + $2, payments = payments + 1 \
                  WHERE site = $3 AND w = $4 AND d = $5 AND c = $6";
    let values = vec![amount.into(), amount.into(), site.into(), customer_w.into(), d.into(), c.into()];
    tx.execute(system.statement(update, values)).await?;
    let insert = "INSERT INTO history VALUES ($1, $2, $3, $4, $5, $6)";
    let id = Uuid::now_v7();
    let values = vec![here.into(), w.into(), id.into(), d.into(), site.into(), amount.into()];
    tx.execute(system.statement(insert, values)).await.map(drop)
}
