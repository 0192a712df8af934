//! One function as Lambda runs it: the binary in a process of its own, under a Runtime API.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::runtime_api::{Outcome, Report, RuntimeApi};

/// A running function. Dropping it kills the process.
#[derive(Debug)]
pub struct Function {
    /// Its Runtime API.
    pub api: RuntimeApi,
    child: Child,
    pid: Pid,
    // Files rather than pipes: what was written before an outcome was posted is there to read after it.
    output: TempDir,
}

/// What an HTTP function answered, taken out of the envelope of payload 2.0.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// `statusCode`
    pub status: u16,
    /// `headers`
    pub headers: Value,
    /// `cookies`
    pub cookies: Vec<String>,
    /// `body`, decoded where it came in base64.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// What the process used up so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time of all its threads, those that ended too.
    pub cpu: Duration,
    /// The most memory it ever held, in KiB (`VmHWM`).
    pub peak_rss_kib: u64,
}

impl Function {
    /// Starts a binary with exactly these variables and those that Lambda sets.
    pub async fn spawn(
        binary: &Path,
        environment: &[(String, String)],
        time_limit: Duration,
    ) -> anyhow::Result<Self> {
        let api = RuntimeApi::start(time_limit).await?;
        let output = tempfile::tempdir()?;
        let mut command = Command::new(binary);
        command
            .env_clear()
            .envs(LAMBDA)
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(File::create(output.path().join(STDOUT))?)
            .stderr(File::create(output.path().join(STDERR))?)
            .kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{} starts", binary.display()))?;
        let pid = child.id().context("a child has a process id")?;
        let pid = Pid::from_raw(i32::try_from(pid)?);
        Ok(Self { api, child, pid, output })
    }

    /// Waits until it asks for its first invocation; an error with its output when it ends instead.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let api = self.api.clone();
        self.unless_it_ends(api.asked(1)).await
    }

    /// Has it handle one event.
    pub async fn invoke(&mut self, event: &Value) -> anyhow::Result<Outcome> {
        let outcome = self.api.invoke(serde_json::to_vec(event)?);
        Ok(self.unless_it_ends(outcome).await??)
    }

    /// Has it handle one event, and expects a JSON response.
    pub async fn answer(&mut self, event: &Value) -> anyhow::Result<Value> {
        match self.invoke(event).await? {
            Outcome::Response(body) => Ok(serde_json::from_slice(&body)?),
            Outcome::Error(report) => bail!("an error was reported: {report:?}"),
        }
    }

    /// Has it handle one event, and expects a report of an error.
    pub async fn failure(&mut self, event: &Value) -> anyhow::Result<Report> {
        match self.invoke(event).await? {
            Outcome::Error(report) => Ok(report),
            Outcome::Response(body) => {
                bail!("a response came: {}", String::from_utf8_lossy(&body))
            }
        }
    }

    /// Has it answer one HTTP API event.
    pub async fn http(&mut self, event: &Value) -> anyhow::Result<HttpAnswer> {
        let answer = self.answer(event).await?;
        let status = answer["statusCode"].as_u64().context("an answer has a status")?;
        let body = answer["body"].as_str().unwrap_or_default();
        let body = if answer["isBase64Encoded"] == true {
            STANDARD.decode(body)?
        } else {
            body.as_bytes().to_vec()
        };
        let cookies = answer["cookies"].as_array().map(Vec::as_slice).unwrap_or_default();
        let cookies = cookies.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect();
        Ok(HttpAnswer {
            status: u16::try_from(status)?,
            headers: answer["headers"].clone(),
            cookies,
            body,
        })
    }

    /// Waits for the process to end.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        Ok(ended.context("the process does not end")??)
    }

    /// Sends SIGTERM, as Lambda does before it ends a sandbox with extensions.
    pub fn terminate(&self) -> anyhow::Result<()> {
        Ok(kill(self.pid, Signal::SIGTERM)?)
    }

    /// What it wrote to standard output: the lines that go to CloudWatch Logs.
    pub fn stdout(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.output.path().join(STDOUT))?)
    }

    /// What it wrote to standard error, which Lambda logs as well.
    pub fn stderr(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.output.path().join(STDERR))?)
    }

    /// What it used up so far.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let cpu = clock_gettime(clock_getcpuclockid(self.pid)?)?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|text| text.split_whitespace().next());
        Ok(Usage { cpu: cpu.into(), peak_rss_kib: peak.context("a process has a peak")?.parse()? })
    }

    async fn unless_it_ends<T>(&mut self, what: impl Future<Output = T>) -> anyhow::Result<T> {
        let waited = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                biased;
                done = what => Ok(done),
                status = self.child.wait() => Err(status),
            }
        })
        .await;
        match waited.context("the function takes too long")? {
            Ok(done) => Ok(done),
            Err(status) => {
                bail!("it ended with {}\n{}{}", status?, self.stdout()?, self.stderr()?)
            }
        }
    }
}

