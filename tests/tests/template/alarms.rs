//! Log lines, the metrics that count them, the alarms, the dashboard, and the pages about them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cloudformation::{Template, listed, named};
use crate::source::{code, files, log_lines, read};
use crate::{FUNCTIONS, function_files, template};

/// Lines of level `error` that no metric counts, and why.
const NOT_COUNTED: [(&str, &str); 2] = [
    ("it could not be set aside", "follows a line that is counted, about the same account"),
    ("the function does not start", "Lambda counts it among the errors of the function"),
];

fn filters(template: &Template) -> Vec<(&str, String, Vec<String>, Vec<String>)> {
    template
        .of_type("AWS::Logs::MetricFilter")
        .map(|(id, filter)| {
            let properties = &filter["Properties"];
            let pattern = properties["FilterPattern"].as_str().unwrap_or_default();
            let messages =
                pattern.split("$.message = \"").skip(1).filter_map(|rest| rest.split('"').next());
            let messages = messages.map(str::to_owned).collect();
            let value = &properties["MetricTransformations"][0]["MetricValue"];
            let in_pattern = pattern.split("$.").skip(1);
            let in_value = value.as_str().unwrap_or_default().split("$.").skip(1);
            let fields = in_pattern
                .chain(in_value)
                .filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next())
                .filter(|field| *field != "message")
                .map(str::to_owned)
                .collect();
            (id, named(&properties["LogGroupName"]), messages, fields)
        })
        .collect()
}

#[test]
fn every_line_that_a_metric_counts_is_one_that_the_function_writes() -> anyhow::Result<()> {
    let template = template()?;
    for (id, log, messages, fields) in filters(&template) {
        let function = FUNCTIONS.iter().find(|function| log == format!("{}Log", function.name));
        let function = function.ok_or_else(|| anyhow::anyhow!("{id}: no function writes {log}"))?;
        let mut lines = Vec::new();
        let more =
            ["shared/src/runtime/secrets.rs", "shared/src/store/events.rs"].map(str::to_owned);
        for path in function_files(function)?.into_iter().chain(more) {
            lines.extend(log_lines(&code(&path)?));
        }
        assert!(!messages.is_empty(), "{id}");
        for message in messages {
            let line = lines.iter().find(|(_, written, _)| *written == message);
            let (_, _, call) =
                line.ok_or_else(|| anyhow::anyhow!("{id}: nobody says {message:?}"))?;
            for field in &fields {
                assert!(call.contains(&format!("{field} = ")), "{id}: {message:?} has no {field}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_error_that_is_logged_is_counted_or_said_why_not() -> anyhow::Result<()> {
    let template = template()?;
    let counted: BTreeSet<String> =
        filters(&template).into_iter().flat_map(|(_, _, messages, _)| messages).collect();
    for path in files("shared/src")?.into_iter().chain(files("functions")?) {
        for (level, message, _) in log_lines(&code(&path)?) {
            let excused =
                NOT_COUNTED.iter().any(|(known, why)| *known == message && !why.is_empty());
            assert!(
                level != "error" || excused || counted.contains(&message),
                "{path}: {message:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn every_alarm_has_a_metric_a_topic_and_a_page_of_what_to_do() -> anyhow::Result<()> {
    let template = template()?;
    let pages = read("docs/operations.md")?;
    let metrics: BTreeSet<String> = template
        .of_type("AWS::Logs::MetricFilter")
        .filter_map(|(_, filter)| {
            let name = &filter["Properties"]["MetricTransformations"][0]["MetricName"];
            name.as_str().map(str::to_owned)
        })
        .collect();
    let mut names = BTreeSet::new();
    for (id, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        let properties = &alarm["Properties"];
        let name = named(&properties["AlarmName"]);
        let name = name.strip_prefix("AWS::StackName-").unwrap_or_default().to_owned();
        let described = properties["AlarmDescription"].as_str().unwrap_or_default();
        assert!(described.ends_with(&format!("See docs/operations.md, {name}.")), "{id}");
        assert!(pages.contains(&format!("\n### {name}\n")), "docs/operations.md lacks {name}");
        assert!(!listed(&properties["AlarmActions"]).is_empty(), "{id} rings nowhere");
        if named(&properties["Namespace"]).starts_with("Keysteward/") {
            let metric = properties["MetricName"].as_str().unwrap_or_default();
            assert!(metrics.contains(metric), "{id}: nothing counts {metric}");
        }
        names.insert(name);
    }
    for page in pages.split("\n### ").skip(1).filter_map(|rest| rest.lines().next()) {
        assert!(names.contains(page), "docs/operations.md tells of {page}, which is no alarm");
    }

    let dashboard = template.properties("Dashboard")["DashboardBody"]["Fn::Sub"].as_str();
    let dashboard: Value = serde_json::from_str(dashboard.unwrap_or_default())?;
    for widget in listed(&dashboard["widgets"]) {
        for line in listed(&widget["properties"]["metrics"]) {
            if line[0].as_str().is_some_and(|namespace| namespace.starts_with("Keysteward/")) {
                let metric = line[1].as_str().unwrap_or_default();
                assert!(
                    metrics.contains(metric),
                    "the dashboard shows {metric}, which nothing counts"
                );
            }
        }
    }
    Ok(())
}
