//! Many clients at once. What optimistic transactions keep when they run alone, they keep together.

use super::rig::*;
use crate::store::{Guard, Key, Read, Write};
use futures::future::join_all;

const CLIENTS: usize = 4;

async fn all_clients<F: Future<Output = usize> + Send + 'static>(run: impl Fn(usize) -> F) -> usize {
    let clients: Vec<_> = (0..CLIENTS).map(|client| tokio::spawn(run(client))).collect();
    join_all(clients).await.into_iter().map(|client| client.expect("a client ends")).sum()
}

/// Values with the guards that they were read under.
async fn read_guarded(rig: &Rig, keys: &[Key]) -> Vec<(i64, Guard)> {
    let response = rig.read(keys.iter().map(|key| Read::Point(key.clone())).collect()).await;
    let found = response.results.into_iter().zip(keys).map(|(result, key)| match result.entries.first() {
        Some(entry) => {
            let value = std::str::from_utf8(&entry.value).expect("text").parse().expect("a number");
            (value, Guard::Version { key: key.clone(), version: entry.version })
        }
        None => (0, Guard::Absent(key.clone())),
    });
    found.collect()
}

/// The bank: money moves between accounts in read-check-write transactions; none appears or vanishes.
pub async fn transfers_keep_the_total(rig: Rig) {
    const ACCOUNTS: usize = 5;
    const TRANSFERS: usize = 20;
    let accounts: Vec<_> = (0..ACCOUNTS).map(|account| key(&format!("account-{account}"))).collect();
    rig.write(accounts.iter().map(|account| put(account, "100")).collect()).await;
    let moved = all_clients(|client| {
        let (rig, accounts) = (rig.clone(), accounts.clone());
        async move {
            let mut conflicts = 0;
            for round in 0..TRANSFERS {
                let from = (client + round) % ACCOUNTS;
                let to = (client * 3 + round * 2 + 1) % ACCOUNTS;
                if from == to {
                    continue;
                }
                let pair = [accounts[from].clone(), accounts[to].clone()];
                loop {
                    let read = read_guarded(&rig, &pair).await;
                    let amount = read[0].0.min(1 + round as i64);
                    let writes = vec![
                        put(&pair[0], &(read[0].0 - amount).to_string()),
                        put(&pair[1], &(read[1].0 + amount).to_string()),
                    ];
                    let guards = read.into_iter().map(|(_, guard)| guard).collect();
                    if rig.guarded(guards, writes).await.is_some() {
                        break;
                    }
                    conflicts += 1;
                    assert!(conflicts < 10_000, "transfers do not get through");
                    tokio::task::yield_now().await;
                }
            }
            1
        }
    });
    let watching = async {
        for _ in 0..20 {
            let total: i64 = read_guarded(&rig, &accounts).await.iter().map(|(value, _)| value).sum();
            assert_eq!(total, 100 * ACCOUNTS as i64, "a reader saw money on its way");
            tokio::task::yield_now().await;
        }
    };
    let (clients, ()) = futures::join!(moved, watching);
    assert_eq!(clients, CLIENTS);
    let balances = read_guarded(&rig, &accounts).await;
    assert_eq!(balances.iter().map(|(value, _)| value).sum::<i64>(), 100 * ACCOUNTS as i64, "money was lost or made");
    assert!(balances.iter().all(|(value, _)| *value >= 0), "an account was overdrawn");
}

/// Read, add one, write under the version that was read.
pub async fn guarded_increments_are_not_lost(rig: Rig) {
    const EACH: usize = 15;
    let done = all_clients(|_| {
        let rig = rig.clone();
        async move {
            let mut done = 0;
            while done < EACH {
                let (value, guard) = read_guarded(&rig, &[key("n")]).await.remove(0);
                if rig.guarded(vec![guard], vec![put(&key("n"), &(value + 1).to_string())]).await.is_some() {
                    done += 1;
                } else {
                    tokio::task::yield_now().await;
                }
            }
            done
        }
    });
    let done = done.await;
    assert_eq!(rig.value(&key("n")).await, Some(done.to_string()), "an increment was lost");
}

/// Additions need no guard and never conflict; a bound admits exactly as many as fit.
pub async fn added_increments_are_not_lost(rig: Rig) {
    const EACH: usize = 25;
    const SEATS: i64 = 30;
    let taken = all_clients(|_| {
        let rig = rig.clone();
        async move {
            let mut taken = 0;
            for _ in 0..EACH {
                rig.write(vec![add(&key("n"), 1)]).await;
                let seat = Write::Add { key: key("seats"), delta: 1, min: 0, max: SEATS };
                let commit = crate::store::Commit { writes: vec![seat], ..Default::default() };
                taken += usize::from(matches!(rig.commit(commit).await, crate::store::CommitOutcome::Committed { .. }));
            }
            taken
        }
    });
    let taken = taken.await;
    assert_eq!(rig.value(&key("n")).await, Some((CLIENTS * EACH).to_string()), "an addition was lost");
    assert_eq!(taken as i64, SEATS, "as many seats were given out as there are");
    assert_eq!(rig.value(&key("seats")).await, Some(SEATS.to_string()));
}

/// Everyone inserts a key of their own if the range is empty: exactly one succeeds.
pub async fn one_of_many_takes_a_free_range(rig: Rig) {
    for round in 0..10 {
        let winners = all_clients(|client| {
            let (rig, prefix) = (rig.clone(), format!("round-{round}/"));
            async move {
                let guard = rig.guard_of(under(&prefix)).await;
                if !matches!(guard, Guard::Range { count: 0, .. }) {
                    return 0;
                }
                let mine = put(&key(&format!("{prefix}{client}")), "mine");
                usize::from(rig.guarded(vec![guard], vec![mine]).await.is_some())
            }
        });
        assert_eq!(winners.await, 1, "a range was free for several at once");
    }
}

/// Two doctors, each going off duty while the other is on: one must stay.
pub async fn crossed_guards_admit_no_write_skew(rig: Rig) {
    for round in 0..10 {
        let pair = [key(&format!("{round}/a")), key(&format!("{round}/b"))];
        rig.write(pair.iter().map(|doctor| put(doctor, "1")).collect()).await;
        let shifts = pair.clone().into_iter().enumerate().map(|(index, doctor)| {
            let (rig, pair) = (rig.clone(), pair.clone());
            tokio::spawn(async move {
                let read = read_guarded(&rig, &pair).await;
                if read[1 - index].0 == 1 {
                    let other = read[1 - index].1.clone();
                    rig.guarded(vec![other], vec![put(&doctor, "0")]).await;
                }
            })
        });
        for shift in join_all(shifts).await {
            shift.expect("a shift ends");
        }
        let on_duty: i64 = read_guarded(&rig, &pair).await.iter().map(|(value, _)| value).sum();
        assert_eq!(on_duty, 1, "exactly one of two may leave");
    }
}
