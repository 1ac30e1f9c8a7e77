//! Saving requests for servers: quota checked, rows written, in one transaction.
//!
//! Every request of a project changes that project's usage, so requests that arrive together would only wait for, or lose against, each other.
//! They are therefore gathered: while one transaction runs, requests queue up, and the next transaction takes them all. It judges them in order of
//! arrival; one that is refused does not concern the others. A single request pays nothing for it. What a burst costs falls from eight
//! statements and a commit for each server to eight statements and a commit for each batch.

use super::request::{CreateRequest, names};
use crate::api::error::{ApiError, ApiResult};
use crate::model::{Flavor, FlavorSnapshot, Image, QuotaNumbers, Resources, UNLIMITED};
use crate::state::actions::NewAction;
use crate::state::servers::NewServer;
use crate::state::{actions, flavors, images, quotas, servers};
use rome_core::database::{Database, DatabaseExt, Transaction};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Requests in one transaction.
const MAX_REQUESTS: usize = 64;

/// Servers in one transaction, unless a single request asks for more.
const MAX_SERVERS: i64 = 512;

/// Requests that may wait; more are made to wait at the door.
const QUEUE: usize = 1024;

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Created {
    /// The first server.
    pub first_id: String,
    /// Names all servers of the request together.
    pub reservation_id: String,
}

type Waiting = (CreateRequest, oneshot::Sender<ApiResult<Created>>);

/// The way into the next transaction.
#[derive(Clone, Debug)]
pub struct Creator(mpsc::Sender<Waiting>);

impl Creator {
    /// Starts to gather; ends when the last clone is dropped.
    pub fn start(database: Arc<dyn Database>) -> Self {
        let (sender, mut waiting) = mpsc::channel::<Waiting>(QUEUE);
        tokio::spawn(async move {
            let mut kept: Option<Waiting> = None;
            loop {
                let first = match kept.take() {
                    Some(first) => first,
                    None => match waiting.recv().await {
                        Some(first) => first,
                        None => return,
                    },
                };
                let mut sum = first.0.max_count;
                let mut batch = vec![first];
                while batch.len() < MAX_REQUESTS {
                    let Ok(next) = waiting.try_recv() else { break };
                    sum = sum.saturating_add(next.0.max_count);
                    if sum > MAX_SERVERS {
                        kept = Some(next);
                        break;
                    }
                    batch.push(next);
                }
                save(database.as_ref(), batch).await;
            }
        });
        Self(sender)
    }

