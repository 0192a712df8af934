//! `template.yaml` as JSON, with `!Ref x` and its like written out as CloudFormation's long form.

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value, json};

/// A template that was read.
#[derive(Debug)]
pub(crate) struct Template {
    /// The whole of it.
    pub(crate) root: Value,
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let documents = Yaml::load_from_str(text)?;
        let [document] = documents.as_slice() else { anyhow::bail!("not one document") };
        Ok(Self { root: value(document)? })
    }

    /// All resources of a type, with their logical ids.
    pub(crate) fn of_type<'a>(
        &'a self,
        kind: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.resources().filter(move |(_, resource)| resource["Type"] == kind)
    }

    /// Every resource.
    pub(crate) fn resources(&self) -> impl Iterator<Item = (&str, &Value)> {
        let resources = self.root["Resources"].as_object();
        resources.into_iter().flatten().map(|(id, resource)| (id.as_str(), resource))
    }

    /// A resource's properties.
    pub(crate) fn properties(&self, id: &str) -> &Value {
        &self.root["Resources"][id]["Properties"]
    }
}

fn value(node: &Yaml<'_>) -> anyhow::Result<Value> {
    Ok(match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(flag)) => json!(flag),
        Yaml::Value(Scalar::Integer(number)) => json!(number),
        Yaml::Value(Scalar::FloatingPoint(number)) => json!(number.into_inner()),
        Yaml::Value(Scalar::String(text)) => json!(text),
        Yaml::Sequence(nodes) => Value::Array(nodes.iter().map(value).collect::<Result<_, _>>()?),
        Yaml::Mapping(pairs) => {
            let mut object = Map::new();
            for (name, node) in pairs {
                let name = name.as_str().ok_or_else(|| anyhow::anyhow!("a key is no text"))?;
                object.insert(name.to_owned(), value(node)?);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tag, node) => long_form(&tag.suffix, value(node)?),
        Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => {
            anyhow::bail!("CloudFormation has no such node: {node:?}")
        }
    })
}

fn long_form(tag: &str, node: Value) -> Value {
    match (tag, &node) {
        ("Ref" | "Condition", _) => json!({ tag: node }),
        ("GetAtt", Value::String(text)) => {
            let (id, attribute) = text.split_once('.').unwrap_or((text, ""));
            json!({ "Fn::GetAtt": [id, attribute] })
        }
        _ => json!({ format!("Fn::{tag}"): node }),
    }
}

/// Whatever something can be: both branches of an `!If`, the thing itself otherwise.
pub(crate) fn branches(node: &Value) -> Vec<&Value> {
    match node.get("Fn::If").and_then(Value::as_array) {
        Some(parts) => parts.iter().skip(1).flat_map(branches).collect(),
        None if node == &json!({ "Ref": "AWS::NoValue" }) => Vec::new(),
        None => vec![node],
    }
}

/// One thing or a list of things, as IAM takes both.
pub(crate) fn listed(node: &Value) -> Vec<&Value> {
    match node {
        Value::Null => Vec::new(),
        Value::Array(nodes) => nodes.iter().collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![node],
    }
}

/// What a resource of a policy names: `Table`, `Table.StreamArn`, `Table/index/due`, `*`.
pub(crate) fn named(node: &Value) -> String {
    if let Some(text) = node.as_str() {
        return text.to_owned();
    }
    if let Some(id) = node["Ref"].as_str() {
        return id.to_owned();
    }
    if let Some([id, attribute]) = node["Fn::GetAtt"].as_array().map(Vec::as_slice) {
        let id = id.as_str().unwrap_or_default();
        return match attribute.as_str() {
            Some("Arn") | None => id.to_owned(),
            Some(attribute) => format!("{id}.{attribute}"),
        };
    }
    if let Some(text) = node["Fn::Sub"].as_str() {
        return text.replace("${", "").replace(".Arn}", "").replace('}', "");
    }
    node.to_string()
}
