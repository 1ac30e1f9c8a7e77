//! What kind of statement a text is: its command tag, and whether it could have changed anything.
//!
//! Servers do not tell, so the first words do. Comments, blanks and parentheses before them are skipped; after WITH the first verb outside of
//! parentheses counts.

/// The kind of a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Command {
    /// PostgreSQL's command tag without its count.
    pub tag: &'static str,
    pub effect: Effect,
}

/// What a statement does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// It only reads.
    Read,
    /// It changes rows.
    Write,
    /// It changes tables, indexes and the like, or something unknown.
    Schema,
    /// It begins, ends or marks a transaction.
    Control,
}

const VERBS: &[(&str, &str, Effect)] = &[
    ("SELECT", "SELECT", Effect::Read),
    ("VALUES", "SELECT", Effect::Read),
    ("TABLE", "SELECT", Effect::Read),
    ("SHOW", "SHOW", Effect::Read),
    ("EXPLAIN", "EXPLAIN", Effect::Write),
    ("PRAGMA", "PRAGMA", Effect::Schema),
    ("INSERT", "INSERT", Effect::Write),
    ("REPLACE", "INSERT", Effect::Write),
    ("UPDATE", "UPDATE", Effect::Write),
    ("DELETE", "DELETE", Effect::Write),
    ("MERGE", "MERGE", Effect::Write),
    ("COPY", "COPY", Effect::Write),
    ("BEGIN", "BEGIN", Effect::Control),
    ("START", "START TRANSACTION", Effect::Control),
    ("COMMIT", "COMMIT", Effect::Control),
    ("END", "COMMIT", Effect::Control),
    ("ROLLBACK", "ROLLBACK", Effect::Control),
    ("ABORT", "ROLLBACK", Effect::Control),
    ("SAVEPOINT", "SAVEPOINT", Effect::Control),
    ("RELEASE", "RELEASE", Effect::Control),
    ("TRUNCATE", "TRUNCATE TABLE", Effect::Schema),
    ("SET", "SET", Effect::Schema),
];

const OBJECTS: &[(&str, [&str; 3])] = &[
    ("TABLE", ["CREATE TABLE", "ALTER TABLE", "DROP TABLE"]),
    ("INDEX", ["CREATE INDEX", "ALTER INDEX", "DROP INDEX"]),
    ("VIEW", ["CREATE VIEW", "ALTER VIEW", "DROP VIEW"]),
    ("SEQUENCE", ["CREATE SEQUENCE", "ALTER SEQUENCE", "DROP SEQUENCE"]),
    ("SCHEMA", ["CREATE SCHEMA", "ALTER SCHEMA", "DROP SCHEMA"]),
    ("DATABASE", ["CREATE DATABASE", "ALTER DATABASE", "DROP DATABASE"]),
    ("TYPE", ["CREATE TYPE", "ALTER TYPE", "DROP TYPE"]),
];

/// The kind of a statement's text.
pub(crate) fn command_of(sql: &str) -> Command {
    let mut words = Words { rest: sql, depth: 0 };
    let Some((first, depth)) = words.next() else { return Command { tag: "", effect: Effect::Read } };
    if first.eq_ignore_ascii_case("WITH") {
        let verb = words
            .filter(|(_, at)| *at <= depth)
            .find_map(|(word, _)| verb(word).filter(|command| matches!(command.effect, Effect::Read | Effect::Write)));
        return verb.unwrap_or(Command { tag: "SELECT", effect: Effect::Write });
    }
    if let Some(command) = verb(first) {
        return command;
    }
    let position = ["CREATE", "ALTER", "DROP"].iter().position(|ddl| first.eq_ignore_ascii_case(ddl));
    let tag = position.and_then(|position| {
        words.take(4).find_map(|(word, _)| {
            let (_, tags) = OBJECTS.iter().find(|(object, _)| word.eq_ignore_ascii_case(object))?;
            tags.get(position).copied()
        })
    });
    Command { tag: tag.unwrap_or("COMMAND"), effect: Effect::Schema }
}

fn verb(word: &str) -> Option<Command> {
    let (_, tag, effect) = VERBS.iter().find(|(verb, _, _)| word.eq_ignore_ascii_case(verb))?;
    Some(Command { tag, effect: *effect })
}

/// The bare words of a text with the depth of parentheses at which they stand; strings, quoted names and comments are passed over.
struct Words<'s> {
    rest: &'s str,
    depth: usize,
}

impl<'s> Words<'s> {
    fn skip_past(&mut self, end: &str) {
        self.rest = self.rest.split_once(end).map_or("", |(_, rest)| rest);
    }
}

impl<'s> Iterator for Words<'s> {
    type Item = (&'s str, usize);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let first = self.rest.chars().next()?;
            let after = self.rest.get(first.len_utf8()..)?;
            if self.rest.starts_with("--") {
                self.skip_past("\n");
            } else if self.rest.starts_with("/*") {
                self.skip_past("*/");
            } else if matches!(first, '\'' | '"' | '`') {
                self.rest = after;
                self.skip_past(first.encode_utf8(&mut [0; 4]));
            } else if first.is_alphabetic() || first == '_' {
                let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                return Some((word, self.depth));
            } else {
                match first {
                    '(' => self.depth += 1,
                    ')' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                self.rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, tag: &str, effect: Effect) {
        let command = command_of(sql);
        assert_eq!((command.tag, command.effect), (tag, effect), "{sql}");
    }

    #[test]
    fn names_the_command_of_a_text() {
        check("select 1", "SELECT", Effect::Read);
        check("  -- DELETE\n /* UPDATE */ (SELECT 1) UNION (SELECT 2)", "SELECT", Effect::Read);
        check("WITH a AS (DELETE FROM t) SELECT 1", "SELECT", Effect::Read);
        check("WITH \"delete\" AS (SELECT 1) UPDATE t SET x = 'INSERT'", "UPDATE", Effect::Write);
        check("CREATE UNIQUE INDEX i ON t (a)", "CREATE INDEX", Effect::Schema);
        check("DROP TABLE IF EXISTS t", "DROP TABLE", Effect::Schema);
        check("CREATE EXTENSION x", "COMMAND", Effect::Schema);
        check("start transaction", "START TRANSACTION", Effect::Control);
        check("", "", Effect::Read);
        check("/* open", "", Effect::Read);
    }
}
