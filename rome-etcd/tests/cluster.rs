//! An etcd of three members, of which some die: no acknowledged commit is lost, none is carried out twice, and what
//! can't be done without a majority fails in time and leaves nothing by half.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use etcd_client::Client;
use futures::StreamExt;
use rand::Rng;
use rome_core::store::{
    Change, Commit, CommitOutcome, Guard, Read, ReadOutcome, ReadRequest, Store, StoreError, Write,
};
use rome_etcd::{EtcdConfig, EtcdStore};
use rome_proxy::{Cut, Link};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::*;
use tokio::sync::mpsc;

const ACCOUNTS: u32 = 20;
const OPENING_BALANCE: i64 = 1000;
const TELLERS: u32 = 20;
/// The longest that anything here may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

fn url(members: &[Server; 3]) -> String {
    let endpoints: Vec<_> = members.iter().map(Server::endpoint).collect();
    format!("etcd://{}", endpoints.join(","))
}

/// A store on all members, as soon as they have found together.
async fn store(members: &[Server; 3], call_timeout: Duration) -> EtcdStore {
    let mut config = EtcdConfig::parse(&url(members)).unwrap();
    // Members that start elect a leader first, which takes its time on a busy machine.
    config.call_timeout = PATIENCE;
    EtcdStore::open(config.clone()).await.unwrap();
    config.call_timeout = call_timeout;
    EtcdStore::open(config).await.unwrap()
}

/// Whether a member leads.
async fn leads(member: &Server) -> bool {
    let mut client = Client::connect([member.endpoint()], None).await.unwrap();
    let status = client.status().await.unwrap();
    let own = status.header().unwrap().member_id();
    status.leader() == own
}

