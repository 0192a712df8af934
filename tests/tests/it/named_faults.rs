//! What goes wrong beside Stripe: each has its name in a metric, and nothing is lost by it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::StatusCode;
use keysteward::Class;
use keysteward::domain::audit::Actor;
use keysteward::domain::slot::{AccountRef, Kind, Mode};
use keysteward::runtime::assemble::{self, WebhookParts};
use keysteward::runtime::aws::Aws;
use keysteward::runtime::metrics::Origin;
use keysteward::runtime::secrets::SigningSecrets;
use keysteward::store::Store;
use keysteward::vault::Keyring;
use keysteward::vault::kms::KmsVault;
use keysteward::vault::pair::Bits;
use keysteward_tests::world::{WEBHOOK_SECRET, account, default_slot};
use keysteward_tests::{Emf, KmsDouble, SecretsDouble, Setting, World};

/// A world with an installed account, whose private keys are unwrapped anew for every use.
async fn installed(id: &str) -> anyhow::Result<(World, AccountRef, String)> {
    let world = World::with(Setting { cache: Duration::ZERO, ..Setting::default() }).await?;
    let at = account(Mode::Live, id)?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let token = world.token(&at, Kind::Secret).await?;
    world.take_lines()?;
    Ok((world, at, token))
}

/// Whether a line counts one fault, under this name, as one that stays until somebody acts.
fn ensure_named(line: &Emf, name: &str) -> anyhow::Result<()> {
    ensure!(line.value(name) == Some(1.0), "{name}: {line:?}");
    ensure!(line.value("Faults") == Some(1.0), "{line:?}");
    let named = line.metrics.keys().filter(|metric| metric.starts_with("Fault")).count();
    ensure!(named == 2, "by one name and in the sum: {line:?}");
    Ok(())
}

/// A read that fails for this reason, and after `mend` gives the key that it gave before.
async fn read_fails(world: &World, at: &AccountRef, name: &str) -> anyhow::Result<()> {
    let reply = world.read(at, Kind::Secret).await;
    ensure!(reply.status() == StatusCode::INTERNAL_SERVER_ERROR, "{}", reply.status());
    let line = world.take_line()?;
    ensure!(line.value("KeysNotServed") == Some(1.0), "{line:?}");
    ensure!(line.value("KeysOpened").is_none());
    ensure_named(&line, name)
}

#[tokio::test]
async fn under_another_encryption_context_no_key_opens_and_none_is_lost() -> anyhow::Result<()> {
    let (mut world, at, token) = installed("acct_1Context").await?;
    let vault = KmsVault::new(&world.kms.aws(), KmsDouble::KEY_ID.to_owned());
    let other = Keyring::new(Box::new(vault), "ca_other".into(), Bits::Rsa2048, Duration::ZERO);
    let rows = world.rows()?;
    let right = std::mem::replace(&mut world.service.keyring, other);
    read_fails(&world, &at, "FaultWrongContext").await?;
    ensure!(world.rows()? == rows);
    world.service.keyring = right;
    ensure!(world.token(&at, Kind::Secret).await? == token);
    Ok(())
}

#[tokio::test]
async fn a_wrapped_private_key_that_was_tampered_with_is_named_and_kept() -> anyhow::Result<()> {
    let (world, at, token) = installed("acct_1Wrapped").await?;
    let pair = world.account(&at).await?.pairs.keys().next().context("a pair")?.to_string();
    let (row, whole) = (format!("STATE#PAIR#{pair}"), world.rows()?);
    world.tamper(&row, |row| {
        let wrapped = row["wrapped"]["S"].as_str().unwrap_or_default().to_owned();
        row["wrapped"]["S"] = flipped(&wrapped).into();
    })?;
    let tampered = world.rows()?;
    ensure!(tampered != whole, "the row was changed");
    read_fails(&world, &at, "FaultWrongContext").await?;
    ensure!(world.rows()? == tampered, "it stays as it is, for a person to look at");
    restore(&world, &row, &whole)?;
    ensure!(world.token(&at, Kind::Secret).await? == token);
    Ok(())
}

