//! Text to syntax tree, within limits.
//!
//! sqlparser builds left-deep trees for chains of operators (`a AND b AND c ...`), and even dropping such a tree recurses. So the tokens are
//! measured first: [`measure`] bounds how deep the tree can get, for every operator but AND and OR, and refuses what would be too deep.
//! Chains of AND and OR may be long; they are parsed on a stack of a size to match and then balanced (both operators are
//! associative), so that whoever gets the tree can recurse over it and drop it without a thought.

use super::too_complex;
use crate::error::{Error, Result, SqlState};
use sqlparser::ast::{self, BinaryOperator, Expr, VisitMut, VisitorMut};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use std::ops::ControlFlow;

/// The limits on statements, each with a clear error before anything is done.
pub struct ParseLimits;

impl ParseLimits {
    /// Bytes of a text with all its statements.
    pub const TEXT_BYTES_MAX: usize = 16 << 20;
    /// Bytes of an identifier. PostgreSQL cuts longer ones; Rome refuses them (42622), since two names that differ only behind the cut would
    /// silently be one.
    pub const IDENTIFIER_BYTES_MAX: usize = 63;
    /// Levels of parentheses, subqueries and prefix operators.
    pub const NESTING_MAX: usize = 100;
    /// Operators in one chain, nested chains added up, AND and OR not counted.
    pub const CHAIN_MAX: usize = 500;
    /// Levels of an expression as bound.
    pub const DEPTH_MAX: usize = 800;
    /// AND and OR in one text.
    pub const CONNECTIVES_MAX: usize = 100_000;
    /// Expressions and relations in a statement.
    pub const EXPRESSION_NODES_MAX: usize = 1_000_000;
    /// UNION, INTERSECT and EXCEPT in a text.
    pub const SET_OPERATIONS_MAX: usize = 500;
    /// Relations in one FROM clause.
    pub const JOINS_MAX: usize = 64;
    /// Parameters: as many as the wire protocol can number.
    pub const PARAMETERS_MAX: usize = 65_535;
    /// Columns of a table or of a query's result, as in PostgreSQL.
    pub const COLUMNS_MAX: usize = 1_600;
}

/// Parses a text into its statements.
///
/// # Errors
/// 42601 with PostgreSQL's words for what is no SQL, 42622 for an identifier that is too long, 54001 for what exceeds [`ParseLimits`].
pub fn parse(text: &str) -> Result<Vec<ast::Statement>> {
    if text.len() > ParseLimits::TEXT_BYTES_MAX {
        return Err(too_complex("bytes", ParseLimits::TEXT_BYTES_MAX));
    }
    if text.contains('\0') {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "syntax error: the text contains a zero character"));
    }
    let dialect = PostgreSqlDialect {};
    let mut tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| {
        syntax_error(format!("syntax error: {}", error.message))
            .with_hint(format!("Line {}, column {}.", error.location.line, error.location.column))
    })?;
    let size = measure(&mut tokens)?;
    let overriding = take_overriding(&mut tokens)?;
    let stack_bytes = STACK_BASE_BYTES
        + size.nesting * STACK_NESTING_BYTES
        + (size.connectives + ParseLimits::CHAIN_MAX) * STACK_CONNECTIVE_BYTES;
    let parse = || {
        let mut parser = Parser::new(&dialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(tokens);
        let mut statements = parser.parse_statements().map_err(|error| parser_error(&error))?;
        if overriding {
            mark_overriding(&mut statements)?;
        }
        if size.connectives > 1 {
            for statement in &mut statements {
                let _ = statement.visit(&mut Balance);
            }
        }
        Ok(statements)
    };
    stacker::maybe_grow(stack_bytes, stack_bytes, parse)
}

/// sqlparser counts several levels for one that is written; [`measure`] has counted those.
const RECURSION_MAX: usize = 3 * ParseLimits::NESTING_MAX;
/// What parsing a flat statement may use, in a build without optimisation.
const STACK_BASE_BYTES: usize = 512 << 10;
/// For each level of nesting.
const STACK_NESTING_BYTES: usize = 64 << 10;
/// For each level of a left-deep chain, which is dropped recursively where parsing fails.
const STACK_CONNECTIVE_BYTES: usize = 1 << 10;

/// How large a tree the tokens can become.
struct Size {
    nesting: usize,
    connectives: usize,
}

/// One open parenthesis or CASE while measuring.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Bound on the depth of the tree of what was read since the last comma or connective.
    chain: usize,
    /// The greatest of those before.
    deepest: usize,
    is_case: bool,
}

impl Level {
    fn depth(self) -> usize {
        self.chain.max(self.deepest)
    }

    /// Behind a comma or connective.
    fn next(self) -> Self {
        Self { chain: 0, deepest: self.depth(), is_case: self.is_case }
    }
}

