//! The few words in which the systems differ.

use rome::{Dialect, Statement, Value};

/// What a database stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum System {
    /// Rome, a Redis at each site
    Rome,
    /// A central PostgreSQL
    Postgres,
    /// A central MariaDB
    MariaDb,
}

impl System {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rome, Self::Postgres, Self::MariaDb];

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rome => "Rome",
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
        }
    }

    /// The variable that says where a central server is.
    #[must_use]
    pub fn variable(self) -> Option<&'static str> {
        match self {
            Self::Rome => None,
            Self::Postgres => Some("ROME_TEST_POSTGRES_URL"),
            Self::MariaDb => Some("ROME_TEST_MARIADB_URL"),
        }
    }

    /// A table's DDL, in which `SITE` stands for the type of the column that says where a row lives, `UUID` for that type, `ID` for one that is made by the database
    /// where it can carry its birth site, and `PLACED` for the placement.
    #[must_use]
    pub fn ddl(self, text: &str) -> String {
        let (site, uuid, id, placed) = match self {
            Self::Rome => ("text", "uuid", "uuid DEFAULT rome_id()", " WITH (placement = 'by_site(site)')"),
            Self::Postgres => ("text", "uuid", "uuid", ""),
            Self::MariaDb => ("varchar(16)", "binary(16)", "binary(16)", ""),
        };
        text.replace("SITE", site).replace("PLACED", placed).replace("UUID", uuid).replace("ID", id)
    }

    /// A statement whose parameters appear in their order, each once.
    #[must_use]
    pub fn statement(self, text: &str, values: Vec<Value>) -> Statement {
        if self != Self::MariaDb {
            return Statement::text(text, values);
        }
        let mut plain = String::with_capacity(text.len());
        let mut rest = text.chars().peekable();
        while let Some(letter) = rest.next() {
            if letter == '$' {
                plain.push('?');
                while rest.next_if(char::is_ascii_digit).is_some() {}
            } else {
                plain.push(letter);
            }
        }
        Statement::text(plain, values)
    }

    /// How sea-query would render for it.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        if self == Self::MariaDb { Dialect::MySql } else { Dialect::Postgres }
    }
}

/// A list of parameters, `count` of them from number `first` on: `$3, $4, $5`.
#[must_use]
pub fn parameters(first: usize, count: usize) -> String {
    (first..first + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// Rows of parameters for VALUES: `($1, $2), ($3, $4)`.
#[must_use]
pub fn rows(count: usize, columns: usize) -> String {
    (0..count).map(|row| format!("({})", parameters(row * columns + 1, columns))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_its_words() {
        let table = "CREATE TABLE t (id ID NOT NULL, other UUID, site SITE)PLACED";
        assert_eq!(System::Postgres.ddl(table), "CREATE TABLE t (id uuid NOT NULL, other uuid, site text)");
        assert_eq!(
            System::MariaDb.ddl(table),
            "CREATE TABLE t (id binary(16) NOT NULL, other binary(16), site varchar(16))"
        );
        assert!(System::Rome.ddl(table).ends_with("site text) WITH (placement = 'by_site(site)')"));
        let text = format!("INSERT INTO t VALUES {} -- {}", rows(2, 2), parameters(5, 2));
        assert_eq!(text, "INSERT INTO t VALUES ($1, $2), ($3, $4) -- $5, $6");
        let (plain, _) =
            System::MariaDb.statement(&text.replace("$2", "$12"), vec![]).render(System::MariaDb.dialect());
        assert_eq!(&*plain, "INSERT INTO t VALUES (?, ?), (?, ?) -- ?, ?");
    }
}
