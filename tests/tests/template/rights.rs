//! What each role may do, and what the code of its function does.

use std::collections::BTreeSet;

use keysteward::domain::event::{Notification, Topic};
use keysteward::domain::id::{AccountId, EventId, Kid};
use keysteward::domain::sealed::Context;
use keysteward::domain::slot::{AccountRef, Mode};
use keysteward::domain::time::Timestamp;
use keysteward::store::table::DEFINITION;
use keysteward_tests::table::{NAME, Table};
use serde_json::{Value, json};

use crate::cloudformation::{Template, branches, listed, named};
use crate::functions::variables;
use crate::source::{closure, code, dense, files, functions};
use crate::{FUNCTIONS, Function, function_files, template};

/// What each role may do, one line an action and what it may be done to. A right that is granted and not
/// written here fails, and so does one that is written here and neither granted nor used by the code.
pub(crate) const RIGHTS: [(&str, &[(&str, &str)]); 5] = [
    (
        "Install",
        &[
            ("dynamodb:DeleteItem", "Table"),
            ("dynamodb:DescribeTable", "Table"),
            ("dynamodb:GetItem", "Table"),
            ("dynamodb:PutItem", "Table"),
            ("dynamodb:Query", "Table"),
            ("kms:Decrypt", "VaultKey"),
            ("kms:Encrypt", "VaultKey"),
            ("secretsmanager:GetSecretValue", "StripeSecret"),
        ],
    ),
    (
        "Webhook",
        &[("dynamodb:PutItem", "Table"), ("secretsmanager:GetSecretValue", "WebhookSecret")],
    ),
    (
        "Lifecycle",
        &[
            ("dynamodb:DeleteItem", "Table"),
            ("dynamodb:DescribeTable", "Table"),
            ("dynamodb:GetItem", "Table"),
            ("dynamodb:PutItem", "Table"),
            ("dynamodb:Query", "Table"),
            ("dynamodb:UpdateItem", "Table"),
            ("kms:Decrypt", "VaultKey"),
            ("kms:Encrypt", "VaultKey"),
            ("secretsmanager:GetSecretValue", "StripeSecret"),
        ],
    ),
    (
        "Rotate",
        &[
            ("dynamodb:DeleteItem", "Table"),
            ("dynamodb:DescribeTable", "Table"),
            ("dynamodb:GetItem", "Table"),
            ("dynamodb:PutItem", "Table"),
            ("dynamodb:Query", "Table"),
            ("dynamodb:Query", "Table/index/due"),
            ("dynamodb:UpdateItem", "Table"),
            ("kms:Decrypt", "VaultKey"),
            ("kms:Encrypt", "VaultKey"),
            ("secretsmanager:GetSecretValue", "StripeSecret"),
        ],
    ),
    ("Keys", &[("dynamodb:Query", "Table"), ("kms:Decrypt", "VaultKey")]),
];

/// What Lambda, and not the code, needs of a role: `Log` and `DataKey` stand for every function.
const RIGHTS_OF_THE_SERVICE: [(&str, &[(&str, &str)]); 5] = [
    ("Install", &[]),
    ("Webhook", &[("sqs:SendMessage", "PartnerFailures")]),
    (
        "Lifecycle",
        &[
            ("dynamodb:DescribeStream", "Table.StreamArn"),
            ("dynamodb:GetRecords", "Table.StreamArn"),
            ("dynamodb:GetShardIterator", "Table.StreamArn"),
            ("dynamodb:ListStreams", "Table/stream/*"),
            ("sqs:SendMessage", "StreamFailures"),
        ],
    ),
    ("Rotate", &[]),
    ("Keys", &[]),
];

fn statements(policies: &Value) -> Vec<&Value> {
    listed(policies)
        .into_iter()
        .flat_map(|policy| listed(&policy["PolicyDocument"]["Statement"]))
        .flat_map(branches)
        .collect()
}

fn role_statements<'a>(template: &'a Template, function: &str) -> Vec<&'a Value> {
    statements(&template.properties(&format!("{function}Role"))["Policies"])
}