/// The level around, with one that ends as part of its chain.
fn close(inner: Level, outer: Option<Level>) -> Level {
    let mut outer = outer.unwrap_or_default();
    outer.chain = outer.chain.max(inner.depth()) + 1;
    outer
}

/// Checks names and bounds the depth; takes ASYMMETRIC away, which says nothing.
fn measure(tokens: &mut Vec<TokenWithSpan>) -> Result<Size> {
    let mut outer: Vec<Level> = vec![];
    let mut level = Level::default();
    let mut size = Size { nesting: 0, connectives: 0 };
    let mut set_operations = 0;
    let mut between = false;
    let mut between_open = 0usize;
    for token in tokens.iter() {
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket => {
                outer.push(level);
                level = Level::default();
            }
            Token::RParen | Token::RBracket => {
                while level.is_case {
                    level = close(level, outer.pop());
                }
                level = close(level, outer.pop());
            }
            Token::Comma | Token::SemiColon => {
                level = level.next();
            }
            Token::Word(word) => {
                check_identifier(&word.value, word.quote_style.is_some())?;
                match word.keyword {
                    _ if word.quote_style.is_some() => {}
                    Keyword::SYMMETRIC if between => return Err(Error::unsupported("BETWEEN SYMMETRIC")),
                    Keyword::BETWEEN => {
                        between_open += 1;
                        level.chain += 1;
                    }
                    Keyword::AND if between_open > 0 => between_open -= 1,
                    Keyword::AND | Keyword::OR => {
                        size.connectives += 1;
                        level = level.next();
                    }
                    Keyword::CASE => {
                        outer.push(level);
                        level = Level { is_case: true, ..Level::default() };
                    }
                    Keyword::END if level.is_case => level = close(level, outer.pop()),
                    Keyword::SELECT
                    | Keyword::FROM
                    | Keyword::ON
                    | Keyword::WHERE
                    | Keyword::WHEN
                    | Keyword::THEN
                    | Keyword::ELSE
                    | Keyword::HAVING => level = level.next(),
                    Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => set_operations += 1,
                    // Words that may extend an expression to the right, or start another one inside.
                    Keyword::IS
                    | Keyword::NOTNULL
                    | Keyword::NOT
                    | Keyword::LIKE
                    | Keyword::ILIKE
                    | Keyword::SIMILAR
                    | Keyword::IN
                    | Keyword::AT
                    | Keyword::COLLATE
                    | Keyword::XOR
                    | Keyword::OVERLAPS
                    | Keyword::OPERATOR
                    | Keyword::REGEXP
                    | Keyword::RLIKE
                    | Keyword::MEMBER
                    | Keyword::DIV
                    | Keyword::JOIN => level.chain += 1,
                    _ => {}
                }
                between = word.keyword == Keyword::BETWEEN && word.quote_style.is_none();
                check_depth(level, &outer)?;
                continue;
            }
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Eq
            | Token::Period => {
                if matches!(token.token, Token::Eq) {
                    level.chain += 1;
                }
            }
            _ => level.chain += 1,
        }
        between = false;
        size.nesting = size.nesting.max(outer.len());
        if outer.len() > ParseLimits::NESTING_MAX {
            return Err(too_complex("levels of nesting", ParseLimits::NESTING_MAX));
        }
        check_depth(level, &outer)?;
    }
    if size.connectives > ParseLimits::CONNECTIVES_MAX {
        return Err(too_complex("ANDs and ORs", ParseLimits::CONNECTIVES_MAX));
    }
    if set_operations > ParseLimits::SET_OPERATIONS_MAX {
        return Err(too_complex("set operations", ParseLimits::SET_OPERATIONS_MAX));
    }
    tokens.retain(|token| {
        !matches!(&token.token, Token::Word(word) if word.keyword == Keyword::ASYMMETRIC && word.quote_style.is_none())
    });
    Ok(size)
}

/// Takes OVERRIDING SYSTEM VALUE out of the tokens, which the parser does not know.
fn take_overriding(tokens: &mut Vec<TokenWithSpan>) -> Result<bool> {
    let is_overriding = |token: &TokenWithSpan| matches!(&token.token, Token::Word(word) if word.value.eq_ignore_ascii_case("overriding"));
    if !tokens.iter().any(is_overriding) {
        return Ok(false);
    }
    let words: Vec<(usize, String)> = (0..)
        .zip(tokens.iter())
        .filter_map(|(place, token)| match &token.token {
            Token::Whitespace(_) => None,
            Token::Word(word) if word.quote_style.is_none() => Some((place, word.value.to_lowercase())),
            _ => Some((place, String::new())),
        })
        .collect();
    let mut found = None;
    for window in words.windows(3) {
        if let [(first, overriding), (_, whose), (last, value)] = window
            && overriding == "overriding"
            && value == "value"
        {
            match (whose.as_str(), &found) {
                ("system", None) => found = Some(*first..=*last),
                ("system", Some(_)) => return Err(Error::unsupported("OVERRIDING SYSTEM VALUE twice in a text")),
                ("user", _) => return Err(Error::unsupported("OVERRIDING USER VALUE")),
                _ => {}
            }
        }
    }
    let Some(range) = found else { return Ok(false) };
    tokens.drain(range);
    Ok(true)
}

