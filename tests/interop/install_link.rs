//! `install_signature`: the text under it is written down by each language's own JSON.

use anyhow::Context as _;
use http::StatusCode;
use keysteward::domain::slot::{Kind, Mode};
use keysteward::webhook::install_link::{Claim, verify};
use keysteward::webhook::signature::sign;
use keysteward_tests::world::account;
use keysteward_tests::{Setting, World};
use serde_json::{Value, json};

use crate::script::{STRIPE, now, secret, text};

const SECRET: &str = "absec_of_the_tests";

fn fields(claim: &Claim<'_>) -> Value {
    json!({"account_id": claim.account_id, "user_id": claim.user_id, "state": claim.state})
}

#[tokio::test]
async fn install_signatures_verify_both_ways() -> anyhow::Result<()> {
    let claim = Claim {
        state: Some("eyJzIjoxfQ.-_~/+=&%"),
        user_id: "usr_1Installer",
        account_id: "acct_1User",
    };
    let secrets = [secret("absec_being_rolled_out"), secret(SECRET)];
    for package in STRIPE {
        let at = now();
        let job = json!({
            "command": "sign_install", "claim": fields(&claim),
            "secret": SECRET, "at": at.seconds(),
        });
        let theirs = package.run(job).await?;
        let theirs = text(&theirs["header"])?;
        assert!(verify(&claim, theirs, &secrets, at).is_ok(), "{package}: {theirs}");
        for other in [
            Claim { state: Some("another"), ..claim },
            Claim { user_id: "usr_2", ..claim },
            Claim { account_id: "acct_2", ..claim },
        ] {
            assert!(verify(&other, theirs, &secrets, at).is_err(), "{package}: {other:?}");
        }

        let ours = sign(&secrets[1], at, &claim.signed_bytes());
        for (job_claim, accepted) in
            [(claim, true), (Claim { account_id: "acct_2", ..claim }, false)]
        {
            let job = json!({
                "command": "verify_install", "claim": fields(&job_claim),
                "secret": SECRET, "header": ours,
            });
            let answer = package.run(job).await?;
            assert_eq!(answer.get("refused").is_none(), accepted, "{package}: {answer}");
        }
    }
    Ok(())
}

/// The marketplace of fake-stripe signs a redirect that Stripe's packages accept, and the callback accepts
/// it when one of them signs it instead.
#[tokio::test]
async fn an_installation_whose_redirect_stripes_packages_signed_is_completed() -> anyhow::Result<()>
{
    let app = fake_stripe::AppSpec::default();
    for package in STRIPE {
        let world = World::with(Setting { sockets: true, ..Setting::default() }).await?;
        let at = account(Mode::Test, "acct_1User")?;
        world.add_account(at.id.as_str());
        let (cookie, callback) = world.click_install(&at, "install").await?;
        let back = url::Url::parse("http://127.0.0.1:9")?.join(&callback)?;
        let query: Vec<(String, String)> = back.query_pairs().into_owned().collect();
        let value = |name: &str| {
            let found = query.iter().find(|(field, _)| field == name);
            found.map(|(_, value)| value.as_str()).context("a parameter of the redirect")
        };
        let claim = json!({
            "state": value("state")?, "user_id": value("user_id")?,
            "account_id": value("account_id")?,
        });
        let job = json!({
            "command": "verify_install", "claim": claim,
            "secret": app.signing_secret, "header": value("install_signature")?,
        });
        let answer = package.run(job).await?;
        assert!(answer.get("refused").is_none(), "{package}: {answer}");

        let signed_with = async |key: &str| {
            let job = json!({
                "command": "sign_install", "claim": claim,
                "secret": key, "at": world.now().seconds(),
            });
            let theirs = package.run(job).await?;
            let theirs = text(&theirs["header"])?;
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in back.query_pairs() {
                let value = if name == "install_signature" { theirs } else { &value };
                query.append_pair(&name, value);
            }
            anyhow::Ok(format!("{}?{}", back.path(), query.finish()))
        };
        let forged = signed_with("absec_of_somebody_else").await?;
        let reply = world.call_install(&forged, Some(&cookie)).await;
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST, "{package}");
        assert_eq!(world.rows()?.len(), 0, "{package}: nothing was stored");

        let genuine = signed_with(&app.signing_secret).await?;
        let reply = world.call_install(&genuine, Some(&cookie)).await;
        assert_eq!(reply.status(), StatusCode::OK, "{package}");
        assert!(world.token(&at, Kind::Secret).await.is_ok(), "{package}: the key is there");
    }
    Ok(())
}
