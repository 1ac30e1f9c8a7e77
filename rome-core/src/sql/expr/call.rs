//! Calls: functions, aggregates, the forms with a syntax of their own, and what looks like a call but is none.

use super::super::scope::Scope;
use super::super::{Binder, coerce, names, operators, walk};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{AggregateCall, CompareOp, Expr, ExprKind};
use crate::exec::{aggregate, functions};
use crate::value::{DataType, Value};
use sqlparser::ast::{self, DateTimeField, FunctionArg, FunctionArgExpr, FunctionArguments};

/// The arguments of a call as written.
struct Arguments<'a> {
    exprs: Vec<&'a ast::Expr>,
    /// `f(*)`
    star: bool,
    distinct: bool,
}

impl<'a> Binder<'a> {
    pub(super) fn call(&mut self, function: &'a ast::Function) -> Result<Expr> {
        let name = names::function(&function.name)?;
        if function.over.is_some() {
            return Err(Error::unsupported("a window function"));
        }
        if !function.within_group.is_empty() || function.null_treatment.is_some() {
            return Err(Error::unsupported("WITHIN GROUP"));
        }
        if let (FunctionArguments::Subquery(query), "array") = (&function.args, name.as_str()) {
            return self.array_subquery(query);
        }
        let arguments = arguments(function)?;
        if aggregate::is_aggregate(&name) || arguments.star {
            return self.aggregate(&name, &arguments, function.filter.as_deref());
        }
        if function.filter.is_some() || arguments.distinct {
            let what = if arguments.distinct { "DISTINCT" } else { "FILTER" };
            return Err(Error::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("{what} specified, but {name} is not an aggregate function"),
            ));
        }
        if matches!(function.args, FunctionArguments::None)
            && let Some(expr) = self.current(&name)?
        {
            return Ok(expr);
        }
        let args = self.exprs(arguments.exprs)?;
        match name.as_str() {
            "coalesce" => {
                let (args, data_type) = coerce::unify(at_least_one(args, "COALESCE")?, "COALESCE")?;
                Ok(Expr { kind: ExprKind::Coalesce(args), data_type })
            }
            "nullif" => self.nullif(args),
            "greatest" | "least" => {
                let construct = name.to_uppercase();
                let (args, _) = coerce::unify(at_least_one(args, &construct)?, &construct)?;
                self.call_named(&name, args)
            }
            "row" => Err(Error::unsupported("a row in this place")),
            _ => self.call_named(&name, args),
        }
    }

    /// `CURRENT_DATE` and the others that are written without parentheses.
    fn current(&mut self, name: &str) -> Result<Option<Expr>> {
        let to = match name {
            "current_timestamp" => return self.call_named("now", vec![]).map(Some),
            "current_date" => DataType::Date,
            "current_time" | "localtime" => DataType::Time,
            "localtimestamp" => DataType::Timestamp,
            _ => return Ok(None),
        };
        let now = self.call_named("now", vec![])?;
        coerce::convert(now, &to).map(Some)
    }

    fn nullif(&mut self, args: Vec<Expr>) -> Result<Expr> {
        let Ok([left, right]) = <[Expr; 2]>::try_from(args) else {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "NULLIF takes two arguments"));
        };
        let value = coerce::settle(self.copy(&left)?)?;
        let data_type = value.data_type.clone();
        let equal = operators::compare(CompareOp::Eq, left, right)?;
        let null = Expr::literal(Value::Null, data_type.clone());
        Ok(Expr { kind: ExprKind::Case { whens: vec![(equal, null)], otherwise: Some(Box::new(value)) }, data_type })
    }

    /// A function of the table, over bound arguments.
    pub(super) fn call_named(&mut self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        let types: Vec<DataType> = args.iter().map(|arg| coerce::unconstrained(&arg.data_type)).collect();
        let resolved = match functions::resolve(name, &types) {
            Ok(resolved) => resolved,
            // The kind of a parameter's value does not tell how wide an integer was meant.
            Err(error) => functions::resolve(name, &narrowed(&args)).map_err(|_| error)?,
        };
        let args = args.into_iter().zip(&resolved.args).map(|(arg, to)| coerce::operand(arg, to));
        let args = args.collect::<Result<_>>()?;
        Ok(Expr { kind: ExprKind::Call(resolved.function, args), data_type: resolved.result })
    }

    fn aggregate(&mut self, name: &str, arguments: &Arguments<'a>, filter: Option<&'a ast::Expr>) -> Result<Expr> {
        if arguments.star && name != "count" {
            return Err(Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {name}() does not exist")));
        }
        if !arguments.star && arguments.exprs.is_empty() && name == "count" {
            return Err(Error::new(
                SqlState::WRONG_OBJECT_TYPE,
                "count(*) must be used to call a parameterless aggregate function",
            ));
        }
        self.check_aggregate_allowed()?;
        self.set_in_aggregate(true);
        let parts = self.aggregate_parts(arguments, filter);
        self.set_in_aggregate(false);
        let (args, filter) = parts?;
        let types: Vec<DataType> = args.iter().map(|arg| coerce::unconstrained(&arg.data_type)).collect();
        let Some((function, types, data_type)) = aggregate::resolve(name, &types)? else {
            return Err(Error::internal(format!("the aggregate {name}")));
        };
        let args =
            args.into_iter().zip(&types).map(|(arg, to)| coerce::operand(arg, to)).collect::<Result<Vec<_>>>()?;
        if arguments.distinct && args.iter().any(|arg| !operators::has_order(&arg.data_type)) {
            return Err(Error::new(
                SqlState::UNDEFINED_FUNCTION,
                "could not identify an equality operator for type json",
            ));
        }
        self.check_own_columns(&args)?;
        let call = AggregateCall { function, args, distinct: arguments.distinct, filter, data_type };
        Ok(self.note_aggregate(call))
    }

    fn aggregate_parts(
        &mut self,
        arguments: &Arguments<'a>,
        filter: Option<&'a ast::Expr>,
    ) -> Result<(Vec<Expr>, Option<Expr>)> {
        let args = self.exprs(arguments.exprs.iter().copied())?;
        let filter = filter.map(|filter| self.condition(filter, "FILTER")).transpose()?;
        Ok((args, filter))
    }

    fn set_in_aggregate(&mut self, inside: bool) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.in_aggregate = inside;
        }
    }

    fn check_aggregate_allowed(&self) -> Result<()> {
        let grouping_error = |message: String| Err(Error::new(SqlState::GROUPING_ERROR, message));
        match self.scopes.last() {
            Some(scope) if scope.in_aggregate => grouping_error("aggregate function calls cannot be nested".to_owned()),
            Some(scope) if scope.clause.takes_aggregates() => Ok(()),
            Some(scope) => {
                let name = scope.clause.name();
                grouping_error(format!("aggregate functions are not allowed in {name}"))
            }
            None => grouping_error("aggregate functions are not allowed here".to_owned()),
        }
    }

    /// An aggregate over nothing but columns of an enclosing query belongs to that one, which would have to gather it there.
    fn check_own_columns(&self, args: &[Expr]) -> Result<()> {
        let mut used = vec![];
        args.iter().for_each(|arg| walk::columns_of(arg, &mut used));
        let Some(scope) = self.scopes.last() else { return Ok(()) };
        let mut own = vec![];
        for relation in &scope.namespace.relations {
            relation.columns.iter().for_each(|column| walk::columns_of(&column.expr, &mut own));
        }
        if used.is_empty() || used.iter().any(|id| own.contains(id)) {
            return Ok(());
        }
        Err(Error::unsupported("an aggregate over columns of an enclosing query alone"))
    }

    /// The column of the aggregation that this call fills; calls that are alike share one.
    fn note_aggregate(&mut self, call: AggregateCall) -> Expr {
        let id = self.new_column();
        let data_type = call.data_type.clone();
        let Some(Scope { aggregates, .. }) = self.scopes.last_mut() else {
            return Expr::column(id, data_type);
        };
        if let Some((known, _)) = aggregates.iter().find(|(_, other)| same_call(other, &call)) {
            return Expr::column(*known, data_type);
        }
        aggregates.push((id, call));
        Expr::column(id, data_type)
    }

    /// `array[position]`
    pub(super) fn subscript(&mut self, root: &'a ast::Expr, chain: &'a [ast::AccessExpr]) -> Result<Expr> {
        match chain {
            [ast::AccessExpr::Subscript(ast::Subscript::Index { index })] => {
                let (array, position) = (self.expr(root)?, self.expr(index)?);
                match array.data_type {
                    DataType::Array(_) => self.call_named("array_element", vec![array, position]),
                    other => {
                        let message = format!("cannot subscript type {other} because it does not support subscripting");
                        Err(Error::new(SqlState::DATATYPE_MISMATCH, message))
                    }
                }
            }
            [ast::AccessExpr::Subscript(ast::Subscript::Slice { .. })] => Err(Error::unsupported("an array slice")),
            _ => Err(Error::unsupported("access to a field or to several dimensions")),
        }
    }

    /// The functions that the standard gives a syntax of their own.
    pub(super) fn special_call(&mut self, expr: &'a ast::Expr) -> Result<Expr> {
        use ast::Expr as Ast;
        match expr {
            Ast::Extract { field, expr, .. } => {
                let field = Expr::literal(Value::text(&field_name(field)), DataType::Text);
                let source = self.expr(expr)?;
                self.call_named("extract", vec![field, source])
            }
            Ast::Ceil { expr, field: ast::CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                let operand = self.expr(expr)?;
                self.call_named("ceil", vec![operand])
            }
            Ast::Floor { expr, field: ast::CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                let operand = self.expr(expr)?;
                self.call_named("floor", vec![operand])
            }
            Ast::Position { expr, r#in } => {
                let (part, whole) = (self.expr(expr)?, self.expr(r#in)?);
                self.call_named("position", vec![whole, part])
            }
            Ast::Substring { expr, substring_from, substring_for, .. } => {
                let mut args = vec![self.expr(expr)?];
                match substring_from {
                    Some(from) => args.push(self.expr(from)?),
                    None => args.push(Expr::literal(Value::Int(1), DataType::Int4)),
                }
                if let Some(length) = substring_for {
                    args.push(self.expr(length)?);
                }
                self.call_named("substring", args)
            }
            Ast::Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    Some(ast::TrimWhereField::Leading) => "ltrim",
                    Some(ast::TrimWhereField::Trailing) => "rtrim",
                    Some(ast::TrimWhereField::Both) | None => "btrim",
                };
                let mut args = vec![self.expr(expr)?];
                let characters = trim_what.as_deref().into_iter().chain(trim_characters.iter().flatten());
                args.extend(self.exprs(characters)?);
                self.call_named(name, args)
            }
            Ast::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let parts = [&**expr, overlay_what, overlay_from].into_iter().chain(overlay_for.as_deref());
                let args = self.exprs(parts)?;
                self.call_named("overlay", args)
            }
            Ast::AtTimeZone { timestamp, time_zone } => {
                let (moment, zone) = (self.expr(timestamp)?, self.expr(time_zone)?);
                // A date is taken as its first moment, in the session's zone as PostgreSQL takes it.
                let moment = match moment.data_type {
                    DataType::Date => coerce::convert(moment, &DataType::TimestampTz)?,
                    _ => moment,
                };
                self.call_named("timezone", vec![zone, moment])
            }
            other => Err(super::unsupported_expr(other)),
        }
    }
}