/// The index of the leader, and those of the others.
async fn roles(members: &[Server; 3]) -> (usize, [usize; 2]) {
    for index in (0..3).cycle().take(3000) {
        if leads(&members[index]).await {
            return (index, [(index + 1) % 3, (index + 2) % 3]);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("three members elect a leader");
}

fn account(number: u32) -> String {
    format!("account-{number:03}")
}

fn number(entry: &rome_core::store::Entry) -> i64 {
    String::from_utf8(entry.value.to_vec()).unwrap().parse().unwrap()
}

/// Transfers between two accounts, in the teller's lane, until it is told to stop. Each is written into the ledger and
/// counted; neither would notice being done twice, but the count would.
async fn work(store: Arc<EtcdStore>, teller: u32, stop: Arc<AtomicBool>, acknowledged: mpsc::UnboundedSender<String>) {
    let mut sequence = 0;
    while !stop.load(Ordering::SeqCst) {
        let debit = rand::rng().random_range(0..ACCOUNTS);
        let credit = (debit + rand::rng().random_range(1..ACCOUNTS)) % ACCOUNTS;
        let reads = [debit, credit].map(|number| Read::Point(key(&account(number)))).to_vec();
        let entries = match store.read(&home(), ReadRequest { reads, ..ReadRequest::default() }).await {
            Ok(ReadOutcome::Answer(answer)) => answer.results.into_iter().flat_map(|result| result.entries),
            Ok(other) => panic!("{other:?}"),
            Err(StoreError::Unavailable { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let [from, to] = &entries.collect::<Vec<_>>()[..] else { panic!("accounts vanish") };
        let amount = rand::rng().random_range(1..=10).min(number(from));
        sequence += 1;
        let name = format!("{teller}-{sequence}");
        let commit = Commit {
            guards: [from, to].map(|entry| Guard::Version { key: entry.key.clone(), version: entry.version }).to_vec(),
            writes: vec![
                put(&account(debit), &(number(from) - amount).to_string()),
                put(&account(credit), &(number(to) + amount).to_string()),
                put(&format!("ledger-{name}"), &format!("{debit} {credit} {amount}")),
                Write::Add { key: key(&format!("count-{teller}")), delta: 1, min: 0, max: i64::MAX },
            ],
            ticket: ticket(teller, sequence),
            ..Commit::default()
        };
        // The same ticket until the outcome is known.
        let outcome = loop {
            match store.commit(&home(), commit.clone()).await {
                Ok(outcome) => break outcome,
                Err(StoreError::Unavailable { .. } | StoreError::Undetermined { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
        if matches!(outcome, CommitOutcome::Committed { .. }) && acknowledged.send(name).is_err() {
            return;
        }
    }
}

/// Listens until so many transfers more were acknowledged.
async fn hear(receiver: &mut mpsc::UnboundedReceiver<String>, heard: &mut BTreeSet<String>, count: usize) {
    for _ in 0..count {
        let name = tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("work goes on").unwrap();
        assert!(heard.insert(name));
    }
}

/// Compares the books with what was acknowledged.
async fn inspect(store: &EtcdStore, acknowledged: &BTreeSet<String>) {
    let all = |prefix: &str| Read::Range { range: range(prefix, &format!("{prefix}~")), limit: None, reverse: false };
    let reads = vec![all("account-"), all("ledger-"), all("count-")];
    let limits = rome_core::store::ReadLimits { entries: 1_000_000, bytes: 1 << 30 };
    let results = answer(store, ReadRequest { reads, limits, ..ReadRequest::default() }).await.results;
    let mut balances: BTreeMap<u32, i64> = (0..ACCOUNTS).map(|number| (number, OPENING_BALANCE)).collect();
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let mut written = BTreeSet::new();
    for entry in &results[1].entries {
        let name = String::from_utf8(entry.key[4 + "ledger-".len()..].to_vec()).unwrap();
        let text = String::from_utf8(entry.value.to_vec()).unwrap();
        let parts: Vec<i64> = text.split(' ').map(|part| part.parse().unwrap()).collect();
        *balances.get_mut(&(parts[0] as u32)).unwrap() -= parts[2];
        *balances.get_mut(&(parts[1] as u32)).unwrap() += parts[2];
        *counts.entry(name.split('-').next().unwrap().to_owned()).or_default() += 1;
        written.insert(name);
    }
    let differing: Vec<_> = written.symmetric_difference(acknowledged).collect();
    assert!(differing.is_empty(), "only in the ledger, or only acknowledged: {differing:?}");
    let found: Vec<i64> = results[0].entries.iter().map(number).collect();
    assert_eq!(found, balances.into_values().collect::<Vec<_>>(), "balances follow from the ledger");
    let counted = results[2]
        .entries
        .iter()
        .map(|entry| (String::from_utf8(entry.key[4 + "count-".len()..].to_vec()).unwrap(), number(entry)));
    assert_eq!(counted.collect::<BTreeMap<_, _>>(), counts, "each transfer was counted once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bank_goes_on_while_any_one_member_is_dead() {
    let members = Server::start_three(&[]);
    let store = Arc::new(store(&members, Duration::from_secs(5)).await);
    let opening = (0..ACCOUNTS).map(|number| put(&account(number), &OPENING_BALANCE.to_string())).collect();
    committed(store.as_ref(), vec![], opening).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let tellers: Vec<_> = (0..TELLERS)
        .map(|teller| tokio::spawn(work(Arc::clone(&store), teller, Arc::clone(&stop), sender.clone())))
        .collect();
    drop(sender);

    let mut heard = BTreeSet::new();
    hear(&mut receiver, &mut heard, 100).await;
    for round in 0..4 {
        let (leader, others) = roles(&members).await;
        let victim = if round % 2 == 0 { leader } else { others[0] };
        members[victim].kill();
        hear(&mut receiver, &mut heard, 150).await;
        members[victim].restart();
        hear(&mut receiver, &mut heard, 50).await;
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(name) = receiver.recv().await {
        assert!(heard.insert(name));
    }
    for teller in tellers {
        teller.await.unwrap();
    }
    inspect(store.as_ref(), &heard).await;
    // Each member alone knows it, too.
    for member in &members {
        let alone = EtcdStore::connect(&format!("etcd://{}", member.endpoint())).await.unwrap();
        inspect(&alone, &heard).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_calls_fail_in_time_and_leave_nothing_by_half() {
    let members = Server::start_three(&[]);
    let store = store(&members, Duration::from_secs(2)).await;
    committed(&store, vec![], vec![put("a", "0"), put("b", "0")]).await;
    let (leader, others) = roles(&members).await;
    members[leader].kill();
    members[others[0]].kill();

    let both = |text: &str| vec![put("a", text), put("b", text)];
    let point = ReadRequest { reads: vec![Read::Point(key("a"))], ..ReadRequest::default() };
    for _ in 0..3 {
        // A bound far beyond the time-out of a call, so that waiting for ever fails the test.
        let read = tokio::time::timeout(PATIENCE, store.read(&home(), point.clone())).await.expect("reads end");
        assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
        let write = in_lane(&store, ticket(1, 1), vec![], both("1"));
        let write = tokio::time::timeout(PATIENCE, write).await.expect("commits end");
        // The read before took so long that the member left knows that it has no leader: nothing is proposed.
        assert!(matches!(write, Err(StoreError::Unavailable { .. })), "{write:?}");
    }
    let mut config = EtcdConfig::parse(&url(&members)).unwrap();
    config.call_timeout = Duration::from_secs(1);
    let error = EtcdStore::open(config).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");

    members[others[0]].restart();
    // What was refused was refused for good, so that its ticket is still to be had.
    let outcome = loop {
        match in_lane(&store, ticket(1, 1), vec![], both("2")).await {
            Ok(outcome) => break outcome,
            Err(StoreError::Unavailable { .. } | StoreError::Undetermined { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    assert_eq!((value(&store, "a").await, value(&store, "b").await), (Some("2".to_owned()), Some("2".to_owned())));
    members[leader].restart();
    committed(&store, vec![], both("3")).await;
    assert_eq!(value(&store, "b").await.unwrap(), "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_survives_the_loss_of_any_member_without_gap_or_duplicate() {
    const STREAM: Bytes = Bytes::from_static(b"s");
    let members = Server::start_three(&[]);
    let store = store(&members, PATIENCE).await;
    // Several watchers, since each is at one member or another.
    let mut watches = Vec::new();
    for _ in 0..6 {
        watches.push(store.watch(&home(), STREAM, None).await.unwrap());
    }
    let mut sequence = 0;
    for member in &members {
        for step in 0..60 {
            match step {
                20 => member.kill(),
                40 => member.restart(),
                _ => {}
            }
            // Two at a time, so that a watcher that is finding another member misses more than one.
            for _ in 0..2 {
                sequence += 1;
                let commit = Commit {
                    changes: vec![Change { stream: STREAM, payload: Bytes::from(sequence.to_string()) }],
                    ticket: ticket(1, sequence),
                    ..Commit::default()
                };
                store.commit(&home(), commit).await.unwrap();
            }
            for watch in &mut watches {
                for expected in [sequence - 1, sequence] {
                    let event = tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch goes on");
                    assert_eq!(event.unwrap().unwrap().payload, expected.to_string());
                }
            }
        }
    }
}

/// The cut is silent: only the pings of the connection find out, after a quarter of a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_leaves_a_member_that_is_cut_off_in_silence() {
    const STREAM: Bytes = Bytes::from_static(b"s");
    let members = Server::start_three(&[]);
    let writer = store(&members, Duration::from_secs(5)).await;
    let mut links = Vec::new();
    for member in &members {
        links.push(Link::start(&member.endpoint()).await.unwrap());
    }
    let endpoints: Vec<_> = links.iter().map(Link::endpoint).collect();
    let watcher = EtcdStore::connect(&format!("etcd://{}", endpoints.join(","))).await.unwrap();
    let mut watch = watcher.watch(&home(), STREAM, None).await.unwrap();
    let append = |sequence: u64| {
        let commit = Commit {
            changes: vec![Change { stream: STREAM, payload: Bytes::from(sequence.to_string()) }],
            ticket: ticket(1, sequence),
            ..Commit::default()
        };
        let writer = &writer;
        async move { writer.commit(&home(), commit).await.unwrap() }
    };
    for (sequence, link) in (1..).zip(&links) {
        link.cut(Cut::Silent);
        append(sequence).await;
        let begun = Instant::now();
        let event = tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch goes on elsewhere");
        assert_eq!(event.unwrap().unwrap().payload, sequence.to_string());
        if begun.elapsed() > Duration::from_secs(5) {
            // It was this one.
            return;
        }
        link.heal();
    }
    panic!("the watch came through all cuts");
}

/// A member that is there and says nothing, as one on a hanging machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hangs_is_passed_over() {
    let members = Server::start_three(&[]);
    let store = store(&members, Duration::from_secs(5)).await;
    let mut sequence = 0;
    for member in &members {
        member.signal("STOP");
        // One call finds out. If every third did, some would run out of time.
        for _ in 0..50 {
            sequence += 1;
            let writes = vec![put("a", &sequence.to_string())];
            let outcome = in_lane(&store, ticket(1, sequence), vec![], writes).await.unwrap();
            assert!(matches!(outcome, CommitOutcome::Committed { .. }));
            assert_eq!(value(&store, "a").await.unwrap(), sequence.to_string());
        }
        member.signal("CONT");
    }
}

/// One full member stops all of them from writing, until an operator has made room and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_cluster_reads_and_writes_again_after_the_operator_made_room() {
    let members = Server::start_three(&["--quota-backend-bytes", "4000000"]);
    let store = store(&members, Duration::from_secs(5)).await;
    let large = |sequence: u64| vec![Write::Put(key(&format!("large-{}", sequence % 4)), vec![1; 300_000].into())];
    let mut sequence = 0;
    let error = loop {
        sequence += 1;
        if let Err(error) = in_lane(&store, ticket(1, sequence), vec![], large(sequence)).await {
            break error;
        }
        assert!(sequence < 100, "the quota is used up some time");
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(matches!(in_lane(&store, ticket(2, 1), vec![], vec![put("a", "1")]).await, Err(StoreError::Full(_))));
    assert_eq!(value(&store, "a").await, None);
    assert_eq!(get(&store, "large-1").await.unwrap().value.len(), 300_000);

    let newest = now(&store).await as i64;
    for (index, member) in members.iter().enumerate() {
        let mut client = Client::connect([member.endpoint()], None).await.unwrap();
        if index == 0 {
            let physical = etcd_client::CompactionOptions::new().with_physical();
            client.compact(newest, Some(physical)).await.unwrap();
        }
        client.defragment().await.unwrap();
    }
    let mut client = Client::connect([members[0].endpoint()], None).await.unwrap();
    let action = etcd_client::AlarmAction::Deactivate;
    for alarm in client.alarm(etcd_client::AlarmAction::Get, etcd_client::AlarmType::None, None).await.unwrap().alarms()
    {
        let mut options = etcd_client::AlarmOptions::new();
        options.with_member(alarm.member_id());
        client.alarm(action, alarm.alarm(), Some(options)).await.unwrap();
    }
    // Each refused commit runs under its own ticket now.
    for (lane, sequence, writes) in [(1, sequence, large(sequence)), (2, 1, vec![put("a", "1")])] {
        let outcome = in_lane(&store, ticket(lane, sequence), vec![], writes).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }
    assert_eq!(value(&store, "a").await.unwrap(), "1");
}