#[tokio::test]
async fn a_sealed_token_that_was_tampered_with_is_named_and_kept() -> anyhow::Result<()> {
    let (world, at, token) = installed("acct_1Sealed").await?;
    let (row, whole) = ("STATE#KEY#secret#default#0000000001", world.rows()?);
    world.tamper(row, |row| {
        let compact = &mut row["material"]["M"]["sealed"]["M"]["compact"]["S"];
        *compact = flipped(compact.as_str().unwrap_or_default()).into();
    })?;
    let tampered = world.rows()?;
    ensure!(tampered != whole, "the row was changed");
    let reply = world.read(&at, Kind::Secret).await;
    ensure!(reply.status() == StatusCode::INTERNAL_SERVER_ERROR);
    let line = world.take_line()?;
    ensure_named(&line, "FaultTokenDoesNotOpen")?;
    ensure!(line.value("OpenFailures") == Some(1.0) && line.value("KeysOpened").is_none());
    ensure!(line.value("VaultFailures").is_none(), "the vault did its part");
    ensure!(world.rows()? == tampered);
    restore(&world, row, &whole)?;
    ensure!(world.token(&at, Kind::Secret).await? == token);
    Ok(())
}

#[tokio::test]
async fn a_vault_that_refuses_for_whatever_reason_is_waited_for_and_what_it_would_open_is_kept()
-> anyhow::Result<()> {
    for code in ["ThrottlingException", "AccessDeniedException"] {
        let (world, at, old) = installed("acct_1Refused").await?;
        let (slot, deadline) =
            (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(60)));
        world.kms.refuse_with(Some(code));
        world.steward().rotate(&at, &slot, Actor::Operator, deadline).await?;
        let hold = world.account(&at).await?.slots[&slot].hold;
        let hold = hold.with_context(|| format!("{code}: the slot is held"))?;
        ensure!(hold.why.as_str() == "vault_unavailable", "{code}: {hold:?}");

        world.kms.refuse_with(None);
        world.pass(Duration::from_secs(60));
        world.sweep_to_rest().await?;
        let new = world.token(&at, Kind::Secret).await?;
        ensure!(new != old && world.stripe.token_works(&new), "{code}: it opens now");
        let generations = world.account(&at).await?.generations_of(&slot).count();
        ensure!(generations == 2, "{code}: and no other key was made: {generations}");
    }
    Ok(())
}

#[tokio::test]
async fn while_the_vaults_key_is_disabled_a_rotation_waits_with_a_name_and_ends_when_it_is_enabled()
-> anyhow::Result<()> {
    let (world, at, old) = installed("acct_1Disabled").await?;
    let (slot, deadline) = (default_slot(Kind::Secret), world.now().plus(Duration::from_secs(60)));
    // The rotation is asked for, and then nothing opens what it brought.
    let pause = world.table.hold(3);
    let rotation = world.steward().rotate(&at, &slot, Actor::Operator, deadline);
    let disable = async {
        pause.reached().await;
        world.kms.set_disabled(true);
        pause.let_go();
    };
    let (rotated, ()) = tokio::join!(rotation, disable);
    rotated?;
    let hold = world.account(&at).await?.slots[&slot].hold.context("the slot is held")?;
    ensure!(hold.why.as_str() == "vault_unavailable");
    world.steward().counts();
    world.pass(Duration::from_secs(60));
    world.sweep().await?;
    let line = world.take_line()?;
    ensure_named(&line, "FaultVaultKeyDisabled")?;
    ensure!(line.value("VaultFailures") == Some(1.0));
    read_fails(&world, &at, "FaultVaultKeyDisabled").await?;

    world.kms.set_disabled(false);
    world.pass(Duration::from_secs(60));
    ensure!(world.token(&at, Kind::Secret).await? == old, "the old key is served as before");
    world.sweep_to_rest().await?;
    let new = world.token(&at, Kind::Secret).await?;
    ensure!(new != old && world.stripe.token_works(&new), "what was stored meanwhile opens now");
    Ok(())
}

