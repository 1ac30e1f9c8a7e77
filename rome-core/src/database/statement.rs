//! What can be run: SQL text with values, or any statement of sea-query.
//!
//! sea-query statements are kept unrendered until a database runs them, so that each renders them in its own dialect.

use crate::value::Value;
use sea_query::{MysqlQueryBuilder, PostgresQueryBuilder, SqliteQueryBuilder};
use std::fmt;
use std::sync::Arc;

/// The SQL dialect in which a database wants sea-query statements rendered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// PostgreSQL, and Rome itself
    Postgres,
    /// MySQL and its relatives
    MySql,
    /// SQLite
    Sqlite,
}

/// A statement that is ready to run.
#[derive(Clone)]
pub enum Statement {
    /// SQL text, passed on unchanged, with the values of its parameters.
    Text {
        /// The text, in the dialect of the database that runs it.
        sql: Arc<str>,
        /// The values of `$1`, `$2`, ...
        values: Vec<Value>,
    },
    /// A query, insert, update or delete built with sea-query.
    Query(Arc<dyn QueryStatement>),
    /// DDL built with sea-query.
    Schema(Arc<dyn SchemaStatement>),
}

impl Statement {
    /// SQL text with values.
    pub fn text(sql: impl Into<Arc<str>>, values: Vec<Value>) -> Self {
        Self::Text { sql: sql.into(), values }
    }

    /// The text and values for a dialect.
    pub fn render(&self, dialect: Dialect) -> (Arc<str>, Vec<Value>) {
        match self {
            Self::Text { sql, values } => (Arc::clone(sql), values.clone()),
            Self::Query(query) => {
                let (sql, values) = query.render_query(dialect);
                (sql.into(), values.0.into_iter().map(Value::from).collect())
            }
            Self::Schema(schema) => (schema.render_schema(dialect).into(), Vec::new()),
        }
    }
}

impl fmt::Debug for Statement {
    /// The text without its values, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Statement").field(&self.render(Dialect::Postgres).0).finish()
    }
}

/// A sea-query statement with values.
pub trait QueryStatement: Send + Sync {
    /// The text with placeholders, and the values.
    fn render_query(&self, dialect: Dialect) -> (String, sea_query::Values);
}

/// A sea-query schema statement.
pub trait SchemaStatement: Send + Sync {
    /// The text.
    fn render_schema(&self, dialect: Dialect) -> String;
}

/// Whatever can be run.
pub trait IntoStatement {
    /// The statement.
    fn into_statement(self) -> Statement;
}

impl IntoStatement for Statement {
    fn into_statement(self) -> Statement {
        self
    }
}

impl IntoStatement for &str {
    fn into_statement(self) -> Statement {
        Statement::text(self, Vec::new())
    }
}

impl IntoStatement for String {
    fn into_statement(self) -> Statement {
        Statement::text(self, Vec::new())
    }
}

impl<S: Into<Arc<str>>> IntoStatement for (S, Vec<Value>) {
    fn into_statement(self) -> Statement {
        Statement::text(self.0, self.1)
    }
}

impl<S: Into<Arc<str>>, const N: usize> IntoStatement for (S, [Value; N]) {
    fn into_statement(self) -> Statement {
        Statement::text(self.0, self.1.into())
    }
}

macro_rules! query_statements {
    ($($statement:ty),*) => {$(
        impl QueryStatement for $statement {
            fn render_query(&self, dialect: Dialect) -> (String, sea_query::Values) {
                match dialect {
                    Dialect::Postgres => self.build(PostgresQueryBuilder),
                    Dialect::MySql => self.build(MysqlQueryBuilder),
                    Dialect::Sqlite => self.build(SqliteQueryBuilder),
                }
            }
        }

        impl IntoStatement for $statement {
            fn into_statement(self) -> Statement {
                Statement::Query(Arc::new(self))
            }
        }

        impl IntoStatement for &$statement {
            fn into_statement(self) -> Statement {
                Statement::Query(Arc::new(self.clone()))
            }
        }

        // sea-query's builder methods end in `&mut`.
        impl IntoStatement for &mut $statement {
            fn into_statement(self) -> Statement {
                Statement::Query(Arc::new(self.clone()))
            }
        }
    )*};
}

query_statements!(
    sea_query::SelectStatement,
    sea_query::InsertStatement,
    sea_query::UpdateStatement,
    sea_query::DeleteStatement,
    sea_query::WithQuery
);

macro_rules! schema_statements {
    ($($statement:ty),*) => {$(
        impl SchemaStatement for $statement {
            fn render_schema(&self, dialect: Dialect) -> String {
                match dialect {
                    Dialect::Postgres => self.build(PostgresQueryBuilder),
                    Dialect::MySql => self.build(MysqlQueryBuilder),
                    Dialect::Sqlite => self.build(SqliteQueryBuilder),
                }
            }
        }

        impl IntoStatement for $statement {
            fn into_statement(self) -> Statement {
                Statement::Schema(Arc::new(self))
            }
        }

        impl IntoStatement for &$statement {
            fn into_statement(self) -> Statement {
                Statement::Schema(Arc::new(self.clone()))
            }
        }

        impl IntoStatement for &mut $statement {
            fn into_statement(self) -> Statement {
                Statement::Schema(Arc::new(self.clone()))
            }
        }
    )*};
}

schema_statements!(
    sea_query::TableCreateStatement,
    sea_query::TableAlterStatement,
    sea_query::TableDropStatement,
    sea_query::TableRenameStatement,
    sea_query::TableTruncateStatement,
    sea_query::IndexCreateStatement,
    sea_query::IndexDropStatement,
    sea_query::ForeignKeyCreateStatement,
    sea_query::ForeignKeyDropStatement
);
