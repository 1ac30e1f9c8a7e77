//! Every key that a script touches is declared: the condition under which a cluster refuses a script as a whole, before it writes,
//! while its slot is on the way from one node to another. The server's own log of what scripts do is compared with what calls declared.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use futures::StreamExt;
use rome_core::store::{
    Change, Commit, Guard, HomeId, KeyRange, LaneTicket, Read, ReadOutcome, ReadRequest, Store, Write,
};
use rome_redis::RedisStore;
use std::collections::HashSet;
use support::Server;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

fn key(space: u8, name: &str) -> Bytes {
    [&[0, 0, 0, space], name.as_bytes()].concat().into()
}

fn range(space: u8) -> KeyRange {
    KeyRange::prefix(&[0, 0, 0, space])
}

/// Something of each kind that the scripts do.
async fn everything(store: &RedisStore) {
    let home = HomeId::new("h");
    let stream = Bytes::from_static(b"s");
    let commit = async |commit: Commit| store.commit(&home, commit).await.unwrap();
    for sequence in 1..=3 {
        let mut writes: Vec<_> = (0..20).map(|i| Write::Put(key(1, &format!("{i}")), key(3, "row"))).collect();
        writes.push(Write::Put(key(3, "row"), Bytes::from(vec![7; 100])));
        writes.push(Write::Add { key: key(2, "n"), delta: 1, min: 0, max: 2 });
        writes.push(Write::Delete(key(4, "gone")));
        let changes = vec![Change { stream: stream.clone(), payload: Bytes::from_static(b"p") }];
        let ticket = Some(LaneTicket { client: 1, lane: 1, sequence });
        let whole = Commit { writes, changes, ticket, ..Commit::default() };
        commit(whole.clone()).await;
        // Found in its lane; the third was out of bounds.
        commit(whole).await;
    }
    let guards = [
        Guard::Present(key(1, "1")),
        Guard::Absent(key(5, "none")),
        Guard::Version { key: key(3, "row"), version: 2 },
        Guard::Range { range: range(1), since: 2, count: 20 },
        Guard::Range { range: range(6), since: 0, count: 0 },
        Guard::Range { range: KeyRange { from: key(1, "1"), to: key(1, "2") }, since: 1, count: 11 },
        Guard::Unchanged { range: range(3), since: 2 },
    ];
    for guards in (1..=guards.len()).map(|count| guards[..count].to_vec()) {
        let reads = vec![
            Read::Point(key(1, "1")),
            Read::Range { range: range(1), limit: Some(3), reverse: true },
            Read::Follow { range: range(1), limit: None, reverse: false },
            Read::Range { range: range(7), limit: None, reverse: false },
        ];
        store.read(&home, ReadRequest { reads, guards: guards.clone(), ..ReadRequest::default() }).await.unwrap();
        commit(Commit { guards, writes: vec![Write::Delete(key(8, "none"))], ..Commit::default() }).await;
    }
    let points = ReadRequest { reads: vec![Read::Point(key(1, "1"))], ..ReadRequest::default() };
    assert!(matches!(store.read(&home, points).await.unwrap(), ReadOutcome::Answer(_)));
    let mut watch = store.watch(&home, stream, Some(0)).await.unwrap();
    assert!(watch.next().await.unwrap().is_ok() && watch.next().await.unwrap().is_ok());
}

/// The words of a line of the log, as they are quoted there.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some((_, quoted)) = rest.split_once('"') {
        let mut escaped = false;
        let end = quoted.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let end = end.unwrap().0;
        words.push(quoted[..end].to_owned());
        rest = &quoted[end + 1..];
    }
    words
}

#[tokio::test]
async fn scripts_touch_what_they_declare_and_nothing_else() {
    let server = Server::start(&[]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut log = BufReader::new(tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap());
    log.write_all(b"MONITOR\r\n").await.unwrap();
    let mut line = String::new();
    log.read_line(&mut line).await.unwrap();
    assert_eq!(line, "+OK\r\n");
    everything(&store).await;
    let _: () = redis::cmd("ECHO").arg("the end").query_async(&mut support::raw(&server.url()).await).await.unwrap();

    let mut declared = HashSet::new();
    let mut commands = HashSet::new();
    loop {
        line.clear();
        assert!(log.read_line(&mut line).await.unwrap() > 0);
        let words = words(&line);
        let Some(command) = words.first().map(|word| word.to_uppercase()) else { continue };
        if command == "ECHO" {
            break;
        } else if line.contains(" lua] ") {
            assert!(declared.contains(&words[1]), "not declared: {line}");
            commands.insert(command);
        } else if command == "EVALSHA" {
            let count: usize = words[2].parse().unwrap();
            declared = words[3..3 + count].iter().cloned().collect();
        }
    }
    for command in [
        "HMGET",
        "HGET",
        "HSET",
        "HDEL",
        "ZADD",
        "ZREM",
        "ZCARD",
        "ZLEXCOUNT",
        "ZRANGEBYLEX",
        "ZREVRANGEBYLEX",
        "XADD",
        "XRANGE",
    ] {
        assert!(commands.contains(command), "{command} was not seen");
    }
}

/// What the log above is compared with must be all that the scripts can call.
#[test]
fn the_scripts_call_no_other_commands() {
    let scripts = [
        include_str!("../src/scripts/state.lua"),
        include_str!("../src/scripts/read.lua"),
        include_str!("../src/scripts/commit.lua"),
        include_str!("../src/scripts/watch.lua"),
    ];
    for script in scripts {
        for (before, after) in script.match_indices("call('").map(|(at, _)| script.split_at(at + 6)) {
            let command = after.split('\'').next().unwrap();
            let key = after[command.len() + 3..].split([',', ')']).next().unwrap();
            assert!(
                matches!(key, "data" | "meta" | "zset") || key.starts_with("KEYS["),
                "{command} {key} behind {} bytes",
                before.len()
            );
        }
    }
}
