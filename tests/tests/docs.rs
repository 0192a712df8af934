//! What `docs/threat-model.md` and `docs/failures.md` say that shows a claim is there: tests, constants, alarms.
//!
//! A test is named as its file and its function, each in backticks, in the last column of a row.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 2] = ["docs/threat-model.md", "docs/failures.md"];

fn read(path: &str) -> anyhow::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The cells of every row of a document's tables, headings and rules left out, with the heading's cells.
fn tables(document: &str) -> Vec<(Vec<&str>, Vec<&str>)> {
    let mut rows = Vec::new();
    let mut heading: Option<Vec<&str>> = None;
    for line in document.lines() {
        let Some(inside) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            if !line.starts_with("|---") {
                heading = None;
            }
            continue;
        };
        let cells: Vec<&str> = inside.split(" | ").collect();
        match &heading {
            Some(heading) => rows.push((heading.clone(), cells)),
            None => heading = Some(cells),
        }
    }
    rows
}

/// Whether a source has a test of this name: an attribute `#[test]` or `#[tokio::test]` right above it.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let declares = |line: &&str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")
            .and_then(|line| line.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    };
    let Some(at) = lines.iter().position(declares) else { return false };
    lines[..at]
        .iter()
        .rev()
        .take_while(|line| line.starts_with("#["))
        .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
}

/// The tests that a cell names, as file and function.
fn tests_of(cell: &str) -> Vec<(&str, &str)> {
    let mut file = None;
    let mut named = Vec::new();
    for span in quoted(cell) {
        if span.ends_with(".rs") {
            file = Some(span);
        } else if let Some(file) = file {
            named.push((file, span));
        }
    }
    named
}

#[test]
fn every_claim_names_a_test_that_exists_or_says_that_there_is_none() -> anyhow::Result<()> {
    for document in DOCUMENTS {
        let (text, mut seen) = (read(document)?, BTreeSet::new());
        for (heading, cells) in tables(&text) {
            assert_eq!(cells.len(), heading.len(), "{document}: {cells:?}");
            let (Some(&column), Some(&cell)) = (heading.last(), cells.last()) else { continue };
            if !matches!(column, "test" | "shown by") {
                continue;
            }
            let named = tests_of(cell);
            assert!(!named.is_empty() || cell.starts_with("– no test"), "{document}: {cells:?}");
            for (file, name) in named {
                let source = read(file)?;
                assert!(has_test(&source, name), "{document}: there is no test {name} in {file}");
                seen.insert(name.to_owned());
            }
        }
        assert!(seen.len() > 30, "{document} was not understood: {} tests", seen.len());
    }
    Ok(())
}

fn sources() -> anyhow::Result<String> {
    let mut text = String::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                text += &fs::read_to_string(path)?;
            }
        }
    }
    Ok(text)
}

/// `STALL` of `Policy::STALL`; `None` for what is no constant.
fn constant(span: &str) -> Option<&str> {
    let name = span.rsplit("::").next()?;
    let is_one = name.len() > 2 && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    (is_one && !span.starts_with("KEYSTEWARD_")).then_some(name)
}

#[test]
fn every_constant_that_bounds_a_time_is_one_of_the_code() -> anyhow::Result<()> {
    let (text, sources) = (read("docs/failures.md")?, sources()?);
    let constants: BTreeSet<&str> = quoted(&text).filter_map(constant).collect();
    assert!(constants.len() > 10, "{constants:?}");
    for name in constants {
        let declared = [
            format!("const {name}: Duration"),
            format!("const {name}: u32"),
            format!("const {name}: [Duration"),
        ];
        assert!(declared.iter().any(|text| sources.contains(text)), "there is no constant {name}");
    }
    Ok(())
}

#[test]
fn every_alarm_that_is_named_has_its_page_and_is_in_the_template() -> anyhow::Result<()> {
    let (operations, template) = (read("docs/operations.md")?, read("template.yaml")?);
    let mut seen = 0;
    for document in DOCUMENTS {
        for link in read(document)?.split("](operations.md#").skip(1) {
            let alarm = link.split(')').next().unwrap_or_default();
            assert!(operations.contains(&format!("\n### {alarm}\n")), "{document}: {alarm}");
            assert!(template.contains(&format!("-{alarm}'")), "{document}: {alarm}");
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen} links to alarms");
    Ok(())
}
