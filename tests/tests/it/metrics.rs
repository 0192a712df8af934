//! What the functions count, read from the lines that they write.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_stripe::{CallMatch, Fault, FaultKind, KeepOrExpire};
use http::StatusCode;
use keysteward::domain::audit::Actor;
use keysteward::domain::backlog::LATE;
use keysteward::domain::secret::SecretToken;
use keysteward::domain::slot::{Kind, Mode};
use keysteward::domain::time::Timestamp;
use keysteward::fault::Fault as Named;
use keysteward::runtime::metrics::{Line, Metric, Origin};
use keysteward::webhook::signature::sign;
use keysteward_tests::table::When;
use keysteward_tests::world::{WEBHOOK_SECRET, account, default_slot};
use keysteward_tests::{Emf, World};

const HOUR: Duration = Duration::from_secs(3600);

/// What every sweep says, zero or not.
const LEVELS: [&str; 8] = [
    "AccountsNeedOperator",
    "EventCursorAge",
    "OldestOverdue",
    "SweepDeferred",
    "SweepEvents",
    "SweepFailed",
    "SweepSettled",
    "UnknownRows",
];

fn counted(line: &Emf) -> Vec<(&str, f64)> {
    let metrics = line.metrics.iter().filter(|(_, (_, value))| *value != 0.0);
    metrics.map(|(name, (_, value))| (name.as_str(), *value)).collect()
}

#[test]
fn a_line_with_every_metric_follows_the_specification() -> anyhow::Result<()> {
    let mut line = Line::default();
    ensure!(line.render(&Origin::of_function(None), Timestamp::EPOCH).is_none(), "nothing to say");
    for metric in Metric::all() {
        line.add(metric, u64::MAX);
    }
    let origin = Origin::of_function(Some("pay-eu-1-rotate"));
    let text = line.render(&origin, Timestamp::from_seconds(1)?).context("a line")?;
    let emf = Emf::parse(&text)?;
    ensure!(emf.namespace == "Keysteward");
    ensure!(emf.dimensions == [[("Stack".to_owned(), "pay-eu-1".to_owned())].into()]);
    ensure!(emf.root["Function"] == "rotate" && emf.root["_aws"]["Timestamp"] == 1000);
    ensure!(emf.metrics.len() == Metric::all().count(), "no two have one name");
    ensure!(emf.metrics["OldestOverdue"].0 == "Seconds");
    ensure!(emf.metrics["SweepFailed"].0 == "Count");
    Ok(())
}

#[test]
fn a_warning_is_in_the_line_as_the_log_has_it() -> anyhow::Result<()> {
    let mut line = Line::one(Metric::WebhooksForged);
    line.warn("a webhook was refused", &"no signature matches");
    let mut sum = Line::one(Metric::WebhooksForged);
    sum.absorb(line);
    let text = sum.render(&Origin::of_function(None), Timestamp::EPOCH).context("a line")?;
    let emf = Emf::parse(&text)?;
    ensure!(emf.value("WebhooksForged") == Some(2.0) && emf.metrics.len() == 1);
    ensure!(emf.root["level"] == "WARN" && emf.root["message"] == "a webhook was refused");
    ensure!(emf.root["reason"] == "no signature matches");
    Ok(())
}

