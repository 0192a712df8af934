//! The metrics that the functions write, the alarms, the dashboard, and the pages about them.

use std::collections::BTreeSet;

use keysteward::fault::Fault;
use keysteward::runtime::metrics::{DIMENSION, Metric, NAMESPACE};
use serde_json::{Value, json};

use crate::cloudformation::{Template, listed, named};
use crate::source::{code, files, functions, log_lines, read};
use crate::{FUNCTIONS, template};

/// Metrics without an alarm, and why. Every fault is in `Faults`, which has one.
const NO_ALARM: [(&str, &str); 20] = [
    ("SweepSettled", "work that was done"),
    ("SweepEvents", "work that was done"),
    ("EventsApplied", "work that was done"),
    (
        "EventsDeferred",
        "the sweep takes it; sweep-failing and account-overdue tell when it does not",
    ),
    ("EventsFailed", "the sweep takes it; event-faults rings for what it cannot take"),
    ("KeysOpened", "what OpenFailures is to be compared with"),
    ("WebhooksAccepted", "work that was done"),
    ("WebhooksDuplicate", "Stripe sends again when it likes"),
    ("WebhooksIgnored", "depends on what the destination is subscribed to"),
    (
        "WebhooksUnsigned",
        "anybody can send a body without a signature; the API's throttle bounds it",
    ),
    ("WebhooksMisdirected", "anybody can call the address; the API's throttle bounds it"),
    ("KeysServed", "work that was done"),
    ("KeysNotModified", "work that was done"),
    ("KeysUnknown", "the caller's mistake"),
    ("KeysUnusable", "each reason has its own alarm where it arises"),
    ("KeysBadRequests", "the caller's mistake"),
    ("Installations", "work that was done"),
    ("InstallationsRefused", "people change their minds, and anybody can call the address"),
    (
        "FaultTableUnavailable",
        "passes; keys-not-served and events-not-stored ring when it does not",
    ),
    ("FaultStripe", "stripe-failures"),
];

/// Lines of level `error` with nothing counted in the same function, and why.
const COUNTED_ELSEWHERE: [(&str, &str); 5] = [
    ("the function does not start", "its line of metrics names the fault"),
    ("the breaker for new rotations changed", "each sweep says whether it is open"),
    (
        "the table was restored from a copy: nothing is changed at Stripe until an operator releases it",
        "each sweep says whether it only reports",
    ),
    ("a due row has no key that is known", "`Queue::unknown` carries it to the sweep's line"),
    ("it could not be set aside", "follows a line that is counted, about the same account"),
];

fn names() -> BTreeSet<&'static str> {
    Metric::all().map(Metric::name).collect()
}

fn alarmed(template: &Template) -> BTreeSet<String> {
    let alarms = template.of_type("AWS::CloudWatch::Alarm");
    let ours = alarms.filter(|(_, alarm)| alarm["Properties"]["Namespace"] == NAMESPACE);
    ours.map(|(_, alarm)| named(&alarm["Properties"]["MetricName"])).collect()
}

#[test]
fn every_alarm_on_a_metric_of_the_functions_is_on_one_that_they_write() -> anyhow::Result<()> {
    let template = template()?;
    for (id, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        let properties = &alarm["Properties"];
        let namespace = named(&properties["Namespace"]);
        if namespace.starts_with("AWS/") {
            continue;
        }
        assert_eq!(namespace, NAMESPACE, "{id}");
        let stack = json!([{ "Name": DIMENSION, "Value": { "Ref": "AWS::StackName" } }]);
        assert_eq!(properties["Dimensions"], stack, "{id}");
        let name = properties["MetricName"].as_str().unwrap_or_default();
        let metric = Metric::all().find(|metric| metric.name() == name);
        let metric = metric.ok_or_else(|| anyhow::anyhow!("{id}: nothing writes {name}"))?;
        assert!(!metric.is_level() || properties["Statistic"] == "Maximum", "{id}: a level");
    }
    Ok(())
}

