//! What happened in a life, told and as one number.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fake_stripe::Call;

use crate::life::Life;

impl Life {
    /// What happened, a line each.
    pub(crate) fn story(&self) -> String {
        self.story.join("\n")
    }

    pub(crate) fn tell(&mut self, what: &str) {
        self.story.push(format!("{} {what}", self.world.now()));
    }

    /// What happened, as one number: the story, every call to Stripe with its outcome, and where it ended: every row
    /// but what is drawn anew in each run.
    pub(crate) fn history(&self) -> anyhow::Result<u64> {
        let mut hasher = DefaultHasher::new();
        self.story.hash(&mut hasher);
        self.happened.to_string().hash(&mut hasher);
        for call in self.world.stripe.log() {
            (call.at_ms, call.method, call.path, call.status, call.replayed).hash(&mut hasher);
            (call.context, call.idempotency_key, call.error_code).hash(&mut hasher);
        }
        self.world.rows_without_chance()?.hash(&mut hasher);
        Ok(hasher.finish())
    }

    /// What only the end shows of how much there was.
    pub(crate) async fn count_at_rest(&mut self) -> anyhow::Result<()> {
        let failed = |call: &&Call| call.status.is_none_or(|it| it == 429 || it >= 500);
        let failed = self.world.stripe.log().iter().filter(failed).count();
        self.happened.add("calls", "failed by stripe", failed as u64);
        for at in &self.accounts {
            let stored = self.world.account(at).await?;
            let minted = stored.slots.values().map(|slot| slot.next.number().saturating_sub(1));
            let minted = minted.map(u64::from).sum();
            self.happened.add("keys", "minted", minted);
        }
        Ok(())
    }
}