/// The actions that the code of a function makes, on what.
fn used(function: &Function) -> anyhow::Result<BTreeSet<(String, String)>> {
    let mut text = String::new();
    for path in function_files(function)? {
        text += &dense(&code(&path)?);
    }
    let mut found = BTreeSet::new();

    let mut store = functions(&code("shared/src/store/mod.rs")?);
    store.extend(functions(&code("shared/src/store/events.rs")?));
    store.extend(functions(&code("shared/src/store/standing.rs")?));
    let finishes_events = text.contains("change.finish(");
    let start = store.keys().filter(|method| text.contains(&format!("store.{method}(")));
    let reached = closure(start.cloned(), |method| {
        let body = store.get(method).map(|body| dense(body)).unwrap_or_default();
        let called = store.keys().filter(|other| body.contains(&format!("self.{other}(")));
        // A change marks an event done only where somebody told it to.
        called.filter(|other| *other != "mark_done" || finishes_events).cloned().collect()
    });
    for body in reached.iter().filter_map(|method| store.get(method)) {
        let body = dense(body);
        for (call, action) in [
            (".query()", "Query"),
            (".scan()", "Scan"),
            (".get_item()", "GetItem"),
            (".describe_table()", "DescribeTable"),
            (".batch_get_item()", "BatchGetItem"),
            (".put_item()", "PutItem"),
            ("PutItem::new()", "PutItem"),
            (".update_item()", "UpdateItem"),
            (".delete_item()", "DeleteItem"),
            (".batch_write_item()", "BatchWriteItem"),
            ("Put::builder()", "PutItem"),
            ("Update::builder()", "UpdateItem"),
            ("Delete::builder()", "DeleteItem"),
            ("ConditionCheck::builder()", "ConditionCheckItem"),
        ] {
            if body.contains(call) {
                let on_index = body.contains(".index_name(");
                let on = if on_index {
                    format!("Table/index/{}", DEFINITION.index.name)
                } else {
                    "Table".to_owned()
                };
                found.insert((format!("dynamodb:{action}"), on));
            }
        }
    }

    let keyring = functions(&code("shared/src/vault/mod.rs")?);
    let start = keyring.keys().filter(|method| text.contains(&format!("keyring.{method}(")));
    let reached = closure(start.cloned(), |method| {
        let body = keyring.get(method).map(|body| dense(body)).unwrap_or_default();
        keyring.keys().filter(|other| body.contains(&format!("self.{other}("))).cloned().collect()
    });
    for body in reached.iter().filter_map(|method| keyring.get(method)) {
        for (call, action) in [("vault.wrap(", "kms:Encrypt"), ("vault.unwrap_key(", "kms:Decrypt")]
        {
            if dense(body).contains(call) {
                found.insert((action.to_owned(), "VaultKey".to_owned()));
            }
        }
    }

    let read = variables(function.name)?;
    for (variable, secret) in [
        ("KEYSTEWARD_STRIPE_SECRET_ID", "StripeSecret"),
        ("KEYSTEWARD_WEBHOOK_SECRET_ID", "WebhookSecret"),
    ] {
        if read.contains(variable) {
            found.insert(("secretsmanager:GetSecretValue".to_owned(), secret.to_owned()));
        }
    }
    Ok(found)
}

pub(crate) fn expected(
    table: &[(&str, &[(&str, &str)])],
    function: &str,
) -> BTreeSet<(String, String)> {
    table
        .iter()
        .filter(|(name, _)| *name == function)
        .flat_map(|(_, rights)| rights.iter())
        .map(|(action, on)| ((*action).to_owned(), (*on).to_owned()))
        .collect()
}

#[test]
fn what_the_code_calls_is_what_is_written_down_here() -> anyhow::Result<()> {
    for function in &FUNCTIONS {
        assert_eq!(
            used(function)?,
            expected(&RIGHTS, function.name),
            "{}: used, written",
            function.name
        );
    }
    Ok(())
}