#[test]
fn every_metric_rings_an_alarm_or_is_said_why_not() -> anyhow::Result<()> {
    let alarmed = alarmed(&template()?);
    for metric in Metric::all() {
        let name = metric.name();
        let is_in_the_sum = matches!(metric, Metric::Fault(fault) if fault.is_lasting());
        let is_in_another =
            matches!(metric, Metric::Fault(fault) if fault.is_of_the_vault() || is_in_the_sum);
        let excused = NO_ALARM.iter().any(|(known, why)| *known == name && !why.is_empty());
        let covered = alarmed.contains(name) || is_in_another;
        assert!(covered != excused, "{name}: an alarm, or a reason for none, and not both");
    }
    assert!(alarmed.contains("Faults") && alarmed.contains("VaultFailures"));
    for (known, _) in NO_ALARM {
        assert!(names().contains(known), "nothing writes {known}");
    }
    Ok(())
}

#[test]
fn every_metric_is_counted_by_some_function() -> anyhow::Result<()> {
    let mut text = String::new();
    for path in files("shared/src")?.into_iter().chain(files("functions")?) {
        if !path.ends_with("runtime/metrics.rs") && !path.ends_with("src/fault.rs") {
            text.push_str(&code(&path)?);
        }
    }
    let tally = code("shared/src/runtime/metrics.rs")?;
    for metric in Metric::all() {
        let name = metric.name();
        let counted = match metric {
            Metric::Fault(fault) => text.contains(&format!("Fault::{fault:?}")),
            // Counted with every fault that they are about.
            Metric::Faults | Metric::VaultFailures | Metric::OpenFailures => {
                tally.contains(&format!("self.add(Metric::{name}, 1)"))
            }
            _ => text.contains(&format!("Metric::{name}")),
        };
        assert!(counted, "nothing counts {name}");
    }
    assert!(Fault::ALL.iter().map(|fault| fault.metric()).all(|name| names().contains(name)));
    Ok(())
}

#[test]
fn every_error_that_is_logged_is_counted_beside_it_or_said_where() -> anyhow::Result<()> {
    let mut excused = BTreeSet::new();
    for path in files("shared/src")?.into_iter().chain(files("functions")?) {
        for (name, body) in functions(&code(&path)?) {
            for (level, message, _) in log_lines(&body) {
                if level != "error" {
                    continue;
                }
                if COUNTED_ELSEWHERE.iter().any(|(known, _)| *known == message) {
                    excused.insert(message);
                    continue;
                }
                let counted = ["Metric::", ".fault(", "count(", "counts("];
                let counted = counted.iter().any(|call| body.contains(call));
                assert!(counted, "{path}, {name}: {message:?} is in no metric");
            }
        }
    }
    assert_eq!(excused.len(), COUNTED_ELSEWHERE.len(), "an excuse that nobody needs");
    Ok(())
}

#[test]
fn every_alarm_has_a_topic_and_a_page_of_what_to_do() -> anyhow::Result<()> {
    let template = template()?;
    let pages = read("docs/operations.md")?;
    let mut names = BTreeSet::new();
    for (id, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        let properties = &alarm["Properties"];
        let name = named(&properties["AlarmName"]);
        let name = name.strip_prefix("AWS::StackName-").unwrap_or_default().to_owned();
        let described = properties["AlarmDescription"].as_str().unwrap_or_default();
        assert!(described.ends_with(&format!("See docs/operations.md, {name}.")), "{id}");
        assert!(pages.contains(&format!("\n### {name}\n")), "docs/operations.md lacks {name}");
        for when in ["AlarmActions", "OKActions"] {
            let topic = named(&listed(&properties[when])[0]["Fn::If"][2]);
            assert_eq!(topic, "AlarmTopicArn", "{id}: {when} rings on the one topic");
        }
        names.insert(name);
    }
    for page in pages.split("\n### ").skip(1) {
        let (name, text) = page.split_once('\n').unwrap_or_default();
        assert!(names.contains(name), "docs/operations.md tells of {name}, which is no alarm");
        assert!(text.contains("**Means** ") && text.contains("\n**Do** "), "{name}");
    }
    Ok(())
}

/// What has the form of an alarm's name and is none.
const NO_ALARM_AT_ALL: [&str; 7] = [
    "aws-sam-cli",
    "cancel-key-deletion",
    "cargo-lambda",
    "delete-table",
    "execute-api",
    "fake-stripe",
    "update-",
];

