//! `GET /batch/{batch_id}/events`: the batch's events as they are committed, as
//! server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dialtone_batch::event_view;
use dialtone_contract::wire::StreamEnd;
use dialtone_contract::{
    BatchId, EntryId, EntryKey, ErrorCode, FieldError, Problem, TenantId, limits,
};
use dialtone_serve::problem::Query;
use dialtone_store::{BatchRow, EntryRow, EventRow, StoreError};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::Failure;
use crate::streams::Place;
use crate::tenant::Tenant;
use crate::{Api, Shared};

const TYPE: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
/// Where a client that was cut off goes on.
const RESUME: HeaderName = HeaderName::from_static("last-event-id");
/// nginx holds events back otherwise.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Keeps what stands between from taking a quiet stream for a dead one.
const HEARTBEAT: &[u8] = b": heartbeat\n\n";

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Go on after this event; `Last-Event-ID` wins over it.
    after: Option<u64>,
    /// Only the events of this entry.
    entry_id: Option<String>,
}

/// One message of the stream.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what `write_event` writes")]
struct StreamMessage {
    /// Place of the event in the stream; of the last one, for `done`.
    id: String,
    /// Name of the event, or `done`.
    event: String,
    /// An `EventView` as JSON; of `done`, a `StreamEnd`.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// A batch's events as they happen, as server-sent events.
///
/// Each has its place in the stream as `id`, its name as `event`, and an `EventView` as `data`;
/// a quiet stream sends a comment every 15 s. When nothing can follow, the event `done` ends
/// the stream, with a `StreamEnd`.
#[utoipa::path(
    get, path = "/batch/{batch_id}/events", operation_id = "batch_events", tag = "batches",
    params(
        ("batch_id" = String, Path, description = "The batch."),
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event; empty is as if it were not there.", pattern = "^[0-9]*$"),
    ),
    responses((status = 200, description = "The events.", content_type = "text/event-stream", body = StreamMessage)),
    extensions(("x-problems" = json!(["too_many_streams"])))
)]
pub async fn stream(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let batch = BatchId::new(batch_id);
    if query.after.is_some_and(|after| i64::try_from(after).is_err()) {
        let detail = "no stream has so many events".to_owned();
        return Err(refused("/query/after", "out_of_range", detail));
    }
    let after = match resume(&headers)? {
        // A client that was cut off asks its first question again, with this header.
        Some(after) => Some((after, "/header/Last-Event-ID")),
        None => query.after.map(|after| (after, "/query/after")),
    };
    let row = api.store.batch(&tenant, &batch).await?.ok_or(ErrorCode::NotFound)?;
    if let Some((after, pointer)) = after
        && after > row.event_seq
    {
        let detail = format!("{after} is behind the batch's last event, {}", row.event_seq);
        return Err(refused(pointer, "out_of_range", detail));
    }
    let entry = query.entry_id.map(|id| entry_of(&row, id)).transpose()?;
    let place = api.streams.open(&tenant)?;
    let (changes, after) = (api.store.changes(), after.map_or(0, |(after, _)| after));
    let reader = Reader { api, tenant, batch, entry, after, changes, place, ended: false };
    let body = Body::from_stream(stream::unfold(reader, |mut reader| async move {
        let chunk = reader.next().await?;
        Some((Ok::<_, Infallible>(chunk), reader))
    }));
    let headers = [
        (CONTENT_TYPE, TYPE),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (UNBUFFERED, HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

fn refused(pointer: &str, code: &str, detail: String) -> Failure {
    Problem::invalid(vec![FieldError::new(pointer, code, detail)]).into()
}

fn resume(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get(RESUME).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let read = value.to_str().ok().and_then(|text| text.parse().ok());
    let detail = || "not an id of this stream: a whole number".to_owned();
    read.map(Some).ok_or_else(|| refused("/header/Last-Event-ID", "invalid", detail()))
}

/// The entry of this batch that `id` names.
fn entry_of(batch: &BatchRow, id: String) -> Result<EntryKey, Failure> {
    let key = EntryId::new(id).key().ok();
    key.filter(|key| key.batch == batch.id && key.seq <= batch.spec.total).ok_or_else(|| {
        let detail = "not an entry of this batch".to_owned();
        refused("/query/entry_id", "invalid", detail)
    })
}

/// One open stream. It is pulled by its connection: while the client does not read,
/// nothing is asked of the store and nothing is kept.
struct Reader {
    api: Arc<Api>,
    tenant: TenantId,
    batch: BatchId,
    /// Only the events of this entry.
    entry: Option<EntryKey>,
    /// The last event that was looked at.
    after: u64,
    changes: watch::Receiver<u64>,
    place: Place,
    ended: bool,
}

impl Reader {
    /// What is written next; `None` at the end of the stream. A store that fails ends it
    /// without `done`: the client resumes where it is.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let quiet_until = Instant::now() + limits::STREAM_HEARTBEAT;
        loop {
            // Interest first, then the look: a change in between is seen.
            self.changes.mark_unchanged();
            let looked = Instant::now();
            match self.look().await {
                Ok(Some(chunk)) => return Some(chunk),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, batch.id = %self.batch, "an event stream breaks off");
                    return None;
                }
            }
            let shutdown = self.place.shutdown.clone();
            let wait = async {
                timeout_at(quiet_until, self.changes.changed()).await?.ok();
                // Many commits make one look.
                sleep_until(looked + limits::STREAM_PAUSE).await;
                Ok::<_, tokio::time::error::Elapsed>(())
            };
            tokio::select! {
                () = shutdown.cancelled() => return None,
                waited = wait => if waited.is_err() {
                    return Some(Bytes::from_static(HEARTBEAT));
                },
            }
        }
    }

    /// The events that are there, or the end; `None` if there is nothing to tell now.
    async fn look(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            // The entry before the batch: its last event is then among those of the batch.
            let entry = self.entry_now().await?;
            let row = self.api.store.batch(&self.tenant, &self.batch).await?;
            let Some(row) = row else { return Ok(None) };
            let mut text = Vec::new();
            for event in self.page(row.event_seq).await? {
                write_event(&mut text, event.event_seq, &event.kind, &event_view(&row.id, &event));
            }
            let all = self.after >= row.event_seq;
            let over = entry.as_ref().map_or(row.state.is_terminal(), |e| e.state.is_terminal());
            if all && over {
                self.ended = true;
                write_event(&mut text, row.event_seq, "done", &end(row, entry.as_ref()));
            }
            if !text.is_empty() {
                return Ok(Some(text.into()));
            }
            if all {
                return Ok(None);
            }
        }
    }

    /// The entry whose stream this is.
    async fn entry_now(&self) -> Result<Option<EntryRow>, StoreError> {
        let Some(key) = &self.entry else { return Ok(None) };
        let page = self.api.store.entries(&self.tenant, &self.batch, key.seq - 1, 1).await?;
        let found = page.into_iter().map(|(entry, _)| entry).find(|entry| entry.key == *key);
        found.map(Some).ok_or_else(|| StoreError::Corrupt(format!("{} is gone", key.entry_id())))
    }

    /// The next events up to `until`, and moves on behind them.
    async fn page(&mut self, until: u64) -> Result<Vec<EventRow>, StoreError> {
        let (store, tenant) = (&self.api.store, &self.tenant);
        if let Some(key) = &self.entry {
            let until = until.min(self.after.saturating_add(limits::EVENTS_SCAN_MAX));
            let events = store.entry_events(tenant, key, self.after, until).await?;
            self.after = until;
            return Ok(events);
        }
        let page = store.events(tenant, &self.batch, self.after, limits::STREAM_PAGE).await?;
        self.after = page.last().map_or(self.after, |event| event.event_seq);
        Ok(page)
    }
}

/// What a stream ends with.
fn end(batch: BatchRow, entry: Option<&EntryRow>) -> StreamEnd {
    StreamEnd {
        batch_id: batch.id,
        status: batch.state,
        status_reason: batch.reason,
        event_seq: batch.event_seq,
        entry_id: entry.map(|entry| entry.key.entry_id()),
        state: entry.map(|entry| entry.state),
        outcome: entry.and_then(|entry| entry.outcome),
    }
}

fn write_event(to: &mut Vec<u8>, id: u64, name: &str, data: &impl Serialize) {
    to.extend_from_slice(format!("id: {id}\nevent: {name}\ndata: ").as_bytes());
    serde_json::to_writer(&mut *to, data).expect("events are plain data");
    to.extend_from_slice(b"\n\n");
}
