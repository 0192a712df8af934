//! One command being carried out: its parts, its terminal, its form of output.

use anyhow::bail;
use keysteward::domain::id::AccountId;
use keysteward::domain::slot::{AccountRef, Mode};
use keysteward::domain::time::Timestamp;
use keysteward::runtime::clock::Clock;
use serde::Serialize;

use crate::args::{Format, OneAccount};
use crate::parts::{Lookup, Parts};
use crate::terminal::Terminal;

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    NothingWrong,
    SomethingWrong,
}

/// What was asked cannot be asked like this.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) &'static str);

pub(crate) struct Session {
    pub(crate) parts: Parts,
    pub(crate) terminal: Terminal,
    format: Format,
}

impl Session {
    pub(crate) fn new(lookup: Lookup, clock: Clock, terminal: Terminal, format: Format) -> Self {
        Self { parts: Parts::new(lookup, clock), terminal, format }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.parts.clock().now()
    }

    /// Writes the result in the form that was asked for.
    pub(crate) fn show<T: Serialize>(
        &mut self,
        result: &T,
        as_text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Table => as_text(result),
            Format::Json => serde_json::to_string_pretty(result)?,
        };
        Ok(self.terminal.print(&text)?)
    }

    /// The account that is meant: in the mode that was said, or in the only one that it is stored in.
    pub(crate) async fn find(&mut self, asked: &OneAccount) -> anyhow::Result<AccountRef> {
        self.find_in(&asked.account, asked.mode).await
    }

    pub(crate) async fn find_in(
        &mut self,
        id: &AccountId,
        mode: Option<Mode>,
    ) -> anyhow::Result<AccountRef> {
        let store = self.parts.store().await?;
        let mut found = Vec::new();
        for candidate in [Mode::Live, Mode::Test] {
            let at = AccountRef::new(candidate, id.clone());
            let is_meant = mode.is_none_or(|mode| mode == candidate);
            if is_meant && store.load(&at).await?.is_some() {
                found.push(at);
            }
        }
        match found.as_slice() {
            [only] => Ok(only.clone()),
            [] => bail!("nothing is stored of this account"),
            _ => Err(Usage("the account is stored in both modes: say --mode live or --mode test"))?,
        }
    }
}