#[test]
fn a_page_names_no_alarm_that_is_not_there() -> anyhow::Result<()> {
    let template = template()?;
    let alarms = template.of_type("AWS::CloudWatch::Alarm");
    let alarms: BTreeSet<String> =
        alarms.map(|(_, alarm)| named(&alarm["Properties"]["AlarmName"])).collect();
    let mut seen = 0;
    for page in ["docs/deploy.md", "docs/recovery.md", "SECURITY.md"] {
        let text = read(page)?;
        let has_the_form = |word: &&str| {
            word.contains('-')
                && !word.starts_with('-')
                && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        };
        for word in text.split('`').skip(1).step_by(2).filter(has_the_form) {
            let is_one = alarms.contains(&format!("AWS::StackName-{word}"));
            let is_none = NO_ALARM_AT_ALL.iter().any(|known| word.starts_with(known));
            assert!(is_one != is_none, "{page} names {word}");
            seen += usize::from(is_one);
        }
    }
    assert!(seen >= 2, "{seen} alarms are named");
    Ok(())
}

#[test]
fn every_choice_about_missing_data_is_made_and_has_its_reason() -> anyhow::Result<()> {
    let template = template()?;
    let alarms = template.of_type("AWS::CloudWatch::Alarm");
    for (id, alarm) in alarms {
        let choice = alarm["Properties"]["TreatMissingData"].as_str();
        let silence = id == "SweepStopped";
        assert_eq!(choice, Some(if silence { "breaching" } else { "notBreaching" }), "{id}");
    }
    let text = read("template.yaml")?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let choices = lines.windows(2).filter(|pair| pair[1].starts_with("TreatMissingData:"));
    let without = choices.filter(|pair| !pair[0].starts_with("# ")).count();
    assert_eq!(without, 0, "a choice without a reason");
    Ok(())
}

#[test]
fn the_dashboard_shows_every_metric_and_none_that_nothing_writes() -> anyhow::Result<()> {
    let template = template()?;
    let dashboard = template.properties("Dashboard")["DashboardBody"]["Fn::Sub"].as_str();
    let dashboard: Value = serde_json::from_str(dashboard.unwrap_or_default())?;
    let mut shown = BTreeSet::new();
    for widget in listed(&dashboard["widgets"]) {
        let properties = &widget["properties"];
        for line in listed(&properties["metrics"]) {
            if line[0].as_str().is_some_and(|namespace| namespace.starts_with("AWS/")) {
                continue;
            }
            let name = line[1].as_str().unwrap_or_default();
            let metric = Metric::all().find(|metric| metric.name() == name);
            let metric = metric.ok_or_else(|| anyhow::anyhow!("nothing writes {name}"))?;
            let whole = json!([NAMESPACE, name, DIMENSION, "${AWS::StackName}"]);
            assert_eq!(*line, whole, "{name}");
            let as_level = properties["stat"] == "Maximum"
                || matches!(metric, Metric::BreakerOpen | Metric::ReportOnly);
            assert!(!metric.is_level() || as_level, "{name} is a level");
            shown.insert(metric.name());
        }
    }
    assert_eq!(shown, names());
    Ok(())
}

#[test]
fn the_stack_is_told_from_a_functions_name() -> anyhow::Result<()> {
    use keysteward::runtime::metrics::Origin;
    let template = template()?;
    for function in &FUNCTIONS {
        let name =
            named(&template.properties(&format!("{}Function", function.name))["FunctionName"]);
        let part = function.name.to_lowercase();
        assert_eq!(name, format!("AWS::StackName-{part}"));
        let origin = Origin::of_function(Some(&format!("pay-eu-{part}")));
        assert_eq!(
            format!("{origin:?}"),
            format!("Origin {{ stack: \"pay-eu\", function: {part:?} }}")
        );
    }
    Ok(())
}

#[test]
fn no_metric_is_taken_from_a_log_line() -> anyhow::Result<()> {
    assert_eq!(template()?.of_type("AWS::Logs::MetricFilter").count(), 0);
    Ok(())
}
