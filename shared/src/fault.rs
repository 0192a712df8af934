//! Failures by name: the bounded set of words under which metrics count what went wrong.

/// What was wrong, as far as somebody would do something else about it.
///
/// Every error of this crate that is not the caller's and not a race answers `fault()`. What an operator
/// does about each is in `docs/operations.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A variable is missing or refused.
    Setting,
    /// Secrets Manager has no such secret, or none with a value.
    SecretMissing,
    /// Secrets Manager was not reached or did not give the secret out.
    SecretUnread,
    /// A secret is not of the documented form.
    SecretMalformed,
    /// There is no such table, or it lacks the index.
    TableMissing,
    /// The table refuses the request: rights, names, sizes.
    TableRefused,
    /// The table was not reached or is busy. Passes.
    TableUnavailable,
    /// A row is not what this version writes, or an audit trail not what was recorded.
    RowUnreadable,
    /// A wrapped private key was changed, or belongs to another encryption context or key.
    WrongContext,
    /// The vault's key is disabled or waits for its deletion.
    VaultKeyDisabled,
    /// The vault's key does not exist.
    VaultKeyMissing,
    /// This process may not use the vault's key.
    VaultNotAllowed,
    /// The vault was not reached or is throttling. Passes.
    VaultUnavailable,
    /// The vault, or what it keeps, failed in another way.
    VaultFailed,
    /// A sealed token does not open: tampered with, cut short, sealed to another pair.
    TokenDoesNotOpen,
    /// Stripe failed, or refused for good.
    Stripe,
    /// The program disagrees with itself.
    Defect,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Setting,
        Self::SecretMissing,
        Self::SecretUnread,
        Self::SecretMalformed,
        Self::TableMissing,
        Self::TableRefused,
        Self::TableUnavailable,
        Self::RowUnreadable,
        Self::WrongContext,
        Self::VaultKeyDisabled,
        Self::VaultKeyMissing,
        Self::VaultNotAllowed,
        Self::VaultUnavailable,
        Self::VaultFailed,
        Self::TokenDoesNotOpen,
        Self::Stripe,
        Self::Defect,
    ];

    /// The name of the metric that counts it.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Setting => "FaultSetting",
            Self::SecretMissing => "FaultSecretMissing",
            Self::SecretUnread => "FaultSecretUnread",
            Self::SecretMalformed => "FaultSecretMalformed",
            Self::TableMissing => "FaultTableMissing",
            Self::TableRefused => "FaultTableRefused",
            Self::TableUnavailable => "FaultTableUnavailable",
            Self::RowUnreadable => "FaultRowUnreadable",
            Self::WrongContext => "FaultWrongContext",
            Self::VaultKeyDisabled => "FaultVaultKeyDisabled",
            Self::VaultKeyMissing => "FaultVaultKeyMissing",
            Self::VaultNotAllowed => "FaultVaultNotAllowed",
            Self::VaultUnavailable => "FaultVaultUnavailable",
            Self::VaultFailed => "FaultVaultFailed",
            Self::TokenDoesNotOpen => "FaultTokenDoesNotOpen",
            Self::Stripe => "FaultStripe",
            Self::Defect => "FaultDefect",
        }
    }

    /// Whether it stays until somebody does something about it.
    pub fn is_lasting(self) -> bool {
        match self {
            // Stripe's own failures have metrics of their own, and most pass.
            Self::TableUnavailable | Self::VaultUnavailable | Self::Stripe => false,
            Self::Setting
            | Self::SecretMissing
            | Self::SecretUnread
            | Self::SecretMalformed
            | Self::TableMissing
            | Self::TableRefused
            | Self::RowUnreadable
            | Self::WrongContext
            | Self::VaultKeyDisabled
            | Self::VaultKeyMissing
            | Self::VaultNotAllowed
            | Self::VaultFailed
            | Self::TokenDoesNotOpen
            | Self::Defect => true,
        }
    }

    /// Whether the vault or a private key in it is at fault.
    pub fn is_of_the_vault(self) -> bool {
        match self {
            Self::WrongContext
            | Self::VaultKeyDisabled
            | Self::VaultKeyMissing
            | Self::VaultNotAllowed
            | Self::VaultUnavailable
            | Self::VaultFailed => true,
            Self::Setting
            | Self::SecretMissing
            | Self::SecretUnread
            | Self::SecretMalformed
            | Self::TableMissing
            | Self::TableRefused
            | Self::TableUnavailable
            | Self::RowUnreadable
            | Self::TokenDoesNotOpen
            | Self::Stripe
            | Self::Defect => false,
        }
    }
}