#[tokio::test]
async fn without_its_table_each_function_says_so_and_what_stripe_sent_is_taken_when_it_is_back()
-> anyhow::Result<()> {
    let (mut world, at, token) = installed("acct_1Table").await?;
    let gone = Store::new(&world.table.aws(), "a-table-that-is-not-there");
    let here = world.table.store()?;

    world.service.store = gone.clone();
    read_fails(&world, &at, "FaultTableMissing").await?;

    world.webhook.store = gone.clone();
    let refused = world.try_deliver().await?;
    ensure!(refused.count > 0 && refused.refused == refused.count, "{refused:?}");
    for line in world.take_lines()? {
        ensure!(line.value("EventsNotStored") == Some(1.0), "{line:?}");
        ensure_named(&line, "FaultTableMissing")?;
    }

    world.install.steward.store = gone.clone();
    let failed = world.sweep().await.err().context("there is nothing to sweep")?;
    ensure!(failed.to_string().contains("there is no such table"), "{failed}");
    let line = world.take_line()?;
    ensure_named(&line, "FaultTableMissing")?;
    ensure!(line.value("OldestOverdue").is_none(), "what was not read is not called zero");

    // The notification is stored, and the function that should apply it looks in the wrong place.
    world.webhook.store = here.clone();
    let missed = world.try_deliver().await?;
    ensure!(missed.refused == 0 && missed.count == refused.count, "Stripe sends it all again");
    let lines = world.take_lines()?;
    let faults = lines.iter().filter(|line| line.value("EventFaults") == Some(1.0));
    ensure!(faults.count() == missed.count, "{lines:?}");

    world.service.store = here.clone();
    world.install.steward.store = here.clone();
    ensure!(world.token(&at, Kind::Secret).await? == token);
    world.pass(Duration::from_secs(61));
    world.sweep_to_rest().await?;
    ensure!(here.events(&at, 100).await?.iter().all(|event| !event.open), "the sweep applied them");
    Ok(())
}

