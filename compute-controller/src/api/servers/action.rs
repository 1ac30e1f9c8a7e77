//! Asking a server to do something: each action is a move from one state to the next, and the agent of the server's host does the rest.

use crate::api::App;
use crate::api::caller::Caller;
use crate::api::error::{ApiError, ApiResult};
use crate::api::input::{Body, Fields};
use crate::model::{Resources, ServerState};
use crate::state::actions::NewAction;
use crate::state::{actions, moves, quotas};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use rome_core::database::{DatabaseExt, Transaction};
use serde_json::Value;
use std::sync::Arc;

/// What can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    Stop,
    Start,
    Reboot,
    Delete,
}

impl Wish {
    /// As recorded among the server's actions.
    fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Reboot => "reboot",
            Self::Delete => "delete",
        }
    }

    /// Where the wish leads from a state; `None` where it can't be granted there.
    fn next(self, state: ServerState) -> Option<ServerState> {
        match (self, state) {
            (Self::Delete, _) => Some(ServerState::Deleting),
            (Self::Stop, ServerState::Active) => Some(ServerState::Stopping),
            (Self::Start, ServerState::Stopped) => Some(ServerState::Starting),
            (Self::Reboot, ServerState::Active | ServerState::Stopped) => Some(ServerState::Rebooting),
            _ => None,
        }
    }
}

/// `POST /servers/{id}/action`
pub async fn act(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Body,
) -> ApiResult<StatusCode> {
    let wish = match body.only()? {
        ("os-stop", _) => Wish::Stop,
        ("os-start", _) => Wish::Start,
        ("reboot", details) => {
            reboot_type(details)?;
            Wish::Reboot
        }
        ("forceDelete", _) => Wish::Delete,
        (other, _) => {
            let other: String = other.chars().take(100).collect();
            return Err(ApiError::bad_request(format!("There is no such action: {other}")));
        }
    };
    grant(&app, &caller, &id, wish).await?;
    Ok(StatusCode::ACCEPTED)
}

fn reboot_type(details: &Value) -> ApiResult<()> {
    let kind = Fields::of("reboot", details)?.text("type")?.unwrap_or_default();
    if kind.eq_ignore_ascii_case("soft") || kind.eq_ignore_ascii_case("hard") {
        Ok(())
    } else {
        Err(ApiError::bad_request("Invalid input for field/attribute type: it must be 'SOFT' or 'HARD'"))
    }
}

/// `DELETE /servers/{id}`
pub async fn delete(caller: Caller, State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult<StatusCode> {
    grant(&app, &caller, &id, Wish::Delete).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Moves the server and records the action, in one transaction. A server without a host is removed at once, and its quota given back.
async fn grant(app: &App, caller: &Caller, id: &str, wish: Wish) -> ApiResult<()> {
    let site = Arc::clone(&app.site);
    let project: Option<Arc<str>> = caller.visible_project()?.map(Into::into);
    let action = Arc::new(NewAction {
        server_id: id.to_owned(),
        request_id: caller.request_id.to_string(),
        action: wish.name(),
        user_id: caller.claims.user_id.clone(),
        project_id: caller.claims.project_id.clone().unwrap_or_default(),
    });
    app.database
        .transaction(move |tx| {
            let (site, project, action) = (Arc::clone(&site), project.clone(), Arc::clone(&action));
            Box::pin(async move { grant_in(tx, &site, project.as_deref(), &action, wish).await })
        })
        .await
}

async fn grant_in(
    tx: &dyn Transaction,
    site: &str,
    project: Option<&str>,
    action: &NewAction,
    wish: Wish,
) -> ApiResult<()> {
    let id = &action.server_id;
    let (state, host_id, owner, takes) =
        moves::state_for_update(tx, site, project, id).await?.ok_or_else(|| ApiError::not_found("Instance", id))?;
    let next = wish.next(state).ok_or_else(|| {
        ApiError::conflict(format!("Cannot '{}' instance {id} while it is in state {}", wish.name(), state.as_str()))
    })?;
    if next == state {
        return Ok(());
    }
    if next == ServerState::Deleting && host_id.is_none() {
        moves::remove(tx, id).await?;
        quotas::add_usage(tx, &owner, -1, Resources::default() - takes).await?;
        return Ok(());
    }
    moves::set_state(tx, id, next).await?;
    actions::begin(tx, std::slice::from_ref(action)).await?;
    Ok(())
}
