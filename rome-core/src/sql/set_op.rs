//! UNION, INTERSECT, EXCEPT.

use super::grouping::no_equality;
use super::parse::syntax_error;
use super::select::Unknowns;
use super::{Binder, coerce, operators};
use crate::error::{Error, Result};
use crate::exec::expr::Expr;
use crate::exec::node::{OutputColumn, SetOp};
use crate::plan::logical::{Query, Rel};
use crate::value::DataType;
use sqlparser::ast::{SetExpr, SetOperator, SetQuantifier};

/// An operation between two queries.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Operation {
    op: SetOp,
    all: bool,
}

impl Operation {
    fn name(self) -> &'static str {
        match self.op {
            SetOp::Union => "UNION",
            SetOp::Intersect => "INTERSECT",
            SetOp::Except => "EXCEPT",
        }
    }

    /// Whether it may be bracketed at will.
    fn is_associative(self) -> bool {
        self.op == SetOp::Union
    }
}

impl<'a> Binder<'a> {
    /// A tree of operations. It is left-deep; its branches are taken off in a loop, and chains of UNION become a balanced tree.
    pub(super) fn set_operation(&mut self, body: &'a SetExpr, unknowns: Unknowns) -> Result<Query> {
        let mut chain = vec![];
        let mut first = body;
        while let SetExpr::SetOperation { left, op, set_quantifier, right } = first {
            chain.push((operation(*op, *set_quantifier)?, &**right));
            first = left;
        }
        let mut left = vec![self.branch(first)?];
        let mut pending: Option<Operation> = None;
        for (operation, right) in chain.into_iter().rev() {
            let right = self.branch(right)?;
            match pending {
                Some(known) if known != operation || !known.is_associative() => {
                    left = vec![self.combine(left, known)?];
                }
                _ => {}
            }
            pending = Some(operation);
            left.push(right);
        }
        let operation = pending.ok_or_else(|| Error::internal("a set operation without operator"))?;
        let combined = self.combine(left, operation)?;
        match unknowns {
            Unknowns::Settle => self.settle_output(combined),
            Unknowns::Keep => Ok(combined),
        }
    }

    fn branch(&mut self, body: &'a SetExpr) -> Result<Query> {
        self.deeper(|binder| binder.set_expr(body, Unknowns::Keep))
    }

    /// Combines two or more queries of one associative operation, or two of any, into one.
    fn combine(&mut self, mut queries: Vec<Query>, operation: Operation) -> Result<Query> {
        let mut names = vec![];
        let mut types: Vec<DataType> = vec![];
        for query in &queries {
            if names.is_empty() && types.is_empty() {
                names = query.output.iter().map(|(_, column)| column.name.clone()).collect();
                types = query.output.iter().map(|(_, column)| column.data_type.clone()).collect();
                continue;
            }
            if query.output.len() != types.len() {
                return Err(syntax_error(format!(
                    "each {} query must have the same number of columns",
                    operation.name()
                )));
            }
            for (known, (_, column)) in types.iter_mut().zip(&query.output) {
                *known = coerce::common([&*known, &column.data_type], operation.name())?;
            }
        }
        if !operation.all
            && let Some(data_type) = types.iter().find(|data_type| !operators::has_order(data_type))
        {
            return Err(no_equality(data_type));
        }
        for query in &mut queries {
            self.project_to(query, &types)?;
        }
        while queries.len() > 1 {
            let mut pairs = vec![];
            let mut rest = queries.into_iter();
            while let Some(left) = rest.next() {
                pairs.push(match rest.next() {
                    Some(right) => self.pair(left, right, operation, &names, &types),
                    None => left,
                });
            }
            queries = pairs;
        }
        queries.pop().ok_or_else(|| Error::internal("a set operation without queries"))
    }

    fn pair(&mut self, left: Query, right: Query, operation: Operation, names: &[String], types: &[DataType]) -> Query {
        let columns = names.iter().zip(types).map(|(name, data_type)| {
            let column = OutputColumn { name: name.clone(), data_type: data_type.clone() };
            (self.new_column(), column)
        });
        let output: Vec<_> = columns.collect();
        let columns = output.iter().map(|(id, _)| *id).collect();
        let Operation { op, all } = operation;
        Query { rel: Rel::SetOp { op, all, left: Box::new(left.rel), right: Box::new(right.rel), columns }, output }
    }

    /// Makes a query produce exactly its output columns, in these types.
    pub(super) fn project_to(&mut self, query: &mut Query, types: &[DataType]) -> Result<()> {
        let ids: Vec<_> = query.output.iter().map(|(id, _)| *id).collect();
        let same_types = query.output.iter().zip(types).all(|((_, column), to)| column.data_type == *to);
        if same_types && query.rel.columns() == ids {
            return Ok(());
        }
        let mut exprs = vec![];
        for ((id, column), to) in query.output.iter_mut().zip(types) {
            let expr = coerce::convert(Expr::column(*id, column.data_type.clone()), to)?;
            *id = self.new_column();
            column.data_type = to.clone();
            exprs.push((*id, expr));
        }
        let input = Box::new(std::mem::replace(&mut query.rel, Rel::OneRow));
        query.rel = Rel::Project { input, exprs };
        Ok(())
    }

    /// Turns columns of unknown type into text.
    fn settle_output(&mut self, mut query: Query) -> Result<Query> {
        let unknown = |(_, column): &(_, OutputColumn)| column.data_type == DataType::Unknown;
        if query.output.iter().any(unknown) {
            let types = query.output.iter().map(|(_, column)| match &column.data_type {
                DataType::Unknown => DataType::Text,
                known => known.clone(),
            });
            let types: Vec<_> = types.collect();
            self.project_to(&mut query, &types)?;
        }
        Ok(query)
    }
}

fn operation(op: SetOperator, quantifier: SetQuantifier) -> Result<Operation> {
    let op = match op {
        SetOperator::Union => SetOp::Union,
        SetOperator::Intersect => SetOp::Intersect,
        SetOperator::Except => SetOp::Except,
        SetOperator::Minus => return Err(syntax_error("syntax error at or near \"MINUS\"")),
    };
    let all = match quantifier {
        SetQuantifier::All => true,
        SetQuantifier::Distinct | SetQuantifier::None => false,
        _ => return Err(Error::unsupported("BY NAME")),
    };
    Ok(Operation { op, all })
}