fn arguments(function: &ast::Function) -> Result<Arguments<'_>> {
    if !matches!(function.parameters, FunctionArguments::None) {
        return Err(Error::unsupported("a function with parameters"));
    }
    let list = match &function.args {
        FunctionArguments::None => return Ok(Arguments { exprs: vec![], star: false, distinct: false }),
        FunctionArguments::Subquery(_) => return Err(Error::unsupported("a subquery as a function's only argument")),
        FunctionArguments::List(list) => list,
    };
    if !list.clauses.is_empty() {
        return Err(Error::unsupported("a clause inside a function's arguments"));
    }
    let mut arguments = Arguments {
        exprs: vec![],
        star: false,
        distinct: list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct),
    };
    for arg in &list.args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => arguments.exprs.push(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if list.args.len() == 1 => arguments.star = true,
            FunctionArg::Unnamed(_) => return Err(Error::unsupported("a whole row as an argument")),
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                return Err(Error::unsupported("a named argument"));
            }
        }
    }
    if arguments.star && arguments.distinct {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "DISTINCT specified, but count(*) has no argument"));
    }
    Ok(arguments)
}

/// The arguments' types, with parameters that are integers counted as `integer`.
fn narrowed(args: &[Expr]) -> Vec<DataType> {
    let types = args.iter().map(|arg| match (&arg.kind, &arg.data_type) {
        (ExprKind::Param(_), DataType::Int8) => DataType::Int4,
        (_, data_type) => coerce::unconstrained(data_type),
    });
    types.collect()
}

fn at_least_one(args: Vec<Expr>, construct: &str) -> Result<Vec<Expr>> {
    if args.is_empty() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, format!("{construct} takes at least one argument")));
    }
    Ok(args)
}

fn same_call(left: &AggregateCall, right: &AggregateCall) -> bool {
    let same_filter = match (&left.filter, &right.filter) {
        (None, None) => true,
        (Some(left), Some(right)) => walk::same(left, right),
        _ => false,
    };
    left.function == right.function
        && left.distinct == right.distinct
        && same_filter
        && left.args.len() == right.args.len()
        && left.args.iter().zip(&right.args).all(|(left, right)| walk::same(left, right))
}

/// The name of a field of EXTRACT.
fn field_name(field: &DateTimeField) -> String {
    match field {
        DateTimeField::Custom(ident) => names::fold(ident),
        other => other.to_string().trim_matches('\'').to_lowercase(),
    }
}
