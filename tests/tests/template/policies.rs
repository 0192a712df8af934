//! `infra/policies`: what people are given, held against what the functions are given for the same work.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cloudformation::listed;
use crate::rights::{RIGHTS, expected};
use crate::source::{code, dense, files, read};

/// The actions of a policy and what they are on, by the template's names; those on the key that encrypts
/// at rest left out, which is used through other services alone.
fn granted(path: &str) -> anyhow::Result<BTreeSet<(String, String)>> {
    let policy: Value = serde_json::from_str(&read(path)?)?;
    let mut granted = BTreeSet::new();
    for statement in listed(&policy["Statement"]) {
        assert_eq!(statement["Effect"], "Allow", "{path}");
        for action in listed(&statement["Action"]) {
            for resource in listed(&statement["Resource"]) {
                let resource = resource.as_str().unwrap_or_default();
                let on = match resource.rsplit(':').next().unwrap_or_default() {
                    "table/TABLE_NAME" => "Table",
                    "table/TABLE_NAME/index/due" => "Table/index/due",
                    "key/VAULT_KEY_ID" => "VaultKey",
                    "STRIPE_SECRET" => "StripeSecret",
                    "WEBHOOK_SECRET" => "WebhookSecret",
                    "key/DATA_KEY_ID" => {
                        let through = &statement["Condition"]["StringEquals"]["kms:ViaService"];
                        assert!(through.is_string(), "{path}: {statement}");
                        continue;
                    }
                    _ => continue,
                };
                granted.insert((action.as_str().unwrap_or_default().to_owned(), on.to_owned()));
            }
        }
    }
    Ok(granted)
}

fn rights(of: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    of.iter().map(|(action, on)| ((*action).to_owned(), (*on).to_owned())).collect()
}

/// `doctor` looks at more than any function does, and at both secrets.
#[test]
fn an_operator_may_do_what_the_sweep_does_and_what_doctor_looks_at() -> anyhow::Result<()> {
    let mut needed = expected(&RIGHTS, "Rotate");
    needed.extend(rights(&[
        ("dynamodb:DescribeTimeToLive", "Table"),
        ("dynamodb:DescribeContinuousBackups", "Table"),
        ("secretsmanager:GetSecretValue", "WebhookSecret"),
    ]));
    assert_eq!(granted("infra/policies/operator.json")?, needed, "granted, needed");

    let examined = dense(&code("shared/src/store/examine.rs")?);
    let described: BTreeSet<&str> = examined
        .split("self.client().describe_")
        .skip(1)
        .filter_map(|rest| rest.split('(').next())
        .collect();
    let known = BTreeSet::from(["table", "time_to_live", "continuous_backups"]);
    assert_eq!(described, known, "described, known");
    Ok(())
}

#[test]
fn who_only_looks_may_change_nothing_and_open_nothing() -> anyhow::Result<()> {
    let needed = rights(&[
        ("dynamodb:DescribeTable", "Table"),
        ("dynamodb:GetItem", "Table"),
        ("dynamodb:Query", "Table"),
        ("dynamodb:Query", "Table/index/due"),
    ]);
    assert_eq!(granted("infra/policies/operator-read-only.json")?, needed, "granted, needed");
    Ok(())
}

/// The vault's key opens a private key under the four pairs of its context, for people as for functions.
#[test]
fn a_person_uses_the_vaults_key_under_the_condition_that_the_sweep_has() -> anyhow::Result<()> {
    let template = crate::template()?;
    let of_the_sweep =
        listed(&template.properties("RotateRole")["Policies"][0]["PolicyDocument"]["Statement"])
            .into_iter()
            .find(|statement| statement["Sid"] == "WrapAndUnwrapPrivateKeys")
            .map(|statement| statement["Condition"].clone());
    let mut of_the_sweep = of_the_sweep.unwrap_or_default();
    of_the_sweep["StringEquals"]["kms:EncryptionContext:app"] = "STRIPE_APP_ID".into();
    let operator: Value = serde_json::from_str(&read("infra/policies/operator.json")?)?;
    let statement = listed(&operator["Statement"])
        .into_iter()
        .find(|statement| statement["Sid"] == "WrapAndUnwrapPrivateKeys");
    assert_eq!(statement.map(|found| &found["Condition"]), Some(&of_the_sweep));
    Ok(())
}

/// What a person's command asks of AWS is asked through the store, the vault and the secrets.
#[test]
fn the_command_speaks_to_no_service_on_its_own() -> anyhow::Result<()> {
    for path in files("cli/src")? {
        assert!(!code(&path)?.contains("aws_sdk_"), "{path}");
    }
    Ok(())
}
