use std::process::Command;

use keysteward::domain::policy::{Choice, Policy};
use keysteward_local::guard::NotLoopback;
use keysteward_local::{Bundle, Options, StartError, Table};

fn options(listen: &str) -> Options {
    Options {
        listen: listen.parse().unwrap(),
        stripe_port: 0,
        table: Table::Memory,
        accounts: Vec::new(),
        policy: Policy::new(Choice::default()).unwrap(),
        sweep_every: None,
        back_to_page: false,
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_keysteward-local"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_can_reach_is_not_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let Err(refused) = Bundle::start(options(address)).await else {
            panic!("listens on {address}")
        };
        assert!(matches!(refused, StartError::NotLoopback(NotLoopback(_))), "{refused}");
    }
    let output = program().args(["dev", "--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("listens on loopback"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = other.local_addr().unwrap().port();
    let Err(refused) = Bundle::start(options(&format!("127.0.0.1:{port}"))).await else {
        panic!("listens on a port that is taken")
    };
    assert!(matches!(refused, StartError::PortTaken(taken) if taken == port), "{refused}");
    let taken = Options { stripe_port: port, ..options("127.0.0.1:0") };
    let Err(refused) = Bundle::start(taken).await else { panic!("fake Stripe shares a port") };
    assert!(matches!(refused, StartError::PortTaken(taken) if taken == port), "{refused}");
}

#[test]
fn beside_a_live_key_nothing_starts_and_the_key_is_not_repeated() {
    // Written so that no scanner takes this file for a leak.
    let key = format!("sk_{}_51Habcdefghijkl", "live");
    let in_environment = program().arg("demo").env("STRIPE_API_KEY", &key).output().unwrap();
    let as_argument = program().args(["dev", "--folder", &key]).output().unwrap();
    for (output, code, place) in
        [(in_environment, 1, "the variable STRIPE_API_KEY"), (as_argument, 2, "argument 3")]
    {
        assert_eq!(output.status.code(), Some(code));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(&format!("{place} looks like a live key")), "{said}");
        assert!(!said.contains(&key) && !said.contains("51Habc"), "{said}");
    }
}

#[test]
fn what_is_not_understood_is_answered_with_how_it_is_used() {
    for arguments in
        [&[][..], &["prod"], &["dev", "--port", "1"], &["dev", "--listen"], &["demo", "--fast"]]
    {
        let output = program().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage:"), "{arguments:?}");
    }
}
