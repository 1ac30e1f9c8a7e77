//! The definition of every table and index.

use super::tables::*;
use sea_query::{
    ColumnDef, ForeignKey, ForeignKeyAction, ForeignKeyCreateStatement, Iden, Index, IndexCreateStatement, IntoIden,
    Table, TableCreateStatement,
};

/// Length of names in OpenStack's APIs.
const NAME: u32 = 255;
/// Length of a UUID as text.
const UUID: u32 = 36;
/// Length of identifiers that a caller may choose, and of sites' names.
const SHORT: u32 = 64;

fn key(column: impl IntoIden, length: u32) -> ColumnDef {
    ColumnDef::new(column).string_len(length).not_null().take()
}

fn text(column: impl IntoIden, length: u32) -> ColumnDef {
    ColumnDef::new(column).string_len(length).null().take()
}

fn long_text(column: impl IntoIden) -> ColumnDef {
    ColumnDef::new(column).text().null().take()
}

fn number(column: impl IntoIden) -> ColumnDef {
    ColumnDef::new(column).big_integer().not_null().take()
}

fn maybe_number(column: impl IntoIden) -> ColumnDef {
    ColumnDef::new(column).big_integer().null().take()
}

/// A table with the columns and the primary key.
fn table<const N: usize, T: IntoIden + Copy + 'static, const K: usize>(
    name: T,
    columns: [ColumnDef; N],
    primary: [T; K],
) -> TableCreateStatement {
    let mut table = Table::create().table(name.into_iden()).if_not_exists().take();
    for column in columns {
        table.col(column);
    }
    let mut index = Index::create();
    for column in primary {
        index.col(column);
    }
    table.primary_key(&mut index).take()
}

fn foreign_key<F: Iden + Copy + 'static, T: Iden + Copy + 'static>(
    name: &str,
    from: (F, F),
    to: (T, T),
    on_delete: ForeignKeyAction,
) -> ForeignKeyCreateStatement {
    ForeignKey::create().name(name).from(from.0, from.1).to(to.0, to.1).on_delete(on_delete).take()
}

/// All tables, parents before their children.
pub fn tables() -> Vec<TableCreateStatement> {
    let mut all = vec![table(
        SchemaVersions::Table,
        [number(SchemaVersions::Version), number(SchemaVersions::CreatedAt)],
        [SchemaVersions::Version],
    )];
    all.extend(identity_tables());
    all.extend(catalog_tables());
    all.extend(host_tables());
    all.extend(server_tables());
    all
}

fn identity_tables() -> Vec<TableCreateStatement> {
    use ForeignKeyAction::{Cascade, Restrict};
    vec![
        table(Counters::Table, [key(Counters::Name, SHORT), number(Counters::LastValue)], [Counters::Name]),
        table(
            Sites::Table,
            // The API's URL is NULL until an API has started at the site.
            [key(Sites::Name, SHORT), text(Sites::ApiUrl, NAME), number(Sites::CreatedAt)],
            [Sites::Name],
        ),
        table(
            Projects::Table,
            [
                key(Projects::Id, SHORT),
                key(Projects::Name, SHORT),
                text(Projects::Description, NAME),
                number(Projects::Enabled),
                number(Projects::CreatedAt),
            ],
            [Projects::Id],
        ),
        table(
            Users::Table,
            [
                key(Users::Id, SHORT),
                key(Users::Name, NAME),
                // The project of a token that names none.
                key(Users::ProjectId, SHORT),
                // In PHC form: `$argon2id$v=19$...`.
                key(Users::PasswordHash, NAME),
                number(Users::IsAdmin),
                number(Users::Enabled),
                number(Users::CreatedAt),
            ],
            [Users::Id],
        )
        .foreign_key(&mut foreign_key(
            "users_project",
            (Users::Table, Users::ProjectId),
            (Projects::Table, Projects::Id),
            Restrict,
        ))
        .take(),
        table(
            SigningKeys::Table,
            [key(SigningKeys::Id, SHORT), key(SigningKeys::Secret, NAME), number(SigningKeys::CreatedAt)],
            [SigningKeys::Id],
        ),
        table(
            Quotas::Table,
            [key(Quotas::ProjectId, SHORT), number(Quotas::Instances), number(Quotas::Cores), number(Quotas::RamMb)],
            [Quotas::ProjectId],
        )
        .foreign_key(&mut foreign_key(
            "quotas_project",
            (Quotas::Table, Quotas::ProjectId),
            (Projects::Table, Projects::Id),
            Cascade,
        ))
        .take(),
        table(
            QuotaUsages::Table,
            [
                key(QuotaUsages::ProjectId, SHORT),
                number(QuotaUsages::Instances),
                number(QuotaUsages::Cores),
                number(QuotaUsages::RamMb),
            ],
            [QuotaUsages::ProjectId],
        )
        .foreign_key(&mut foreign_key(
            "quota_usages_project",
            (QuotaUsages::Table, QuotaUsages::ProjectId),
            (Projects::Table, Projects::Id),
            Cascade,
        ))
        .take(),
    ]
}

