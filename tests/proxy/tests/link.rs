//! What a link does to the bytes between an echoing server and its client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use rome_proxy::{Cut, Link};
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use support::{echo_server, listener, nothing, say, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_round_trip_takes_at_least_the_delay() {
    let link = Link::start(&echo_server().await).await.unwrap();
    let mut client = TcpStream::connect(link.endpoint()).await.unwrap();
    say(&mut client, "before").await.unwrap();
    for delay in [80, 20] {
        let delay = Duration::from_millis(delay);
        link.set_round_trip(delay);
        let begun = Instant::now();
        say(&mut client, "now").await.unwrap();
        assert!(begun.elapsed() >= delay);
        // A new connection costs one more.
        let begun = Instant::now();
        let mut client = TcpStream::connect(link.endpoint()).await.unwrap();
        say(&mut client, "now").await.unwrap();
        assert!(begun.elapsed() >= 2 * delay);
    }
}

/// A hundred messages at 50 ms, one after the other, would take five seconds.
#[tokio::test]
async fn a_delay_does_not_hold_up_what_follows() {
    let link = Link::start(&echo_server().await).await.unwrap();
    link.set_round_trip(Duration::from_millis(50));
    let client = TcpStream::connect(link.endpoint()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let (mut answers, mut messages) = client.into_split();
    let begun = Instant::now();
    let sending = async move {
        for number in 0..100_u32 {
            messages.write_all(&number.to_be_bytes()).await.unwrap();
            // Each is a message of its own to the link.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        messages
    };
    let receiving = async {
        for number in 0..100_u32 {
            assert_eq!(answers.read_u32().await.unwrap(), number);
        }
    };
    let _ = soon(async { tokio::join!(sending, receiving) }).await;
    assert!(begun.elapsed() < Duration::from_millis(2500), "messages waited for each other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_in_order_while_delays_and_cuts_change() {
    let link = Link::start(&echo_server().await).await.unwrap();
    let client = TcpStream::connect(link.endpoint()).await.unwrap();
    let sent: Vec<u8> = (0..16_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut answers, mut messages) = client.into_split();
    let expected = sent.clone();
    let sending = async move {
        for part in sent.chunks(100_000) {
            messages.write_all(part).await.unwrap();
        }
        messages.shutdown().await.unwrap();
    };
    let receiving = async {
        let mut received = Vec::new();
        answers.read_to_end(&mut received).await.unwrap();
        received
    };
    let changing = async {
        for round in 0..20 {
            link.set_round_trip(Duration::from_millis([0, 30, 5, 100][round % 4]));
            match [None, Some(Cut::Silent), Some(Cut::Back), Some(Cut::There)][round % 4] {
                None => link.heal(),
                Some(cut) => link.cut(cut),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        link.heal();
    };
    let ((), received, ()) = soon(async { tokio::join!(sending, receiving, changing) }).await;
    assert!(received == expected, "bytes were lost, repeated or moved");
}

#[tokio::test]
async fn a_silent_cut_holds_everything_until_it_is_healed() {
    let link = Link::start(&echo_server().await).await.unwrap();
    let mut client = TcpStream::connect(link.endpoint()).await.unwrap();
    say(&mut client, "before").await.unwrap();
    link.cut(Cut::Silent);
    client.write_all(b"held").await.unwrap();
    assert!(nothing(client.read_u8()).await);
    let mut new = TcpStream::connect(link.endpoint()).await.unwrap();
    assert!(nothing(say(&mut new, "hello")).await);
    // Nor does it say that the server is gone.
    link.heal();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"held");
    say(&mut client, "after").await.unwrap();
}

#[tokio::test]
async fn a_reset_does_not_cross_a_silent_cut() {
    let (server, endpoint) = listener().await;
    let link = Link::start(&endpoint).await.unwrap();
    let mut client = TcpStream::connect(link.endpoint()).await.unwrap();
    let (accepted, _) = server.accept().await.unwrap();
    link.cut(Cut::Silent);
    accepted.set_zero_linger().unwrap();
    drop(accepted);
    assert!(nothing(client.read_u8()).await);
    link.heal();
    assert_eq!(client.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn one_way_cuts_leave_the_other_way_open() {
    let (server, endpoint) = listener().await;
    let link = Link::start(&endpoint).await.unwrap();
    let mut client = TcpStream::connect(link.endpoint()).await.unwrap();
    let (mut accepted, _) = server.accept().await.unwrap();
    for (cut, there) in [(Cut::There, false), (Cut::Back, true)] {
        link.cut(cut);
        client.write_all(b"t").await.unwrap();
        accepted.write_all(b"b").await.unwrap();
        if there {
            assert_eq!(soon(accepted.read_u8()).await.unwrap(), b't');
            assert!(nothing(client.read_u8()).await, "{cut:?}");
        } else {
            assert_eq!(soon(client.read_u8()).await.unwrap(), b'b');
            assert!(nothing(accepted.read_u8()).await, "{cut:?}");
        }
        link.heal();
        match there {
            true => assert_eq!(soon(client.read_u8()).await.unwrap(), b'b'),
            false => assert_eq!(soon(accepted.read_u8()).await.unwrap(), b't'),
        }
    }
}

#[tokio::test]
async fn refusing_resets_connections_and_takes_no_new_ones_until_healed() {
    let link = Link::start(&echo_server().await).await.unwrap();
    for _ in 0..3 {
        let mut client = TcpStream::connect(link.endpoint()).await.unwrap();
        say(&mut client, "before").await.unwrap();
        link.cut(Cut::Refuse);
        assert_eq!(client.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        // The listener is closed a moment later.
        soon(async { while TcpStream::connect(link.endpoint()).await.is_ok() {} }).await;
        for _ in 0..20 {
            let refused = TcpStream::connect(link.endpoint()).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
        link.heal();
        let mut client = loop {
            if let Ok(client) = TcpStream::connect(link.endpoint()).await {
                break client;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        say(&mut client, "after").await.unwrap();
    }
}

#[tokio::test]
async fn the_next_long_reply_is_lost_and_no_other() {
    let link = Link::start(&echo_server().await).await.unwrap();
    let mut client = TcpStream::connect(link.endpoint()).await.unwrap();
    link.lose_next_reply(10);
    say(&mut client, "short").await.unwrap();
    let error = say(&mut client, "rather long").await.unwrap_err();
    assert_eq!((error.kind(), link.lost()), (ErrorKind::ConnectionReset, 1));
    let mut client = TcpStream::connect(link.endpoint()).await.unwrap();
    say(&mut client, "rather long").await.unwrap();
    assert_eq!(link.lost(), 1);
}

#[tokio::test]
async fn what_the_server_says_after_the_client_has_finished_arrives() {
    let (server, endpoint) = listener().await;
    let link = Link::start(&endpoint).await.unwrap();
    link.set_round_trip(Duration::from_millis(10));
    let mut client = TcpStream::connect(link.endpoint()).await.unwrap();
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut accepted, _) = server.accept().await.unwrap();
    let mut question = String::new();
    accepted.read_to_string(&mut question).await.unwrap();
    accepted.write_all(b"answer").await.unwrap();
    drop(accepted);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!((&question[..], &answer[..]), ("question", "answer"));
}

#[tokio::test]
async fn a_dead_server_is_a_reset_and_a_dropped_link_ends_its_connections() {
    let (server, endpoint) = listener().await;
    drop(server);
    let link = Link::start(&endpoint).await.unwrap();
    let mut client = TcpStream::connect(link.endpoint()).await.unwrap();
    assert!(client.read_u8().await.is_err());
    let link = Link::start(&echo_server().await).await.unwrap();
    let mut client = TcpStream::connect(link.endpoint()).await.unwrap();
    say(&mut client, "before").await.unwrap();
    drop(link);
    assert!(client.read_u8().await.is_err());
}
