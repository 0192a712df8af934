//! The sources as text: which functions there are, and which of them are reached from where.
//!
//! Not a parser: it relies on rustfmt's form of the code, and the tests that use it say what they found,
//! so that a form which it does not understand shows as a difference, not as silence.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the workspace.
pub(crate) fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(root().join(path)).map_err(|error| anyhow::anyhow!("{path}: {error}"))
}

/// A source file without comments and without its tests.
pub(crate) fn code(path: &str) -> anyhow::Result<String> {
    let text = read(path)?;
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

/// The source files under a folder, tests left out, as paths from the workspace's folder.
pub(crate) fn files(folder: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                if name != "tests" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && name != "tests.rs" && name != "testing.rs" {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Every `fn` of a text with its body.
pub(crate) fn functions(code: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (at, _) in code.match_indices("fn ") {
        let rest = &code[at + 3..];
        let name: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let (Some(open), end) = (rest.find('{'), rest.find(';').unwrap_or(rest.len())) else {
            continue;
        };
        if name.is_empty() || end < open {
            continue;
        }
        let mut depth = 0_u32;
        let body: String = rest[open..]
            .chars()
            .take_while(|c| {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                depth > 0
            })
            .collect();
        found.insert(name, body);
    }
    found
}

/// The text without white space, so that a call reads the same however rustfmt broke it.
pub(crate) fn dense(code: &str) -> String {
    code.split_whitespace().collect()
}

/// Whether `code` calls `name`, spelled as in `name(`, not as the end of a longer name.
pub(crate) fn calls(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}(")).any(|(at, _)| {
        !code[..at]
            .ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == ':')
    })
}

/// What is reached from `start` over `next`, `start` included.
pub(crate) fn closure(
    start: impl IntoIterator<Item = String>,
    next: impl Fn(&str) -> Vec<String>,
) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<String> = start.into_iter().collect();
    while let Some(name) = open.pop() {
        if reached.insert(name.clone()) {
            open.extend(next(&name));
        }
    }
    reached
}

/// Every literal `"…"` of a text that begins with `prefix`.
pub(crate) fn literals(code: &str, prefix: &str) -> BTreeSet<String> {
    code.split('"')
        .skip(1)
        .filter(|text| text.starts_with(prefix))
        .filter(|text| {
            text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        })
        .map(str::to_owned)
        .collect()
}

/// The `tracing::error!(…)` and its like of a text: level, message, and the whole call.
pub(crate) fn log_lines(code: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for level in ["error", "warn", "info"] {
        for (at, start) in code.match_indices(&format!("tracing::{level}!(")) {
            let mut depth = 1_u32;
            let call: String = code[at + start.len()..]
                .chars()
                .take_while(|c| {
                    match c {
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        _ => {}
                    }
                    depth > 0
                })
                .collect();
            // The message is the last literal of the call.
            let message = call.rsplit('"').nth(1).unwrap_or_default().to_owned();
            found.push((level.to_owned(), message, call));
        }
    }
    found
}
