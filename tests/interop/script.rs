//! Runs the scripts beside this file: one JSON value in, one out.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use keysteward::domain::secret::SecretToken;
use keysteward::domain::time::Timestamp;
use keysteward::runtime::clock::Clock;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Software that somebody else wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Package {
    /// `stripe` of PyPI.
    StripePython,
    /// `stripe` of npm.
    StripeNode,
    /// `jwcrypto` of PyPI.
    Jwcrypto,
    /// `jose` of npm.
    Jose,
}

/// The two that sign and verify webhooks.
pub(crate) const STRIPE: [Package; 2] = [Package::StripePython, Package::StripeNode];
/// The two that make JWEs.
pub(crate) const JWE: [Package; 2] = [Package::Jwcrypto, Package::Jose];

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StripePython => "stripe (PyPI)",
            Self::StripeNode => "stripe (npm)",
            Self::Jwcrypto => "jwcrypto",
            Self::Jose => "jose",
        })
    }
}

impl Package {
    /// Has the package do one job.
    pub(crate) async fn run(self, job: Value) -> anyhow::Result<Value> {
        let answer = tokio::time::timeout(TIMEOUT, self.talk(&job)).await;
        let what = || format!("{self}: {}", job["command"]);
        answer.with_context(what)?.with_context(what)
    }

    async fn talk(self, job: &Value) -> anyhow::Result<Value> {
        let mut child = self
            .command()?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the interpreter does not start")?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        // A script that ended early says why on stderr, so a broken pipe is not the news.
        let _ = stdin.write_all(job.to_string().as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}\n{stderr}", output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn command(self) -> anyhow::Result<Command> {
        Ok(match self {
            Self::StripePython => python("stripe_sdk.py")?,
            Self::Jwcrypto => python("jwe.py")?,
            Self::StripeNode => node(include_str!("stripe_sdk.mjs"))?,
            Self::Jose => node(include_str!("jwe.mjs"))?,
        })
    }
}

fn python(script: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(installed("KEYSTEWARD_INTEROP_PYTHON")?);
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "interop", script].iter().collect();
    command.arg("-IB").arg(script);
    Ok(command)
}

/// Node looks for the packages of a script on its command line from the working directory on.
fn node(script: &str) -> anyhow::Result<Command> {
    let mut command = Command::new("node");
    command
        .args(["--input-type=module", "--eval", script])
        .current_dir(installed("KEYSTEWARD_INTEROP_NODE")?);
    Ok(command)
}

fn installed(variable: &str) -> anyhow::Result<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "settings of the tests, not of the bundle that runtime/settings.rs reads"
    )]
    let Some(path) = std::env::var_os(variable) else {
        bail!("{variable} is not set: run `just interop` or `.ci/run`, which install the packages");
    };
    let path = PathBuf::from(path);
    ensure!(path.exists(), "{variable} names {}, which does not exist", path.display());
    Ok(path)
}

/// Now, by the machine's clock: what the packages compare a signature's time with.
pub(crate) fn now() -> Timestamp {
    Clock::system().now()
}

/// A time some seconds from another.
pub(crate) fn shifted(at: Timestamp, seconds: i64) -> anyhow::Result<Timestamp> {
    Ok(Timestamp::from_seconds(at.seconds() + seconds)?)
}

/// A secret of a test.
pub(crate) fn secret(text: &str) -> SecretToken {
    SecretToken::new(text.to_owned())
}

/// A text that a script answered.
pub(crate) fn text(value: &Value) -> anyhow::Result<&str> {
    value.as_str().with_context(|| format!("expected a text, not {value}"))
}

/// For a job that takes milliseconds, but may run on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);
