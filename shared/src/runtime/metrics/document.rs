//! How a line of metrics is written.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::{DIMENSION, Line, NAMESPACE, Origin, Warning};
use crate::domain::time::Timestamp;

/// A line as it is written, from its parts straight to text: every invocation writes one.
pub(super) struct Document<'a> {
    pub(super) line: &'a Line,
    pub(super) origin: &'a Origin,
    pub(super) now: Timestamp,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("_aws", &Metadata::of(self))?;
        members.serialize_entry(DIMENSION, &self.origin.stack)?;
        members.serialize_entry("Function", &self.origin.function)?;
        if let Some(Warning { message, reason }) = &self.line.warning {
            members.serialize_entry("level", "WARN")?;
            members.serialize_entry("message", message)?;
            members.serialize_entry("reason", reason)?;
        }
        for (metric, value) in &self.line.counts {
            members.serialize_entry(metric.name(), value)?;
        }
        members.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata<'a> {
    timestamp: i64,
    cloud_watch_metrics: [Directive<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive<'a> {
    namespace: &'static str,
    dimensions: [[&'static str; 1]; 1],
    metrics: Definitions<'a>,
}

struct Definitions<'a>(&'a Line);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: &'static str,
    unit: &'static str,
}

impl<'a> Metadata<'a> {
    fn of(document: &Document<'a>) -> Self {
        let metrics = Definitions(document.line);
        let dimensions = [[DIMENSION]];
        let directive = Directive { namespace: NAMESPACE, dimensions, metrics };
        Self { timestamp: document.now.millis(), cloud_watch_metrics: [directive] }
    }
}

impl Serialize for Definitions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let metrics = self.0.counts.keys();
        serializer.collect_seq(
            metrics.map(|metric| Definition { name: metric.name(), unit: metric.unit() }),
        )
    }
}