    /// Saves a request and tells what became of it.
    ///
    /// # Errors
    /// 400 for an unknown flavor or image, 403 over quota.
    pub async fn create(&self, request: CreateRequest) -> ApiResult<Created> {
        let (answer, answered) = oneshot::channel();
        let closed = || ApiError::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "The API is shutting down.");
        self.0.send((request, answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

/// Saves a batch; where the database refuses it as a whole, as too large or for one request's sake, each half of it, and so on.
async fn save(database: &dyn Database, batch: Vec<Waiting>) {
    let mut batches = vec![batch];
    while let Some(mut batch) = batches.pop() {
        let requests = batch.iter().map(|(request, _)| request.clone()).collect();
        match transact(database, requests).await {
            Ok(outcomes) => {
                for ((_, answer), outcome) in batch.into_iter().zip(outcomes) {
                    // Whoever hung up gets no answer; the servers are there all the same.
                    let _ = answer.send(outcome);
                }
            }
            Err(error) if batch.len() > 1 && error.is_permanent() => {
                let second = batch.split_off(batch.len() / 2);
                batches.push(second);
                batches.push(batch);
            }
            Err(error) => {
                for (_, answer) in batch {
                    let _ = answer.send(Err(error.clone().into()));
                }
            }
        }
    }
}

async fn transact(database: &dyn Database, requests: Vec<CreateRequest>) -> rome_core::Result<Vec<ApiResult<Created>>> {
    let requests: Arc<[CreateRequest]> = requests.into();
    database
        .transaction(move |tx| {
            let requests = Arc::clone(&requests);
            Box::pin(async move { save_in(tx, &requests).await })
        })
        .await
}

/// What a batch knows of a project.
struct Budget {
    limits: QuotaNumbers,
    /// As saved; `None` without a row.
    used: Option<QuotaNumbers>,
    /// What this batch adds.
    instances: i64,
    takes: Resources,
}

/// What a batch has looked up.
struct Known {
    flavors: HashMap<String, Flavor>,
    extra_specs: HashMap<String, BTreeMap<String, String>>,
    images: HashMap<String, Image>,
    budgets: BTreeMap<String, Budget>,
}

async fn save_in(tx: &dyn Transaction, requests: &[CreateRequest]) -> rome_core::Result<Vec<ApiResult<Created>>> {
    let mut known = look_up(tx, requests).await?;
    let mut outcomes = Vec::with_capacity(requests.len());
    let (mut rows, mut begun) = (Vec::new(), Vec::new());
    for request in requests {
        outcomes.push(judge(request, &mut known).map(|servers| {
            let created = Created {
                first_id: servers.first().map(|server| server.id.clone()).unwrap_or_default(),
                reservation_id: servers.first().map(|server| server.reservation_id.clone()).unwrap_or_default(),
            };
            begun.extend(servers.iter().map(|server| NewAction {
                server_id: server.id.clone(),
                request_id: request.request_id.to_string(),
                action: "create",
                user_id: request.user_id.clone(),
                project_id: request.project_id.clone(),
            }));
            rows.extend(servers);
            created
        }));
    }
    if rows.is_empty() {
        return Ok(outcomes);
    }
    servers::insert(tx, &rows).await?;
    actions::begin(tx, &begun).await?;
    for (project_id, budget) in &known.budgets {
        if budget.instances == 0 {
            continue;
        }
        if budget.used.is_some() {
            quotas::add_usage(tx, project_id, budget.instances, budget.takes).await?;
        } else {
            quotas::insert_usage(tx, project_id, budget.instances, budget.takes).await?;
        }
    }
    Ok(outcomes)
}

async fn look_up(tx: &dyn Transaction, requests: &[CreateRequest]) -> rome_core::Result<Known> {
    let distinct = |of: fn(&CreateRequest) -> Option<&String>| -> Vec<String> {
        requests.iter().filter_map(of).collect::<BTreeSet<_>>().into_iter().cloned().collect()
    };
    let flavor_ids = distinct(|request| Some(&request.flavor_id));
    let image_ids = distinct(|request| request.image_id.as_ref());
    let flavors = flavors::by_ids(tx, &flavor_ids).await?;
    let extra_specs = flavors::extra_specs(tx, &flavor_ids).await?;
    let images = images::by_ids(tx, &image_ids).await?;
    let mut budgets = BTreeMap::new();
    for project_id in distinct(|request| Some(&request.project_id)) {
        let used = quotas::usage_for_update(tx, &project_id).await?;
        let limits = quotas::limits(tx, &project_id).await?;
        budgets.insert(project_id, Budget { limits, used, instances: 0, takes: Resources::default() });
    }
    Ok(Known {
        flavors: flavors.into_iter().map(|flavor| (flavor.id.clone(), flavor)).collect(),
        extra_specs,
        images: images.into_iter().map(|image| (image.id.clone(), image)).collect(),
        budgets,
    })
}

/// Whether a request is granted, and the rows it makes.
fn judge(request: &CreateRequest, known: &mut Known) -> ApiResult<Vec<NewServer>> {
    let flavor = known
        .flavors
        .get(&request.flavor_id)
        .ok_or_else(|| ApiError::bad_request(format!("Flavor {} could not be found.", request.flavor_id)))?;
    if let Some(id) = &request.image_id {
        let image =
            known.images.get(id).ok_or_else(|| ApiError::bad_request(format!("Image {id} could not be found.")))?;
        check_image(image, flavor)?;
    }
    let snapshot = FlavorSnapshot {
        name: flavor.name.clone(),
        vcpus: flavor.vcpus,
        ram_mb: flavor.ram_mb,
        disk_gb: flavor.disk_gb,
        ephemeral_gb: flavor.ephemeral_gb,
        swap_mb: flavor.swap_mb,
        extra_specs: known.extra_specs.get(&flavor.id).cloned().unwrap_or_default(),
    };
    let needs = flavor.needs();
    let count = known
        .budgets
        .get_mut(&request.project_id)
        .ok_or_else(|| ApiError::from(rome_core::Error::internal("a project's quota was not read")))
        .and_then(|budget| spend(budget, needs, request))?;
    let reservation_id = format!("r-{}", Uuid::new_v4().simple());
    let snapshot = json!(snapshot).to_string();
    let servers = names(&request.name, count, request.max_count > 1).zip(0..).map(|(name, launch_index)| NewServer {
        id: Uuid::now_v7().to_string(),
        name,
        description: request.description.clone(),
        project_id: request.project_id.clone(),
        user_id: request.user_id.clone(),
        site: request.site.to_string(),
        flavor_id: request.flavor_id.clone(),
        flavor: snapshot.clone(),
        needs,
        image_id: request.image_id.clone(),
        availability_zone: request.availability_zone.clone(),
        metadata: request.metadata.clone(),
        tags: request.tags.clone(),
        user_data: request.user_data.clone(),
        config_drive: request.config_drive,
        reservation_id: reservation_id.clone(),
        launch_index,
    });
    Ok(servers.collect())
}

fn check_image(image: &Image, flavor: &Flavor) -> ApiResult<()> {
    if image.status != "active" {
        return Err(ApiError::bad_request(format!("Image {} is not active.", image.id)));
    }
    if flavor.ram_mb < image.min_ram_mb {
        return Err(ApiError::bad_request("Flavor's memory is too small for requested image."));
    }
    if flavor.disk_gb > 0 && flavor.disk_gb < image.min_disk_gb {
        return Err(ApiError::bad_request("Flavor's disk is too small for requested image."));
    }
    Ok(())
}

/// One line of a quota.
struct QuotaLine {
    name: &'static str,
    /// What one server takes.
    each: i64,
    used: i64,
    limit: i64,
}

impl QuotaLine {
    /// How many more servers fit.
    fn room(&self) -> i64 {
        if self.limit == UNLIMITED || self.each == 0 {
            return i64::MAX;
        }
        self.limit.saturating_sub(self.used).max(0) / self.each
    }
}

/// Takes as many servers out of the budget as fit, at most what the request asks for; refuses where that is less than its minimum.
fn spend(budget: &mut Budget, needs: Resources, request: &CreateRequest) -> ApiResult<i64> {
    let used = budget.used.unwrap_or_default();
    let line = |name, each, used, limit| QuotaLine { name, each, used, limit };
    let lines = [
        line("instances", 1, used.instances + budget.instances, budget.limits.instances),
        line("cores", needs.vcpus, used.cores + budget.takes.vcpus, budget.limits.cores),
        line("ram", needs.ram_mb, used.ram_mb + budget.takes.ram_mb, budget.limits.ram_mb),
    ];
    let count = lines.iter().map(QuotaLine::room).min().unwrap_or(0).min(request.max_count);
    if count < request.min_count {
        return Err(over_quota(&lines, request.min_count));
    }
    budget.instances += count;
    budget.takes = budget.takes
        + Resources {
            vcpus: needs.vcpus.saturating_mul(count),
            ram_mb: needs.ram_mb.saturating_mul(count),
            disk_gb: needs.disk_gb.saturating_mul(count),
        };
    Ok(count)
}

/// Nova's words: `Quota exceeded for cores, ram: Requested 4, 8192, but already used 18, 40960 of 20, 45000 cores, ram`.
fn over_quota(lines: &[QuotaLine], count: i64) -> ApiError {
    let over = || lines.iter().filter(|line| line.room() < count);
    let names: Vec<&str> = over().map(|line| line.name).collect();
    let requested: Vec<String> = over().map(|line| line.each.saturating_mul(count).to_string()).collect();
    let used: Vec<String> = over().map(|line| line.used.to_string()).collect();
    let limits: Vec<String> = over().map(|line| line.limit.to_string()).collect();
    let names = names.join(", ");
    ApiError::forbidden(format!(
        "Quota exceeded for {names}: Requested {}, but already used {} of {} {names}",
        requested.join(", "),
        used.join(", "),
        limits.join(", "),
    ))
}
