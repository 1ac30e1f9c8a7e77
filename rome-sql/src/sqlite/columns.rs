//! What the columns of a result are.
//!
//! SQLite tells of each result column which table's column it is, and the table tells its declared type, under which sea-query and
//! people keep what SQLite has no type for: `date_text`, `uuid_text`, `json_text`, `real(10, 2)` for decimals. Columns that are
//! expressions have the type of the first row's value.

use super::decode;
use super::errors::classify;
use crate::errors::error_of;
use crate::server::Step;
use parking_lot::Mutex;
use rome_core::database::{ColumnMeta, Row};
use rome_core::error::Result;
use rome_core::value::DataType;
use sqlx::sqlite::{SqliteColumn, SqliteConnection, SqliteRow};
use sqlx::{Column as _, ColumnOrigin};
use std::collections::HashMap;
use std::sync::Arc;

/// Declared types that are kept before all are forgotten.
const MAX_REMEMBERED: usize = 10_000;

/// A table's name and a column's.
type TableColumn = (Arc<str>, Arc<str>);

/// The declared types of a database's columns, by table and column, as far as they were needed since the last change of the schema.
#[derive(Default)]
pub(super) struct DeclaredTypes {
    known: Mutex<HashMap<TableColumn, Option<DataType>>>,
}

impl DeclaredTypes {
    /// Forgets everything, because the schema may have changed.
    pub fn forget(&self) {
        self.known.lock().clear();
    }

    /// Names and types of result columns; `None` for the type of an expression.
    pub async fn of(
        &self,
        connection: &mut SqliteConnection,
        columns: &[SqliteColumn],
    ) -> Result<Vec<(Arc<str>, Option<DataType>)>> {
        let mut found = Vec::with_capacity(columns.len());
        for column in columns {
            let data_type = match column.origin() {
                ColumnOrigin::Table(origin) => {
                    let key = (Arc::clone(&origin.table), Arc::clone(&origin.name));
                    let known = self.known.lock().get(&key).cloned();
                    match known {
                        Some(data_type) => data_type,
                        None => self.look_up(connection, key).await?,
                    }
                }
                ColumnOrigin::Expression | ColumnOrigin::Unknown => None,
            };
            found.push((Arc::from(column.name()), data_type));
        }
        Ok(found)
    }

    async fn look_up(
        &self,
        connection: &mut SqliteConnection,
        (table, column): TableColumn,
    ) -> Result<Option<DataType>> {
        let declared: Option<String> = sqlx::query_scalar("SELECT type FROM pragma_table_xinfo($1) WHERE name = $2")
            .bind(&*table)
            .bind(&*column)
            .fetch_optional(connection)
            .await
            .map_err(|error| error_of(error, classify))?;
        // `rowid` has no declaration.
        let data_type = declared.as_deref().map_or(Some(DataType::Int8), declared_type);
        let mut known = self.known.lock();
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert((table, column), data_type.clone());
        Ok(data_type)
    }
}

/// The type that a declaration means; `None` where it says nothing.
fn declared_type(declared: &str) -> Option<DataType> {
    let declared = declared.to_ascii_lowercase();
    let (name, arguments) = match declared.split_once('(') {
        Some((name, arguments)) => (name.trim(), arguments.trim_end_matches(')')),
        None => (declared.trim(), ""),
    };
    let mut arguments = arguments.split(',').map(|argument| argument.trim().parse::<u32>().ok());
    let (first, second) = (arguments.next().flatten(), arguments.next().flatten());
    let precision =
        first.zip(second).and_then(|(precision, scale)| Some((precision.try_into().ok()?, scale.try_into().ok()?)));
    Some(match name {
        "" => return None,
        "bool" | "boolean" => DataType::Bool,
        "tinyint" | "smallint" | "int2" => DataType::Int2,
        "int4" => DataType::Int4,
        "date" | "date_text" => DataType::Date,
        "time" | "time_text" => DataType::Time,
        "datetime" | "timestamp" | "datetime_text" | "timestamp_text" => DataType::Timestamp,
        "timestamptz" | "timestamp with time zone" | "timestamp_with_timezone_text" => DataType::TimestampTz,
        "uuid" | "uuid_text" => DataType::Uuid,
        "json" | "json_text" => DataType::Json,
        "jsonb" | "jsonb_text" => DataType::Jsonb,
        "varchar" | "character varying" => DataType::Varchar(first),
        "char" | "character" => first.map_or(DataType::Text, DataType::Char),
        // sea-query declares decimals so.
        "real" | "real_decimal" | "decimal" | "numeric" if name != "real" || precision.is_some() => {
            DataType::Numeric(precision)
        }
        "bytea" => DataType::Bytea,
        // From here on SQLite's own rules of affinity, in their order.
        _ if name.contains("int") => DataType::Int8,
        _ if name.contains("blob") || name.contains("binary") => DataType::Bytea,
        _ if name.contains("char") || name.contains("clob") || name.contains("text") => DataType::Text,
        _ if name.contains("real") || name.contains("floa") || name.contains("doub") => DataType::Float8,
        _ => return None,
    })
}

/// The columns of one result while its rows arrive.
pub(super) struct ResultColumns {
    declared: Vec<(Arc<str>, Option<DataType>)>,
    /// Set when the first row has shown the types of expressions.
    columns: Option<Arc<[ColumnMeta]>>,
}

impl ResultColumns {
    pub fn new(declared: Vec<(Arc<str>, Option<DataType>)>) -> Self {
        Self { declared, columns: None }
    }

    /// A row, before the first one the columns.
    pub fn at_row(&mut self, row: &SqliteRow) -> Result<Vec<Step>> {
        let mut steps = Vec::with_capacity(2);
        let columns = match &self.columns {
            Some(columns) => Arc::clone(columns),
            None => {
                let columns = self.settle(|position| decode::stored_type(row, position));
                steps.push(Step::Columns(Arc::clone(&columns)));
                columns
            }
        };
        let values =
            columns.iter().enumerate().map(|(position, column)| decode::value(row, position, &column.data_type));
        let values = values.collect::<Result<Vec<_>>>()?;
        steps.push(Step::Row(Row::new(columns, values)));
        Ok(steps)
    }

    /// The end of a statement, before it the columns if no row came.
    pub fn at_end(&mut self, affected: u64) -> Vec<Step> {
        let mut steps = Vec::with_capacity(2);
        if self.columns.is_none() && !self.declared.is_empty() {
            steps.push(Step::Columns(self.settle(|_| DataType::Text)));
        }
        steps.push(Step::Done(affected));
        steps
    }

    fn settle(&mut self, expression_type: impl Fn(usize) -> DataType) -> Arc<[ColumnMeta]> {
        let columns = self.declared.iter().enumerate().map(|(position, (name, data_type))| ColumnMeta {
            name: Arc::clone(name),
            data_type: data_type.clone().unwrap_or_else(|| expression_type(position)),
        });
        let columns: Arc<[ColumnMeta]> = columns.collect();
        self.columns = Some(Arc::clone(&columns));
        columns
    }
}
