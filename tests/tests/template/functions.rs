//! Which functions there are, how they are built and moved over, and which variables they get.

use std::collections::BTreeSet;

use serde_json::json;

use crate::cloudformation::{listed, named};
use crate::source::{self, calls, closure, code, dense, files, functions, literals, read};
use crate::{FUNCTIONS, Function, template};

#[test]
fn every_function_of_the_workspace_is_deployed_and_no_other() -> anyhow::Result<()> {
    let template = template()?;
    let in_template: BTreeSet<String> = template
        .of_type("AWS::Serverless::Function")
        .map(|(_, resource)| {
            let binary = &resource["Metadata"]["BuildProperties"]["Binary"];
            binary.as_str().unwrap_or_default().to_owned()
        })
        .collect();
    let mut in_workspace = BTreeSet::new();
    for entry in std::fs::read_dir(source::root().join("functions"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let manifest = read(&format!("functions/{name}/Cargo.toml"))?;
        assert!(manifest.contains(&format!("name = \"keysteward-{name}\"")), "{name}");
        in_workspace.insert(format!("keysteward-{name}"));
    }
    assert_eq!(in_template, in_workspace);
    assert_eq!(FUNCTIONS.len(), in_workspace.len());
    Ok(())
}

#[test]
fn every_function_is_built_traced_logged_and_moved_over_by_canary() -> anyhow::Result<()> {
    let template = template()?;
    let globals = &template.root["Globals"]["Function"];
    assert_eq!(globals["Runtime"], "provided.al2023");
    assert_eq!(globals["Architectures"], json!([{ "Ref": "Architecture" }]));
    assert_eq!(template.root["Parameters"]["Architecture"]["Default"], "arm64");
    assert_eq!(globals["Tracing"], "Active");
    assert_eq!(globals["AutoPublishAlias"], "live");
    for Function { name, .. } in &FUNCTIONS {
        let resource = &template.root["Resources"][format!("{name}Function")];
        assert_eq!(resource["Metadata"]["BuildMethod"], "rust-cargolambda", "{name}");
        let properties = &resource["Properties"];
        assert_eq!(named(&properties["Role"]), format!("{name}Role"));
        assert_eq!(named(&properties["LoggingConfig"]["LogGroup"]), format!("{name}Log"));
        assert_eq!(properties["AutoPublishAliasAllProperties"], true, "{name}");
        assert!(properties["MemorySize"].is_u64() && properties["Timeout"].is_u64(), "{name}");
        assert!(properties.get("Policies").is_none(), "{name}: its role says what it may do");
        let alarms = listed(&properties["DeploymentPreference"]["Alarms"]);
        assert!(alarms.iter().any(|alarm| named(alarm) == format!("{name}Errors")), "{name}");
        for alarm in alarms {
            assert_eq!(
                template.root["Resources"][named(alarm)]["Type"],
                "AWS::CloudWatch::Alarm",
                "{name}"
            );
        }
        let log = template.properties(&format!("{name}Log"));
        assert!(log.get("RetentionInDays").is_some() && log.get("KmsKeyId").is_some(), "{name}");
    }
    Ok(())
}

/// The variables that a function reads, by following its assembly through the text.
pub(crate) fn variables(function: &str) -> anyhow::Result<BTreeSet<String>> {
    let main = code(&format!("functions/{}/src/main.rs", function.to_lowercase()))?;
    let assemble = functions(&code("shared/src/runtime/assemble.rs")?);
    let settings = functions(&code("shared/src/runtime/settings.rs")?);
    let start = assemble.keys().filter(|name| main.contains(&format!("assemble::{name}(")));
    let reached = closure(start.cloned(), |name| {
        let Some(body) = assemble.get(name) else { return Vec::new() };
        assemble.keys().filter(|other| calls(body, other)).cloned().collect()
    });
    anyhow::ensure!(!reached.is_empty(), "{function} assembles nothing");
    let mut found = BTreeSet::new();
    for body in reached.iter().filter_map(|name| assemble.get(name)) {
        found.extend(literals(body, "KEYSTEWARD_"));
        for (method, read) in &settings {
            if dense(body).contains(&format!("settings.{method}(")) {
                found.extend(literals(read, "KEYSTEWARD_"));
            }
        }
    }
    Ok(found)
}

#[test]
fn every_variable_that_a_function_reads_is_set_and_no_other() -> anyhow::Result<()> {
    let template = template()?;
    for Function { name, .. } in &FUNCTIONS {
        let set = &template.properties(&format!("{name}Function"))["Environment"]["Variables"];
        let set: BTreeSet<String> =
            set.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
        assert_eq!(set, variables(name)?, "{name}: set in the template, read by the code");
    }
    Ok(())
}

#[test]
fn no_variable_is_read_that_this_test_does_not_see() -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for Function { name, .. } in &FUNCTIONS {
        seen.extend(variables(name)?);
    }
    let mut written = BTreeSet::new();
    for path in files("shared/src")?.into_iter().chain(files("functions")?) {
        written.extend(literals(&code(&path)?, "KEYSTEWARD_"));
    }
    assert_eq!(seen, written);
    Ok(())
}

#[test]
fn a_variable_that_names_a_resource_names_the_right_one() -> anyhow::Result<()> {
    let template = template()?;
    for Function { name, .. } in &FUNCTIONS {
        let set = &template.properties(&format!("{name}Function"))["Environment"]["Variables"];
        for (variable, resource) in [
            ("KEYSTEWARD_TABLE", "Table"),
            ("KEYSTEWARD_KMS_KEY_ID", "VaultKey"),
            ("KEYSTEWARD_STRIPE_SECRET_ID", "StripeSecret"),
            ("KEYSTEWARD_WEBHOOK_SECRET_ID", "WebhookSecret"),
            ("KEYSTEWARD_APP_ID", "StripeAppId"),
        ] {
            if let Some(value) = set.get(variable) {
                assert_eq!(named(value), resource, "{name}: {variable}");
            }
        }
    }
    Ok(())
}
