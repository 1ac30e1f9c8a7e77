//! Servers as Compute prints them, each field from the version in which it appeared.

use crate::api::caller::Caller;
use crate::api::version::Microversion;
use crate::clock::{self, Micros};
use crate::model::{DEFAULT_ZONE, Fault, FlavorSnapshot, Host, Server, ServerState};
use crate::scheduler::placement::Where;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha224};
use std::collections::HashMap;
use std::fmt::Write;

/// `status`, `vm_state`, `task_state` and `power_state` of a server, in Nova's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    status: &'static str,
    vm_state: &'static str,
    task_state: Option<&'static str>,
    power_state: u8,
}

const NO_POWER: u8 = 0;
const RUNNING: u8 = 1;
const SHUT_DOWN: u8 = 4;

impl Shown {
    fn of(server: &Server) -> Self {
        let shown = |status, vm_state, task_state, power_state| Self { status, vm_state, task_state, power_state };
        match server.status {
            ServerState::Scheduling => shown("BUILD", "building", Some("scheduling"), NO_POWER),
            ServerState::Building => shown("BUILD", "building", Some("spawning"), NO_POWER),
            ServerState::Active => shown("ACTIVE", "active", None, RUNNING),
            ServerState::Stopping => shown("ACTIVE", "active", Some("powering-off"), RUNNING),
            ServerState::Stopped => shown("SHUTOFF", "stopped", None, SHUT_DOWN),
            ServerState::Starting => shown("SHUTOFF", "stopped", Some("powering-on"), SHUT_DOWN),
            ServerState::Rebooting => shown("REBOOT", "active", Some("rebooting"), RUNNING),
            ServerState::Deleting if server.launched_at.is_some() => {
                shown("ACTIVE", "active", Some("deleting"), RUNNING)
            }
            ServerState::Deleting => shown("BUILD", "building", Some("deleting"), NO_POWER),
            ServerState::Error => shown("ERROR", "error", None, NO_POWER),
        }
    }
}

/// The states that are shown as `status`, and whether servers that are being deleted are: those that had launched (`true`) or had not.
pub fn states_of_status(status: &str) -> (Vec<ServerState>, Option<bool>) {
    match status.to_ascii_uppercase().as_str() {
        "BUILD" => (vec![ServerState::Scheduling, ServerState::Building], Some(false)),
        "ACTIVE" => (vec![ServerState::Active, ServerState::Stopping], Some(true)),
        "SHUTOFF" => (vec![ServerState::Stopped, ServerState::Starting], None),
        "REBOOT" | "HARD_REBOOT" => (vec![ServerState::Rebooting], None),
        "ERROR" => (vec![ServerState::Error], None),
        _ => (Vec::new(), None),
    }
}

/// The links of a server.
pub fn links(url: &str, id: &str) -> Value {
    json!([
        {"rel": "self", "href": format!("{url}/compute/v2.1/servers/{id}")},
        {"rel": "bookmark", "href": format!("{url}/compute/servers/{id}")},
    ])
}

/// The short form.
pub fn brief(url: &str, server: &Server) -> Value {
    json!({"id": server.id, "name": server.name, "links": links(url, &server.id)})
}

/// A server's own metadata.
pub fn metadata(server: &Server) -> Value {
    let stored = server.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok());
    stored.unwrap_or_else(|| json!({}))
}

/// What is needed to print servers besides themselves.
pub struct Context {
    url: String,
    version: Microversion,
    is_admin: bool,
    /// From a host's id to its zone.
    zones: HashMap<String, String>,
    faults: HashMap<String, Fault>,
    hosts: HashMap<String, Host>,
    now: Micros,
}

impl Context {
    /// For this caller.
    pub fn new(
        url: &str,
        caller: &Caller,
        zones: HashMap<String, String>,
        faults: Vec<Fault>,
        hosts: Vec<Host>,
        now: Micros,
    ) -> Self {
        Self {
            url: url.to_owned(),
            version: caller.version,
            is_admin: caller.claims.is_admin,
            zones,
            faults: faults.into_iter().map(|fault| (fault.server_id.clone(), fault)).collect(),
            hosts: hosts.into_iter().map(|host| (host.id.clone(), host)).collect(),
            now,
        }
    }