#[test]
fn a_line_that_breaks_a_rule_of_the_format_is_seen() -> anyhow::Result<()> {
    let good = Line::one(Metric::KeysServed).render(&Origin::of_function(None), Timestamp::EPOCH);
    let good = good.context("a line")?;
    Emf::parse(&good)?;
    for (from, to) in [
        (r#""KeysServed":1"#, r#""KeysServed":"1""#),
        (r#""KeysServed":1"#, r#""KeysServed":{"v":1}"#),
        (r#""KeysServed":1"#, r#""Other":1"#),
        (r#""Stack":"local""#, r#""Stack":7"#),
        (r#""Stack":"local""#, r#""Other":"local""#),
        (r#""Namespace":"Keysteward""#, r#""Namespace":"""#),
        (r#""Unit":"Count""#, r#""Unit":"Parsecs""#),
        (r#","Unit":"Count""#, ""),
        (r#""Dimensions":[["Stack"]]"#, r#""Dimensions":[]"#),
        (r#""Dimensions":[["Stack"]]"#, r#""Dimensions":["Stack"]"#),
        (r#""Timestamp":0"#, r#""Timestamp":"0""#),
        (r#""Timestamp":0"#, r#""Timestamp":0,"LogGroup":"x""#),
        ("{", "{\n"),
    ] {
        let bad = good.replace(from, to);
        ensure!(bad != good, "{from} is in {good}");
        ensure!(Emf::parse(&bad).is_err(), "{bad}");
    }
    Ok(())
}

#[test]
fn a_level_keeps_its_largest_value_and_a_count_adds_up() {
    let mut line = Line::default();
    for value in [3, 7, 5] {
        line.add(Metric::OldestOverdue, value);
        line.add(Metric::SweepFailed, value);
    }
    line.absorb(Line::one(Metric::SweepFailed));
    line.absorb(Line::one(Metric::OldestOverdue));
    assert_eq!(line.value(Metric::OldestOverdue), Some(7));
    assert_eq!(line.value(Metric::SweepFailed), Some(16));
}

#[test]
fn a_passing_fault_has_its_name_and_is_no_call_for_help() {
    for fault in Named::ALL {
        let mut line = Line::default();
        line.fault(Some(fault));
        assert_eq!(line.value(Metric::Fault(fault)), Some(1));
        assert_eq!(line.value(Metric::Faults).is_some(), fault.is_lasting(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_sweep_says_how_late_the_oldest_is_and_zero_when_nothing_is() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Late")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.take_lines()?;
    world.sweep().await?;
    let line = world.take_line()?;
    ensure!(line.metrics.keys().eq(LEVELS.iter()), "{line:?}");
    let behind = ("EventCursorAge", LATE.as_secs_f64());
    ensure!(counted(&line) == [behind], "{line:?}");
    ensure!(line.root["Function"] == "rotate" && line.root["Stack"] == "world");

    let due_at = world.account(&at).await?.head.due_at.context("a look is due in a day")?;
    world.pass(due_at.since(world.now()) + HOUR + Duration::from_secs(5));
    let too_late = keysteward_rotate::run(world.steward(), world.now()).await;
    ensure!(
        too_late.line.value(Metric::OldestOverdue) == Some(3605),
        "known without the time to act"
    );
    ensure!(too_late.line.value(Metric::SweepDeferred) == Some(1));
    world.sweep().await?;
    let line = world.take_line()?;
    ensure!(line.value("SweepSettled") == Some(1.0), "{line:?}");
    ensure!(line.value("OldestOverdue") == Some(3605.0), "{line:?}");
    world.sweep().await?;
    let (line, is_age) = (world.take_line()?, |name: &str| name == "EventCursorAge");
    ensure!(counted(&line).iter().all(|(name, _)| is_age(name)), "not late any more: {line:?}");
    Ok(())
}

#[tokio::test]
async fn an_account_that_needs_an_operator_is_counted_when_it_comes_to_that_and_every_day_after()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Help")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.stripe.set_behaviour(|stripe| stripe.garble_ciphertext = true);
    let (slot, deadline) = (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(60)));
    world.take_lines()?;
    world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
    let counts = world.steward().counts();
    ensure!(counts.value(Metric::KeysNeedOperator) == Some(2), "{counts:?}");
    ensure!(counts.value(Metric::OpenFailures) == Some(2), "{counts:?}");

    let mut sightings = Vec::new();
    for _ in 0..(4 * 24) {
        world.pass(HOUR);
        world.sweep().await?;
        sightings.extend(
            world.take_lines()?.iter().filter_map(|line| line.value("AccountsNeedOperator")),
        );
    }
    let seen: Vec<usize> =
        (0..sightings.len()).filter(|hour| sightings[*hour] > 0.0).map(|hour| hour + 1).collect();
    ensure!(
        seen == [24, 48, 72, 96],
        "once a day, looks and retirements notwithstanding: {seen:?}"
    );
    ensure!(sightings.iter().all(|count| *count <= 1.0));
    Ok(())
}

#[tokio::test]
async fn a_key_past_its_deadline_is_counted_at_each_attempt_until_it_is_dead() -> anyhow::Result<()>
{
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Undead")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let (slot, deadline) = (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(60)));
    let old = world.token(&at, Kind::Secret).await?;
    world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
    world.steward().counts();
    // Stripe refuses everything, so whether the old key is dead cannot be known.
    let kind = FaultKind::BeforeEffect { status: 400, code: "odd".to_owned() };
    world.stripe.inject(Fault { on: CallMatch::default(), kind, times: u32::MAX });
    world.pass(Duration::from_secs(86_400 + 600));
    world.take_lines()?;
    let mut quiet = Duration::ZERO;
    let mut rung = 0;
    for _ in 0..120 {
        world.sweep().await?;
        let line = world.take_line()?;
        if line.value("KeysPastDeadline").is_some() {
            rung += 1;
            ensure!(line.value("StripeFailures").is_some_and(|count| count >= 1.0), "{line:?}");
            quiet = Duration::ZERO;
        }
        ensure!(quiet <= Duration::from_secs(900), "the alarm's window of 20 minutes holds it on");
        world.pass(Duration::from_secs(60));
        quiet += Duration::from_secs(60);
    }
    ensure!(rung >= 7, "{rung}");
    world.stripe.clear_faults();
    world.pass(Duration::from_secs(900));
    world.sweep_to_rest().await?;
    ensure!(!world.stripe.token_works(&old));
    world.take_lines()?;
    world.pass(HOUR);
    world.sweep().await?;
    ensure!(world.take_line()?.value("KeysPastDeadline").is_none());
    Ok(())
}

#[tokio::test]
async fn every_answer_429_of_stripe_is_counted() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Fast")?;
    world.add_account(at.id.as_str());
    let limited = FaultKind::RateLimited { reason: "endpoint-rate".to_owned() };
    world.stripe.inject(Fault::once(CallMatch::post("/v2/iam/api_keys"), limited));
    world.install_app(&at).await?;
    let lines = world.take_lines()?;
    let line = lines.last().context("the callback says something")?;
    ensure!(line.value("StripeThrottled") == Some(1.0), "{line:?}");
    ensure!(line.value("Installations") == Some(1.0) && line.value("StripeFailures") == Some(1.0));
    Ok(())
}

#[tokio::test]
async fn what_others_count_reaches_the_line_of_the_sweep() -> anyhow::Result<()> {
    let world = World::start().await?;
    let tally = &world.steward().tally;
    tally.add(Metric::DriftFound, 0);
    tally.add(Metric::EventCursorAge, 9_000);
    tally.add(Metric::EventCursorAge, 30);
    tally.count(Metric::BreakerOpen);
    tally.count(Metric::BreakerOpen);
    world.sweep().await?;
    let line = world.take_line()?;
    ensure!(line.value("DriftFound") == Some(0.0), "that nothing was found is worth saying");
    ensure!(line.value("EventCursorAge") == Some(9_000.0), "the oldest of them");
    ensure!(line.value("BreakerOpen") == Some(1.0), "it is open or not");
    world.sweep().await?;
    ensure!(world.take_line()?.metrics.keys().eq(LEVELS.iter()), "and is said once");
    Ok(())
}

#[tokio::test]
async fn a_webhook_is_counted_by_what_became_of_it() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Webhooks")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let delivery = world.stripe.take_deliveries().into_iter().next().context("a delivery")?;
    let signed = |body: &[u8], seconds: i64| {
        let at = Timestamp::from_millis(world.now().millis() + seconds * 1000)?;
        anyhow::Ok(sign(&SecretToken::new(WEBHOOK_SECRET.to_owned()), at, body))
    };
    world.take_lines()?;
    let forged = format!("t={},v1={}", world.now().seconds(), "0".repeat(64));
    for (body, signature, metric) in [
        (&delivery.body[..], signed(&delivery.body, 0)?, "WebhooksAccepted"),
        (&delivery.body, signed(&delivery.body, 1)?, "WebhooksDuplicate"),
        (&delivery.body, forged, "WebhooksForged"),
        (&delivery.body, signed(&delivery.body, -301)?, "WebhooksStale"),
        (&delivery.body, "nonsense".to_owned(), "WebhooksUnsigned"),
        (b"{}", signed(b"{}", 0)?, "BadEvents"),
        (&[b' '; 256 * 1024 + 1], "nonsense".to_owned(), "WebhooksMisdirected"),
    ] {
        world.post(body, &signature).await;
        let line = world.take_line()?;
        ensure!(counted(&line) == [(metric, 1.0)], "{metric}: {line:?}");
        ensure!(line.root["Function"] == "webhook");
        ensure!(!line.root.to_string().contains("acct_"), "no account is in a metric");
    }
    world.table.fail(0, When::BeforeEffect, false);
    world.post(&delivery.body, &signed(&delivery.body, 0)?).await;
    let line = world.take_line()?;
    ensure!(
        counted(&line) == [("EventsNotStored", 1.0), ("FaultTableUnavailable", 1.0)],
        "{line:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_read_is_counted_by_its_status() -> anyhow::Result<()> {
    let world = World::start().await?;
    let at = account(Mode::Live, "acct_1Reads")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    world.take_lines()?;
    let served = world.read(&at, Kind::Secret).await;
    ensure!(counted(&world.take_line()?) == [("KeysOpened", 1.0), ("KeysServed", 1.0)]);
    world.read(&at, Kind::Publishable).await;
    ensure!(counted(&world.take_line()?) == [("KeysServed", 1.0)], "nothing is sealed there");
    let tag = served.headers().get("etag").context("a tag")?.to_str()?;
    world.read_if(&at, Kind::Secret, Some(tag)).await;
    ensure!(counted(&world.take_line()?) == [("KeysNotModified", 1.0)]);
    world.read(&account(Mode::Test, "acct_1Reads")?, Kind::Secret).await;
    ensure!(counted(&world.take_line()?) == [("KeysUnknown", 1.0)]);

    world.table.fail(0, When::BeforeEffect, false);
    let reply = world.read(&at, Kind::Secret).await;
    ensure!(reply.status() == StatusCode::SERVICE_UNAVAILABLE);
    let counts = [("FaultTableUnavailable", 1.0), ("KeysNotServed", 1.0)];
    ensure!(counted(&world.take_line()?) == counts);

    world.stripe.uninstall(at.id.as_str(), true, KeepOrExpire::Keep);
    world.deliver().await?;
    world.take_lines()?;
    world.read(&at, Kind::Secret).await;
    ensure!(counted(&world.take_line()?) == [("KeysUnusable", 1.0)]);
    Ok(())
}
