//! The table, the stream, the schedule and the HTTP API.

use std::collections::BTreeMap;

use keysteward::store::table::DEFINITION;
use serde_json::{Value, json};

use crate::cloudformation::named;
use crate::source::code;
use crate::template;

#[test]
fn the_table_is_the_one_that_the_code_defines() -> anyhow::Result<()> {
    let template = template()?;
    let resource = &template.root["Resources"]["Table"];
    let table = &resource["Properties"];
    let keys = |partition: &str, sort: &str| {
        json!([
            { "AttributeName": partition, "KeyType": "HASH" },
            { "AttributeName": sort, "KeyType": "RANGE" },
        ])
    };
    let index = DEFINITION.index;
    assert_eq!(table["KeySchema"], keys(DEFINITION.partition_key.name, DEFINITION.sort_key.name));
    assert_eq!(
        table["GlobalSecondaryIndexes"],
        json!([{
            "IndexName": index.name,
            "KeySchema": keys(index.partition_key.name, index.sort_key.name),
            "Projection": { "ProjectionType": index.projection },
        }])
    );
    let attributes =
        [DEFINITION.partition_key, DEFINITION.sort_key, index.partition_key, index.sort_key];
    let attributes: Vec<Value> = attributes
        .iter()
        .map(
            |attribute| json!({ "AttributeName": attribute.name, "AttributeType": attribute.kind }),
        )
        .collect();
    assert_eq!(table["AttributeDefinitions"], json!(attributes));
    assert_eq!(table["BillingMode"], DEFINITION.billing_mode);
    assert_eq!(table["StreamSpecification"], json!({ "StreamViewType": DEFINITION.stream_view }));
    assert_eq!(
        table["TimeToLiveSpecification"],
        json!({ "AttributeName": DEFINITION.ttl_attribute, "Enabled": true })
    );
    // What no emulator carries out.
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(table["DeletionProtectionEnabled"], true);
    assert_eq!(table["SSESpecification"]["SSEEnabled"], true);
    assert_eq!(table["SSESpecification"]["SSEType"], "KMS");
    assert_eq!(named(&table["SSESpecification"]["KMSMasterKeyId"]), "DataKey");
    assert_eq!(resource["DeletionPolicy"], "Retain");
    assert_eq!(resource["UpdateReplacePolicy"], "Retain");
    Ok(())
}

#[test]
fn the_stream_brings_new_event_rows_and_sets_aside_what_fails() -> anyhow::Result<()> {
    let template = template()?;
    let events = template.properties("LifecycleFunction")["Events"].clone();
    let mapping = &events["NewEvents"]["Properties"];
    let pattern = mapping["FilterCriteria"]["Filters"][0]["Pattern"].as_str().unwrap_or_default();
    let pattern: Value = serde_json::from_str(pattern)?;
    assert_eq!(
        pattern,
        json!({ "eventName": ["INSERT"], "dynamodb": { "Keys": { "sk": { "S": [{ "prefix": "EVENT#" }] } } } })
    );
    let keys = code("shared/src/store/keys.rs")?;
    assert!(keys.contains("const EVENTS: &str = \"EVENT#\";"), "the prefix is the code's");
    let lambda = code("shared/src/runtime/lambda/batch.rs")?;
    assert!(lambda.contains("record.event_name == \"INSERT\""), "the event's name is the code's");
    assert_eq!(mapping["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
    assert_eq!(mapping["BisectBatchOnFunctionError"], true);
    assert!(mapping["MaximumRetryAttempts"].as_u64().is_some_and(|n| n > 0 && n <= 10));
    assert!(mapping["MaximumRecordAgeInSeconds"].as_u64().is_some_and(|n| n > 0));
    assert_eq!(named(&mapping["DestinationConfig"]["OnFailure"]["Destination"]), "StreamFailures");
    Ok(())
}

#[test]
fn the_sweep_runs_every_minute_one_at_a_time() -> anyhow::Result<()> {
    let template = template()?;
    let interval = keysteward::domain::policy::Policy::SWEEP_INTERVAL;
    assert_eq!(interval.as_secs(), 60);
    let schedule = template.properties("Schedule");
    assert_eq!(schedule["ScheduleExpression"], "rate(1 minute)");
    assert_eq!(named(&schedule["Target"]["Arn"]), "RotateFunction.Alias");
    assert_eq!(named(&schedule["Target"]["DeadLetterConfig"]["Arn"]), "ScheduleFailures");
    assert_eq!(template.properties("RotateFunction")["ReservedConcurrentExecutions"], 1);
    for (id, queue) in template.of_type("AWS::SQS::Queue") {
        assert_eq!(queue["Properties"]["SqsManagedSseEnabled"], true, "{id}");
    }
    Ok(())
}

#[test]
fn every_path_has_its_route_and_keys_are_behind_iam() -> anyhow::Result<()> {
    let template = template()?;
    let routes: BTreeMap<String, (String, String)> = template
        .of_type("AWS::ApiGatewayV2::Route")
        .map(|(_, route)| {
            let properties = &route["Properties"];
            let text = |name: &str| properties[name].as_str().unwrap_or_default().to_owned();
            let target = named(&properties["Target"]);
            (text("RouteKey"), (text("AuthorizationType"), target))
        })
        .collect();
    let open = |function: &str| ("NONE".to_owned(), format!("integrations/{function}Integration"));
    assert_eq!(
        routes,
        BTreeMap::from([
            ("ANY /install".to_owned(), open("Install")),
            ("ANY /install/callback".to_owned(), open("Install")),
            ("ANY /webhooks/stripe".to_owned(), open("Webhook")),
            ("GET /health".to_owned(), open("Webhook")),
            (
                "ANY /v1/{proxy+}".to_owned(),
                ("AWS_IAM".to_owned(), "integrations/KeysIntegration".to_owned())
            ),
        ])
    );
    let stage = template.properties("HttpStage");
    let format = stage["AccessLogSettings"]["Format"].as_str().unwrap_or_default();
    let format: Value = serde_json::from_str(format)?;
    let fields = format.as_object().map(serde_json::Map::len);
    assert!(fields.is_some_and(|n| n > 5) && !format.to_string().contains("query"), "{format}");
    assert!(stage["DefaultRouteSettings"]["ThrottlingRateLimit"].is_u64());
    let known = |key: &str| routes.contains_key(key);
    for (key, settings) in stage["RouteSettings"].as_object().into_iter().flatten() {
        assert!(known(key) && settings["ThrottlingRateLimit"].is_u64(), "{key}");
    }
    Ok(())
}
