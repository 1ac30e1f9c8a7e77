//! Expressions: typed, with names resolved. `sql` builds them over [`ColId`]s; `plan` rewrites these into slots of the row at hand.

use super::aggregate::AggregateFunction;
use super::functions::ScalarFunction;
use super::node::Node;
use crate::value::{DataType, Value};
use std::sync::Arc;

/// A column of some relation inside one statement; unique within the statement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ColId(pub u32);

/// An expression with its type. Operands have been cast to what the operator takes, so evaluation never converts by itself.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it computes.
    pub kind: ExprKind,
    /// Of which type.
    pub data_type: DataType,
}

/// What an expression computes.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A constant.
    Literal(Value),
    /// A parameter, from 0.
    Param(usize),
    /// A column by its statement-wide id. Not evaluable: `plan` turns it into `Slot` or `Outer`.
    Column(ColId),
    /// A position in the current row.
    Slot(usize),
    /// A position in the values handed to a correlated subquery.
    Outer(usize),
    /// `-x`, `~x`
    Unary(UnaryOp, Box<Expr>),
    /// Arithmetic, concatenation, json and bit operators; NULL where an operand is.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// Comparison with three-valued logic.
    Compare(CompareOp, Box<Expr>, Box<Expr>),
    /// `IS DISTINCT FROM`: never NULL.
    IsDistinct(Box<Expr>, Box<Expr>),
    /// Conjunction.
    And(Vec<Expr>),
    /// Disjunction.
    Or(Vec<Expr>),
    /// Negation.
    Not(Box<Expr>),
    /// `IS NULL`
    IsNull(Box<Expr>),
    /// `IS TRUE` / `IS FALSE`: never NULL.
    IsBool(Box<Expr>, bool),
    /// `LIKE` and `ILIKE`; negation is a `Not` around it.
    Like {
        /// The text.
        text: Box<Expr>,
        /// The pattern.
        pattern: Box<Expr>,
        /// ILIKE
        case_insensitive: bool,
        /// The escape character; `None` is no escaping.
        escape: Option<char>,
    },
    /// `x IN (a, b, c)`; negation is a `Not` around it.
    InList(Box<Expr>, Vec<Expr>),
    /// `x op ANY (array)` / `x op ALL (array)`
    QuantifiedArray {
        /// The left side.
        left: Box<Expr>,
        /// The comparison.
        op: CompareOp,
        /// An array.
        array: Box<Expr>,
        /// ALL instead of ANY.
        all: bool,
    },
    /// `CASE WHEN`; the form with an operand has been rewritten into comparisons.
    Case {
        /// Condition and value, in order.
        whens: Vec<(Expr, Expr)>,
        /// The value where no condition is true; `None` is NULL.
        otherwise: Option<Box<Expr>>,
    },
    /// `COALESCE`
    Coalesce(Vec<Expr>),
    /// Cast to this expression's type.
    Cast(Box<Expr>),
    /// A function of the table in `functions`.
    Call(&'static ScalarFunction, Vec<Expr>),
    /// `ARRAY[a, b]`
    Array(Vec<Expr>),
    /// A subquery.
    Subquery(Box<Subquery>),
}

/// A subquery inside an expression.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// How its rows become a value.
    pub kind: SubqueryKind,
    /// The query.
    pub body: SubqueryBody,
}

/// The forms of subquery expressions.
#[derive(Clone, Debug)]
pub enum SubqueryKind {
    /// `(SELECT x)`: NULL without a row, 21000 with several.
    Scalar,
    /// `EXISTS (...)`
    Exists,
    /// `left op ANY (...)` or ALL; `IN` is `= ANY` (several columns only with `=`), `NOT IN` a `Not` around it.
    Quantified {
        /// The left side: one expression for each column of the subquery.
        left: Vec<Expr>,
        /// The comparison.
        op: CompareOp,
        /// ALL instead of ANY.
        all: bool,
    },
    /// `ARRAY(SELECT ...)`
    Array,
}

/// A subquery before and after planning.
#[derive(Clone, Debug)]
pub enum SubqueryBody {
    /// As bound; opaque here, since the logical tree belongs to the stage above.
    Logical(Arc<dyn LogicalBody>),
    /// As planned: run once for each distinct set of values of `outer`; once for the statement where `outer` is empty.
    Planned {
        /// The plan. Its `Outer(i)` is the i-th of `outer`.
        node: Arc<Node>,
        /// Expressions over the enclosing row.
        outer: Vec<Expr>,
    },
}

/// The logical tree of a subquery, as seen from below: only `plan` looks inside.
pub trait LogicalBody: std::fmt::Debug + Send + Sync {
    /// For downcasting.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// Unary operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnaryOp {
    /// `-x`
    Negate,
    /// `~x`
    BitNot,
}

/// Binary operators other than comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BinaryOp {
    /// `+` on numbers, dates, times and intervals
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`: integer division truncates
    Divide,
    /// `%`
    Modulo,
    /// `^`
    Power,
    /// `||` on text, bytea, arrays and jsonb
    Concat,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `#`
    BitXor,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
    /// `->` with a key or position
    JsonGet,
    /// `->>`
    JsonGetText,
    /// `@>`
    Contains,
    /// `~` and `~*`; negation is a `Not` around it
    Regex {
        /// `~*`
        case_insensitive: bool,
    },
}

/// Comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompareOp {
    /// `=`
    Eq,
    /// `<>`
    NotEq,
    /// `<`
    Lt,
    /// `<=`
    LtEq,
    /// `>`
    Gt,
    /// `>=`
    GtEq,
}

