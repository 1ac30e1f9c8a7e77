//! Identifiers, types and the session's surroundings.

use super::Pattern::{Any, Bool, Int8, Text, Texts, Uuid};
use super::text::text_result;
use super::{Call, ScalarFunction};
use crate::error::Result;
use crate::topology::{Topology, tag};
use crate::value::Value;
use uuid::Builder;

pub(super) static FUNCTIONS: &[ScalarFunction] = &[
    ScalarFunction::new("rome_id", &[], Uuid, rome_id, "A time-ordered UUID that carries its birth site (version 8).")
        .volatile(),
    ScalarFunction::new("rome_site", &[], Text, rome_site, "The local site's name; empty in a database without sites.")
        .stable(),
    ScalarFunction::new(
        "rome_sites",
        &[],
        Texts,
        rome_sites,
        "The names of all sites; none in a database without sites.",
    )
    .stable(),
    ScalarFunction::new(
        "rome_epoch",
        &[Text],
        Text,
        rome_epoch,
        "The epoch in which this transaction has read at a site's first home; NULL before it has.",
    )
    .volatile(),
    ScalarFunction::new("gen_random_uuid", &[], Uuid, random_uuid, "A random UUID (version 4).").volatile(),
    ScalarFunction::new("uuidv4", &[], Uuid, random_uuid, "A random UUID (version 4).").volatile(),
    ScalarFunction::new("uuidv7", &[], Uuid, ordered_uuid, "A time-ordered UUID (version 7).").volatile(),
    ScalarFunction::new("pg_typeof", &[Any], Text, type_of, "The name of a value's type.").nullable(),
    ScalarFunction::new("version", &[], Text, version, "The program's version.").stable(),
    ScalarFunction::new("current_database", &[], Text, database, "The database's name.").stable(),
    ScalarFunction::new("current_catalog", &[], Text, database, "The database's name.").stable(),
    ScalarFunction::new("current_schema", &[], Text, schema, "Always public.").stable(),
    ScalarFunction::new("current_user", &[], Text, user, "The session's user.").stable(),
    ScalarFunction::new("session_user", &[], Text, user, "The session's user.").stable(),
    ScalarFunction::new("user", &[], Text, user, "The session's user.").stable(),
    ScalarFunction::new("num_nulls", &[Any], Int8, num_nulls, "How many arguments are NULL.").variadic().nullable(),
    ScalarFunction::new("pg_is_in_recovery", &[], Bool, |_| Ok(Value::Bool(false)), "Always false.").stable(),
];

fn random_uuid(call: &Call<'_>) -> Result<Value> {
    let surroundings = &call.context.surroundings;
    let bits = (u128::from(surroundings.random()) << 64) | u128::from(surroundings.random());
    Ok(Value::Uuid(Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()))
}

fn ordered_uuid(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Uuid(time_ordered(call.context)))
}

fn rome_id(call: &Call<'_>) -> Result<Value> {
    let surroundings = &call.context.surroundings;
    let millis = u64::try_from(surroundings.clock().timestamp_millis()).unwrap_or(0);
    Ok(Value::Uuid(tag::tagged(call.context.home, millis, surroundings.random())))
}

/// The sites of a database that has some.
fn sites<'c>(call: &'c Call<'_>) -> Option<&'c Topology> {
    call.context.topology.as_deref().filter(|topology| topology.epoch > 0)
}

fn rome_site(call: &Call<'_>) -> Result<Value> {
    text_result(sites(call).and_then(|topology| topology.site_of(call.context.home)).unwrap_or_default())
}

fn rome_sites(call: &Call<'_>) -> Result<Value> {
    let names = sites(call).map_or(&[][..], |topology| &topology.sites);
    Ok(Value::Array(names.iter().map(|site| Value::from(site.name.as_str())).collect()))
}

fn rome_epoch(call: &Call<'_>) -> Result<Value> {
    let home = match sites(call) {
        Some(topology) => topology.home_of_site(call.text(0)?).ok(),
        None => None,
    };
    let epoch = home.zip(call.context.epochs.as_ref()).and_then(|(home, epochs)| epochs.of(home));
    epoch.map_or(Ok(Value::Null), |epoch| text_result(format!("{epoch:016x}")))
}

/// A UUID of version 7: milliseconds, then random bits.
pub(crate) fn time_ordered(context: &super::CallContext) -> uuid::Uuid {
    let surroundings = &context.surroundings;
    let millis = u64::try_from(surroundings.clock().timestamp_millis()).unwrap_or(0);
    let bits = (u128::from(surroundings.random()) << 16) | u128::from(surroundings.random() & 0xFFFF);
    let mut random = [0; 10];
    for (to, from) in random.iter_mut().zip(bits.to_be_bytes().into_iter().skip(6)) {
        *to = from;
    }
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

fn type_of(call: &Call<'_>) -> Result<Value> {
    text_result(call.arg_type(0).to_string())
}

fn version(_: &Call<'_>) -> Result<Value> {
    text_result(concat!("Rome ", env!("CARGO_PKG_VERSION")))
}

fn database(call: &Call<'_>) -> Result<Value> {
    text_result(&call.context.database)
}

fn schema(_: &Call<'_>) -> Result<Value> {
    text_result("public")
}

fn user(call: &Call<'_>) -> Result<Value> {
    text_result(&call.context.user)
}

fn num_nulls(call: &Call<'_>) -> Result<Value> {
    super::text::count_result(call.args.iter().filter(|value| value.is_null()).count())
}
