//! What the subqueries of a statement have answered, by plan and outer values.

use super::{quantify, truth_value};
use crate::error::{Error, Result};
use crate::exec::expr::{CompareOp, Expr, SubqueryKind};
use crate::exec::node::Node;
use crate::value::Value;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How many answers of correlated subqueries are kept; beyond that they are asked again.
const KEPT_ANSWERS: usize = 16_384;

/// A question that evaluation met and could not answer.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) node: Arc<Node>,
    pub(crate) outer: Vec<Value>,
    pub(crate) form: Form,
}

/// What is wanted of the subquery's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Scalar,
    Exists,
    Array,
    /// Rows to compare with; with hashing for `=`.
    Rows,
}

/// The answer to a question.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Value(Value),
    Rows(Arc<Membership>),
}

/// The rows of a quantified subquery, prepared for `=`.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    known: HashSet<Vec<Value>>,
    /// Rows with a NULL: they may match but never surely.
    with_null: Vec<Vec<Value>>,
}

impl Membership {
    pub(crate) fn insert(&mut self, row: Vec<Value>) {
        if row.iter().any(Value::is_null) {
            self.with_null.push(row);
        } else {
            self.known.insert(row);
        }
    }

    /// The estimated size in memory.
    pub(crate) fn size_bytes(&self) -> usize {
        self.rows().map(|row| crate::exec::context::row_bytes(row) + 32).sum()
    }

    fn rows(&self) -> impl Iterator<Item = &Vec<Value>> {
        self.known.iter().chain(&self.with_null)
    }

    /// `left op ANY (rows)`, or ALL.
    fn compare(&self, left: &[Value], op: CompareOp, all: bool) -> Option<bool> {
        if left.len() == 1 && !matches!((op, all), (CompareOp::Eq, false) | (CompareOp::NotEq, true)) {
            let pairs = self.rows().map(|row| left.first()?.sql_cmp(row.first()?).map(|order| op.holds(order)));
            return quantify(pairs, all);
        }
        // `= ANY` and, being its negation, `<> ALL`.
        let found = self.contains(left);
        if all { found.map(|found| !found) } else { found }
    }

    fn contains(&self, left: &[Value]) -> Option<bool> {
        if left.iter().any(Value::is_null) {
            return quantify(self.rows().map(|row| rows_equal(left, row)), false);
        }
        if self.known.contains(left) {
            return Some(true);
        }
        quantify(self.with_null.iter().map(|row| rows_equal(left, row)), false)
    }
}

/// Three-valued equality of rows: false as soon as one pair differs, whatever is NULL beside it.
fn rows_equal(left: &[Value], right: &[Value]) -> Option<bool> {
    quantify(left.iter().zip(right).map(|(left, right)| left.sql_eq(right)), true)
}

/// The answers of one statement's subqueries. Valid as long as the statement reads one state, which it does: changes read their
/// source to its end before they write.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the plan's address; plans live as long as the statement.
    by_plan: HashMap<usize, HashMap<Vec<Value>, Answer>>,
    question: Option<Question>,
}

impl Answers {
    /// The value of a subquery expression, or the question noted and an error.
    pub(super) fn answer(
        &self,
        node: &Arc<Node>,
        outer: Vec<Value>,
        kind: &SubqueryKind,
        evaluate: impl Fn(&Expr) -> Result<Value>,
    ) -> Result<Value> {
        let mut inner = self.inner.lock();
        let known = inner.by_plan.get(&address(node)).and_then(|answers| answers.get(&outer)).cloned();
        let Some(answer) = known else {
            let form = match kind {
                SubqueryKind::Scalar => Form::Scalar,
                SubqueryKind::Exists => Form::Exists,
                SubqueryKind::Array => Form::Array,
                SubqueryKind::Quantified { .. } => Form::Rows,
            };
            inner.question = Some(Question { node: Arc::clone(node), outer, form });
            return Err(Error::internal("a subquery's answer is not known yet"));
        };
        drop(inner);
        match (answer, kind) {
            (Answer::Value(value), _) => Ok(value),
            (Answer::Rows(rows), SubqueryKind::Quantified { left, op, all }) => {
                let left = left.iter().map(evaluate).collect::<Result<Vec<_>>>()?;
                Ok(truth_value(rows.compare(&left, *op, *all)))
            }
            (Answer::Rows(_), _) => Err(Error::internal("a subquery answered with rows")),
        }
    }

    /// The question that stopped the last evaluation.
    pub(crate) fn take_question(&self) -> Option<Question> {
        self.inner.lock().question.take()
    }

    pub(crate) fn give(&self, question: Question, answer: Answer) {
        let mut inner = self.inner.lock();
        let answers = inner.by_plan.entry(address(&question.node)).or_default();
        if answers.len() >= KEPT_ANSWERS {
            answers.clear();
        }
        answers.insert(question.outer, answer);
    }
}

fn address(node: &Arc<Node>) -> usize {
    Arc::as_ptr(node) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn membership(rows: &[&[Option<i64>]]) -> Membership {
        let mut membership = Membership::default();
        for row in rows {
            membership.insert(row.iter().map(|value| Value::from(*value)).collect());
        }
        membership
    }

    fn row(values: &[Option<i64>]) -> Vec<Value> {
        values.iter().map(|value| Value::from(*value)).collect()
    }

    #[test]
    fn membership_is_three_valued() {
        use CompareOp::{Eq, Gt, NotEq};
        let empty = membership(&[]);
        assert_eq!(empty.compare(&row(&[None]), Eq, false), Some(false));
        assert_eq!(empty.compare(&row(&[None]), NotEq, true), Some(true));
        let plain = membership(&[&[Some(1)], &[Some(2)]]);
        assert_eq!(plain.compare(&row(&[Some(2)]), Eq, false), Some(true));
        assert_eq!(plain.compare(&row(&[Some(3)]), Eq, false), Some(false));
        assert_eq!(plain.compare(&row(&[None]), Eq, false), None);
        assert_eq!(plain.compare(&row(&[Some(3)]), Gt, true), Some(true));
        let with_null = membership(&[&[Some(1)], &[None]]);
        assert_eq!(with_null.compare(&row(&[Some(1)]), Eq, false), Some(true));
        assert_eq!(with_null.compare(&row(&[Some(3)]), Eq, false), None);
        assert_eq!(with_null.compare(&row(&[Some(3)]), NotEq, true), None);
        let pairs = membership(&[&[Some(1), None]]);
        assert_eq!(pairs.compare(&row(&[Some(1), Some(2)]), Eq, false), None);
        assert_eq!(pairs.compare(&row(&[Some(2), Some(2)]), Eq, false), Some(false));
    }
}
