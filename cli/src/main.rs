//! The command: arguments, environment and terminal in, exit code out.

use std::process::ExitCode;

use keysteward::runtime::clock::Clock;
use keysteward::runtime::settings::environment;
use keysteward_cli::{Surroundings, Terminal, run};

fn main() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let surroundings = Surroundings {
        lookup: Box::new(environment),
        clock: Clock::system(),
        terminal: Terminal::of_process(),
    };
    Ok(ExitCode::from(runtime.block_on(run(std::env::args_os(), surroundings))))
}
