//! The folder of `cargo dev`: the table's file, the vault's key, and how far the clock was moved.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

/// Makes the folder, and removes the table in it unless it is to be kept.
///
/// Only files of these names are ever removed, and never the vault's key.
pub(crate) fn prepare(folder: &Path, keep: bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if keep {
        return Ok(());
    }
    for suffix in ["", "-wal", "-shm", "-journal"] {
        remove(&folder.join(format!("{TABLE_FILE}{suffix}")))?;
    }
    remove(&folder.join(CLOCK_FILE))
}

/// How far the clock was ahead when this table was last used: what is in it must not lie in the future.
pub(crate) fn read_ahead(folder: &Path) -> Duration {
    let text = fs::read_to_string(folder.join(CLOCK_FILE)).unwrap_or_default();
    Duration::from_millis(text.trim().parse().unwrap_or(0))
}

/// Writes down how far the clock is ahead.
pub(crate) fn write_ahead(folder: &Path, ahead: Duration) -> io::Result<()> {
    fs::write(folder.join(CLOCK_FILE), format!("{}\n", ahead.as_millis()))
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The table.
pub(crate) const TABLE_FILE: &str = "table.db";
/// The vault's key.
pub(crate) const VAULT_FILE: &str = "vault.key";
/// Milliseconds that the clock is ahead.
const CLOCK_FILE: &str = "clock-ahead-ms";
