//! `events`: what Stripe told us about an account.

use keysteward::domain::id::EventId;
use keysteward::domain::time::Timestamp;
use keysteward::store::StoredEvent;
use serde::Serialize;

use crate::args::Events;
use crate::output::{columns, instant, rfc3339};
use crate::session::{Found, Session};

pub(crate) async fn run(asked: Events, session: &mut Session) -> anyhow::Result<Found> {
    let at = session.find(&asked.at).await?;
    let events = session.parts.store().await?.events(&at, asked.limit).await?;
    let told: Vec<Told> = events.into_iter().map(Told::of).collect();
    session.show(&told, |told| {
        let rows = told.iter().map(|event| {
            [
                instant(event.created),
                event.topic.to_owned(),
                event.id.to_string(),
                if event.open { "waits" } else { "applied" }.to_owned(),
            ]
        });
        columns(["created", "what", "event", "state"], rows)
    })?;
    Ok(Found::NothingWrong)
}

#[derive(Serialize)]
struct Told {
    id: EventId,
    #[serde(serialize_with = "rfc3339")]
    created: Timestamp,
    topic: &'static str,
    /// Whether it still has to be applied.
    open: bool,
}

impl Told {
    fn of(stored: StoredEvent) -> Self {
        let StoredEvent { notification, open } = stored;
        let (created, topic) = (notification.created, notification.topic.name());
        Self { id: notification.id, created, topic, open }
    }
}
