//! Schedulers that race: no slot is given twice, no server gets two hosts, and what is claimed is what servers take.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use compute_controller::cli::audit;
use compute_controller::model::{ServerState, WaitingServer};
use compute_controller::scheduler::{self, NO_VALID_HOST};
use compute_controller::state::{actions, claims, hosts, servers};
use futures::future::join_all;
use support::{NEEDS, Opened, SITE, host, of_host, room_for, set_state, waiting_servers};

/// Rounds of each race.
const ROUNDS: usize = 25;

fn waiting(id: &str) -> WaitingServer {
    WaitingServer {
        id: id.to_owned(),
        vcpus: NEEDS.vcpus,
        ram_mb: NEEDS.ram_mb,
        disk_gb: NEEDS.disk_gb,
        availability_zone: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_schedulers_never_both_win_the_last_slot() {
    for (store, opened) in Opened::everywhere().await {
        let db = opened.db.as_ref();
        let host_id = host(db, "only", room_for(1)).await;
        for round in 0..ROUNDS {
            let ids = waiting_servers(db, 2).await;
            let (left, right) = tokio::join!(
                claims::claim(db, &host_id, vec![waiting(&ids[0])]),
                claims::claim(db, &host_id, vec![waiting(&ids[1])]),
            );
            let won = [left.unwrap(), right.unwrap()].concat();
            assert_eq!(won.len(), 1, "{store}, round {round}: {won:?}");
            assert_eq!(audit::books_agree(db).await.unwrap(), Vec::<String>::new(), "{store}");
            set_state(db, &won[0], ServerState::Deleting).await;
            assert_eq!(claims::release(db, &host_id, won).await.unwrap(), 1);
            // The loser still waits, and finds the slot free again.
            let left = servers::waiting(db, SITE, 10).await.unwrap();
            assert_eq!(left.len(), 1, "{store}");
            let won = claims::claim(db, &host_id, left).await.unwrap();
            set_state(db, &won[0], ServerState::Deleting).await;
            claims::release(db, &host_id, won).await.unwrap();
        }
        assert_eq!(hosts::of_site(db, SITE).await.unwrap()[0].instances, 0, "{store}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_server_gets_two_hosts() {
    for (store, opened) in Opened::everywhere().await {
        let db = opened.db.as_ref();
        let (one, two) = (host(db, "one", room_for(100)).await, host(db, "two", room_for(100)).await);
        for round in 0..ROUNDS {
            let ids = waiting_servers(db, 1).await;
            let (left, right) = tokio::join!(
                claims::claim(db, &one, vec![waiting(&ids[0])]),
                claims::claim(db, &two, vec![waiting(&ids[0])]),
            );
            let won = [left.unwrap(), right.unwrap()].concat();
            assert_eq!(won, ids, "{store}, round {round}");
            assert_eq!(audit::books_agree(db).await.unwrap(), Vec::<String>::new(), "{store}");
        }
        let placed = of_host(db, &one).await.len() + of_host(db, &two).await.len();
        assert_eq!(placed, ROUNDS, "{store}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_schedulers_fill_the_hosts_to_the_last_slot_and_fail_the_rest() {
    for (store, opened) in Opened::everywhere().await {
        let db = opened.db.as_ref();
        let mut ids = Vec::new();
        for number in 0..4 {
            ids.push(host(db, &format!("h{number}"), room_for(10)).await);
        }
        waiting_servers(db, 50).await;
        while !servers::waiting(db, SITE, 1).await.unwrap().is_empty() {
            for done in join_all((0..3).map(|_| scheduler::round(db, SITE))).await {
                done.unwrap();
            }
        }
        assert_eq!(audit::books_agree(db).await.unwrap(), Vec::<String>::new(), "{store}");
        for host_id in &ids {
            let here = of_host(db, host_id).await;
            assert_eq!(here.len(), 10, "{store}");
            assert!(here.iter().all(|server| server.status == ServerState::Building));
        }
        let filter = servers::ServerFilter {
            site: SITE.into(),
            states: Some(vec![ServerState::Error]),
            ..servers::ServerFilter::default()
        };
        let failed: Vec<String> = servers::list(db, &filter).await.unwrap().into_iter().map(|one| one.id).collect();
        assert_eq!(failed.len(), 10, "{store}");
        let faults = actions::faults(db, &failed).await.unwrap();
        assert_eq!(faults.len(), 10);
        assert!(faults.iter().all(|fault| fault.message == NO_VALID_HOST && fault.code == 500));
    }
}

#[tokio::test]
async fn releasing_twice_gives_back_once() {
    for (store, opened) in Opened::everywhere().await {
        let db = opened.db.as_ref();
        let host_id = host(db, "h", room_for(5)).await;
        let ids = waiting_servers(db, 2).await;
        claims::claim(db, &host_id, ids.iter().map(|id| waiting(id)).collect()).await.unwrap();
        // Not asked to go: stays.
        assert_eq!(claims::release(db, &host_id, ids.clone()).await.unwrap(), 0, "{store}");
        set_state(db, &ids[0], ServerState::Deleting).await;
        assert_eq!(claims::release(db, &host_id, ids.clone()).await.unwrap(), 1);
        assert_eq!(claims::release(db, &host_id, ids.clone()).await.unwrap(), 0);
        assert_eq!(of_host(db, &host_id).await.len(), 1);
        assert_eq!(audit::books_agree(db).await.unwrap(), Vec::<String>::new());
    }
}
