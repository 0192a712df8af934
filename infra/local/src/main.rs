//! `keysteward-local dev` and `keysteward-local demo`, as `cargo dev` and `cargo demo`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use keysteward::runtime::log::chain;
use keysteward_local::dev::DevOptions;
use keysteward_local::{demo, dev, guard};
use tracing_subscriber::EnvFilter;

const USAGE: &str = "\
usage: keysteward-local demo
       keysteward-local dev [--listen 127.0.0.1:8787] [--stripe-port 8788] [--folder .keysteward] [--keep]

demo  goes through the main flow by itself, says what it does, and ends with one line of JSON
dev   serves the bundle and a page that leads through it, until it is stopped
      --keep keeps the last run's table; without it every run begins with an empty one
";

enum Command {
    Demo,
    Dev(DevOptions),
    Help,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = match parse(&arguments) {
        Ok(command) => command,
        Err(why) => {
            let _ = write!(io::stderr(), "{why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let started = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done =
        started.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(command)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "keysteward-local: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
async fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Demo => {
            log("error");
            Ok(demo::run(&mut io::stdout()).await?.proved)
        }
        Command::Dev(options) => {
            log("info");
            dev::run(options, &mut io::stdout()).await?;
            Ok(true)
        }
        Command::Help => {
            write!(io::stdout(), "{USAGE}")?;
            Ok(true)
        }
    }
}

/// Logs to standard error: standard output belongs to the words and to the proof.
fn log(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // Fails only where a subscriber is set already, which is as good.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(io::stderr)
        .try_init();
}

/// Never repeats a value: it could be a key.
fn parse(arguments: &[String]) -> Result<Command, String> {
    let named = arguments.iter().enumerate();
    guard::refuse_live_keys(
        named.map(|(at, value)| (format!("argument {}", at + 1), value.clone())),
    )
    .map_err(|refused| refused.to_string())?;
    let mut rest = arguments.iter().map(String::as_str);
    match rest.next() {
        Some("demo") if arguments.len() == 1 => return Ok(Command::Demo),
        Some("dev") => {}
        Some("help" | "--help" | "-h") => return Ok(Command::Help),
        Some(_) | None => return Err("expected `demo` or `dev`".to_owned()),
    }
    let mut options = DevOptions::default();
    while let Some(name) = rest.next() {
        if matches!(name, "--help" | "-h") {
            return Ok(Command::Help);
        }
        if name == "--keep" {
            options.keep = true;
            continue;
        }
        let mut value = || rest.next().ok_or(format!("{name} needs a value"));
        match name {
            "--listen" => {
                options.listen =
                    value()?.parse().map_err(|_| "--listen takes an address and a port")?;
            }
            "--stripe-port" => {
                options.stripe_port = value()?.parse().map_err(|_| "--stripe-port takes a port")?;
            }
            "--folder" => options.folder = value()?.into(),
            _ => return Err("there is an option that is not known".to_owned()),
        }
    }
    Ok(Command::Dev(options))
}
