//! Metrics in CloudWatch's embedded metric format: one JSON line on standard output, no call.
//!
//! Use cases answer what became of their work; what happens deep inside is noted in a [`Tally`] that its
//! owner empties at the function's edge. Either way a function hands back one [`Line`] an invocation, and
//! `runtime::lambda` writes it. Source of the format:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
//!
//! The only dimension is the stack, and every name is in [`Metric`]: what the metrics of a stack cost is
//! bounded however many accounts it keeps. Reasons and statuses are part of the name, since a line has one
//! value for a dimension and a sweep has many reasons.

mod document;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::time::Timestamp;
use crate::fault::Fault;
use document::Document;

/// What is counted, or measured where [`Metric::is_level`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// How long the account that waits longest had been due when the sweep came to it, in seconds.
    OldestOverdue,
    /// Accounts that a person has to act for: each is counted once a day by the sweep.
    AccountsNeedOperator,
    /// Accounts that the sweep brought to where nothing is due.
    SweepSettled,
    /// Events that the sweep applied or found to say nothing.
    SweepEvents,
    /// Accounts or events that the sweep left to the next one.
    SweepDeferred,
    /// Accounts or events that failed in the sweep.
    SweepFailed,
    /// Those among them that will fail again until somebody acts.
    AccountFaults,
    /// Rows of the index that name nothing this version knows.
    UnknownRows,
    /// Keys that came into a state that only a person ends.
    KeysNeedOperator,
    /// Attempts to end a replaced key that failed after its deadline.
    KeysPastDeadline,
    /// Replaced keys left alive past their deadline because nothing works in their place.
    KeysSpared,
    /// Sealed keys that were opened.
    KeysOpened,
    /// Sealed keys that do not open.
    OpenFailures,
    /// Private keys that the vault did not wrap or unwrap, and tokens that could not be sealed.
    VaultFailures,
    /// Calls that Stripe refused or did not answer.
    StripeFailures,
    /// Answers 429 of Stripe, repeated attempts too.
    StripeThrottled,
    /// Whether new rotations are held back because most of them failed: 1, else nothing.
    BreakerOpen,
    /// Whether nothing is changed at Stripe because the table was restored: 1, else nothing.
    ReportOnly,
    /// Differences between Stripe and the table that a comparison found.
    DriftFound,
    /// How far behind the present the back-fill of events is, in seconds.
    EventCursorAge,
    /// Events that `lifecycle` applied.
    EventsApplied,
    /// Events that `lifecycle` left to the sweep or to a repeat of the stream.
    EventsDeferred,
    /// Events that failed in `lifecycle`.
    EventsFailed,
    /// Those among them that will fail again until somebody acts.
    EventFaults,
    /// Notifications stored.
    WebhooksAccepted,
    /// Notifications that were stored before.
    WebhooksDuplicate,
    /// Notifications about something that does not matter here.
    WebhooksIgnored,
    /// Bodies whose signature fits none of the secrets.
    WebhooksForged,
    /// Bodies that were signed too long ago, or in the future.
    WebhooksStale,
    /// Requests without a signature header of the right form.
    WebhooksUnsigned,
    /// Requests of another method, content type or size than Stripe's.
    WebhooksMisdirected,
    /// Signed bodies, or messages of the partner bus, that are no event.
    BadEvents,
    /// Signed events that the table did not take.
    EventsNotStored,
    /// Failed readings of the signing secrets.
    SigningSecretsUnread,
    /// Reads answered with a key.
    KeysServed,
    /// Reads by callers who had the key already.
    KeysNotModified,
    /// Reads of an account or slot that is not known.
    KeysUnknown,
    /// Reads of a slot that has no usable key.
    KeysUnusable,
    /// Reads that are written wrongly.
    KeysBadRequests,
    /// Reads that failed here: 500 and 503.
    KeysNotServed,
    /// Installations recorded.
    Installations,
    /// Installations that were called off, or that Stripe or our state does not confirm.
    InstallationsRefused,
    /// Installations that failed here, or whose keys were left to the sweep.
    InstallationsFailed,
    /// Lasting faults of any name.
    Faults,
    /// One fault by its name.
    Fault(Fault),
}

