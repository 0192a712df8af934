//! What the demo proves.

use serde::Serialize;

/// What was seen to hold. Each field is set by a check of what it says and by nothing else.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proof {
    /// Whether everything below holds.
    pub proved: bool,
    /// Accounts that installed the app, one by OAuth and one by install link.
    pub installed: u32,
    /// Whether the callback was refused to a browser that had not started the installation.
    pub callback_bound_to_browser: bool,
    /// Keys that were served and differ from one another.
    pub keys_served: u32,
    /// Whether fake Stripe takes every secret key that was served.
    pub keys_work: bool,
    /// Whether a reader who has the key already was answered 304.
    pub unchanged_is_304: bool,
    /// Keys that were rotated on demand.
    pub rotated: u32,
    /// Reads while keys were being rotated, on demand and by the schedule.
    pub reads_during_rotation: u64,
    /// Those among them that gave no key, or one that fake Stripe does not take.
    pub failed_reads: u64,
    /// Whether the old keys worked on during the overlap.
    pub old_key_works_in_overlap: bool,
    /// Whether fake Stripe answers the old keys 401 after it.
    pub old_key_dead: bool,
    /// Keys that the schedule rotated when their month was over.
    pub rotated_by_schedule: u32,
    /// Whether a webhook that was signed by somebody else was answered 400 and changed nothing.
    pub forged_webhook_refused: bool,
    /// Whether an old webhook was answered 400 and changed nothing.
    pub stale_webhook_refused: bool,
    /// Whether a webhook that came again was answered 200 and changed nothing.
    pub webhook_duplicate_ignored: bool,
    /// Whether a key that its user ended is served to nobody, and said why.
    pub user_expired_key_held: bool,
    /// Whether nothing is served of an account that uninstalled the app.
    pub uninstalled_serves_nothing: bool,
    /// Entries of the audit trails.
    pub audit_entries: u64,
    /// Whether the trails hold together and end where the accounts say.
    pub audit_verified: bool,
    /// Whether a changed entry is found.
    pub audit_tampering_found: bool,
    /// Secret tokens that were looked for in the table.
    pub tokens_looked_for: u32,
    /// Whether one of them is in a row of the table or in its stream.
    pub plaintext_in_table: bool,
    /// How long all of it took.
    pub seconds: f64,
}

impl Default for Proof {
    /// Nothing is proven.
    fn default() -> Self {
        Self {
            proved: false,
            installed: 0,
            callback_bound_to_browser: false,
            keys_served: 0,
            keys_work: false,
            unchanged_is_304: false,
            rotated: 0,
            reads_during_rotation: 0,
            failed_reads: 0,
            old_key_works_in_overlap: false,
            old_key_dead: false,
            rotated_by_schedule: 0,
            forged_webhook_refused: false,
            stale_webhook_refused: false,
            webhook_duplicate_ignored: false,
            user_expired_key_held: false,
            uninstalled_serves_nothing: false,
            audit_entries: 0,
            audit_verified: false,
            audit_tampering_found: false,
            tokens_looked_for: 0,
            plaintext_in_table: true,
            seconds: 0.0,
        }
    }
}

impl Proof {
    /// Decides whether everything was proven. Written out field by field, so that a new one is not forgotten.
    pub(super) fn conclude(&mut self) {
        let Self {
            proved,
            installed,
            callback_bound_to_browser,
            keys_served,
            keys_work,
            unchanged_is_304,
            rotated,
            reads_during_rotation,
            failed_reads,
            old_key_works_in_overlap,
            old_key_dead,
            rotated_by_schedule,
            forged_webhook_refused,
            stale_webhook_refused,
            webhook_duplicate_ignored,
            user_expired_key_held,
            uninstalled_serves_nothing,
            audit_entries,
            audit_verified,
            audit_tampering_found,
            tokens_looked_for,
            plaintext_in_table,
            seconds: _,
        } = self;
        *proved = [*installed, *rotated, *rotated_by_schedule] == [2, 2, 2]
            && *callback_bound_to_browser
            && *keys_served == 4
            && *keys_work
            && *unchanged_is_304
            && *reads_during_rotation > 0
            && *failed_reads == 0
            && *old_key_works_in_overlap
            && *old_key_dead
            && *forged_webhook_refused
            && *stale_webhook_refused
            && *webhook_duplicate_ignored
            && *user_expired_key_held
            && *uninstalled_serves_nothing
            && *audit_entries > 0
            && *audit_verified
            && *audit_tampering_found
            && *tokens_looked_for >= 6
            && !*plaintext_in_table;
    }
}
