//! Chance, as the seed has it.

use std::cell::Cell;

use fake_stripe::{Behaviour, JweAlg, RelatedObject};
use keysteward::domain::policy::{Choice, OnDrift, OnUninstall, OnUserExpire, Strategy};

/// splitmix64: small, and the same everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    pub(crate) fn flip(&mut self) -> bool {
        self.roll() & 1 == 1
    }

    pub(crate) fn choice(&mut self) -> anyhow::Result<Choice> {
        Ok(Choice {
            rotate_every_days: 5 + u32::try_from(self.below(40))?,
            overlap_minutes: 60 + u32::try_from(self.below(2000))?,
            strategy: if self.flip() { Strategy::Rotate } else { Strategy::CreateThenExpire },
            on_user_expire: if self.flip() { OnUserExpire::Hold } else { OnUserExpire::Reissue },
            on_uninstall: if self.flip() { OnUninstall::Keep } else { OnUninstall::Expire },
            on_drift: if self.flip() { OnDrift::Report } else { OnDrift::Apply },
        })
    }

    /// A Stripe of one of the kinds that Stripe may be of (docs/adr/0016).
    pub(crate) fn vary(&mut self, stripe: &mut Behaviour) {
        stripe.replay_returns_ciphertext = self.flip();
        stripe.replay_returns_token = stripe.replay_returns_ciphertext;
        stripe.old_id_retrievable = self.flip();
        stripe.expired_event_after_rotate = self.flip();
        stripe.expire_lag_ms = if self.flip() { 9_000 } else { 0 };
        stripe.list_lag_ms = if self.flip() { 20_000 } else { 0 };
        stripe.duplicate_deliveries = self.flip();
        stripe.shuffle_deliveries = self.flip();
        stripe.jwe_alg = if self.flip() { JweAlg::RsaOaep } else { JweAlg::RsaOaep256 };
        stripe.related_object = match self.below(3) {
            0 => RelatedObject::Empty,
            1 => RelatedObject::Null,
            _ => RelatedObject::Absent,
        };
        stripe.managed_by_application = self.flip();
        stripe.thin_account_events = self.flip();
        stripe.absolute_page_urls = self.flip();
        stripe.events_oldest_first = self.flip();
        stripe.events_readable_after_uninstall = self.flip();
        stripe.seed = Some(self.roll());
    }
}

thread_local! {
    /// The jitter of the life on this thread: the steward takes a plain function.
    pub(crate) static JITTER: Cell<u64> = const { Cell::new(0) };
}

pub(crate) fn jitter() -> u64 {
    let mut dice = Dice(JITTER.get());
    let drawn = dice.roll();
    JITTER.set(dice.0);
    drawn
}
