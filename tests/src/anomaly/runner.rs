//! Runs the steps of a script on all databases.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use rome_core::database::{Database, DatabaseExt, IntoStatement, QueryResult, Queryable, Transaction};
use rome_core::{Result, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::runtime::Handle;

/// How a database treats a transaction that reads on after another has changed what it read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// It goes on seeing what it saw first.
    Snapshots,
    /// It fails with 40001.
    Guarded,
}

/// A database to run scripts on.
#[derive(Clone)]
pub struct Subject {
    /// What the golden text calls it, if it must.
    pub name: String,
    /// What is expected of it.
    pub reads: Reads,
    /// The database.
    pub database: Arc<dyn Database>,
}

/// One session's transaction, as far as its client knows.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Statements that had an answer, with it.
    pub statements: Vec<(String, String)>,
    /// The number of the step at which it first asked something.
    pub first_step: Option<usize>,
    /// The number of the step at which it committed, if it did.
    pub committed: Option<usize>,
}

/// What happened on one database.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The sessions by name.
    pub sessions: BTreeMap<String, Session>,
    /// The rows of the table at the end.
    pub rows: Vec<(i64, i64)>,
    steps: usize,
}

impl History {
    /// The names of those that committed.
    #[must_use]
    pub fn committed(&self) -> BTreeSet<&str> {
        let committed = self.sessions.iter().filter(|(_, session)| session.committed.is_some());
        committed.map(|(name, _)| name.as_str()).collect()
    }

    /// What happened as far as transactions have committed.
    #[must_use]
    pub fn without_losers(mut self) -> Self {
        self.sessions.retain(|_, session| session.committed.is_some());
        self
    }

    /// Whether a session was shown a row.
    #[must_use]
    pub fn saw(&self, session: &str, row: &str) -> bool {
        let statements = self.sessions.get(session).map_or(&[][..], |session| &session.statements);
        statements.iter().any(|(_, answer)| answer.lines().any(|line| line == row))
    }
}

struct Place {
    subject: Subject,
    open: BTreeMap<String, Box<dyn Transaction>>,
    history: History,
}

/// Runs one script.
pub struct Runner {
    handle: Handle,
    places: Vec<Place>,
}

impl Runner {
    /// A runner on these databases, which have the script's table.
    #[must_use]
    pub fn new(handle: &Handle, subjects: Vec<Subject>) -> Self {
        let place = |subject| Place { subject, open: BTreeMap::new(), history: History::default() };
        Self { handle: handle.clone(), places: subjects.into_iter().map(place).collect() }
    }

    /// What happened, by the name of the database.
    #[must_use]
    pub fn finish(self) -> Vec<(String, History)> {
        let handle = self.handle.clone();
        let finished = self.places.into_iter().map(|place| {
            let rows = place.subject.database.query_as::<(i64, i64), _>("SELECT id, value FROM test ORDER BY id");
            let rows = handle.block_on(rows).unwrap();
            (place.subject.name, History { rows, ..place.history })
        });
        finished.collect()
    }
}

impl Place {
    async fn step(&mut self, session: Option<&str>, command: &str) -> String {
        self.history.steps += 1;
        let Some(session) = session else {
            return shown(self.subject.database.run(command.into_statement()).await);
        };
        match command {
            "begin" => {
                let transaction = self.subject.database.begin().await.unwrap();
                let before = self.open.insert(session.to_owned(), transaction);
                assert!(before.is_none() && !self.history.sessions.contains_key(session), "{session} begins once");
                self.history.sessions.insert(session.to_owned(), Session::default());
                "begun\n".to_owned()
            }
            "commit" => {
                let transaction = self.open.remove(session).expect("an open transaction");
                match transaction.commit().await {
                    Ok(()) => {
                        self.session(session).committed = Some(self.history.steps);
                        "committed\n".to_owned()
                    }
                    Err(error) => format!("{}\n", error.state()),
                }
            }
            "rollback" => {
                self.open.remove(session).expect("an open transaction").rollback().await.unwrap();
                "rolled back\n".to_owned()
            }
            sql => {
                let transaction = self.open.get(session).expect("an open transaction");
                let result = transaction.run(sql.into_statement()).await;
                let answered = result.is_ok();
                let answer = shown(result);
                let step = self.history.steps;
                let session = self.session(session);
                session.first_step.get_or_insert(step);
                if answered {
                    session.statements.push((sql.to_owned(), answer.clone()));
                }
                answer
            }
        }
    }

    fn session(&mut self, name: &str) -> &mut Session {
        self.history.sessions.entry(name.to_owned()).or_default()
    }
}

/// Rows, what was affected, or the SQLSTATE.
pub(super) fn shown(result: Result<QueryResult>) -> String {
    let lines: Vec<String> = match result {
        Err(error) => vec![error.state().to_string()],
        Ok(result) if result.columns.is_empty() => vec![format!("{} {}", result.command, result.affected)],
        Ok(result) if result.rows.is_empty() => vec!["no rows".to_owned()],
        Ok(result) => result
            .rows
            .iter()
            .map(|row| {
                let values = row.values().iter().zip(row.columns()).map(|(value, column)| match value {
                    Value::Null => "∅".to_owned(),
                    value => value.to_text(&column.data_type),
                });
                values.collect::<Vec<_>>().join("|")
            })
            .collect(),
    };
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// One text for what all databases said.
fn merged(said: &[(&Subject, String)]) -> String {
    let labelled =
        |label: &str, text: &str| -> String { text.lines().map(|line| format!("{label}: {line}\n")).collect() };
    let mut texts: Vec<&str> = said.iter().map(|(_, text)| text.as_str()).collect();
    texts.dedup();
    if let [text] = texts[..] {
        return text.to_owned();
    }
    let mut merged = String::new();
    for (reads, label) in [(Reads::Snapshots, "with snapshots"), (Reads::Guarded, "without")] {
        let of_kind = || said.iter().filter(|(subject, _)| subject.reads == reads);
        let mut texts: Vec<&str> = of_kind().map(|(_, text)| text.as_str()).collect();
        texts.dedup();
        match texts[..] {
            [text] => merged.push_str(&labelled(label, text)),
            // No golden text has this.
            _ => of_kind().for_each(|(subject, text)| merged.push_str(&labelled(&subject.name, text))),
        }
    }
    merged
}

impl goldenscript::Runner for Runner {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        context: &goldenscript::Context,
    ) -> Result<String, Box<dyn std::error::Error>> {
        let mut said = Vec::new();
        for place in &mut self.places {
            let text = self.handle.block_on(place.step(context.prefix.as_deref(), &command.name));
            said.push((&place.subject, text));
        }
        Ok(merged(&said))
    }
}
