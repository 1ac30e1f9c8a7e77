//! Servers: creation in bulk, and the lists. How they move from state to state is in [`super::moves`] and [`super::claims`].

use crate::clock::{self, Micros};
use crate::model::{HostedServer, Resources, Server, ServerState, WaitingServer};
use crate::schema::{Hosts, Servers};
use rome_core::Result;
use rome_core::database::{Executor, Queryable, Transaction};
use sea_query::{Alias, Cond, Expr, ExprTrait, LikeExpr, Order, Query, SelectStatement};

/// Rows in one INSERT, so that no server's limit on parameters is met.
const INSERT_ROWS: usize = 250;

/// A server that a user asked for.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "columns of `servers`")]
pub struct NewServer {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub project_id: String,
    pub user_id: String,
    pub site: String,
    pub flavor_id: String,
    pub flavor: String,
    pub needs: Resources,
    pub image_id: Option<String>,
    pub availability_zone: Option<String>,
    pub metadata: Option<String>,
    pub tags: Option<String>,
    pub user_data: Option<String>,
    pub config_drive: bool,
    pub reservation_id: String,
    pub launch_index: i64,
}

/// Inserts servers as waiting for a scheduler.
///
/// # Errors
/// What the database says.
pub async fn insert(tx: &dyn Transaction, servers: &[NewServer]) -> Result<()> {
    let now = clock::now();
    for rows in servers.chunks(INSERT_ROWS) {
        let mut insert = Query::insert();
        insert.into_table(Servers::Table).columns([
            Servers::Id,
            Servers::Name,
            Servers::Description,
            Servers::ProjectId,
            Servers::UserId,
            Servers::Site,
            Servers::Status,
            Servers::FlavorId,
            Servers::Flavor,
            Servers::Vcpus,
            Servers::RamMb,
            Servers::DiskGb,
            Servers::ImageId,
            Servers::AvailabilityZone,
            Servers::Metadata,
            Servers::Tags,
            Servers::UserData,
            Servers::ConfigDrive,
            Servers::ReservationId,
            Servers::LaunchIndex,
            Servers::CreatedAt,
            Servers::UpdatedAt,
        ]);
        for server in rows {
            insert.values_panic([
                server.id.as_str().into(),
                server.name.as_str().into(),
                server.description.as_deref().into(),
                server.project_id.as_str().into(),
                server.user_id.as_str().into(),
                server.site.as_str().into(),
                ServerState::Scheduling.as_str().into(),
                server.flavor_id.as_str().into(),
                server.flavor.as_str().into(),
                server.needs.vcpus.into(),
                server.needs.ram_mb.into(),
                server.needs.disk_gb.into(),
                server.image_id.as_deref().into(),
                server.availability_zone.as_deref().into(),
                server.metadata.as_deref().into(),
                server.tags.as_deref().into(),
                server.user_data.as_deref().into(),
                i64::from(server.config_drive).into(),
                server.reservation_id.as_str().into(),
                server.launch_index.into(),
                now.into(),
                now.into(),
            ]);
        }
        tx.execute(insert).await?;
    }
    Ok(())
}

/// What lists can be sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SortKey {
    #[default]
    CreatedAt,
    UpdatedAt,
    Name,
    Id,
}

impl SortKey {
    fn column(self) -> Servers {
        match self {
            Self::CreatedAt => Servers::CreatedAt,
            Self::UpdatedAt => Servers::UpdatedAt,
            Self::Name => Servers::Name,
            Self::Id => Servers::Id,
        }
    }

    fn of(self, server: &Server) -> sea_query::Value {
        match self {
            Self::CreatedAt => server.created_at.into(),
            Self::UpdatedAt => server.updated_at.into(),
            Self::Name => server.name.as_str().into(),
            Self::Id => server.id.as_str().into(),
        }
    }
}

/// Which servers, in which order.
#[derive(Clone, Debug, Default)]
pub struct ServerFilter {
    /// The site whose API is asked.
    pub site: String,
    /// One project, or all.
    pub project_id: Option<String>,
    /// One server.
    pub id: Option<String>,
    /// In one of these states.
    pub states: Option<Vec<ServerState>>,
    /// Beside `states`: being deleted, after (`true`) or before it had launched.
    pub deleting_launched: Option<bool>,
    /// On this host.
    pub host_name: Option<String>,
    /// Of this flavor.
    pub flavor_id: Option<String>,
    /// From this image.
    pub image_id: Option<String>,
    /// Made by this request.
    pub reservation_id: Option<String>,
    /// Changed at or after.
    pub changed_since: Option<Micros>,
    /// The name contains this text. A hint: upper and lower case may be taken for the same.
    pub name_contains: Option<String>,
    /// Sorted by.
    pub sort: SortKey,
    /// From the smallest; otherwise from the largest.
    pub ascending: bool,
    /// Only what follows this server.
    pub after: Option<Server>,
    /// At most so many.
    pub limit: Option<u64>,
}

