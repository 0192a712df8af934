//! The embedded metric format, checked as its specification says it: a line that breaks one of these rules
//! is dropped by CloudWatch without a word.
//!
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value};

/// One line that follows the specification.
#[derive(Clone, Debug, PartialEq)]
pub struct Emf {
    /// Where its metrics are.
    pub namespace: String,
    /// The sets of dimensions, each as names and values.
    pub dimensions: Vec<BTreeMap<String, String>>,
    /// The metrics: unit and value.
    pub metrics: BTreeMap<String, (String, f64)>,
    /// The whole line.
    pub root: Value,
}

impl Emf {
    /// Reads a line; says which rule it breaks.
    pub fn parse(line: &str) -> anyhow::Result<Self> {
        ensure!(line.len() <= MAX_BYTES, "a log event has at most 256 KB");
        ensure!(!line.contains('\n'), "an event is one line");
        let root: Value = serde_json::from_str(line).context("the line is JSON")?;
        let metadata = root["_aws"].as_object().context("_aws is an object")?;
        ensure!(
            names(metadata) == BTreeSet::from(["CloudWatchMetrics", "Timestamp"]),
            "_aws has its two members and no other"
        );
        ensure!(metadata["Timestamp"].is_u64(), "Timestamp is in milliseconds since 1970");
        let directives = metadata["CloudWatchMetrics"].as_array().context("directives")?;
        let [directive] = directives.as_slice() else {
            anyhow::bail!("Keysteward writes one directive")
        };
        let members = directive.as_object().context("a directive is an object")?;
        ensure!(
            names(members) == BTreeSet::from(["Dimensions", "Metrics", "Namespace"]),
            "a directive has its three members and no other"
        );
        let namespace = text(&directive["Namespace"], 1024)?;
        let dimensions = directive["Dimensions"].as_array().context("Dimensions is an array")?;
        ensure!(!dimensions.is_empty(), "there is at least one set of dimensions");
        let dimensions = dimensions.iter().map(|set| dimension_set(&root, set)).collect();
        let metrics = metrics(&root, &directive["Metrics"])?;
        Ok(Self { namespace, dimensions: Result::from_iter::<Vec<_>>(dimensions)?, metrics, root })
    }

    /// What a metric says; `None` when nothing is said of it.
    pub fn value(&self, metric: &str) -> Option<f64> {
        self.metrics.get(metric).map(|(_, value)| *value)
    }
}

fn dimension_set(root: &Value, set: &Value) -> anyhow::Result<BTreeMap<String, String>> {
    let names = set.as_array().context("a set of dimensions is an array")?;
    ensure!(names.len() <= 30, "a set has at most 30 dimensions");
    let pairs = names.iter().map(|name| {
        let name = text(name, 250)?;
        // Emptiness is CloudWatch's own rule for values, not the format's.
        let value = text(&root[&name], 1024).context("a dimension's target is a text")?;
        Ok((name, value))
    });
    pairs.collect()
}

fn metrics(root: &Value, metrics: &Value) -> anyhow::Result<BTreeMap<String, (String, f64)>> {
    let metrics = metrics.as_array().context("Metrics is an array")?;
    ensure!((1..=100).contains(&metrics.len()), "there are 1 to 100 metrics");
    let mut found = BTreeMap::new();
    for metric in metrics {
        let members = names(metric.as_object().context("a metric is an object")?);
        ensure!(
            members.is_subset(&BTreeSet::from(["Name", "Unit", "StorageResolution"])),
            "a metric has no other members"
        );
        let name = text(&metric["Name"], 1024)?;
        let unit = metric["Unit"].as_str().context("a unit is said")?.to_owned();
        ensure!(UNITS.contains(&unit.as_str()), "{unit} is no unit of CloudWatch's");
        let value = root[&name].as_f64().context("a metric's target is a number")?;
        ensure!(found.insert(name, (unit, value)).is_none(), "a metric is named once");
    }
    Ok(found)
}

fn names(object: &Map<String, Value>) -> BTreeSet<&str> {
    object.keys().map(String::as_str).collect()
}

fn text(value: &Value, longest: usize) -> anyhow::Result<String> {
    let text = value.as_str().context("a text")?;
    ensure!((1..=longest).contains(&text.chars().count()), "1 to {longest} characters");
    Ok(text.to_owned())
}

const MAX_BYTES: usize = 256 * 1024;
/// Of the specification's list, what Keysteward uses; another one needs a look at that list first.
const UNITS: [&str; 2] = ["Seconds", "Count"];
