//! The names of tables and columns, as sea-query wants them.

use sea_query::Iden;

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident { $($column:ident),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Iden, Clone, Copy)]
        #[expect(missing_docs, reason = "the columns are documented where the table is created")]
        pub enum $table {
            Table,
            $($column),*
        }
    )*};
}

tables! {
    /// Which version of the tables the store holds.
    SchemaVersions { Version, CreatedAt }
    /// Numbers handed out one after the other, for the API versions that want integer ids.
    Counters { Name, LastValue }
    /// Sites, each an OpenStack region with an API of its own.
    Sites { Name, ApiUrl, CreatedAt }
    /// Tenants.
    Projects { Id, Name, Description, Enabled, CreatedAt }
    /// People and programs who may ask for tokens.
    Users { Id, Name, ProjectId, PasswordHash, IsAdmin, Enabled, CreatedAt }
    /// The secrets that sign tokens.
    SigningKeys { Id, Secret, CreatedAt }
    /// What a project may use.
    Quotas { ProjectId, Instances, Cores, RamMb }
    /// What a project uses, changed in the transaction that creates or removes servers.
    QuotaUsages { ProjectId, Instances, Cores, RamMb }
    /// Sizes of servers.
    Flavors { Id, Name, Vcpus, RamMb, DiskGb, EphemeralGb, SwapMb, IsPublic, Description, CreatedAt }
    /// Key/value pairs of a flavor.
    FlavorExtraSpecs { FlavorId, SpecKey, SpecValue }
    /// What servers boot from.
    Images { Id, Name, Status, Visibility, DiskFormat, ContainerFormat, SizeBytes, MinDiskGb, MinRamMb, CreatedAt, UpdatedAt }
    /// Machines that run servers, with what they have.
    Hosts { Id, Number, Name, Site, Vcpus, RamMb, DiskGb, CreatedAt }
    /// What is claimed on each host, changed in the transaction that claims or releases.
    HostUsages { HostId, Vcpus, RamMb, DiskGb, Instances }
    /// Running programs with their heartbeats.
    Services { Id, Number, Program, Host, Site, Status, DisabledReason, ForcedDown, Incarnation, HeartbeatAt, UpdatedAt }
    /// Named groups of hosts.
    Aggregates { Id, Uuid, Name, CreatedAt, UpdatedAt }
    /// Key/value pairs of an aggregate; `availability_zone` makes it a zone.
    AggregateMetadata { AggregateId, MetaKey, MetaValue }
    /// Which hosts are in which aggregate.
    AggregateHosts { AggregateId, HostId }
    /// Servers. A row with a host is that server's claim on the host.
    Servers {
        Id, Name, Description, ProjectId, UserId, Site, HostId, Status, FlavorId, Flavor, Vcpus, RamMb, DiskGb, ImageId,
        AvailabilityZone, Metadata, Tags, UserData, ConfigDrive, ReservationId, LaunchIndex, CreatedAt, UpdatedAt, LaunchedAt,
    }
    /// What was asked of a server, and how it went.
    ServerActions { ServerId, RequestId, Action, UserId, ProjectId, StartedAt, FinishedAt, Result }
    /// Why a server is in error.
    ServerFaults { ServerId, CreatedAt, Code, Message, Details }
}