/// Notes OVERRIDING SYSTEM VALUE in the only statement. The tree has no place of its own for it; `ignore` belongs to another dialect and is
/// never set by this one.
fn mark_overriding(statements: &mut [ast::Statement]) -> Result<()> {
    let misplaced = || syntax_error("syntax error at or near \"OVERRIDING\"");
    let [statement] = statements else {
        return Err(Error::unsupported("OVERRIDING SYSTEM VALUE in a text of several statements"));
    };
    let mut statement = statement;
    loop {
        statement = match statement {
            ast::Statement::Insert(insert) => {
                insert.ignore = true;
                return Ok(());
            }
            ast::Statement::Explain { statement, .. } => statement,
            ast::Statement::Query(query) => match &mut *query.body {
                ast::SetExpr::Insert(statement) => statement,
                _ => return Err(misplaced()),
            },
            _ => return Err(misplaced()),
        };
    }
}

fn check_depth(level: Level, outer: &[Level]) -> Result<()> {
    // The chains around add up only along one path, which the innermost level and the number of open ones bound.
    if level.depth() + outer.len() > ParseLimits::CHAIN_MAX {
        return Err(too_complex("operators in a chain", ParseLimits::CHAIN_MAX));
    }
    Ok(())
}

fn check_identifier(name: &str, quoted: bool) -> Result<()> {
    if quoted && name.is_empty() {
        return Err(syntax_error("zero-length delimited identifier"));
    }
    if name.len() <= ParseLimits::IDENTIFIER_BYTES_MAX {
        return Ok(());
    }
    let shown: String = name.chars().take(ParseLimits::IDENTIFIER_BYTES_MAX).collect();
    Err(Error::new(SqlState::NAME_TOO_LONG, format!("identifier \"{shown}...\" is too long")).with_detail(format!(
        "It has {} bytes; at most {} are allowed.",
        name.len(),
        ParseLimits::IDENTIFIER_BYTES_MAX
    )))
}

pub(super) fn syntax_error(message: impl Into<String>) -> Error {
    Error::new(SqlState::SYNTAX_ERROR, message)
}

/// PostgreSQL's words for a parser's error, the parser's own as the hint.
fn parser_error(error: &ParserError) -> Error {
    const SHOWN_CHARS_MAX: usize = 100;
    let message = match error {
        ParserError::RecursionLimitExceeded => return too_complex("levels of nesting", ParseLimits::NESTING_MAX),
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
    };
    let shorten = |text: &str| text.chars().take(SHOWN_CHARS_MAX).collect::<String>();
    let Some((expected, rest)) = message.rsplit_once(", found: ") else {
        return syntax_error(format!("syntax error: {}", shorten(message)));
    };
    let (found, place) = rest.rsplit_once(" at Line: ").unwrap_or((rest, ""));
    let error = if found == "EOF" {
        syntax_error("syntax error at end of input")
    } else {
        syntax_error(format!("syntax error at or near \"{}\"", shorten(found)))
    };
    let expected = shorten(expected.trim_start_matches("Expected: "));
    if place.is_empty() {
        return error.with_hint(format!("Expected {expected}."));
    }
    let place = place.replace(", Column: ", ", column ");
    error.with_hint(format!("Line {place}: expected {expected}."))
}

/// Makes chains of AND and of OR balanced trees.
struct Balance;

impl VisitorMut for Balance {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } = expr {
            let op = op.clone();
            let taken = std::mem::replace(expr, nothing());
            *expr = balanced(operands(taken, &op), &op);
        }
        ControlFlow::Continue(())
    }
}

fn nothing() -> Expr {
    Expr::Tuple(vec![])
}

/// The operands of a left-deep chain of one operator, in order.
pub(super) fn operands(expr: Expr, op: &BinaryOperator) -> Vec<Expr> {
    let mut found = vec![];
    let mut pending = vec![expr];
    while let Some(expr) = pending.pop() {
        match expr {
            Expr::BinaryOp { left, op: this, right } if this == *op => {
                pending.push(*right);
                pending.push(*left);
            }
            other => found.push(other),
        }
    }
    found
}

fn balanced(mut operands: Vec<Expr>, op: &BinaryOperator) -> Expr {
    while operands.len() > 1 {
        let mut pairs = Vec::with_capacity(operands.len().div_ceil(2));
        let mut rest = operands.into_iter();
        while let Some(left) = rest.next() {
            pairs.push(match rest.next() {
                Some(right) => Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) },
                None => left,
            });
        }
        operands = pairs;
    }
    operands.pop().unwrap_or_else(nothing)
}
