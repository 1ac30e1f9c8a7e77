//! What every back end must do alike: PostgreSQL is the reference, sea-query the language.
//!
//! A case is `pub async fn(db: &dyn Database)` on an empty database. The list below is the suite; a test sees to it that no case is missing there.
//! Features in brackets gate a case.
//!
//! Where servers differ and SQL leaves it open, cases avoid the difference: they order rows, say where NULLs go, and
//! compare LIKE patterns in lower case.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

/// Calls a macro with the list of all cases, after what it was given itself.
#[macro_export]
macro_rules! portable_cases {
    ($apply:ident!($($context:tt)*)) => {
        $apply! { $($context)*
            schema {
                create_and_drop_table, drop_if_exists, create_if_not_exists, add_column_with_default, rename_column, drop_column,
                rename_table, defaults, composite_primary_key, identity_numbers_rise, unique_index_on_existing_rows,
                drop_index, undefined_names, schema_rolls_back [transactional_ddl],
            }
            insert {
                many_rows, returning_values [update_returning], returning_text [returning], from_select, default_row_values, column_subset,
                wrong_number_of_values, conflict_do_nothing, conflict_update, conflict_update_excluded [on_conflict],
                conflict_update_where [on_conflict], replaces_nothing_on_failure,
            }
            select {
                by_primary_key, by_range, by_in_list, by_boolean_logic, between_and_not, order_by_several, order_with_nulls,
                limit_and_offset, distinct_rows, expressions_and_aliases, case_when, like_patterns, string_functions,
                null_logic, null_in_lists, coalesce_and_nullif, casts, integer_arithmetic, self_join_aliases, empty_tables,
                index_does_not_change_answers, for_update, from_values_of_parameters,
            }
            join {
                inner, left_with_nulls, right, full [full_join], cross, using_columns, three_tables, with_subquery, on_inequality,
                condition_on_outer_side, many_to_many,
            }
            aggregate {
                whole_table, of_nothing, grouped, having, distinct_values, filtered [aggregate_filter], nulls_are_ignored, grouped_by_null,
                grouped_by_expression, over_join, ordered_by_aggregate,
            }
            subquery {
                scalar, scalar_of_many_rows, in_list, not_in_with_null, exists, not_exists, correlated_in_select, derived_table,
                nested, common_table_expression,
            }
            set {
                union_distinct, union_all, intersect [intersect_except], except [intersect_except], ordered_and_limited,
            }
            update {
                with_expression, several_columns, swaps_columns, returning_values [update_returning], from_other_table [update_from],
                with_subquery, counts_matched_rows, primary_key, to_null, delete_rows, delete_returning [returning],
                delete_with_subquery, delete_using_text [delete_using],
            }
            constraint {
                unique, unique_allows_nulls, unique_over_columns, primary_key, not_null, check, check_passes_null, foreign_key_insert,
                foreign_key_restrict, foreign_key_cascade, foreign_key_set_null, foreign_key_null_is_free,
                foreign_key_to_itself, foreign_key_update_of_child, text_too_long, number_out_of_range, failed_statement_changes_nothing,
                unique_update_in_place,
            }
            transaction {
                reads_its_writes, commit_is_seen, uncommitted_is_unseen, rollback, drop_rolls_back, savepoints, savepoint_release,
                nested_savepoints, error_fails_until_rollback, rollback_to_leaves_failed_state, unknown_savepoint,
                read_only, statement_after_failed_commit, closure_returns_value, closure_error_rolls_back,
                concurrent_increments, bank_transfers, lost_update, write_skew, phantom, repeatable_read, constraint_in_transaction,
                deadline,
            }
            value {
                integers, floats, numerics, texts, booleans, dates_and_times, bytes, uuids, json, nulls_of_every_type, large_values,
                unicode_and_quotes, parameters_in_text, same_statement_different_values,
            }
            fetch {
                one, opt, structs, tuples_and_scalars, by_name_and_position, column_names, mismatches, streams,
                stream_of_many_rows, stream_in_transaction, stream_dropped_early, affected_rows, malformed_text,
            }
            watch {
                rows_then_changes [watch], goes_on_at_a_cursor [watch], what_can_not_be_watched [watch], another_description [watch],
                a_copy_is_whole_at_any_moment [watch],
            }
        }
    };
}

pub mod aggregate;
pub mod constraint;
pub mod fetch;
mod fixture;
pub mod insert;
pub mod join;
pub mod schema;
pub mod select;
pub mod set;
pub mod subquery;
pub mod transaction;
pub mod update;
pub mod value;
pub mod watch;

pub(crate) use fixture::{cloud, state_of};
pub(crate) use rome_core::database::{Database, DatabaseExt, Dialect, Queryable, TransactionOptions};
pub(crate) use rome_core::{Error, Result, SqlState, Value};
pub(crate) use sea_query::{
    ColumnDef, Cond, Expr, ExprTrait, ForeignKey, ForeignKeyAction, Func, Index, JoinType, NullOrdering, OnConflict,
    Order, Query, Table, UnionType,
};