fn select() -> SelectStatement {
    let mut select = Query::select();
    for column in [
        Servers::Id,
        Servers::Name,
        Servers::Description,
        Servers::ProjectId,
        Servers::UserId,
        Servers::Site,
        Servers::HostId,
        Servers::Status,
        Servers::FlavorId,
        Servers::Flavor,
        Servers::Vcpus,
        Servers::RamMb,
        Servers::DiskGb,
        Servers::ImageId,
        Servers::AvailabilityZone,
        Servers::Metadata,
        Servers::Tags,
        Servers::UserData,
        Servers::ConfigDrive,
        Servers::ReservationId,
        Servers::LaunchIndex,
        Servers::CreatedAt,
        Servers::UpdatedAt,
        Servers::LaunchedAt,
    ] {
        select.column((Servers::Table, column));
    }
    select
        .expr_as(Expr::col((Hosts::Table, Hosts::Name)), Alias::new("host_name"))
        .from(Servers::Table)
        .left_join(Hosts::Table, Expr::col((Hosts::Table, Hosts::Id)).equals((Servers::Table, Servers::HostId)));
    select
}

/// The servers that match.
///
/// # Errors
/// What the database says.
pub async fn list<E: Executor + ?Sized>(on: &E, filter: &ServerFilter) -> Result<Vec<Server>> {
    let mut select = select();
    let column = |column: Servers| Expr::col((Servers::Table, column));
    select.and_where(column(Servers::Site).eq(filter.site.as_str()));
    for (name, wanted) in [
        (Servers::ProjectId, &filter.project_id),
        (Servers::Id, &filter.id),
        (Servers::FlavorId, &filter.flavor_id),
        (Servers::ImageId, &filter.image_id),
        (Servers::ReservationId, &filter.reservation_id),
    ] {
        if let Some(wanted) = wanted {
            select.and_where(column(name).eq(wanted.as_str()));
        }
    }
    if let Some(host) = &filter.host_name {
        select.and_where(Expr::col((Hosts::Table, Hosts::Name)).eq(host.as_str()));
    }
    if let Some(states) = &filter.states {
        let mut wanted = Cond::any().add(column(Servers::Status).is_in(states.iter().map(|state| state.as_str())));
        if let Some(launched) = filter.deleting_launched {
            let at = column(Servers::LaunchedAt);
            wanted = wanted.add(Cond::all().add(column(Servers::Status).eq(ServerState::Deleting)).add(if launched {
                at.is_not_null()
            } else {
                at.is_null()
            }));
        }
        select.cond_where(wanted);
    }
    if let Some(since) = filter.changed_since {
        select.and_where(column(Servers::UpdatedAt).gte(since));
    }
    if let Some(part) = &filter.name_contains {
        let escaped = part.replace('!', "!!").replace('%', "!%").replace('_', "!_");
        select.and_where(column(Servers::Name).like(LikeExpr::new(format!("%{escaped}%")).escape('!')));
    }
    let sort = filter.sort.column();
    if let Some(after) = &filter.after {
        let value = filter.sort.of(after);
        let (beyond, tie) = if filter.ascending {
            (column(sort).gt(value.clone()), column(Servers::Id).gt(after.id.as_str()))
        } else {
            (column(sort).lt(value.clone()), column(Servers::Id).lt(after.id.as_str()))
        };
        select.cond_where(Cond::any().add(beyond).add(Cond::all().add(column(sort).eq(value)).add(tie)));
    }
    let order = if filter.ascending { Order::Asc } else { Order::Desc };
    select.order_by((Servers::Table, sort), order.clone());
    if filter.sort != SortKey::Id {
        select.order_by((Servers::Table, Servers::Id), order);
    }
    if let Some(limit) = filter.limit {
        select.limit(limit);
    }
    on.query_as(select).await
}