    /// The long form.
    pub fn detail(&self, server: &Server) -> Value {
        let shown = Shown::of(server);
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| {
            fields.insert(name.to_owned(), value);
        };
        put("id", json!(server.id));
        put("name", json!(server.name));
        put("status", json!(shown.status));
        put("tenant_id", json!(server.project_id));
        put("user_id", json!(server.user_id));
        put("metadata", metadata(server));
        put("hostId", json!(host_digest(server)));
        put("image", self.image(server));
        put("flavor", self.flavor(server));
        put("created", json!(clock::to_seconds_text(server.created_at)));
        put("updated", json!(clock::to_seconds_text(server.updated_at)));
        put("addresses", json!({}));
        put("accessIPv4", json!(""));
        put("accessIPv6", json!(""));
        put("links", links(&self.url, &server.id));
        put("OS-DCF:diskConfig", json!("MANUAL"));
        put("OS-EXT-AZ:availability_zone", json!(self.zone(server)));
        put("config_drive", json!(if server.config_drive != 0 { "True" } else { "" }));
        put("key_name", Value::Null);
        put("OS-SRV-USG:launched_at", json!(server.launched_at.map(clock::to_micros_text)));
        put("OS-SRV-USG:terminated_at", Value::Null);
        put("OS-EXT-STS:task_state", json!(shown.task_state));
        put("OS-EXT-STS:vm_state", json!(shown.vm_state));
        put("OS-EXT-STS:power_state", json!(shown.power_state));
        put("os-extended-volumes:volumes_attached", json!([]));
        put("security_groups", json!([{"name": "default"}]));
        match shown.status {
            "ACTIVE" => put("progress", json!(100)),
            "BUILD" => put("progress", json!(0)),
            _ => {}
        }
        if let Some(fault) = self.faults.get(&server.id) {
            put("fault", self.fault(fault));
        }
        if self.version.at_least(9) {
            put("locked", json!(false));
        }
        if self.version.at_least(19) {
            put("description", json!(server.description));
        }
        if self.version.at_least(26) {
            let tags = server.tags.as_deref().and_then(|text| serde_json::from_str(text).ok());
            put("tags", tags.unwrap_or_else(|| json!([])));
        }
        if self.is_admin {
            self.put_admin_fields(server, &mut put);
        }
        Value::Object(fields)
    }

    fn put_admin_fields(&self, server: &Server, put: &mut impl FnMut(&str, Value)) {
        put("OS-EXT-SRV-ATTR:host", json!(server.host_name));
        put("OS-EXT-SRV-ATTR:hypervisor_hostname", json!(server.host_name));
        // The end of an id is random, its start is the time.
        let end = server.id.rsplit('-').next().unwrap_or_default();
        put("OS-EXT-SRV-ATTR:instance_name", json!(format!("instance-{end}")));
        if self.version.at_least(3) {
            put("OS-EXT-SRV-ATTR:reservation_id", json!(server.reservation_id));
            put("OS-EXT-SRV-ATTR:launch_index", json!(server.launch_index));
            put("OS-EXT-SRV-ATTR:hostname", json!(host_name_of(&server.name)));
            put("OS-EXT-SRV-ATTR:kernel_id", json!(""));
            put("OS-EXT-SRV-ATTR:ramdisk_id", json!(""));
            put("OS-EXT-SRV-ATTR:root_device_name", json!("/dev/vda"));
            put("OS-EXT-SRV-ATTR:user_data", json!(server.user_data));
        }
        if self.version.at_least(16) {
            put("host_status", json!(self.host_status(server)));
        }
    }

    fn host_status(&self, server: &Server) -> &'static str {
        let Some(host) = server.host_id.as_ref().and_then(|id| self.hosts.get(id)) else { return "" };
        match (host.forced_down != 0, host.is_enabled(), host.is_alive(self.now)) {
            (true, ..) => "DOWN",
            (false, false, _) => "MAINTENANCE",
            (false, true, true) => "UP",
            (false, true, false) => "UNKNOWN",
        }
    }

    fn zone(&self, server: &Server) -> String {
        match &server.host_id {
            Some(host) => self.zones.get(host).map_or(DEFAULT_ZONE, String::as_str).to_owned(),
            None => {
                let wanted = server.availability_zone.as_deref().map(Where::parse).unwrap_or_default();
                wanted.zone.unwrap_or_default().to_owned()
            }
        }
    }

    fn image(&self, server: &Server) -> Value {
        match &server.image_id {
            None => json!(""),
            Some(id) => {
                json!({"id": id, "links": [{"rel": "bookmark", "href": format!("{}/compute/images/{id}", self.url)}]})
            }
        }
    }

    fn flavor(&self, server: &Server) -> Value {
        if !self.version.at_least(47) {
            let id = &server.flavor_id;
            return json!({"id": id, "links": [{"rel": "bookmark", "href": format!("{}/compute/flavors/{id}", self.url)}]});
        }
        let Ok(flavor) = serde_json::from_str::<FlavorSnapshot>(&server.flavor) else { return json!({}) };
        json!({
            "original_name": flavor.name,
            "vcpus": flavor.vcpus,
            "ram": flavor.ram_mb,
            "disk": flavor.disk_gb,
            "ephemeral": flavor.ephemeral_gb,
            "swap": flavor.swap_mb,
            "extra_specs": flavor.extra_specs,
        })
    }

    fn fault(&self, fault: &Fault) -> Value {
        let mut shown = json!({
            "code": fault.code,
            "created": clock::to_seconds_text(fault.created_at),
            "message": fault.message,
        });
        if let (true, Some(details), Some(fields)) = (self.is_admin, &fault.details, shown.as_object_mut()) {
            fields.insert("details".into(), json!(details));
        }
        shown
    }
}

/// Tells a project which of its servers share a host without telling which host.
fn host_digest(server: &Server) -> String {
    let Some(host) = &server.host_name else { return String::new() };
    let mut digest = String::new();
    for byte in Sha224::digest(format!("{}{host}", server.project_id)) {
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

/// The name that the guest would give itself: lower case letters, digits and dashes.
fn host_name_of(name: &str) -> String {
    let mapped: String = name
        .chars()
        .map(|letter| if letter == ' ' || letter == '_' { '-' } else { letter.to_ascii_lowercase() })
        .filter(|letter| letter.is_ascii_alphanumeric() || "-.".contains(*letter))
        .take(63)
        .collect();
    mapped.trim_matches(['-', '.']).to_owned()
}
