//! What a user asks for in `POST /servers`: read, and refused where it is wrong, before anything is saved.

use crate::api::caller::Caller;
use crate::api::error::{ApiError, ApiResult};
use crate::api::input::{Body, Fields, MAX_NAME};
use crate::model::DEFAULT_ZONE;
use crate::scheduler::placement::Where;
use crate::secrets;
use crate::state::hosts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rome_core::database::Executor;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// Servers in one request. Nova has no such limit of its own, only the quota.
pub const MAX_SERVERS: i64 = 1000;

/// Pairs of metadata on one server.
pub const MAX_METADATA: usize = 128;

/// User data, in characters of base64.
const MAX_USER_DATA: usize = 65_535;

/// A request for servers.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the API's own names")]
pub struct CreateRequest {
    pub site: Arc<str>,
    pub project_id: String,
    pub user_id: String,
    pub request_id: Arc<str>,
    pub name: String,
    pub description: Option<String>,
    pub flavor_id: String,
    pub image_id: Option<String>,
    pub availability_zone: Option<String>,
    pub metadata: Option<String>,
    pub tags: Option<String>,
    pub user_data: Option<String>,
    pub config_drive: bool,
    pub admin_pass: String,
    pub min_count: i64,
    pub max_count: i64,
    pub by_reservation: bool,
}

/// Reads the body of `POST /servers`.
///
/// # Errors
/// 400 for whatever is wrong with it, 403 without a project.
pub fn read(caller: &Caller, site: &Arc<str>, body: &Body) -> ApiResult<CreateRequest> {
    body.fields().only_known(&["server", "os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"])?;
    let server = body.object("server")?;
    only_known(caller, server)?;
    let name = server.required_name("name")?;
    let flavor = server.text("flavorRef")?.ok_or_else(|| required("flavorRef"))?;
    let image_id = image(server)?;
    networks(caller, server)?;
    if server.list("personality")?.is_some_and(|files| !files.is_empty()) {
        return Err(ApiError::bad_request("Personality files are not supported by this cloud's driver."));
    }
    if let Some(key) = server.text("key_name")? {
        return Err(ApiError::bad_request(format!(
            "Invalid key_name provided: {key} (this cloud keeps no key pairs)."
        )));
    }
    let zone = zone(caller, server)?;
    let min_count = server.integer("min_count", 1..=MAX_SERVERS)?.unwrap_or(1);
    let max_count = server.integer("max_count", 1..=MAX_SERVERS)?.unwrap_or(min_count);
    if min_count > max_count {
        return Err(ApiError::bad_request("min_count must be <= max_count"));
    }
    let admin_pass = server.text("adminPass")?.filter(|given| !given.is_empty());
    Ok(CreateRequest {
        site: Arc::clone(site),
        project_id: caller.project_id()?.to_owned(),
        user_id: caller.claims.user_id.clone(),
        request_id: Arc::clone(&caller.request_id),
        name: name.to_owned(),
        description: server.text("description")?.map(str::to_owned),
        // A reference may be a whole URL.
        flavor_id: flavor.rsplit('/').next().unwrap_or(flavor).to_owned(),
        image_id,
        availability_zone: zone,
        metadata: metadata(server)?,
        tags: tags(server)?,
        user_data: user_data(server)?,
        config_drive: server.boolean("config_drive")?.unwrap_or(false),
        admin_pass: admin_pass.map_or_else(|| secrets::random_text(9), str::to_owned),
        min_count,
        max_count,
        by_reservation: server.boolean("return_reservation_id")?.unwrap_or(false),
    })
}

fn required(name: &str) -> ApiError {
    ApiError::bad_request(format!("Invalid input: '{name}' is a required property"))
}

fn only_known(caller: &Caller, server: Fields<'_>) -> ApiResult<()> {
    let mut known = vec![
        "name",
        "imageRef",
        "flavorRef",
        "adminPass",
        "metadata",
        "networks",
        "availability_zone",
        "min_count",
        "max_count",
        "block_device_mapping",
        "block_device_mapping_v2",
        "config_drive",
        "key_name",
        "user_data",
        "security_groups",
        "return_reservation_id",
        "OS-DCF:diskConfig",
        "accessIPv4",
        "accessIPv6",
    ];
    if !caller.version.at_least(57) {
        known.push("personality");
    }
    if caller.version.at_least(19) {
        known.push("description");
    }
    if caller.version.at_least(52) {
        known.push("tags");
    }
    server.only_known(&known)
}

/// The image, from `imageRef` or from the device that the server boots from.
fn image(server: Fields<'_>) -> ApiResult<Option<String>> {
    let reference = server.text("imageRef")?.filter(|reference| !reference.is_empty());
    let mut boots_from = reference.map(|reference| reference.rsplit('/').next().unwrap_or(reference));
    if server.list("block_device_mapping")?.is_some_and(|devices| !devices.is_empty()) {
        return Err(ApiError::bad_request("Block Device Mapping is Invalid: this cloud has no volumes."));
    }
    for device in server.list("block_device_mapping_v2")?.unwrap_or_default() {
        let device = Fields::of("block_device_mapping_v2", device)?;
        let source = device.text("source_type")?.unwrap_or_default();
        let destination = device.text("destination_type")?.unwrap_or("local");
        match (source, destination) {
            ("image", "local") => {
                let uuid = device.text("uuid")?.ok_or_else(|| required("uuid"))?;
                if boots_from.is_some_and(|image| image != uuid) {
                    return Err(ApiError::bad_request(
                        "Block Device Mapping is Invalid: it names another image than imageRef.",
                    ));
                }
                boots_from = Some(uuid);
            }
            ("blank", "local") => {}
            _ => {
                return Err(ApiError::bad_request("Block Device Mapping is Invalid: this cloud has no volumes."));
            }
        }
    }
    let image = boots_from
        .ok_or_else(|| ApiError::bad_request("Invalid imageRef provided: the server has nothing to boot from."))?;
    match Uuid::try_parse(image) {
        Ok(id) => Ok(Some(id.to_string())),
        Err(_) => Err(ApiError::bad_request("Invalid imageRef provided.")),
    }
}