/// One server; `project_id` `None` finds it in any project.
///
/// # Errors
/// What the database says.
pub async fn find<E: Executor + ?Sized>(
    on: &E,
    site: &str,
    project_id: Option<&str>,
    id: &str,
) -> Result<Option<Server>> {
    let mut select = select();
    select
        .and_where(Expr::col((Servers::Table, Servers::Id)).eq(id))
        .and_where(Expr::col((Servers::Table, Servers::Site)).eq(site));
    if let Some(project_id) = project_id {
        select.and_where(Expr::col((Servers::Table, Servers::ProjectId)).eq(project_id));
    }
    on.query_opt(select).await
}

/// Changes name and description.
///
/// # Errors
/// What the database says.
pub async fn rename<E: Executor + ?Sized>(
    on: &E,
    id: &str,
    name: Option<&str>,
    description: Option<Option<&str>>,
) -> Result<()> {
    let mut update = Query::update();
    update.table(Servers::Table).value(Servers::UpdatedAt, clock::now());
    if let Some(name) = name {
        update.value(Servers::Name, name);
    }
    if let Some(description) = description {
        update.value(Servers::Description, description);
    }
    update.and_where(Expr::col(Servers::Id).eq(id));
    on.execute(update).await.map(drop)
}

/// The servers of a site that wait for a scheduler, as a query.
pub fn all_waiting(site: &str) -> SelectStatement {
    Query::select()
        .columns([Servers::Id, Servers::Vcpus, Servers::RamMb, Servers::DiskGb, Servers::AvailabilityZone])
        .from(Servers::Table)
        .and_where(Expr::col(Servers::Site).eq(site))
        .and_where(Expr::col(Servers::Status).eq(ServerState::Scheduling))
        .to_owned()
}

/// The servers of a site that wait for a scheduler, at most `limit`.
///
/// # Errors
/// What the database says.
pub async fn waiting<E: Executor + ?Sized>(on: &E, site: &str, limit: u64) -> Result<Vec<WaitingServer>> {
    on.query_as(all_waiting(site).limit(limit).to_owned()).await
}

/// The servers of a host in one of these states; all without.
///
/// # Errors
/// What the database says.
pub async fn of_host<E: Executor + ?Sized>(
    on: &E,
    host_id: &str,
    states: Option<&[ServerState]>,
) -> Result<Vec<HostedServer>> {
    on.query_as(hosted(host_id, states)).await
}

/// [`of_host`] as a query.
pub fn hosted(host_id: &str, states: Option<&[ServerState]>) -> SelectStatement {
    let mut select = Query::select();
    select
        .columns([Servers::Id, Servers::Status])
        .from(Servers::Table)
        .and_where(Expr::col(Servers::HostId).eq(host_id));
    if let Some(states) = states {
        select.and_where(Expr::col(Servers::Status).is_in(states.iter().map(|state| state.as_str())));
    }
    select
}

/// Which servers are where at a site: `(host id, server id, server name)`.
///
/// # Errors
/// What the database says.
pub async fn names_on_hosts<E: Executor + ?Sized>(on: &E, site: &str) -> Result<Vec<(String, String, String)>> {
    let select = Query::select()
        .columns([Servers::HostId, Servers::Id, Servers::Name])
        .from(Servers::Table)
        .and_where(Expr::col(Servers::Site).eq(site))
        .and_where(Expr::col(Servers::HostId).is_not_null())
        .to_owned();
    on.query_as(select).await
}

/// What the servers of each host take together, recomputed from the servers: the check on `host_usages`. One statement.
///
/// # Errors
/// What the database says.
pub async fn claimed_by_host<E: Executor + ?Sized>(on: &E) -> Result<Vec<(String, i64, Resources)>> {
    // Grouped by size, not summed: servers disagree on the type of a bigint's sum.
    let select = Query::select()
        .columns([Servers::HostId, Servers::Vcpus, Servers::RamMb, Servers::DiskGb])
        .expr_as(Expr::col(Servers::Id).count(), Alias::new("servers"))
        .from(Servers::Table)
        .and_where(Expr::col(Servers::HostId).is_not_null())
        .group_by_columns([Servers::HostId, Servers::Vcpus, Servers::RamMb, Servers::DiskGb])
        .to_owned();
    let groups: Vec<(String, i64, i64, i64, i64)> = on.query_as(select).await?;
    Ok(groups
        .into_iter()
        .map(|(host_id, vcpus, ram_mb, disk_gb, count)| {
            let all = |each: i64| each.saturating_mul(count);
            (host_id, count, Resources { vcpus: all(vcpus), ram_mb: all(ram_mb), disk_gb: all(disk_gb) })
        })
        .collect())
}
