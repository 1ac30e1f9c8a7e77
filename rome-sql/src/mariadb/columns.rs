//! What the columns of a result are.
//!
//! MariaDB's json type is longtext with a CHECK (json_valid(column)): text columns are looked up once in the information schema. MySQL has a type of its own.

use super::decode;
use super::errors::classify;
use crate::errors::error_of;
use crate::server::Step;
use parking_lot::Mutex;
use rome_core::database::{ColumnMeta, Row};
use rome_core::error::Result;
use rome_core::value::DataType;
use sqlx::mysql::{MySqlColumn, MySqlConnection, MySqlRow};
use sqlx::{Column as _, ColumnOrigin, Row as _};
use std::collections::HashMap;
use std::sync::Arc;

/// Columns that are kept before all are forgotten.
const MAX_REMEMBERED: usize = 10_000;

/// How a check constraint of MariaDB's json type reads, the column's name in place of the question mark.
const JSON_CHECK: &str = "SELECT count(*) FROM information_schema.check_constraints \
     WHERE constraint_schema = DATABASE() AND table_name = ? AND check_clause = concat('json_valid(`', ?, '`)')";

/// A table's name and a column's.
type TableColumn = (Arc<str>, Arc<str>);

/// Which text columns hold json, by table and column, as far as it was asked.
#[derive(Default)]
pub(super) struct JsonColumns {
    known: Mutex<HashMap<TableColumn, bool>>,
}

impl JsonColumns {
    /// Names and types of result columns.
    pub async fn result(&self, connection: &mut MySqlConnection, columns: &[MySqlColumn]) -> Result<ResultColumns> {
        let mut described = Vec::with_capacity(columns.len());
        for column in columns {
            let mut data_type = decode::data_type(column.type_info());
            if decode::may_be_json(column.type_info())
                && let ColumnOrigin::Table(origin) = column.origin()
                && self.is_json(connection, &origin.table, &origin.name).await?
            {
                data_type = DataType::Json;
            }
            described.push(ColumnMeta { name: column.name().into(), data_type });
        }
        Ok(ResultColumns { columns: (!described.is_empty()).then(|| described.into()), announced: false })
    }

    async fn is_json(&self, connection: &mut MySqlConnection, table: &Arc<str>, column: &Arc<str>) -> Result<bool> {
        // The server names the table with its database in front.
        let table: Arc<str> = table.rsplit('.').next().unwrap_or(table).into();
        let key = (table, Arc::clone(column));
        if let Some(known) = self.known.lock().get(&key).copied() {
            return Ok(known);
        }
        let found: i64 = sqlx::query_scalar(JSON_CHECK)
            .bind(&*key.0)
            .bind(&*key.1)
            .fetch_one(connection)
            .await
            .map_err(|error| error_of(error, classify))?;
        let mut known = self.known.lock();
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(key, found > 0);
        Ok(found > 0)
    }
}

/// The columns of one result while its rows arrive.
#[derive(Default)]
pub(super) struct ResultColumns {
    columns: Option<Arc<[ColumnMeta]>>,
    announced: bool,
}

impl ResultColumns {
    /// A row, before the first one the columns.
    pub fn at_row(&mut self, row: &MySqlRow) -> Result<Vec<Step>> {
        let columns = match &self.columns {
            Some(columns) if self.announced => Arc::clone(columns),
            // Preparation does not know the types of parameters and of what is computed from them, execution does.
            prepared => {
                let described = row.columns().iter().enumerate().map(|(position, column)| {
                    let prepared = prepared.as_ref().and_then(|prepared| prepared.get(position));
                    let is_json = prepared.is_some_and(|prepared| prepared.data_type == DataType::Json);
                    let data_type = if is_json { DataType::Json } else { decode::data_type(column.type_info()) };
                    ColumnMeta { name: column.name().into(), data_type }
                });
                let described: Arc<[ColumnMeta]> = described.collect();
                self.columns = Some(Arc::clone(&described));
                described
            }
        };
        let mut steps = self.announcement();
        let values =
            columns.iter().enumerate().map(|(position, column)| decode::value(row, position, &column.data_type));
        let values = values.collect::<Result<Vec<_>>>()?;
        steps.push(Step::Row(Row::new(columns, values)));
        Ok(steps)
    }

    /// The end of a statement, before it the columns if no row came.
    pub fn at_end(&mut self, affected: u64) -> Vec<Step> {
        let mut steps = self.announcement();
        steps.push(Step::Done(affected));
        steps
    }

    fn announcement(&mut self) -> Vec<Step> {
        let first = !std::mem::replace(&mut self.announced, true);
        self.columns.iter().filter(|_| first).map(|columns| Step::Columns(Arc::clone(columns))).collect()
    }
}
