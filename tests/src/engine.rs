//! The embedded DynamoDB engine, called in process: what its HTTP server does, without HTTP.
//!
//! The operations are those that the store uses; another is refused by name. The server's checks of
//! malformed requests are left to the store's own suite, which speaks HTTP to it.

use dynoxide::{Database, DynoxideError};
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Carries out one request, `target` as in `X-Amz-Target`.
pub(crate) fn answer(database: &Database, operation: &str, body: &[u8]) -> (StatusCode, Vec<u8>) {
    match dispatch(database, operation, body) {
        Ok(answer) => (StatusCode::OK, answer),
        Err(error) => {
            let status = StatusCode::from_u16(error.status_code());
            (status.unwrap_or(StatusCode::BAD_REQUEST), error.to_json().into_bytes())
        }
    }
}

fn dispatch(db: &Database, operation: &str, body: &[u8]) -> Result<Vec<u8>, DynoxideError> {
    match operation {
        "CreateTable" => written(db.create_table(without_stream(body)?)?),
        "DescribeTable" => written(db.describe_table(read(body)?)?),
        "UpdateTimeToLive" => written(db.update_time_to_live(read(body)?)?),
        "DescribeTimeToLive" => written(db.describe_time_to_live(read(body)?)?),
        "PutItem" => written(db.put_item(read(body)?)?),
        "GetItem" => written(db.get_item(read(body)?)?),
        "UpdateItem" => written(db.update_item(read(body)?)?),
        "Query" => written(db.query(read(body)?)?),
        "Scan" => written(db.scan(read(body)?)?),
        "BatchWriteItem" => written(db.batch_write_item(read(body)?)?),
        "TransactWriteItems" => written(db.transact_write_items(read(body)?)?),
        other => Err(DynoxideError::ValidationException(format!("{other} is not in the harness"))),
    }
}

/// The harness hands events on by itself. The engine would look for the stream's last number among all its
/// records at every write, which makes a long life take its time squared.
fn without_stream<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    let mut request: Value = read(body)?;
    if let Some(request) = request.as_object_mut() {
        request.remove("StreamSpecification");
    }
    read(request.to_string().as_bytes())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|e| DynoxideError::SerializationException(e.to_string()))
}

fn written(answer: impl Serialize) -> Result<Vec<u8>, DynoxideError> {
    serde_json::to_vec(&answer).map_err(|e| DynoxideError::InternalServerError(e.to_string()))
}
