//! `keysteward`: how a person sees what the bundle holds, and gives it orders.
//!
//! A command changes rows and, for one account, does at once what the sweep would do. Whatever it began and
//! did not finish, the deployed sweep finishes: every command can be interrupted and given again.

mod args;
mod audit;
mod confirm;
mod doctor;
mod emergency;
mod events;
mod expire;
mod one;
mod output;
mod parts;
mod pause;
mod provision;
mod reconcile;
mod resume;
mod rotate;
mod session;
mod show;
mod status;
mod terminal;
mod walk;

use std::ffi::OsString;
use std::io;

use clap::Parser as _;
use keysteward::runtime::clock::Clock;

use args::{Args, Command};
use session::{Found, Session, Usage};

pub use parts::Lookup;
pub use terminal::Terminal;

/// What a command runs in.
#[expect(missing_debug_implementations, reason = "its look-up gives secrets")]
pub struct Surroundings {
    /// Reads variables, usually of the environment.
    pub lookup: Lookup,
    /// What time it is.
    pub clock: Clock,
    /// Where it reads and writes.
    pub terminal: Terminal,
}

/// Runs one command and answers its exit code: 0 done, 1 failed, 2 usage, 3 found something wrong.
pub async fn run(args: impl IntoIterator<Item = OsString>, surroundings: Surroundings) -> u8 {
    let Surroundings { lookup, clock, mut terminal } = surroundings;
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(refused) if refused.use_stderr() => {
            terminal.say(&refused.render().to_string());
            return USAGE;
        }
        // Help or version, as asked for.
        Err(text) => {
            let written = terminal.print(&text.render().to_string());
            return if written.is_ok() { DONE } else { FAILED };
        }
    };
    terminal.log(args.verbose);
    let mut session = Session::new(lookup, clock, terminal, args.output);
    match carry_out(args.command, &mut session).await {
        Ok(Found::NothingWrong) => DONE,
        Ok(Found::SomethingWrong) => WRONG,
        Err(error) if is_closed_pipe(&error) => DONE,
        Err(error) => {
            session.terminal.say(&format!("keysteward: {error:#}"));
            if error.is::<Usage>() { USAGE } else { FAILED }
        }
    }
}

async fn carry_out(command: Command, session: &mut Session) -> anyhow::Result<Found> {
    match command {
        Command::Status => status::run(session).await,
        Command::Show(asked) => show::run(asked, session).await,
        Command::Rotate(asked) => rotate::run(asked, session).await,
        Command::Expire(asked) => expire::run(asked, session).await,
        Command::Pause(asked) => pause::run(asked, session).await,
        Command::Resume(asked) => resume::run(asked, session).await,
        Command::Provision(asked) => provision::run(asked, session).await,
        Command::Reconcile(asked) => reconcile::run(asked, session).await,
        Command::Events(asked) => events::run(asked, session).await,
        Command::Audit(asked) => audit::run(asked, session).await,
        Command::Doctor => doctor::run(session).await,
    }
}

/// Whoever reads the output has seen enough of it.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const WRONG: u8 = 3;
