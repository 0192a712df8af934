//! `cargo dev`: the bundle for a person, until it is stopped.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use keysteward::domain::id::AccountId;
use keysteward::domain::policy::{Choice, Policy};

use crate::bundle::{Bundle, Options, Table};

/// What may be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevOptions {
    /// Where the functions and the page listen.
    pub listen: SocketAddr,
    /// The port of fake Stripe.
    pub stripe_port: u16,
    /// Where the table and the vault's key are.
    pub folder: PathBuf,
    /// Whether the table of the last run is kept. Fake Stripe forgets everything all the same, so the keys
    /// in it are dead there: this is for looking at the table and the trail, not for playing on.
    pub keep: bool,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8787)),
            stripe_port: 8788,
            folder: PathBuf::from(".keysteward"),
            keep: false,
        }
    }
}

/// Starts the bundle with two accounts, nothing installed, and a sweep every other second.
pub async fn start(options: DevOptions) -> Result<Bundle> {
    let DevOptions { listen, stripe_port, folder, keep } = options;
    let accounts = ["acct_1FakeBakery", "acct_1FakeBookshop"];
    let accounts: Result<Vec<_>, _> = accounts.iter().map(|id| AccountId::parse(id)).collect();
    Ok(Bundle::start(Options {
        listen,
        stripe_port,
        table: Table::Folder { path: folder, keep },
        accounts: accounts?,
        policy: Policy::new(Choice::default())?,
        sweep_every: Some(Duration::from_secs(2)),
        back_to_page: true,
    })
    .await?)
}

/// Starts it, says where it is, and stays until the process is stopped.
pub async fn run(options: DevOptions, out: &mut (dyn Write + Send)) -> Result<()> {
    let bundle = start(options).await?;
    writeln!(
        out,
        "Open {}/ in a browser. Fake Stripe is at {}.",
        bundle.url(),
        bundle.stripe().url()
    )?;
    writeln!(out, "Press Ctrl-C to stop.")?;
    out.flush()?;
    std::future::pending().await
}