impl Metric {
    /// Those that are not one [`Fault`].
    pub const NAMED: [Self; 44] = [
        Self::OldestOverdue,
        Self::AccountsNeedOperator,
        Self::SweepSettled,
        Self::SweepEvents,
        Self::SweepDeferred,
        Self::SweepFailed,
        Self::AccountFaults,
        Self::UnknownRows,
        Self::KeysNeedOperator,
        Self::KeysPastDeadline,
        Self::KeysSpared,
        Self::KeysOpened,
        Self::OpenFailures,
        Self::VaultFailures,
        Self::StripeFailures,
        Self::StripeThrottled,
        Self::BreakerOpen,
        Self::ReportOnly,
        Self::DriftFound,
        Self::EventCursorAge,
        Self::EventsApplied,
        Self::EventsDeferred,
        Self::EventsFailed,
        Self::EventFaults,
        Self::WebhooksAccepted,
        Self::WebhooksDuplicate,
        Self::WebhooksIgnored,
        Self::WebhooksForged,
        Self::WebhooksStale,
        Self::WebhooksUnsigned,
        Self::WebhooksMisdirected,
        Self::BadEvents,
        Self::EventsNotStored,
        Self::SigningSecretsUnread,
        Self::KeysServed,
        Self::KeysNotModified,
        Self::KeysUnknown,
        Self::KeysUnusable,
        Self::KeysBadRequests,
        Self::KeysNotServed,
        Self::Installations,
        Self::InstallationsRefused,
        Self::InstallationsFailed,
        Self::Faults,
    ];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMED.into_iter().chain(Fault::ALL.into_iter().map(Self::Fault))
    }

    /// The name in CloudWatch.
    pub fn name(self) -> &'static str {
        match self {
            Self::OldestOverdue => "OldestOverdue",
            Self::AccountsNeedOperator => "AccountsNeedOperator",
            Self::SweepSettled => "SweepSettled",
            Self::SweepEvents => "SweepEvents",
            Self::SweepDeferred => "SweepDeferred",
            Self::SweepFailed => "SweepFailed",
            Self::AccountFaults => "AccountFaults",
            Self::UnknownRows => "UnknownRows",
            Self::KeysNeedOperator => "KeysNeedOperator",
            Self::KeysPastDeadline => "KeysPastDeadline",
            Self::KeysSpared => "KeysSpared",
            Self::KeysOpened => "KeysOpened",
            Self::OpenFailures => "OpenFailures",
            Self::VaultFailures => "VaultFailures",
            Self::StripeFailures => "StripeFailures",
            Self::StripeThrottled => "StripeThrottled",
            Self::BreakerOpen => "BreakerOpen",
            Self::ReportOnly => "ReportOnly",
            Self::DriftFound => "DriftFound",
            Self::EventCursorAge => "EventCursorAge",
            Self::EventsApplied => "EventsApplied",
            Self::EventsDeferred => "EventsDeferred",
            Self::EventsFailed => "EventsFailed",
            Self::EventFaults => "EventFaults",
            Self::WebhooksAccepted => "WebhooksAccepted",
            Self::WebhooksDuplicate => "WebhooksDuplicate",
            Self::WebhooksIgnored => "WebhooksIgnored",
            Self::WebhooksForged => "WebhooksForged",
            Self::WebhooksStale => "WebhooksStale",
            Self::WebhooksUnsigned => "WebhooksUnsigned",
            Self::WebhooksMisdirected => "WebhooksMisdirected",
            Self::BadEvents => "BadEvents",
            Self::EventsNotStored => "EventsNotStored",
            Self::SigningSecretsUnread => "SigningSecretsUnread",
            Self::KeysServed => "KeysServed",
            Self::KeysNotModified => "KeysNotModified",
            Self::KeysUnknown => "KeysUnknown",
            Self::KeysUnusable => "KeysUnusable",
            Self::KeysBadRequests => "KeysBadRequests",
            Self::KeysNotServed => "KeysNotServed",
            Self::Installations => "Installations",
            Self::InstallationsRefused => "InstallationsRefused",
            Self::InstallationsFailed => "InstallationsFailed",
            Self::Faults => "Faults",
            Self::Fault(fault) => fault.metric(),
        }
    }

    /// Whether it is measured rather than counted: two values of it are not added, the larger one stays.
    pub fn is_level(self) -> bool {
        matches!(
            self,
            Self::OldestOverdue | Self::BreakerOpen | Self::ReportOnly | Self::EventCursorAge
        )
    }

    /// The unit as CloudWatch names it.
    fn unit(self) -> &'static str {
        match self {
            Self::OldestOverdue | Self::EventCursorAge => "Seconds",
            _ => "Count",
        }
    }
}