fn catalog_tables() -> Vec<TableCreateStatement> {
    vec![
        table(
            Flavors::Table,
            [
                key(Flavors::Id, NAME),
                key(Flavors::Name, NAME),
                number(Flavors::Vcpus),
                number(Flavors::RamMb),
                number(Flavors::DiskGb),
                number(Flavors::EphemeralGb),
                number(Flavors::SwapMb),
                number(Flavors::IsPublic),
                long_text(Flavors::Description),
                number(Flavors::CreatedAt),
            ],
            [Flavors::Id],
        ),
        table(
            FlavorExtraSpecs::Table,
            [
                key(FlavorExtraSpecs::FlavorId, NAME),
                key(FlavorExtraSpecs::SpecKey, NAME),
                key(FlavorExtraSpecs::SpecValue, NAME),
            ],
            [FlavorExtraSpecs::FlavorId, FlavorExtraSpecs::SpecKey],
        )
        .foreign_key(&mut foreign_key(
            "flavor_extra_specs_flavor",
            (FlavorExtraSpecs::Table, FlavorExtraSpecs::FlavorId),
            (Flavors::Table, Flavors::Id),
            ForeignKeyAction::Cascade,
        ))
        .take(),
        table(
            Images::Table,
            [
                key(Images::Id, UUID),
                key(Images::Name, NAME),
                key(Images::Status, SHORT),
                key(Images::Visibility, SHORT),
                key(Images::DiskFormat, SHORT),
                key(Images::ContainerFormat, SHORT),
                number(Images::SizeBytes),
                number(Images::MinDiskGb),
                number(Images::MinRamMb),
                number(Images::CreatedAt),
                number(Images::UpdatedAt),
            ],
            [Images::Id],
        ),
    ]
}

fn host_tables() -> Vec<TableCreateStatement> {
    use ForeignKeyAction::{Cascade, Restrict};
    vec![
        table(
            Hosts::Table,
            [
                key(Hosts::Id, UUID),
                number(Hosts::Number),
                key(Hosts::Name, NAME),
                key(Hosts::Site, SHORT),
                number(Hosts::Vcpus),
                number(Hosts::RamMb),
                number(Hosts::DiskGb),
                number(Hosts::CreatedAt),
            ],
            [Hosts::Id],
        )
        .foreign_key(&mut foreign_key("hosts_site", (Hosts::Table, Hosts::Site), (Sites::Table, Sites::Name), Restrict))
        .take(),
        // Apart from `hosts` and from `services`, so that neither an edit nor a heartbeat conflicts with a claim.
        table(
            HostUsages::Table,
            [
                key(HostUsages::HostId, UUID),
                number(HostUsages::Vcpus),
                number(HostUsages::RamMb),
                number(HostUsages::DiskGb),
                number(HostUsages::Instances),
            ],
            [HostUsages::HostId],
        )
        .foreign_key(&mut foreign_key(
            "host_usages_host",
            (HostUsages::Table, HostUsages::HostId),
            (Hosts::Table, Hosts::Id),
            Cascade,
        ))
        .take(),
        table(
            Services::Table,
            [
                key(Services::Id, UUID),
                number(Services::Number),
                key(Services::Program, SHORT),
                key(Services::Host, NAME),
                key(Services::Site, SHORT),
                // `enabled` or `disabled`, by the operator.
                key(Services::Status, SHORT),
                text(Services::DisabledReason, NAME),
                number(Services::ForcedDown),
                // Changes with every start of the program; whoever beats with an older one has been replaced.
                key(Services::Incarnation, UUID),
                number(Services::HeartbeatAt),
                number(Services::UpdatedAt),
            ],
            [Services::Id],
        ),
        table(
            Aggregates::Table,
            [
                number(Aggregates::Id),
                key(Aggregates::Uuid, UUID),
                key(Aggregates::Name, NAME),
                number(Aggregates::CreatedAt),
                maybe_number(Aggregates::UpdatedAt),
            ],
            [Aggregates::Id],
        ),
        table(
            AggregateMetadata::Table,
            [
                number(AggregateMetadata::AggregateId),
                key(AggregateMetadata::MetaKey, NAME),
                key(AggregateMetadata::MetaValue, NAME),
            ],
            [AggregateMetadata::AggregateId, AggregateMetadata::MetaKey],
        )
        .foreign_key(&mut foreign_key(
            "aggregate_metadata_aggregate",
            (AggregateMetadata::Table, AggregateMetadata::AggregateId),
            (Aggregates::Table, Aggregates::Id),
            Cascade,
        ))
        .take(),
        table(
            AggregateHosts::Table,
            [number(AggregateHosts::AggregateId), key(AggregateHosts::HostId, UUID)],
            [AggregateHosts::AggregateId, AggregateHosts::HostId],
        )
        .foreign_key(&mut foreign_key(
            "aggregate_hosts_aggregate",
            (AggregateHosts::Table, AggregateHosts::AggregateId),
            (Aggregates::Table, Aggregates::Id),
            Cascade,
        ))
        .foreign_key(&mut foreign_key(
            "aggregate_hosts_host",
            (AggregateHosts::Table, AggregateHosts::HostId),
            (Hosts::Table, Hosts::Id),
            Cascade,
        ))
        .take(),
    ]
}

