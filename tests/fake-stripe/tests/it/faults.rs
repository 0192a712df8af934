//! Faults strike where they are told to, and the world afterwards is what it should be.

use fake_stripe::{CallMatch, Fault, FaultKind};

use crate::support::*;

const KEYS: &str = "/v2/iam/api_keys";

async fn attempt(setup: &Setup) -> Result<u16, reqwest::Error> {
    let request = setup.request(reqwest::Method::POST, LIVE, KEYS);
    let request = request.header("idempotency-key", "intent").json(&secret_key());
    Ok(request.send().await?.status().as_u16())
}

#[tokio::test]
async fn a_fault_before_the_effect_leaves_nothing_behind() {
    let setup = setup().await;
    let kind = FaultKind::BeforeEffect { status: 503, code: "api_error".into() };
    setup.fake.inject(Fault { on: CallMatch::post(KEYS), kind, times: 2 });
    for _ in 0..2 {
        let reply = setup.create_live().await;
        assert_eq!((reply.status, reply.code()), (503, "api_error"));
        assert_eq!(reply.header("stripe-should-retry"), Some("true"));
    }
    assert!(setup.fake.keys(ACCOUNT).is_empty());
    assert_eq!(setup.create_live().await.status, 200);
}

#[tokio::test]
async fn a_fault_after_the_effect_leaves_a_key_that_a_retry_finds() {
    let setup = setup().await;
    let kind = FaultKind::AfterEffect { status: 500 };
    setup.fake.inject(Fault::once(CallMatch::post(KEYS), kind));
    assert_eq!(attempt(&setup).await.expect("an answer"), 500);
    assert_eq!(setup.fake.keys(ACCOUNT).len(), 1);
    assert_eq!(attempt(&setup).await.expect("an answer"), 200);
    assert_eq!(setup.fake.keys(ACCOUNT).len(), 1);
}

#[tokio::test]
async fn a_lost_response_is_an_effect_without_an_answer() {
    let setup = setup().await;
    setup.fake.inject(Fault::once(CallMatch::post(KEYS), FaultKind::LostResponse));
    assert!(attempt(&setup).await.is_err());
    assert_eq!(setup.fake.keys(ACCOUNT).len(), 1);
    assert_eq!(setup.fake.log()[0].status, None);
}

#[tokio::test]
async fn a_refused_connection_has_no_effect() {
    let setup = setup().await;
    setup.fake.inject(Fault::once(CallMatch::post(KEYS), FaultKind::Refused));
    assert!(attempt(&setup).await.is_err());
    assert!(setup.fake.keys(ACCOUNT).is_empty());
}

#[tokio::test]
async fn a_rate_limit_can_be_ordered_with_its_reason() {
    let setup = setup().await;
    let kind = FaultKind::RateLimited { reason: "global-concurrency".into() };
    setup.fake.inject(Fault::once(CallMatch::post(KEYS).nth(2), kind));
    assert_eq!(setup.create_live().await.status, 200);
    let reply = setup.create_live().await;
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("stripe-rate-limited-reason"), Some("global-concurrency"));
    assert_eq!(reply.header("stripe-should-retry"), None);
}

#[tokio::test]
async fn a_call_that_the_caller_gave_up_takes_effect_all_the_same() {
    let setup = setup().await;
    setup.fake.inject(Fault::once(CallMatch::post(KEYS), FaultKind::Delay(200)));
    // Made before the time is counted; it takes longer than the caller waits.
    let _ = key_pair();
    let brief = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(brief, attempt(&setup)).await.is_err());
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(setup.fake.keys(ACCOUNT).len(), 1);
    assert_eq!(attempt(&setup).await.expect("an answer"), 200);
    assert_eq!(setup.fake.keys(ACCOUNT).len(), 1);
}