/// The metrics of one invocation. Empty, it is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    counts: BTreeMap<Metric, u64>,
    warning: Option<Warning>,
}

/// What is to be found in the log beside a count, in the members that a line of the log has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Warning {
    message: &'static str,
    reason: String,
}

impl Line {
    /// One thing happened.
    pub fn one(metric: Metric) -> Self {
        Self { counts: BTreeMap::from([(metric, 1)]), warning: None }
    }

    /// Adds a count, zero too: it is then said that there was none. Of a level the larger value stays.
    pub fn add(&mut self, metric: Metric, value: u64) {
        let kept = self.counts.entry(metric).or_default();
        *kept = if metric.is_level() { value.max(*kept) } else { kept.saturating_add(value) };
    }

    /// Warns in the line itself, which is written in any case: what anybody may bring about as often as they
    /// like costs one line, not two. Goes along with a metric; the last warning stays.
    pub fn warn(&mut self, message: &'static str, reason: &impl ToString) {
        self.warning = Some(Warning { message, reason: reason.to_string() });
    }

    /// Counts a fault: by its name, and with the others when it stays until somebody acts.
    pub fn fault(&mut self, fault: Option<Fault>) {
        let Some(fault) = fault else { return };
        self.add(Metric::Fault(fault), 1);
        if fault.is_lasting() {
            self.add(Metric::Faults, 1);
        }
        if fault.is_of_the_vault() {
            self.add(Metric::VaultFailures, 1);
        }
        if fault == Fault::TokenDoesNotOpen {
            self.add(Metric::OpenFailures, 1);
        }
    }

    /// Takes in another line.
    pub fn absorb(&mut self, other: Self) {
        for (metric, value) in other.counts {
            self.add(metric, value);
        }
        self.warning = other.warning.or(self.warning.take());
    }

    /// What a metric has come to; `None` when nothing is said of it.
    pub fn value(&self, metric: Metric) -> Option<u64> {
        self.counts.get(&metric).copied()
    }

    /// The JSON line, without its end; `None` when there is nothing to say.
    ///
    /// `origin` becomes the one dimension and, beside it, a field that logs can be searched by.
    pub fn render(&self, origin: &Origin, now: Timestamp) -> Option<String> {
        if self.counts.is_empty() {
            return None;
        }
        // Serialising texts and numbers into memory cannot fail.
        serde_json::to_string(&Document { line: self, origin, now }).ok()
    }
}

/// Whose metrics they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    stack: String,
    function: String,
}

impl Origin {
    /// Takes a function's name apart, which the template makes of the stack's name and the function's.
    pub fn of_function(name: Option<&str>) -> Self {
        let (stack, function) = name
            .and_then(|name| name.rsplit_once('-'))
            .filter(|(stack, function)| !stack.is_empty() && !function.is_empty())
            .unwrap_or(("local", name.filter(|name| !name.is_empty()).unwrap_or("local")));
        Self { stack: stack.to_owned(), function: function.to_owned() }
    }
}

/// An answer, and what is counted about how it came about.
#[derive(Clone, Debug)]
pub struct Metered<T> {
    /// The answer.
    pub answer: T,
    /// The metrics.
    pub line: Line,
}

/// Notes what happens below, until the function's edge takes it. Bounded: it holds one number a metric.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Line>);

impl Tally {
    /// One thing happened.
    pub fn count(&self, metric: Metric) {
        self.add(metric, 1);
    }

    /// As [`Line::add`].
    pub fn add(&self, metric: Metric, value: u64) {
        self.line().add(metric, value);
    }

    /// As [`Line::fault`].
    pub fn fault(&self, fault: Option<Fault>) {
        self.line().fault(fault);
    }

    /// What was noted since the last time.
    pub fn take(&self) -> Line {
        std::mem::take(&mut self.line())
    }

    /// Never held across an await; a panic while it was held leaves numbers that are still numbers.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the metrics are in CloudWatch.
pub const NAMESPACE: &str = "Keysteward";
/// Their one dimension: the name of the stack.
pub const DIMENSION: &str = "Stack";
