//! Sites and where their APIs listen.

use crate::clock;
use crate::schema::Sites;
use rome_core::Result;
use rome_core::database::{Database, DatabaseExt, Executor, Queryable};
use sea_query::{Expr, ExprTrait, Order, Query};
use serde::Deserialize;
use std::sync::Arc;

/// A row of `sites`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "columns of `sites`")]
pub struct Site {
    pub name: String,
    pub api_url: Option<String>,
}

/// All sites by name.
///
/// # Errors
/// What the database says.
pub async fn all<E: Executor + ?Sized>(on: &E) -> Result<Vec<Site>> {
    let select = Query::select()
        .columns([Sites::Name, Sites::ApiUrl])
        .from(Sites::Table)
        .order_by(Sites::Name, Order::Asc)
        .to_owned();
    on.query_as(select).await
}

/// Takes an API that ends out of the catalog, unless another has taken its place.
///
/// # Errors
/// What the database says.
pub async fn leave<E: Executor + ?Sized>(on: &E, name: &str, api_url: &str) -> Result<()> {
    let update = Query::update()
        .table(Sites::Table)
        .value(Sites::ApiUrl, None::<String>)
        .and_where(Expr::col(Sites::Name).eq(name))
        .and_where(Expr::col(Sites::ApiUrl).eq(api_url))
        .to_owned();
    on.execute(update).await.map(drop)
}

/// Makes the site known, and with `api_url` where its API listens. One transaction.
///
/// # Errors
/// What the database says.
pub async fn register(database: &dyn Database, name: &str, api_url: Option<&str>) -> Result<()> {
    let name: Arc<str> = name.into();
    let api_url: Option<Arc<str>> = api_url.map(Into::into);
    database
        .transaction(move |tx| {
            let (name, api_url) = (Arc::clone(&name), api_url.clone());
            Box::pin(async move {
                let select = Query::select()
                    .column(Sites::ApiUrl)
                    .from(Sites::Table)
                    .and_where(Expr::col(Sites::Name).eq(&*name))
                    .to_owned();
                match tx.query_opt::<(Option<String>,), _>(select).await? {
                    None => {
                        let insert = Query::insert()
                            .into_table(Sites::Table)
                            .columns([Sites::Name, Sites::ApiUrl, Sites::CreatedAt])
                            .values_panic([(&*name).into(), api_url.as_deref().into(), clock::now().into()])
                            .to_owned();
                        tx.execute(insert).await?;
                    }
                    Some((known,)) if api_url.is_some() && known.as_deref() != api_url.as_deref() => {
                        let update = Query::update()
                            .table(Sites::Table)
                            .value(Sites::ApiUrl, api_url.as_deref())
                            .and_where(Expr::col(Sites::Name).eq(&*name))
                            .to_owned();
                        tx.execute(update).await?;
                    }
                    Some(_) => {}
                }
                Ok::<_, rome_core::Error>(())
            })
        })
        .await
}