impl CompareOp {
    /// The same comparison with its sides exchanged.
    #[must_use]
    pub fn flipped(self) -> Self {
        match self {
            Self::Eq => Self::Eq,
            Self::NotEq => Self::NotEq,
            Self::Lt => Self::Gt,
            Self::LtEq => Self::GtEq,
            Self::Gt => Self::Lt,
            Self::GtEq => Self::LtEq,
        }
    }

    /// Whether this holds for two values that compare so.
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::NotEq => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::LtEq => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::GtEq => ordering.is_ge(),
        }
    }
}

/// One aggregate of an aggregation.
#[derive(Clone, Debug)]
pub struct AggregateCall {
    /// Which.
    pub function: AggregateFunction,
    /// Its arguments; none for `count(*)`.
    pub args: Vec<Expr>,
    /// DISTINCT
    pub distinct: bool,
    /// FILTER (WHERE ...)
    pub filter: Option<Expr>,
    /// The result's type.
    pub data_type: DataType,
}

/// One key of a sort.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// What to sort by.
    pub expr: Expr,
    /// DESC
    pub descending: bool,
    /// NULLS FIRST
    pub nulls_first: bool,
}

impl Expr {
    /// A constant of a type.
    pub fn literal(value: Value, data_type: DataType) -> Self {
        Self { kind: ExprKind::Literal(value), data_type }
    }

    /// A boolean constant.
    pub fn bool(value: bool) -> Self {
        Self::literal(Value::Bool(value), DataType::Bool)
    }

    /// A column.
    pub fn column(id: ColId, data_type: DataType) -> Self {
        Self { kind: ExprKind::Column(id), data_type }
    }

    /// A position in the row at hand.
    pub fn slot(slot: usize, data_type: DataType) -> Self {
        Self { kind: ExprKind::Slot(slot), data_type }
    }

    /// The conjunction of all; true for none.
    pub fn all(mut conjuncts: Vec<Expr>) -> Self {
        match conjuncts.len() {
            0 => Self::bool(true),
            1 => conjuncts.remove(0),
            _ => Self { kind: ExprKind::And(conjuncts), data_type: DataType::Bool },
        }
    }

    /// The direct children. Of subqueries: the left side and the outer expressions, not the body.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Literal(_)
            | ExprKind::Param(_)
            | ExprKind::Column(_)
            | ExprKind::Slot(_)
            | ExprKind::Outer(_) => vec![],
            ExprKind::Unary(_, x)
            | ExprKind::Not(x)
            | ExprKind::IsNull(x)
            | ExprKind::IsBool(x, _)
            | ExprKind::Cast(x) => vec![x],
            ExprKind::Binary(_, l, r) | ExprKind::Compare(_, l, r) | ExprKind::IsDistinct(l, r) => {
                vec![l, r]
            }
            ExprKind::And(list)
            | ExprKind::Or(list)
            | ExprKind::Coalesce(list)
            | ExprKind::Call(_, list)
            | ExprKind::Array(list) => list.iter().collect(),
            ExprKind::Like { text, pattern, .. } => vec![text, pattern],
            ExprKind::InList(x, list) => std::iter::once(&**x).chain(list).collect(),
            ExprKind::QuantifiedArray { left, array, .. } => vec![left, array],
            ExprKind::Case { whens, otherwise } => {
                whens.iter().flat_map(|(when, then)| [when, then]).chain(otherwise.as_deref()).collect()
            }
            ExprKind::Subquery(subquery) => {
                let mut children: Vec<&Expr> = match &subquery.kind {
                    SubqueryKind::Quantified { left, .. } => left.iter().collect(),
                    _ => vec![],
                };
                if let SubqueryBody::Planned { outer, .. } = &subquery.body {
                    children.extend(outer);
                }
                children
            }
        }
    }

    /// The direct children, mutably; the same ones as [`Expr::children`].
    pub fn children_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.kind {
            ExprKind::Literal(_)
            | ExprKind::Param(_)
            | ExprKind::Column(_)
            | ExprKind::Slot(_)
            | ExprKind::Outer(_) => vec![],
            ExprKind::Unary(_, x)
            | ExprKind::Not(x)
            | ExprKind::IsNull(x)
            | ExprKind::IsBool(x, _)
            | ExprKind::Cast(x) => vec![x],
            ExprKind::Binary(_, l, r) | ExprKind::Compare(_, l, r) | ExprKind::IsDistinct(l, r) => {
                vec![l, r]
            }
            ExprKind::And(list)
            | ExprKind::Or(list)
            | ExprKind::Coalesce(list)
            | ExprKind::Call(_, list)
            | ExprKind::Array(list) => list.iter_mut().collect(),
            ExprKind::Like { text, pattern, .. } => vec![text, pattern],
            ExprKind::InList(x, list) => std::iter::once(&mut **x).chain(list).collect(),
            ExprKind::QuantifiedArray { left, array, .. } => vec![left, array],
            ExprKind::Case { whens, otherwise } => {
                whens.iter_mut().flat_map(|(when, then)| [when, then]).chain(otherwise.as_deref_mut()).collect()
            }
            ExprKind::Subquery(subquery) => {
                let mut children: Vec<&mut Expr> = match &mut subquery.kind {
                    SubqueryKind::Quantified { left, .. } => left.iter_mut().collect(),
                    _ => vec![],
                };
                if let SubqueryBody::Planned { outer, .. } = &mut subquery.body {
                    children.extend(outer);
                }
                children
            }
        }
    }
}