/// The five functions, as their crates are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `keysteward-install`
    Install,
    /// `keysteward-webhook`
    Webhook,
    /// `keysteward-lifecycle`
    Lifecycle,
    /// `keysteward-rotate`
    Rotate,
    /// `keysteward-keys`
    Keys,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Install, Self::Webhook, Self::Lifecycle, Self::Rotate, Self::Keys];

    /// The name of its binary.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Install => "keysteward-install",
            Self::Webhook => "keysteward-webhook",
            Self::Lifecycle => "keysteward-lifecycle",
            Self::Rotate => "keysteward-rotate",
            Self::Keys => "keysteward-keys",
        }
    }

    /// `Timeout` in `template.yaml`.
    pub fn time_limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Install => 30,
            Self::Webhook => 20,
            Self::Lifecycle => 120,
            Self::Rotate => 900,
            Self::Keys => 20,
        })
    }

    /// The name of its resource in `template.yaml`.
    fn resource(self) -> &'static str {
        match self {
            Self::Install => "InstallFunction",
            Self::Webhook => "WebhookFunction",
            Self::Lifecycle => "LifecycleFunction",
            Self::Rotate => "RotateFunction",
            Self::Keys => "KeysFunction",
        }
    }
}

/// Where release binaries are: `KEYSTEWARD_FUNCTIONS` for those of the functions, which may be what
/// `sam build` made (`.aws-sam/build`), and otherwise what `infra/package` made in the target directory.
pub fn binary(name: Name) -> anyhow::Result<PathBuf> {
    if let Some(folder) = setting("KEYSTEWARD_FUNCTIONS") {
        return [name.resource(), name.binary()]
            .iter()
            .map(|entry| folder.join(entry).join("bootstrap"))
            .find(|path| path.is_file())
            .with_context(|| format!("{} has no {}", folder.display(), name.binary()));
    }
    built(name.binary())
}

/// The same for the programs beside them, `keysteward-hello` and `keysteward-panics`.
pub fn built(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let in_target = |folder: &Path| folder.join("lambda").join(name).join("bootstrap");
    let path = program.ancestors().map(in_target).find(|path| path.is_file());
    path.with_context(|| format!("there is no {name}: run infra/package --binaries x86_64 first"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a setting of the tests, not of the bundle that runtime/settings.rs reads"
)]
fn setting(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// What Lambda sets beside the function's own variables, as far as a function may read it.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>
const LAMBDA: [(&str, &str); 12] = [
    ("_HANDLER", "bootstrap"),
    ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE"),
    ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
    ("AWS_LAMBDA_FUNCTION_NAME", "keysteward"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
    ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_SECRET_ACCESS_KEY", "an-aws-secret-of-the-tests"),
    ("AWS_SESSION_TOKEN", "an-aws-session-of-the-tests"),
    ("LAMBDA_TASK_ROOT", "/var/task"),
    ("TZ", ":UTC"),
];
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
/// Far more than anything here takes on a busy machine: only a process that hangs is that late.
const PATIENCE: Duration = Duration::from_secs(120);
