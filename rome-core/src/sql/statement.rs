//! Which kind of statement it is.

use super::Binder;
use super::control;
use super::select::Unknowns;
use crate::error::{Error, Result};
use crate::plan::logical::Bound;
use sqlparser::ast::{self, SetExpr, Statement};

impl<'a> Binder<'a> {
    pub(super) fn bind_statement(&mut self, statement: &'a Statement) -> Result<Bound> {
        self.deeper(|binder| binder.statement_here(statement))
    }

    fn statement_here(&mut self, statement: &'a Statement) -> Result<Bound> {
        match statement {
            Statement::Query(query) => self.top_query(query),
            Statement::Insert(insert) => self.insert(insert).map(Bound::Insert),
            Statement::Update(update) => self.update(update).map(Bound::Update),
            Statement::Delete(delete) => self.delete(delete).map(Bound::Delete),
            Statement::Explain { analyze, statement, options, .. } => self.explain(*analyze, options, statement),
            Statement::CreateTable(create) => self.create_table(create).map(Bound::Schema),
            Statement::CreateIndex(create) => self.create_index(create).map(Bound::Schema),
            Statement::AlterTable(alter) => self.alter_table(alter).map(Bound::Schema),
            Statement::Drop { .. } => self.drop_objects(statement).map(Bound::Schema),
            Statement::Truncate(truncate) => self.truncate(truncate).map(Bound::Schema),
            other => match control::control(other)? {
                Some(control) => Ok(Bound::Control(control)),
                None => Err(unsupported_statement(other)),
            },
        }
    }

    /// WITH may stand before INSERT, UPDATE and DELETE too.
    fn top_query(&mut self, query: &'a ast::Query) -> Result<Bound> {
        let inner = match &*query.body {
            SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) => statement,
            _ => return self.query_with(query, Unknowns::Settle).map(Bound::Query),
        };
        if let Some(with) = &query.with {
            self.with(with)?;
        }
        let bound = self.bind_statement(inner)?;
        self.end_with(0)?;
        Ok(bound)
    }

    fn explain(
        &mut self,
        analyze: bool,
        options: &'a Option<Vec<ast::UtilityOption>>,
        statement: &'a Statement,
    ) -> Result<Bound> {
        let mut analyze = analyze;
        for option in options.iter().flatten() {
            let on = match &option.arg {
                None => true,
                Some(arg) => {
                    !matches!(arg.to_string().to_lowercase().as_str(), "false" | "off" | "0" | "'false'" | "'off'")
                }
            };
            match option.name.value.to_lowercase().as_str() {
                "analyze" => analyze = on,
                // What they would add is always or never shown.
                "verbose" | "costs" | "buffers" | "timing" | "summary" | "settings" | "wal" => {}
                "format" if option.arg.as_ref().is_some_and(|arg| arg.to_string().eq_ignore_ascii_case("text")) => {}
                other => return Err(Error::unsupported(format!("EXPLAIN option {other}"))),
            }
        }
        let bound = self.bind_statement(statement)?;
        match bound {
            Bound::Query(_) | Bound::Insert(_) | Bound::Update(_) | Bound::Delete(_) => {
                Ok(Bound::Explain { analyze, statement: Box::new(bound) })
            }
            _ => Err(Error::unsupported("EXPLAIN of anything but SELECT, INSERT, UPDATE and DELETE")),
        }
    }
}

fn unsupported_statement(statement: &Statement) -> Error {
    const SHOWN_WORDS: usize = 2;
    let text = statement.to_string();
    let words: Vec<&str> = text.split_whitespace().take(SHOWN_WORDS).collect();
    Error::unsupported(words.join(" "))
}
