//! Who reaches whom in a network of three sites.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use rome_proxy::Network;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::{echo_server, listener, nothing, say, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SITES: [&str; 3] = ["lille", "lyon", "nice"];

/// Checks that clients at one site get answers from the store of another unless "from to" is among `silent`.
async fn assert_silent(network: &Network, silent: &[&str]) {
    let pairs = SITES.iter().flat_map(|from| SITES.iter().map(move |to| (from, to)));
    let asked = pairs.map(|(from, to)| async move {
        let mut client = TcpStream::connect(network.endpoint(from, to)).await.unwrap();
        let pair = format!("{from} {to}");
        match silent.contains(&&pair[..]) {
            true => assert!(nothing(say(&mut client, "hello")).await, "{pair}"),
            false => soon(say(&mut client, "hello")).await.unwrap(),
        }
    });
    futures::future::join_all(asked).await;
}

#[tokio::test]
async fn cuts_separate_exactly_the_sites_they_name() {
    let mut addresses = Vec::new();
    for site in SITES {
        addresses.push((site, echo_server().await));
    }
    let sites: Vec<_> = addresses.iter().map(|(name, address)| (*name, &address[..])).collect();
    let network = Network::start(&sites).await.unwrap();
    assert_eq!(network.sites().collect::<Vec<_>>(), SITES);
    assert_silent(&network, &[]).await;
    network.cut("lyon");
    assert_silent(&network, &["lille lyon", "lyon lille", "lyon nice", "nice lyon"]).await;
    network.heal();
    assert_silent(&network, &[]).await;
    network.cut_halves(&["lille", "lyon"], &["nice"]);
    assert_silent(&network, &["lille nice", "lyon nice", "nice lille", "nice lyon"]).await;
    network.heal();
    // A question or its answer is lost either way.
    network.cut_one_way("lille", "nice");
    assert_silent(&network, &["lille nice", "nice lille"]).await;
    network.cut_one_way("nice", "lille");
    assert_silent(&network, &["lille nice", "nice lille"]).await;
    network.heal();
    assert_silent(&network, &[]).await;
}

#[tokio::test]
async fn a_one_way_cut_holds_questions_one_way_and_answers_the_other() {
    let mut servers = BTreeMap::new();
    for site in SITES {
        servers.insert(site, listener().await);
    }
    let sites: Vec<_> = servers.iter().map(|(name, (_, address))| (*name, &address[..])).collect();
    let network = Network::start(&sites).await.unwrap();
    // For each link: a client's and the server's end of a connection.
    let mut ends = Vec::new();
    for (from, to) in [("lille", "nice"), ("nice", "lille"), ("lille", "lyon")] {
        let client = TcpStream::connect(network.endpoint(from, to)).await.unwrap();
        let (server, _) = servers[to].0.accept().await.unwrap();
        ends.push((client, server));
    }
    network.cut_one_way("lille", "nice");
    for (index, (client, server)) in ends.iter_mut().enumerate() {
        client.write_all(b"q").await.unwrap();
        server.write_all(b"a").await.unwrap();
        match index {
            0 => assert!(nothing(server.read_u8()).await, "a question passed"),
            _ => assert_eq!(soon(server.read_u8()).await.unwrap(), b'q'),
        }
        match index {
            1 => assert!(nothing(client.read_u8()).await, "an answer passed"),
            _ => assert_eq!(soon(client.read_u8()).await.unwrap(), b'a'),
        }
    }
}

#[tokio::test]
async fn round_trips_are_set_for_all_or_for_a_pair() {
    let echo = echo_server().await;
    let network = Network::start(&SITES.map(|site| (site, &echo[..]))).await.unwrap();
    let all = Duration::from_millis(20);
    let pair = Duration::from_millis(90);
    network.set_round_trip(all);
    network.set_round_trip_between("lille", "nice", pair);
    for (from, to, least) in
        [("lille", "lyon", all), ("nice", "lyon", all), ("lille", "nice", pair), ("nice", "lille", pair)]
    {
        let mut client = TcpStream::connect(network.endpoint(from, to)).await.unwrap();
        let begun = Instant::now();
        say(&mut client, "hello").await.unwrap();
        assert!(begun.elapsed() >= least, "{from} {to}");
    }
}

#[tokio::test]
#[should_panic(expected = "there is no link from lille to paris")]
async fn unknown_sites_are_mistakes() {
    let network = Network::start(&[("lille", "127.0.0.1:1")]).await.unwrap();
    network.cut_one_way("lille", "paris");
}
