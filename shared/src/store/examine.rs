//! Whether the table is what it should be: held against [`super::table::DEFINITION`], and against losing it.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, KeySchemaElement, KeyType, PointInTimeRecoveryStatus, TableDescription,
    TableStatus, TimeToLiveStatus,
};

use super::table::{Attribute, DEFINITION};
use super::{Error, Store, error};

/// What was seen of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// What differs from the definition, in words; empty when nothing does.
    pub differs: Vec<&'static str>,
    /// Whether rows are deleted by their `ttl`.
    pub expires_rows: bool,
    /// Whether the table can be restored to any moment; `None` when that could not be asked.
    pub point_in_time_recovery: Option<bool>,
}

impl Store {
    /// Describes the table and compares it. Reads no row.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when there is no such table or it may not be described.
    pub async fn examine(&self) -> Result<Examined, Error> {
        let described = self.client().describe_table().table_name(&self.table).send().await;
        let table = described
            .map_err(error::of_call)?
            .table
            .ok_or_else(|| Error::unreadable("description of the table"))?;
        let ttl = self.client().describe_time_to_live().table_name(&self.table).send().await;
        let ttl = ttl.map_err(error::of_call)?.time_to_live_description;
        let expires_rows = ttl.is_some_and(|ttl| {
            let is_on = matches!(
                ttl.time_to_live_status,
                Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
            );
            is_on && ttl.attribute_name.as_deref() == Some(DEFINITION.ttl_attribute)
        });
        // Emulators know nothing of backups, and a role may not ask: that is no reason to see nothing else.
        let backups =
            self.client().describe_continuous_backups().table_name(&self.table).send().await;
        let point_in_time_recovery = backups.ok().and_then(|backups| {
            let description = backups.continuous_backups_description?;
            let recovery = description.point_in_time_recovery_description?;
            let status = recovery.point_in_time_recovery_status?;
            Some(status == PointInTimeRecoveryStatus::Enabled)
        });
        Ok(Examined { differs: differences(&table), expires_rows, point_in_time_recovery })
    }
}

fn differences(table: &TableDescription) -> Vec<&'static str> {
    let attributes = table.attribute_definitions();
    let has_keys = |schema: &[KeySchemaElement], partition, sort| {
        is_key(schema, attributes, &KeyType::Hash, partition)
            && is_key(schema, attributes, &KeyType::Range, sort)
    };
    let stream = table.stream_specification();
    let index = table
        .global_secondary_indexes()
        .iter()
        .find(|index| index.index_name() == Some(DEFINITION.index.name));
    let has_index_keys = index.is_none_or(|index| {
        has_keys(index.key_schema(), DEFINITION.index.partition_key, DEFINITION.index.sort_key)
    });
    let projection = index
        .and_then(|index| index.projection())
        .and_then(|projection| projection.projection_type())
        .map(|projection| projection.as_str());
    let is_billed_so = table
        .billing_mode_summary()
        .and_then(|billing| billing.billing_mode())
        .is_some_and(|mode| mode.as_str() == DEFINITION.billing_mode);
    [
        (table.table_status() == Some(&TableStatus::Active), "it is not active"),
        (
            has_keys(table.key_schema(), DEFINITION.partition_key, DEFINITION.sort_key),
            "its key is another",
        ),
        (index.is_some(), "it has no index `due`"),
        (has_index_keys, "the key of the index `due` is another"),
        (
            index.is_none() || projection == Some(DEFINITION.index.projection),
            "the index `due` projects something else",
        ),
        (stream.is_some_and(|stream| stream.stream_enabled()), "it has no stream"),
        (
            stream.is_none_or(|stream| {
                stream.stream_view_type().map(|view| view.as_str()) == Some(DEFINITION.stream_view)
            }),
            "its stream shows something else",
        ),
        (is_billed_so, "it is not billed on demand"),
    ]
    .into_iter()
    .filter(|(holds, _)| !holds)
    .map(|(_, what)| what)
    .collect()
}

fn is_key(
    schema: &[KeySchemaElement],
    attributes: &[AttributeDefinition],
    role: &KeyType,
    wanted: Attribute,
) -> bool {
    let is_named =
        schema.iter().any(|key| key.key_type() == role && key.attribute_name() == wanted.name);
    let is_typed = attributes.iter().any(|attribute| {
        attribute.attribute_name() == wanted.name
            && attribute.attribute_type().as_str() == wanted.kind
    });
    is_named && is_typed
}
