//! The small binary.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::support::*;

#[tokio::test]
async fn it_prints_its_url_and_serves_a_demo_account() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fake-stripe"))
        .args(["--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let url = lines.next().expect("a line").expect("text");
    let request = client().get(format!("{url}/v2/iam/api_keys")).bearer_auth(TEST);
    let request = request.header("stripe-version", VERSION);
    let reply = send(request.header("stripe-context", "acct_1FakeDemo")).await;
    child.kill().expect("it can be stopped");
    child.wait().expect("it stops");
    assert!(url.starts_with("http://127.0.0.1:"));
    assert_eq!(reply.status, 200);
}

#[test]
fn it_names_what_it_does_not_understand() {
    for arguments in [&["--speed", "9"][..], &["--port", "many"], &["--port"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_fake-stripe"))
            .args(arguments)
            .output()
            .expect("the binary starts");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage:"));
    }
}