#[test]
fn a_role_has_the_rights_that_its_function_needs_and_no_other() -> anyhow::Result<()> {
    let template = template()?;
    for Function { name, .. } in &FUNCTIONS {
        let mut granted = BTreeSet::new();
        for statement in role_statements(&template, name) {
            assert_eq!(statement["Effect"], "Allow", "{name}");
            for action in listed(&statement["Action"]) {
                for resource in listed(&statement["Resource"]) {
                    let action = action.as_str().unwrap_or_default().to_owned();
                    granted.insert((action, named(resource)));
                }
            }
        }
        let mut needed = expected(&RIGHTS, name);
        needed.extend(expected(&RIGHTS_OF_THE_SERVICE, name));
        for (action, on) in [
            ("logs:CreateLogStream", format!("{name}Log")),
            ("logs:PutLogEvents", format!("{name}Log")),
            ("xray:PutTraceSegments", "*".to_owned()),
            ("xray:PutTelemetryRecords", "*".to_owned()),
            ("kms:Decrypt", "DataKey".to_owned()),
        ] {
            needed.insert((action.to_owned(), on));
        }
        assert_eq!(granted, needed, "{name}: granted, needed");
    }
    Ok(())
}

#[test]
fn no_other_call_of_the_store_the_vault_or_the_secrets_goes_unseen() -> anyhow::Result<()> {
    let mut known = BTreeSet::new();
    for function in &FUNCTIONS {
        known.extend(function_files(function)?);
    }
    for path in files("shared/src")?.into_iter().chain(files("functions")?) {
        let text = dense(&code(&path)?);
        let is_adapter =
            path.starts_with("shared/src/store/") || path.starts_with("shared/src/vault/");
        if !is_adapter && (text.contains("store.") || text.contains("keyring.")) {
            // A path (`crate::store::…`) is no call, and `use` lists are not either.
            assert!(known.contains(&path), "{path} uses the store and belongs to no function here");
        }
    }
    // The SDK is spoken to in these files alone, with these operations.
    let kms = dense(&code("shared/src/vault/kms.rs")?);
    assert!(kms.contains("Encrypt::new()") && kms.contains("Decrypt::new()"));
    assert_eq!(kms.matches(".calls.call(").count(), 2);
    let secrets = dense(&code("shared/src/runtime/secrets.rs")?);
    assert_eq!(secrets.matches("GetSecretValue::new()").count(), 1);
    assert_eq!(secrets.matches(".secrets_manager()").count(), 1);
    Ok(())
}

/// Where `*` may stand as a resource: X-Ray knows no other, and in a key's own policy it is that key.
#[test]
fn no_action_is_a_pattern_and_no_resource_is_everything() -> anyhow::Result<()> {
    let template = template()?;
    let mut looked_at = 0;
    for (id, resource) in template.resources() {
        let properties = &resource["Properties"];
        let is_key = resource["Type"] == "AWS::KMS::Key";
        let documents = [
            &properties["PolicyDocument"],
            &properties["KeyPolicy"],
            &properties["AssumeRolePolicyDocument"],
        ];
        let inline =
            listed(&properties["Policies"]).into_iter().map(|policy| &policy["PolicyDocument"]);
        let all = documents.into_iter().chain(inline);
        for statement in all.flat_map(|document| listed(&document["Statement"])).flat_map(branches)
        {
            looked_at += 1;
            assert!(
                statement.get("NotAction").is_none() && statement.get("NotResource").is_none(),
                "{id}"
            );
            for action in listed(&statement["Action"]) {
                let action = action.as_str().unwrap_or_default();
                assert!(!action.contains('*') && action.contains(':'), "{id}: {action}");
                for resource in listed(&statement["Resource"]) {
                    let everything = named(resource) == "*";
                    assert!(
                        !everything || is_key || action.starts_with("xray:"),
                        "{id}: {action} on *"
                    );
                }
            }
            let anybody = statement["Principal"] == "*" || statement["Principal"]["AWS"] == "*";
            assert!(!anybody || statement["Effect"] == "Deny", "{id}: anybody may");
        }
    }
    assert!(looked_at > 30, "{looked_at} statements");
    Ok(())
}