/// From 2.37 a request must say which networks it wants; this cloud has none to give.
fn networks(caller: &Caller, server: Fields<'_>) -> ApiResult<()> {
    let no_network = |what: &str| ApiError::bad_request(format!("Network {what} could not be found."));
    match server.raw("networks") {
        None if caller.version.at_least(37) => Err(required("networks")),
        None => Ok(()),
        Some(Value::String(word)) if caller.version.at_least(37) && word == "none" => Ok(()),
        Some(Value::String(word)) if caller.version.at_least(37) && word == "auto" => Err(ApiError::bad_request(
            "Unable to automatically allocate a network for the project: this cloud has no networks. Ask for 'none'.",
        )),
        Some(Value::Array(wanted)) => match wanted.first() {
            None if caller.version.at_least(37) => {
                Err(ApiError::bad_request("Invalid input for field/attribute networks. Value: []. [] is too short"))
            }
            None => Ok(()),
            Some(network) => {
                let network = Fields::of("networks", network)?;
                let wanted = network.text("uuid")?.or(network.text("port")?).unwrap_or("without an id");
                Err(no_network(wanted))
            }
        },
        Some(_) => Err(ApiError::bad_request(
            "Invalid input for field/attribute networks. It must be a list, 'auto' or 'none'.",
        )),
    }
}

fn zone(caller: &Caller, server: Fields<'_>) -> ApiResult<Option<String>> {
    let Some(zone) = server.text("availability_zone")?.filter(|zone| !zone.is_empty()) else { return Ok(None) };
    if zone.split(':').count() > 3 {
        return Err(ApiError::bad_request("Unable to parse availability_zone"));
    }
    if Where::parse(zone).host.is_some() {
        caller.require_admin("os_compute_api:servers:create:forced_host")?;
    }
    Ok(Some(zone.to_owned()))
}

/// Refuses a zone that no host is in.
///
/// # Errors
/// 400
pub async fn check_zone<E: Executor + ?Sized>(on: &E, site: &str, wanted: Option<&str>) -> ApiResult<()> {
    let Some(wanted) = wanted.map(Where::parse) else { return Ok(()) };
    let (all, zones) = (hosts::of_site(on, site).await?, hosts::zones(on).await?);
    let suits = |host: &crate::model::Host| {
        let zone = zones.get(&host.id).map_or(DEFAULT_ZONE, String::as_str);
        wanted.zone.is_none_or(|wanted| wanted == zone) && wanted.host.is_none_or(|wanted| wanted == host.name)
    };
    // The default zone exists even while it has no hosts.
    if all.iter().any(suits) || (wanted.host.is_none() && wanted.zone == Some(DEFAULT_ZONE)) {
        Ok(())
    } else {
        Err(ApiError::bad_request("The requested availability zone is not available"))
    }
}

fn metadata(server: Fields<'_>) -> ApiResult<Option<String>> {
    let Some(metadata) = server.object("metadata")? else { return Ok(None) };
    let pairs = metadata.pairs()?;
    if pairs.len() > MAX_METADATA {
        return Err(ApiError::forbidden(format!("Maximum number of metadata items exceeds {MAX_METADATA}")));
    }
    Ok((!pairs.is_empty()).then(|| json!(pairs).to_string()))
}

fn tags(server: Fields<'_>) -> ApiResult<Option<String>> {
    let Some(tags) = server.list("tags")? else { return Ok(None) };
    let mut all = BTreeSet::new();
    for tag in tags {
        match tag.as_str() {
            Some(tag) if (1..=60).contains(&tag.chars().count()) && !tag.contains([',', '/', '\0']) => {
                all.insert(tag);
            }
            _ => {
                return Err(ApiError::bad_request(
                    "Invalid input for field/attribute tags: a tag is a text of 1 to 60 characters without ',' and '/'",
                ));
            }
        }
    }
    if all.len() > 50 {
        return Err(ApiError::bad_request("Invalid input for field/attribute tags: at most 50 tags are allowed"));
    }
    Ok((!all.is_empty()).then(|| json!(all).to_string()))
}

fn user_data(server: Fields<'_>) -> ApiResult<Option<String>> {
    let Some(data) = server.long_text("user_data", MAX_USER_DATA)? else { return Ok(None) };
    let packed: String = data.chars().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if STANDARD.decode(&packed).is_err() {
        return Err(ApiError::bad_request("Invalid input for field/attribute user_data: it is not base64"));
    }
    Ok((!packed.is_empty()).then_some(packed))
}

/// The names of `count` servers of one request: `web`, or `web-1`, `web-2`, ..., cut so that they stay within [`MAX_NAME`].
pub fn names(name: &str, count: i64, several: bool) -> impl Iterator<Item = String> {
    let kept: String = name.chars().take(if several { MAX_NAME - 5 } else { MAX_NAME }).collect();
    (1..=count).map(move |number| if several { format!("{kept}-{number}") } else { kept.clone() })
}
