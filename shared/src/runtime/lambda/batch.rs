//! DynamoDB stream batches.

use serde::{Deserialize, Serialize};

use crate::store::{self, EventRef};

/// What a stream batch holds for us: the event rows that were put, each with its sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Names the record in the answer.
    pub sequence: String,
    /// The row.
    pub event: EventRef,
}

/// `None` when it is not a batch of a stream.
pub(super) fn puts(event: &str) -> Option<Vec<Put>> {
    let batch: Batch = serde_json::from_str(event).ok()?;
    let puts = batch
        .records
        .into_iter()
        .filter(|record| record.event_name == "INSERT")
        .filter_map(|record| {
            let Keys { pk, sk } = record.change.keys;
            let event = store::parse_stream_key(&pk.text, &sk.text)?;
            Some(Put { sequence: record.change.sequence, event })
        })
        .collect();
    Some(puts)
}

/// Names the records that have to come again.
pub(super) fn answer(again: Vec<String>) -> Answer {
    let failures = again.into_iter().map(|item_identifier| Item { item_identifier });
    Answer { batch_item_failures: failures.collect() }
}

/// The part of a DynamoDB stream event that is read: keys alone, whatever the view type.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html>
#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    event_name: String,
    #[serde(rename = "dynamodb")]
    change: RowChange,
}

#[derive(Deserialize)]
struct RowChange {
    #[serde(rename = "Keys")]
    keys: Keys,
    #[serde(rename = "SequenceNumber")]
    sequence: String,
}

#[derive(Deserialize)]
struct Keys {
    pk: Text,
    sk: Text,
}

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: String,
}

#[derive(Serialize)]
pub(super) struct Answer {
    #[serde(rename = "batchItemFailures")]
    batch_item_failures: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    #[serde(rename = "itemIdentifier")]
    item_identifier: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_event_rows_of_a_batch_are_taken() {
        let record = |name: &str, sk: &str, sequence: &str| {
            serde_json::json!({"eventName": name, "dynamodb": {
                "Keys": {"pk": {"S": "ACCOUNT#test#acct_1"}, "sk": {"S": sk}},
                "SequenceNumber": sequence, "StreamViewType": "NEW_IMAGE"}})
        };
        let sk = "EVENT#2026-11-24T12:00:00.000Z#evt_1";
        let batch = serde_json::json!({"Records": [
            record("INSERT", sk, "1"),
            record("MODIFY", sk, "2"),
            record("INSERT", "STATE#ACCOUNT", "3"),
        ]});
        let taken = puts(&batch.to_string()).unwrap();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].sequence, "1");
        assert_eq!(taken[0].event.id.as_str(), "evt_1");
    }
}