#[test]
fn the_vaults_key_is_used_under_the_whole_context_alone() -> anyhow::Result<()> {
    let template = template()?;
    let context = Context {
        app: "app".to_owned(),
        account: AccountId::parse("acct_1")?,
        mode: Mode::Live,
        kid: Kid::parse("kid_1")?,
    };
    let names: Vec<&str> = context.pairs().map(|(name, _)| name).to_vec();
    let mut looked_at = 0;
    for Function { name, .. } in &FUNCTIONS {
        for statement in role_statements(&template, name) {
            if named(&statement["Resource"]) != "VaultKey" {
                continue;
            }
            looked_at += 1;
            let condition = &statement["Condition"];
            assert_eq!(
                condition["ForAllValues:StringEquals"]["kms:EncryptionContextKeys"],
                json!(names),
                "{name}"
            );
            for pair in &names {
                let key = format!("kms:EncryptionContext:{pair}");
                let bound = ["StringEquals", "StringLike"]
                    .iter()
                    .any(|op| condition[*op].get(&key).is_some());
                assert!(bound, "{name}: {key}");
            }
            assert_eq!(
                condition["StringEquals"]["kms:EncryptionContext:mode"],
                json!(["live", "test"])
            );
        }
    }
    assert_eq!(looked_at, 4, "all but webhook");
    for key in ["VaultKey", "DataKey"] {
        let resource = &template.root["Resources"][key];
        assert_eq!(resource["DeletionPolicy"], "Retain");
        assert_eq!(resource["UpdateReplacePolicy"], "Retain");
        assert_eq!(resource["Properties"]["EnableKeyRotation"], true);
        let denied = listed(&resource["Properties"]["KeyPolicy"]["Statement"]).into_iter().any(|statement| {
            statement["Effect"] == "Deny"
                && statement["Action"] == "kms:ScheduleKeyDeletion"
                && statement["Principal"] == json!({ "AWS": "*" })
                && statement["Condition"]
                    == json!({ "ArnNotEquals": { "aws:PrincipalArn": { "Ref": "KeyAdminRoleArn" } } })
        });
        assert!(denied, "{key}");
    }
    Ok(())
}

/// DynamoDB compares the attributes of the item that is put; the item is the one that the code puts.
#[tokio::test]
async fn webhook_may_write_an_event_row_and_nothing_that_keys_depend_on() -> anyhow::Result<()> {
    let template = template()?;
    let statement = role_statements(&template, "Webhook")
        .into_iter()
        .find(|statement| statement["Action"] == "dynamodb:PutItem")
        .ok_or_else(|| anyhow::anyhow!("webhook may not put"))?;
    let condition = &statement["Condition"];
    let allowed = &condition["ForAllValues:StringEquals"]["dynamodb:Attributes"];
    let allowed: BTreeSet<&str> = listed(allowed).into_iter().filter_map(Value::as_str).collect();
    let refused = json!({ "dynamodb:Attributes": "false", "dynamodb:LeadingKeys": "false" });
    assert_eq!(condition["Null"], refused, "ForAllValues holds for nothing at all");
    assert_eq!(condition["StringEqualsIfExists"]["dynamodb:ReturnValues"], "NONE");

    let table = Table::start().await?;
    let account = AccountRef::new(Mode::Test, AccountId::parse("acct_1")?);
    for (id, topic) in [
        ("evt_1", Topic::KeyRotated),
        ("evt_2", Topic::AccountUpdated { charges_enabled: Some(true) }),
        ("evt_3", Topic::AccountUpdated { charges_enabled: None }),
    ] {
        let event = Notification {
            id: EventId::parse(id)?,
            account: account.clone(),
            created: Timestamp::from_seconds(1_700_000_000)?,
            topic,
        };
        table.store()?.put_event(&event, Timestamp::from_seconds(1_700_000_000)?).await?;
    }
    let scan = serde_json::from_value(json!({ "TableName": NAME }))?;
    let rows = serde_json::to_value(table.database().scan(scan)?)?;
    let mut written = BTreeSet::new();
    for row in listed(&rows["Items"]) {
        written.extend(row.as_object().into_iter().flatten().map(|(name, _)| name.as_str()));
    }
    assert_eq!(allowed, written, "allowed, written");
    // Every row of the working set says with which change it was written (store/rows.rs).
    assert!(!allowed.contains("version"));
    Ok(())
}
