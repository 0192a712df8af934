//! Where a command reads and writes, and what it may do there.

use std::io::{self, BufRead, IsTerminal as _, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Standard input, output and error, or what stands for them.
#[expect(missing_debug_implementations, reason = "its writers have no such form")]
pub struct Terminal {
    /// Results.
    pub out: Box<dyn Write + Send>,
    /// Questions, failures, and what else is not the result.
    pub err: Box<dyn Write + Send>,
    /// Answers to questions.
    pub input: Box<dyn BufRead + Send>,
    /// Whether a person can be asked.
    pub asks: bool,
    /// Whether progress is drawn on standard error.
    pub draws: bool,
}

impl Terminal {
    /// Those of the process.
    pub fn of_process() -> Self {
        let draws = io::stderr().is_terminal();
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            input: Box::new(io::BufReader::new(io::stdin())),
            asks: draws && io::stdin().is_terminal(),
            draws,
        }
    }

    /// Writes a part of the result.
    pub(crate) fn print(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{}", text.trim_end())
    }

    /// Says something that is not the result. A terminal that is gone cannot be told so.
    pub(crate) fn say(&mut self, text: &str) {
        let _ = writeln!(self.err, "{}", text.trim_end());
    }

    /// Reads a line, without its end.
    pub(crate) fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.input.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Sends log lines of the process to standard error: what goes wrong, or with `verbose` all of them.
    pub(crate) fn log(&self, verbose: bool) {
        let level = if verbose { tracing::Level::INFO } else { tracing::Level::ERROR };
        // A second command in one process keeps the first subscriber, which is as good.
        let _ = tracing_subscriber::fmt()
            .with_writer(io::stderr)
            .with_max_level(level)
            .with_target(false)
            .without_time()
            .try_init();
    }

    /// A bar for work of known length, or a spinner; nothing at all where nobody looks.
    pub(crate) fn progress(&self, what: &'static str, length: Option<u64>) -> ProgressBar {
        if !self.draws {
            return ProgressBar::hidden();
        }
        let bar = match length {
            Some(length) => ProgressBar::new(length),
            None => ProgressBar::new_spinner(),
        };
        let template = match length {
            Some(_) => "{msg} [{bar:40}] {pos}/{len} ({eta} left)",
            None => "{spinner} {msg}: {pos}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}
