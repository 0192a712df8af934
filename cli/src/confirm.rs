//! Asking before something that cannot be taken back.

use anyhow::ensure;

use crate::session::{Session, Usage};

impl Session {
    /// Goes on only when `--yes` was said or a person types `answer`. Where nobody can be asked, it is not
    /// gone on with.
    pub(crate) fn confirm(
        &mut self,
        is_agreed: bool,
        question: &str,
        answer: &str,
    ) -> anyhow::Result<()> {
        self.terminal.say(question);
        if is_agreed {
            return Ok(());
        }
        if !self.terminal.asks {
            return Err(Usage("there is nobody to ask here: say --yes"))?;
        }
        self.terminal.say(&format!("Type {answer} to go on:"));
        let typed = self.terminal.read_line()?;
        ensure!(typed == answer, "not confirmed: nothing was changed");
        Ok(())
    }
}
