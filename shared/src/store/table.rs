//! What the table is: its keys, its index, its stream. Here once; `template.yaml` is compared with it.

use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};

use super::{Error, Store, error};

/// The table as plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The partition key.
    pub partition_key: Attribute,
    /// The sort key.
    pub sort_key: Attribute,
    /// The one index.
    pub index: Index,
    /// The attribute that holds when a row may be deleted, in seconds since the epoch.
    pub ttl_attribute: &'static str,
    /// `StreamViewType`.
    pub stream_view: &'static str,
    /// `BillingMode`.
    pub billing_mode: &'static str,
}

/// An attribute that is part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// `AttributeType`: `S` or `N`.
    pub kind: &'static str,
}

/// A global secondary index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// Its partition key.
    pub partition_key: Attribute,
    /// Its sort key.
    pub sort_key: Attribute,
    /// `ProjectionType`.
    pub projection: &'static str,
}

/// The table that Keysteward keeps everything in.
pub const DEFINITION: Definition = Definition {
    partition_key: Attribute { name: "pk", kind: "S" },
    sort_key: Attribute { name: "sk", kind: "S" },
    index: Index {
        name: "due",
        partition_key: Attribute { name: "due_shard", kind: "N" },
        sort_key: Attribute { name: "due_at", kind: "N" },
        projection: "KEYS_ONLY",
    },
    ttl_attribute: "ttl",
    stream_view: "NEW_IMAGE",
    billing_mode: "PAY_PER_REQUEST",
};

impl Store {
    /// Creates the table where there is none, and waits until it takes requests. For local use and
    /// tests; in an account of AWS the template does it, with encryption and backups besides.
    pub async fn create_table(&self) -> Result<(), Error> {
        let Definition { partition_key, sort_key, index, .. } = DEFINITION;
        let mut request = self
            .client()
            .create_table()
            .table_name(&self.table)
            .billing_mode(BillingMode::from(DEFINITION.billing_mode))
            .set_key_schema(Some(key_schema(partition_key, sort_key)?))
            .global_secondary_indexes(
                GlobalSecondaryIndex::builder()
                    .index_name(index.name)
                    .set_key_schema(Some(key_schema(index.partition_key, index.sort_key)?))
                    .projection(
                        Projection::builder()
                            .projection_type(ProjectionType::from(index.projection))
                            .build(),
                    )
                    .build()
                    .map_err(|refused| Error::unwritable(WHAT, refused))?,
            )
            .stream_specification(
                StreamSpecification::builder()
                    .stream_enabled(true)
                    .stream_view_type(StreamViewType::from(DEFINITION.stream_view))
                    .build()
                    .map_err(|refused| Error::unwritable(WHAT, refused))?,
            );
        for Attribute { name, kind } in
            [partition_key, sort_key, index.partition_key, index.sort_key]
        {
            request = request.attribute_definitions(
                AttributeDefinition::builder()
                    .attribute_name(name)
                    .attribute_type(ScalarAttributeType::from(kind))
                    .build()
                    .map_err(|refused| Error::unwritable(WHAT, refused))?,
            );
        }
        if let Err(failed) = request.send().await
            && failed.code() != Some("ResourceInUseException")
        {
            return Err(error::of_call(failed));
        }
        self.wait_until_active().await?;
        self.enable_ttl().await
    }

    async fn wait_until_active(&self) -> Result<(), Error> {
        for _ in 0..POLLS {
            let described = self.client().describe_table().table_name(&self.table).send().await;
            let table = described.map_err(error::of_call)?.table;
            if table.and_then(|table| table.table_status) == Some(TableStatus::Active) {
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(Error::Unavailable("the table does not become active".into()))
    }

    /// Asked first, because DynamoDB refuses to enable it twice.
    async fn enable_ttl(&self) -> Result<(), Error> {
        let described = self.client().describe_time_to_live().table_name(&self.table).send().await;
        let status = described
            .map_err(error::of_call)?
            .time_to_live_description
            .and_then(|ttl| ttl.time_to_live_status);
        if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            return Ok(());
        }
        let specification = TimeToLiveSpecification::builder()
            .enabled(true)
            .attribute_name(DEFINITION.ttl_attribute)
            .build()
            .map_err(|refused| Error::unwritable(WHAT, refused))?;
        self.client()
            .update_time_to_live()
            .table_name(&self.table)
            .time_to_live_specification(specification)
            .send()
            .await
            .map_err(error::of_call)?;
        Ok(())
    }
}

fn key_schema(partition: Attribute, sort: Attribute) -> Result<Vec<KeySchemaElement>, Error> {
    [(partition, KeyType::Hash), (sort, KeyType::Range)]
        .into_iter()
        .map(|(attribute, key_type)| {
            KeySchemaElement::builder()
                .attribute_name(attribute.name)
                .key_type(key_type)
                .build()
                .map_err(|refused| Error::unwritable(WHAT, refused))
        })
        .collect()
}

const WHAT: &str = "table definition";
/// A new table takes seconds at AWS and none in an emulator: a minute in all.
const POLLS: u32 = 120;
const POLL_INTERVAL: Duration = Duration::from_millis(500);
