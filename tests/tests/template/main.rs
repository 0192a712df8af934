//! `template.yaml` against the code that it deploys: what a function reads, calls and says in its log is
//! taken from the sources, what it is given from the template, and the two have to be the same.

mod alarms;
mod cloudformation;
mod functions;
mod infra;
mod policies;
mod resources;
mod rights;
mod source;

use cloudformation::Template;
use source::read;

/// A function, and the files that its use case is written in.
pub(crate) struct Function {
    /// As in the logical ids of the template.
    pub(crate) name: &'static str,
    /// Its use case, the steward left out.
    files: &'static [&'static str],
}

pub(crate) const FUNCTIONS: [Function; 5] = [
    Function {
        name: "Install",
        files: &["functions/install/src/lib.rs", "shared/src/install/mod.rs"],
    },
    Function { name: "Webhook", files: &["functions/webhook/src/lib.rs"] },
    Function {
        name: "Lifecycle",
        files: &["functions/lifecycle/src/lib.rs", "shared/src/ingest.rs", "shared/src/sandbox.rs"],
    },
    Function {
        name: "Rotate",
        files: &[
            "functions/rotate/src/lib.rs",
            "shared/src/sweep.rs",
            "shared/src/emergency.rs",
            "shared/src/ingest.rs",
            "shared/src/sandbox.rs",
        ],
    },
    Function { name: "Keys", files: &["functions/keys/src/lib.rs", "shared/src/serve.rs"] },
];

pub(crate) fn template() -> anyhow::Result<Template> {
    Template::parse(&read("template.yaml")?)
}

/// The files of a function's use case, those of the steward included where it has one.
pub(crate) fn function_files(function: &Function) -> anyhow::Result<Vec<String>> {
    let mut files: Vec<String> = function.files.iter().map(|path| (*path).to_owned()).collect();
    if matches!(function.name, "Install" | "Lifecycle" | "Rotate") {
        files.extend(source::files("shared/src/steward")?);
    }
    Ok(files)
}
