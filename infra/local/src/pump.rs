//! What AWS does by itself: the stream calls `lifecycle`, the schedule calls `rotate`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dynoxide::actions::describe_stream::DescribeStreamRequest;
use dynoxide::actions::get_records::{GetRecordsRequest, Record};
use dynoxide::actions::get_shard_iterator::GetShardIteratorRequest;
use dynoxide::actions::list_streams::ListStreamsRequest;
use dynoxide::{AttributeValue, Database};
use keysteward::domain::time::Timestamp;
use keysteward::runtime::lambda::{Failed, Put};
use keysteward::runtime::log::chain;
use keysteward::steward::Steward;
use keysteward::store;
use keysteward::sweep::Swept;

use crate::bundle::TABLE;

/// Hands new event rows to `lifecycle` as long as it is polled. What fails comes again, in its order and
/// before anything later, as Lambda would have it.
pub(crate) async fn stream(database: Database, steward: Arc<Steward>) {
    let mut iterator = None;
    let mut waiting: VecDeque<Put> = VecDeque::new();
    loop {
        match read(&database, &mut iterator) {
            Ok(records) => waiting.extend(records.iter().filter_map(put_of)),
            Err(error) => tracing::error!(error = chain(&error), "the stream could not be read"),
        }
        if !waiting.is_empty() {
            let batch: Vec<Put> = waiting.iter().cloned().collect();
            let again = keysteward_lifecycle::apply(&steward, batch, deadline(&steward)).await;
            let again = again.answer;
            waiting.retain(|put| again.contains(&put.sequence));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Runs `rotate` every so often as long as it is polled.
pub(crate) async fn schedule(steward: Arc<Steward>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if let Err(error) = sweep(&steward).await {
            tracing::error!(error = chain(&error), "the sweep failed");
        }
    }
}

/// One run of `rotate`.
pub(crate) async fn sweep(steward: &Steward) -> Result<Swept, Failed> {
    keysteward_rotate::run(steward, deadline(steward)).await.answer
}

/// A minute from now, by the clock that is played.
pub(crate) fn deadline(steward: &Steward) -> Timestamp {
    steward.clock.now().plus(Duration::from_secs(60))
}

/// Where the table's stream begins; `None` while it has none.
pub(crate) fn beginning_of_stream(database: &Database) -> dynoxide::Result<Option<String>> {
    let table_name = Some(TABLE.to_owned());
    let streams = database
        .list_streams(ListStreamsRequest { table_name, ..ListStreamsRequest::default() })?;
    let Some(stream) = streams.streams.into_iter().next() else { return Ok(None) };
    let described = database.describe_stream(DescribeStreamRequest {
        stream_arn: stream.stream_arn.clone(),
        ..DescribeStreamRequest::default()
    })?;
    // The embedded engine has one shard a table.
    let Some(shard) = described.stream_description.shards.into_iter().next() else {
        return Ok(None);
    };
    let found = database.get_shard_iterator(GetShardIteratorRequest {
        stream_arn: stream.stream_arn,
        shard_id: shard.shard_id,
        shard_iterator_type: "TRIM_HORIZON".to_owned(),
        sequence_number: None,
    })?;
    Ok(found.shard_iterator)
}

fn read(database: &Database, iterator: &mut Option<String>) -> dynoxide::Result<Vec<Record>> {
    if iterator.is_none() {
        *iterator = beginning_of_stream(database)?;
    }
    let Some(shard_iterator) = iterator.clone() else { return Ok(Vec::new()) };
    let page = database.get_records(GetRecordsRequest { shard_iterator, limit: Some(100) })?;
    *iterator = page.next_shard_iterator;
    Ok(page.records)
}

fn put_of(record: &Record) -> Option<Put> {
    if record.event_name != "INSERT" {
        return None;
    }
    let text = |name: &str| match record.dynamodb.keys.get(name) {
        Some(AttributeValue::S(text)) => Some(text.as_str()),
        _ => None,
    };
    let event = store::parse_stream_key(text("pk")?, text("sk")?)?;
    Some(Put { sequence: record.dynamodb.sequence_number.clone(), event })
}

const POLL: Duration = Duration::from_millis(100);