fn server_tables() -> Vec<TableCreateStatement> {
    use ForeignKeyAction::{Cascade, Restrict};
    vec![
        table(
            Servers::Table,
            [
                key(Servers::Id, UUID),
                key(Servers::Name, NAME),
                text(Servers::Description, NAME),
                key(Servers::ProjectId, SHORT),
                key(Servers::UserId, SHORT),
                key(Servers::Site, SHORT),
                // NULL until a scheduler has claimed room for it.
                text(Servers::HostId, UUID),
                key(Servers::Status, 16),
                key(Servers::FlavorId, NAME),
                // The flavor as it was, in JSON: flavors may be deleted under their servers.
                ColumnDef::new(Servers::Flavor).text().not_null().take(),
                // What the server occupies, and gives back with its row.
                number(Servers::Vcpus),
                number(Servers::RamMb),
                number(Servers::DiskGb),
                text(Servers::ImageId, UUID),
                // What the user asked for, not where it is.
                text(Servers::AvailabilityZone, NAME),
                // JSON.
                long_text(Servers::Metadata),
                long_text(Servers::Tags),
                // Base64.
                long_text(Servers::UserData),
                number(Servers::ConfigDrive),
                key(Servers::ReservationId, SHORT),
                number(Servers::LaunchIndex),
                number(Servers::CreatedAt),
                number(Servers::UpdatedAt),
                maybe_number(Servers::LaunchedAt),
            ],
            [Servers::Id],
        )
        .foreign_key(&mut foreign_key(
            "servers_project",
            (Servers::Table, Servers::ProjectId),
            (Projects::Table, Projects::Id),
            Restrict,
        ))
        .foreign_key(&mut foreign_key(
            "servers_host",
            (Servers::Table, Servers::HostId),
            (Hosts::Table, Hosts::Id),
            Restrict,
        ))
        .take(),
        table(
            ServerActions::Table,
            [
                key(ServerActions::ServerId, UUID),
                key(ServerActions::RequestId, SHORT),
                key(ServerActions::Action, SHORT),
                key(ServerActions::UserId, SHORT),
                key(ServerActions::ProjectId, SHORT),
                number(ServerActions::StartedAt),
                maybe_number(ServerActions::FinishedAt),
                text(ServerActions::Result, SHORT),
            ],
            [ServerActions::ServerId, ServerActions::RequestId],
        )
        .foreign_key(&mut foreign_key(
            "server_actions_server",
            (ServerActions::Table, ServerActions::ServerId),
            (Servers::Table, Servers::Id),
            Cascade,
        ))
        .take(),
        table(
            ServerFaults::Table,
            [
                key(ServerFaults::ServerId, UUID),
                number(ServerFaults::CreatedAt),
                number(ServerFaults::Code),
                key(ServerFaults::Message, NAME),
                long_text(ServerFaults::Details),
            ],
            [ServerFaults::ServerId, ServerFaults::CreatedAt],
        )
        .foreign_key(&mut foreign_key(
            "server_faults_server",
            (ServerFaults::Table, ServerFaults::ServerId),
            (Servers::Table, Servers::Id),
            Cascade,
        ))
        .take(),
    ]
}

fn index<T: Iden + Copy + 'static, const N: usize>(name: &str, table: T, columns: [T; N]) -> IndexCreateStatement {
    let mut index = Index::create().name(name).table(table).take();
    for column in columns {
        index.col(column);
    }
    index
}

fn unique<T: Iden + Copy + 'static, const N: usize>(name: &str, table: T, columns: [T; N]) -> IndexCreateStatement {
    index(name, table, columns).unique().take()
}

/// All indexes beside the primary keys.
pub fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        unique("projects_by_name", Projects::Table, [Projects::Name]),
        unique("users_by_name", Users::Table, [Users::Name]),
        unique("flavors_by_name", Flavors::Table, [Flavors::Name]),
        index("images_by_name", Images::Table, [Images::Name]),
        unique("hosts_by_name", Hosts::Table, [Hosts::Name]),
        index("hosts_by_site", Hosts::Table, [Hosts::Site]),
        unique("services_by_host", Services::Table, [Services::Host, Services::Program]),
        index("services_by_site", Services::Table, [Services::Site, Services::Program]),
        unique("aggregates_by_name", Aggregates::Table, [Aggregates::Name]),
        index("aggregate_hosts_by_host", AggregateHosts::Table, [AggregateHosts::HostId]),
        // The scheduler's work, the agents' work, and a project's list.
        index("servers_by_state", Servers::Table, [Servers::Site, Servers::Status]),
        index("servers_by_host", Servers::Table, [Servers::HostId, Servers::Status]),
        index("servers_by_project", Servers::Table, [Servers::ProjectId, Servers::Site, Servers::CreatedAt]),
    ]
}