#[tokio::test]
async fn without_its_secret_a_function_does_not_start_and_one_that_runs_goes_on()
-> anyhow::Result<()> {
    let (mut world, ..) = installed("acct_1Secret").await?;
    let double = SecretsDouble::start().await?;
    let lookup = |name: &str| {
        Some(match name {
            "AWS_REGION" => "us-east-1".to_owned(),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => "double".to_owned(),
            "AWS_ENDPOINT_URL" => double.url().to_owned(),
            "KEYSTEWARD_TABLE" | "KEYSTEWARD_APP_ID" => "name".to_owned(),
            "KEYSTEWARD_KMS_KEY_ID" => "alias/keysteward".to_owned(),
            "KEYSTEWARD_STRIPE_SECRET_ID" | "KEYSTEWARD_WEBHOOK_SECRET_ID" => "secret".to_owned(),
            "KEYSTEWARD_ENDPOINT_URL" => "https://keys.example".to_owned(),
            "KEYSTEWARD_INSTALL_URL_LIVE" => "https://marketplace.stripe.com/oauth".to_owned(),
            _ => return None,
        })
    };
    for (failure, name, class) in [
        ("ResourceNotFoundException", "FaultSecretMissing", Class::Fault),
        ("InvalidRequestException", "FaultSecretMissing", Class::Fault),
        ("AccessDeniedException", "FaultSecretUnread", Class::Fault),
        ("DecryptionFailure", "FaultSecretUnread", Class::Fault),
        ("InternalServiceError", "FaultSecretUnread", Class::Transient),
    ] {
        double.fail(Some(failure));
        for error in [
            assemble::webhook(&lookup).await.err(),
            assemble::steward(&lookup).await.err(),
            assemble::install(&lookup).await.err(),
        ] {
            let error = error.context("it does not start")?;
            ensure!(error.class() == class, "{failure}");
            let origin = Origin::of_function(Some("prod-webhook"));
            let line = error.line().render(&origin, world.now()).context("a line")?;
            ensure_named(&Emf::parse(&line)?, name)?;
        }
    }

    double.fail(None);
    double.put("secret", &format!(r#"{{"signing_secrets":["{WEBHOOK_SECRET}"]}}"#));
    let aws = Aws::local(double.url())?;
    let secrets = SigningSecrets::from_secrets_manager(aws, "secret".into(), world.now()).await?;
    let clock = world.webhook.clock.clone();
    world.webhook = WebhookParts { store: world.table.store()?, secrets, clock };
    double.remove("secret");
    world.pass(Duration::from_secs(301));
    let delivered = world.deliver().await?;
    ensure!(delivered > 0, "events are taken with the secrets that were read before");
    let lines = world.take_lines()?;
    let webhook: Vec<_> = lines.iter().filter(|line| line.root["Function"] == "webhook").collect();
    ensure_named(webhook[0], "FaultSecretMissing")?;
    ensure!(webhook[0].value("SigningSecretsUnread") == Some(1.0));
    ensure!(webhook.iter().all(|line| line.value("WebhooksAccepted") == Some(1.0)));
    Ok(())
}

#[tokio::test]
async fn a_signing_secret_that_is_rolled_is_taken_up_in_five_minutes_and_the_old_one_given_up()
-> anyhow::Result<()> {
    let (mut world, ..) = installed("acct_1Rolled").await?;
    let double = SecretsDouble::start().await?;
    let (old, new) = ("whsec_old", "whsec_new");
    double.put("secret", &format!(r#"{{"signing_secrets":["{old}"]}}"#));
    let aws = Aws::local(double.url())?;
    let secrets = SigningSecrets::from_secrets_manager(aws, "secret".into(), world.now()).await?;
    let clock = world.webhook.clock.clone();
    world.webhook = WebhookParts { store: world.table.store()?, secrets, clock };
    let body = world.stripe.take_deliveries().pop().context("a delivery")?.body;
    for (signing_secrets, taken) in
        [([old, old], [true, false]), ([old, new], [true, true]), ([new, new], [false, true])]
    {
        let [one, other] = signing_secrets;
        double.put("secret", &format!(r#"{{"signing_secrets":["{one}","{other}"]}}"#));
        world.pass(Duration::from_secs(301));
        for (secret, is_taken) in [old, new].into_iter().zip(taken) {
            let signature = fake_stripe::sign(&[secret], world.now().seconds(), &body);
            let status = world.post(&body, &signature).await.status();
            ensure!((status == StatusCode::OK) == is_taken, "{secret} of {signing_secrets:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn while_the_vault_is_away_a_process_serves_what_it_remembers_and_no_longer()
-> anyhow::Result<()> {
    let cache = Duration::from_secs(120);
    let world = World::with(Setting { cache, ..Setting::default() }).await?;
    let at = account(Mode::Live, "acct_1Remembered")?;
    world.add_account(at.id.as_str());
    world.install_app(&at).await?;
    let token = world.token(&at, Kind::Secret).await?;
    world.take_lines()?;
    world.kms.set_disabled(true);
    world.pass(cache - Duration::from_secs(1));
    ensure!(world.token(&at, Kind::Secret).await? == token, "the private key is remembered");
    world.take_lines()?;
    world.pass(Duration::from_secs(1));
    read_fails(&world, &at, "FaultVaultKeyDisabled").await?;
    world.kms.set_disabled(false);
    ensure!(world.token(&at, Kind::Secret).await? == token, "and asked for again");
    Ok(())
}

/// The text with one character in its last part changed, so that it is still of its form.
fn flipped(text: &str) -> String {
    let at = text.len() - 6;
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

fn restore(world: &World, sort_key: &str, whole: &[serde_json::Value]) -> anyhow::Result<()> {
    let row = whole.iter().find(|row| row["sk"]["S"] == sort_key).context("it was there")?;
    world.tamper(sort_key, |tampered| *tampered = row.clone())
}
