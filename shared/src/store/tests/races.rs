//! Writers that meet, and answers that get lost.

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::samples::*;
use super::{embedded, embedded_at};
use crate::class::Class;
use crate::domain::account::{Account, Change};
use crate::domain::audit::{Action, Actor, Phase};
use crate::runtime::aws::Aws;
use crate::store::error::{Role, of_transaction};
use crate::store::{Error, Recorded, Store};

fn claim(account: &Account) -> Change {
    let mut change = Change::of(account.clone(), later(1), Actor::Sweep);
    change.claim();
    change
}

#[tokio::test]
async fn of_two_changes_from_one_load_the_second_is_a_conflict() {
    let store = embedded().await;
    let nothing = Account::new(at(), now());
    let mut account = store.record(provisioning(nothing.clone())).await.unwrap();
    let transaction = |account: &Account| provisioning(account.clone());
    for round in 0..3 {
        let (first, second) = match round {
            0 => (claim(&account), claim(&account)),
            1 => (transaction(&account), claim(&account)),
            _ => (claim(&account), transaction(&account)),
        };
        account = store.record(first).await.unwrap();
        assert!(matches!(store.record(second).await, Err(Error::Conflict)));
        assert_eq!(store.load(&at()).await.unwrap(), Some(account.clone()));
    }
    assert!(matches!(store.record(provisioning(nothing)).await, Err(Error::Conflict)));
    assert_eq!(Error::Conflict.class(), Class::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixteen_racing_writers_exactly_one_wins() {
    let store = embedded().await;
    let account = store.record(provisioning(Account::new(at(), now()))).await.unwrap();
    for round in 0..2 {
        let loaded = store.load(&at()).await.unwrap().unwrap();
        let racers: Vec<_> = (0..16)
            .map(|_| {
                let (store, mut change) = (store.clone(), claim(&loaded));
                if round == 1 {
                    change.note(Action::Request, Phase::Note, None, None);
                }
                tokio::spawn(async move { store.record(change).await })
            })
            .collect();
        let mut won = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(_) => won += 1,
                Err(lost) => assert!(matches!(lost, Error::Conflict), "{lost:?}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
    }
    let head = store.load(&at()).await.unwrap().unwrap().head;
    assert_eq!((head.version, head.fence), (3, account.head.fence + 2));
}

/// Passes one request on and loses its answer, then passes everything through.
async fn proxy_that_loses_the_first_answer(upstream: &str) -> String {
    let upstream = upstream.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(&upstream).await.unwrap();
        let mut request = vec![];
        while !is_complete(&request) {
            client.read_buf(&mut request).await.unwrap();
        }
        server.write_all(&request).await.unwrap();
        let mut answer = vec![];
        while !is_complete(&answer) {
            server.read_buf(&mut answer).await.unwrap();
        }
        drop(client);
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(&upstream).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    endpoint
}

fn is_complete(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    body.len() >= length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_taken_for_somebody_elses() {
    let (store, endpoint) = embedded_at().await;
    let flaky = async || {
        let endpoint = proxy_that_loses_the_first_answer(&endpoint).await;
        Store::new(&Aws::local(&endpoint).unwrap(), &store.table)
    };
    let account =
        flaky().await.record(provisioning(Account::new(at(), now()))).await.expect("transaction");
    assert_eq!(store.load(&at()).await.unwrap(), Some(account.clone()));
    let account = flaky().await.record(claim(&account)).await.expect("put");
    assert_eq!(store.load(&at()).await.unwrap(), Some(account.clone()));
    assert_eq!(account.head.version, 2, "each happened once");

    let recorded = flaky().await.put_event(&event("evt_1"), now()).await.unwrap();
    assert_eq!(recorded, Recorded::Duplicate, "it is stored, which is all that matters");
}

#[tokio::test]
async fn a_table_that_is_not_there_or_not_reachable_is_told_apart() {
    let (store, endpoint) = embedded_at().await;
    let nowhere = Store::new(&Aws::local("http://127.0.0.1:1").unwrap(), "keysteward");
    let unreachable = nowhere.load(&at()).await.unwrap_err();
    assert_eq!(unreachable.class(), Class::Transient, "{unreachable:?}");
    let other = Store::new(&Aws::local(&endpoint).unwrap(), "another");
    assert_eq!(other.load(&at()).await.unwrap_err().class(), Class::Fault);

    let mut change = Change::of(Account::new(at(), now()), now(), Actor::Operator);
    for _ in 0..100 {
        change.note(Action::Request, Phase::Note, None, None);
    }
    let refused = store.record(change).await;
    assert!(matches!(refused, Err(Error::TooManyRows { rows: 101 })));
}

fn cancelled(codes: [&str; 3]) -> Error {
    let reasons = codes.map(|code| CancellationReason::builder().code(code).build());
    let exception = TransactionCanceledException::builder()
        .set_cancellation_reasons(Some(reasons.into()))
        .build();
    let response = HttpResponse::new(400.try_into().unwrap(), "".into());
    let error = TransactWriteItemsError::TransactionCanceledException(exception);
    of_transaction(SdkError::service_error(error, response), &[Role::Head, Role::Row, Role::Audit])
}

#[test]
fn a_cancelled_transaction_is_understood_by_the_place_of_its_reason() {
    for (codes, class) in [
        (["ConditionalCheckFailed", "None", "ConditionalCheckFailed"], Class::Conflict),
        (["TransactionConflict", "None", "None"], Class::Conflict),
        (["None", "TransactionConflict", "None"], Class::Conflict),
        (["None", "None", "ConditionalCheckFailed"], Class::Fault),
        (["ThrottlingError", "None", "None"], Class::Transient),
        (["None", "ProvisionedThroughputExceeded", "None"], Class::Transient),
        (["None", "ValidationError", "None"], Class::Fault),
    ] {
        assert_eq!(cancelled(codes).class(), class, "{codes:?}");
    }
    let diverged = cancelled(["None", "None", "ConditionalCheckFailed"]);
    assert!(matches!(diverged, Error::TrailDiverged));
}
