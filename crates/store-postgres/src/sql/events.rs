//! `call_events`.

use dialtone_contract::{BatchId, EntryKey, Outcome, TenantId};
use dialtone_store::EventRow;
use tokio_postgres::Row;

use crate::convert::{Columns, checked, maybe_prose, name};
use crate::fault::Result;
use crate::session::{Session, Values};

/// Events to be recorded.
#[derive(Default)]
pub(crate) struct Events<'a> {
    tenants: Vec<&'a str>,
    batches: Vec<&'a str>,
    events: Vec<EventRow>,
}

/// Records events.
pub(crate) const RECORD: &str = "
    INSERT INTO call_events (tenant_id, batch_id, event_seq, type, seq, attempt, from_state,
                             to_state, from_outcome, outcome, at, reason)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[],
                         $6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[],
                         $11::bigint[], $12::text[])";

impl<'a> Events<'a> {
    pub(crate) fn add(&mut self, tenant: &'a TenantId, batch: &'a BatchId, event: EventRow) {
        self.tenants.push(tenant.as_str());
        self.batches.push(batch.as_str());
        self.events.push(event);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) async fn write(&self, session: &Session) -> Result<()> {
        let record = session.statement(RECORD).await?;
        let events = &self.events;
        let places: Vec<i64> = events.iter().map(|event| checked(event.event_seq)).collect();
        let kinds: Vec<&str> = events.iter().map(|e| e.kind.as_str()).collect();
        let seqs: Vec<Option<i64>> = events.iter().map(|e| e.seq.map(i64::from)).collect();
        let attempts: Vec<Option<i64>> = events.iter().map(|e| e.attempt.map(i64::from)).collect();
        let from: Vec<&str> = events.iter().map(|e| e.from.as_str()).collect();
        let to: Vec<&str> = events.iter().map(|e| e.to.as_str()).collect();
        let outcomes = |of: fn(&EventRow) -> Option<Outcome>| -> Vec<Option<&str>> {
            events.iter().map(|event| of(event).map(Outcome::as_str)).collect()
        };
        let (left, entered) = (outcomes(|e| e.from_outcome), outcomes(|e| e.outcome));
        let at: Vec<i64> = events.iter().map(|event| event.at.as_micros()).collect();
        let reasons: Vec<_> = events.iter().map(|e| maybe_prose(e.reason.as_ref())).collect();
        let values: Values<'_> = &[
            &self.tenants,
            &self.batches,
            &places,
            &kinds,
            &seqs,
            &attempts,
            &from,
            &to,
            &left,
            &entered,
            &at,
            &reasons,
        ];
        session.touch(&record, values).await.map(drop)
    }
}

macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "SELECT event_seq, type, seq, attempt, from_state, to_state, from_outcome, outcome,
                    reason, at
             FROM call_events ",
            $rest
        )
    };
}

/// A page of a batch's events.
pub(crate) const AFTER: &str = columns!(
    "WHERE tenant_id = $1 AND batch_id = $2 AND event_seq > $3 ORDER BY event_seq LIMIT $4"
);

/// An entry's events among some of its batch's.
pub(crate) const OF_ENTRY: &str = columns!(
    "WHERE tenant_id = $1 AND batch_id = $2 AND event_seq > $3 AND event_seq <= $4 AND seq = $5
     ORDER BY event_seq"
);

fn row(row: &Row) -> Result<EventRow> {
    let mut columns = Columns::of(row);
    Ok(EventRow {
        event_seq: columns.u64()?,
        kind: columns.take()?,
        seq: columns.maybe_u32()?,
        attempt: columns.maybe_u32()?,
        from: columns.take()?,
        to: columns.take()?,
        from_outcome: columns.maybe_name()?,
        outcome: columns.maybe_name()?,
        reason: columns.take()?,
        at: columns.at()?,
    })
}

pub(crate) async fn after(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
    after: u64,
    limit: u32,
) -> Result<Vec<EventRow>> {
    let (batch, after, limit) = (name(batch.as_str()), checked(after), i64::from(limit));
    let rows = session.ask(AFTER, &[&tenant.as_str(), &batch, &after, &limit]).await?;
    rows.iter().map(row).collect()
}

pub(crate) async fn of_entry(
    session: &Session,
    tenant: &TenantId,
    key: &EntryKey,
    after: u64,
    until: u64,
) -> Result<Vec<EventRow>> {
    let (batch, after, until) = (name(key.batch.as_str()), checked(after), checked(until));
    let (tenant, seq) = (tenant.as_str(), i64::from(key.seq));
    let rows = session.ask(OF_ENTRY, &[&tenant, &batch, &after, &until, &seq]).await?;
    rows.iter().map(row).collect()
}
