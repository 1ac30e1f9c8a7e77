//! Projects, users and the keys that sign tokens.

use crate::clock;
use crate::model::{Project, User};
use crate::schema::{Projects, SigningKeys, Users};
use rome_core::Result;
use rome_core::database::{Executor, Queryable};
use sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};

/// How a person or program is named in a request.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Naming<'a> {
    Id(&'a str),
    Name(&'a str),
}

fn users() -> SelectStatement {
    Query::select()
        .columns([Users::Id, Users::Name, Users::ProjectId, Users::PasswordHash, Users::IsAdmin, Users::Enabled])
        .from(Users::Table)
        .take()
}

fn select_projects() -> SelectStatement {
    Query::select()
        .columns([Projects::Id, Projects::Name, Projects::Description, Projects::Enabled])
        .from(Projects::Table)
        .take()
}

/// One user.
///
/// # Errors
/// What the database says.
pub async fn user<E: Executor + ?Sized>(on: &E, naming: Naming<'_>) -> Result<Option<User>> {
    let wanted = match naming {
        Naming::Id(id) => Expr::col(Users::Id).eq(id),
        Naming::Name(name) => Expr::col(Users::Name).eq(name),
    };
    on.query_opt(users().and_where(wanted)).await
}

/// One project.
///
/// # Errors
/// What the database says.
pub async fn project<E: Executor + ?Sized>(on: &E, naming: Naming<'_>) -> Result<Option<Project>> {
    let wanted = match naming {
        Naming::Id(id) => Expr::col(Projects::Id).eq(id),
        Naming::Name(name) => Expr::col(Projects::Name).eq(name),
    };
    on.query_opt(select_projects().and_where(wanted)).await
}

/// All projects by name.
///
/// # Errors
/// What the database says.
pub async fn projects<E: Executor + ?Sized>(on: &E) -> Result<Vec<Project>> {
    on.query_as(select_projects().order_by(Projects::Name, Order::Asc)).await
}

/// Adds a project.
///
/// # Errors
/// [`rome_core::SqlState::UNIQUE_VIOLATION`] where its id or name is taken.
pub async fn insert_project<E: Executor + ?Sized>(on: &E, project: &Project) -> Result<()> {
    let insert = Query::insert()
        .into_table(Projects::Table)
        .columns([Projects::Id, Projects::Name, Projects::Description, Projects::Enabled, Projects::CreatedAt])
        .values_panic([
            project.id.as_str().into(),
            project.name.as_str().into(),
            project.description.as_deref().into(),
            project.enabled.into(),
            clock::now().into(),
        ])
        .to_owned();
    on.execute(insert).await.map(drop)
}

/// Adds a user.
///
/// # Errors
/// [`rome_core::SqlState::UNIQUE_VIOLATION`] where its id or name is taken.
pub async fn insert_user<E: Executor + ?Sized>(on: &E, user: &User) -> Result<()> {
    let insert = Query::insert()
        .into_table(Users::Table)
        .columns([
            Users::Id,
            Users::Name,
            Users::ProjectId,
            Users::PasswordHash,
            Users::IsAdmin,
            Users::Enabled,
            Users::CreatedAt,
        ])
        .values_panic([
            user.id.as_str().into(),
            user.name.as_str().into(),
            user.project_id.as_str().into(),
            user.password_hash.as_str().into(),
            user.is_admin.into(),
            user.enabled.into(),
            clock::now().into(),
        ])
        .to_owned();
    on.execute(insert).await.map(drop)
}

/// Replaces a user's password hash; false where there is no such user.
///
/// # Errors
/// What the database says.
pub async fn set_password_hash<E: Executor + ?Sized>(on: &E, user_id: &str, hash: &str) -> Result<bool> {
    let update = Query::update()
        .table(Users::Table)
        .value(Users::PasswordHash, hash)
        .and_where(Expr::col(Users::Id).eq(user_id))
        .to_owned();
    Ok(on.execute(update).await? > 0)
}

/// Removes a user, then the project; what the project's servers recorded must be gone.
///
/// # Errors
/// What the database says.
pub async fn remove_user_and_project<E: Executor + ?Sized>(on: &E, user_id: &str, project_id: &str) -> Result<()> {
    let user = Query::delete().from_table(Users::Table).and_where(Expr::col(Users::Id).eq(user_id)).to_owned();
    on.execute(user).await?;
    let project =
        Query::delete().from_table(Projects::Table).and_where(Expr::col(Projects::Id).eq(project_id)).to_owned();
    on.execute(project).await.map(drop)
}

/// The newest secret that signs tokens.
///
/// # Errors
/// What the database says.
pub async fn signing_key<E: Executor + ?Sized>(on: &E) -> Result<Option<String>> {
    let select = Query::select()
        .column(SigningKeys::Secret)
        .from(SigningKeys::Table)
        .order_by(SigningKeys::CreatedAt, Order::Desc)
        .limit(1)
        .to_owned();
    Ok(on.query_opt::<(String,), _>(select).await?.map(|(secret,)| secret))
}

/// Adds a secret.
///
/// # Errors
/// What the database says.
pub async fn insert_signing_key<E: Executor + ?Sized>(on: &E, id: &str, secret: &str) -> Result<()> {
    let insert = Query::insert()
        .into_table(SigningKeys::Table)
        .columns([SigningKeys::Id, SigningKeys::Secret, SigningKeys::CreatedAt])
        .values_panic([id.into(), secret.into(), clock::now().into()])
        .to_owned();
    on.execute(insert).await.map(drop)
}
