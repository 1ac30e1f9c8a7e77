//! No text makes parsing or binding panic.

use super::bound_text;
use crate::value::DataType;
use proptest::prelude::*;

/// Statements that bind, to be mutated.
const STATEMENTS: &[&str] = &[
    "SELECT u.id, count(*) FROM users u LEFT JOIN orders o ON o.user_id = u.id WHERE u.age > $1 GROUP BY u.id HAVING count(*) > 1 ORDER BY 2 DESC LIMIT 3",
    "SELECT DISTINCT ON (age) id, name AS n FROM users ORDER BY age, n NULLS FIRST OFFSET 1",
    "SELECT CASE WHEN age > 1 THEN 'a' ELSE name END, coalesce(name, 'x') || 1, ARRAY[1, 2] FROM users",
    "SELECT * FROM orders a FULL JOIN orders b USING (user_id, no) UNION ALL SELECT 1, 2, 3, NULL, NULL, 6, NULL, NULL",
    "WITH x AS (SELECT id FROM users) SELECT * FROM x WHERE id IN (SELECT user_id FROM orders) AND EXISTS (SELECT 1)",
    "INSERT INTO users (id, name) VALUES (1, 'a'), (2, DEFAULT) ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING *",
    "INSERT INTO log (message) SELECT name FROM users WHERE (id, age) IN ((1, 2), (3, 4))",
    "UPDATE users SET (age, name) = (1, 'x'), active = DEFAULT FROM orders o WHERE o.user_id = users.id RETURNING o.no",
    "DELETE FROM users USING orders WHERE users.id = orders.user_id AND created < now() - interval '1 day'",
    "CREATE TABLE t (a serial PRIMARY KEY, b numeric(10, 2) DEFAULT 1.5 CHECK (b > 0), c int REFERENCES users (id))",
    "CREATE UNIQUE INDEX i ON users (name DESC NULLS LAST, age)",
    "ALTER TABLE users ADD COLUMN x text DEFAULT 'a', DROP COLUMN age, ALTER name SET NOT NULL",
    "SELECT extract(year FROM created), trim(BOTH 'x' FROM name), jb ->> 'a', ia @> ARRAY[1], d + 1, -i4, ts - iv FROM users, types",
    "BEGIN; SET x = 1; SAVEPOINT a; ROLLBACK TO a; COMMIT",
];

fn words() -> Vec<String> {
    let mut words: Vec<String> = STATEMENTS.iter().flat_map(|sql| split(sql)).collect();
    words.sort();
    words.dedup();
    words
}

/// Words and single other characters.
fn split(sql: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in sql.chars() {
        if c.is_alphanumeric() || c == '_' || c == '$' {
            words.last_mut().unwrap().push(c);
        } else {
            words.push(c.to_string());
            words.push(String::new());
        }
    }
    words.retain(|word| !word.trim().is_empty());
    words
}

fn run(sql: &str) {
    let _ = bound_text(sql, &[DataType::Int8, DataType::Unknown]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_text(sql in "\\PC{0,200}") {
        run(&sql);
    }

    #[test]
    fn random_words(picks in prop::collection::vec(any::<prop::sample::Index>(), 0..60)) {
        let words = words();
        let sql: Vec<&str> = picks.iter().map(|pick| pick.get(&words).as_str()).collect();
        run(&sql.join(" "));
        run(&format!("SELECT {} FROM users", sql.join(" ")));
    }

    #[test]
    fn mutated_statements(
        statement in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4u8), 1..6),
    ) {
        let words = words();
        let mut sql = split(STATEMENTS[statement.index(STATEMENTS.len())]);
        for (place, word, edit) in edits {
            if sql.is_empty() {
                break;
            }
            let at = place.index(sql.len());
            match edit {
                0 => { sql.remove(at); }
                1 => sql.insert(at, word.get(&words).clone()),
                2 => sql[at] = word.get(&words).clone(),
                _ => { let other = word.index(sql.len()); sql.swap(at, other); }
            }
        }
        run(&sql.join(" "));
    }
}

#[test]
fn the_statements_bind() {
    for sql in STATEMENTS {
        bound_text(sql, &[DataType::Int8]).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}
