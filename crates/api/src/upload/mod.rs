//! `POST /batch/trigger-batch-call`: a list of entries as JSON or as a table, of any
//! size in bounded memory.

mod query;
mod spool;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use dialtone_batch::upload::{JsonList, Table, Upload};
use dialtone_contract::wire::{LiveBatchHead, LiveBatchRequest, LiveTriggerResponse, RejectsMode};
use dialtone_contract::{BatchState, ErrorCode, TenantId, limits};
use dialtone_serve::Patience;
use dialtone_serve::problem::read_json;

use crate::batch::{accepted, idempotency_key};
use crate::error::Failure;
use crate::tenant::Tenant;
use crate::{Api, Shared};

use query::{NoQuery, TableQuery};
pub use spool::Uploads;

/// How the entries are written.
enum Format {
    Json,
    /// With the head of the batch, and where columns go.
    Table(Box<LiveBatchHead>, String),
}

/// Take in a batch of calls to people, as JSON or as a table (CSV) of any size.
///
/// Answers when every entry is in the store. A row that is not valid refuses the upload,
/// or is left out and reported (`rejects`). The first line of a table names its columns:
/// `to` (`phone`, `phone_number`, `number`, `mobile`) and `timezone` (`tz`) are known,
/// every other one becomes a variable. Repeating the request under one `Idempotency-Key`
/// gives the first answer again.
#[utoipa::path(
    post, path = "/batch/trigger-batch-call", operation_id = "trigger_batch_call", tag = "batches",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Names the request over its repetitions; 1 to 255 visible characters.", min_length = 1, max_length = 255),
        ("voice_id" = Option<String>, Query, description = "With a table, and needed then: the voice."),
        ("initiated_by" = Option<i64>, Query, description = "With a table, and needed then: the user who asks."),
        ("agent_id" = Option<i64>, Query, description = "With a table: the configured conversational agent."),
        ("from_number" = Option<String>, Query, description = "With a table: stored until telephony exists."),
        ("options" = Option<String>, Query, description = "With a table: `BatchOptions` as JSON."),
        ("rejects" = Option<RejectsMode>, Query, description = "With a table: what becomes of it if rows are bad."),
        ("map" = Option<String>, Query, description = "With a table: where columns go, `COLUMN:to,COLUMN:timezone,COLUMN:NAME,COLUMN:-`."),
    ),
    request_body(content(
        (LiveBatchRequest = "application/json"), (String = "text/csv"), (String = "text/tab-separated-values"),
    )),
    responses((
        status = 202, description = "The batch is in the store.", body = LiveTriggerResponse,
        headers(
            ("Location" = String, description = "Where its status is."),
            ("Idempotent-Replayed" = String, description = "`true` if this is the answer to an earlier request."),
        )
    )),
    extensions(("x-problems" = json!(["idempotency_conflict"])))
)]
pub async fn trigger_live(
    State(api): Shared,
    Tenant(tenant): Tenant,
    patience: Option<Extension<Patience>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let format = Format::of(&headers, &uri)?;
    let key = idempotency_key(&headers)?;
    if content_length(&headers).is_some_and(|length| length > limits::UPLOAD_BODY_MAX) {
        return Err(ErrorCode::TooLarge.into());
    }
    if let Some(Extension(patience)) = patience {
        patience.at_least(limits::UPLOAD_TIME_MAX);
    }
    let spool = api.uploads.receive(body).await?;
    let turn = api.uploads.turn(&spool).await?;
    // A task of its own: a client that goes away must not leave half a batch behind.
    let intake = async move {
        let triggered = take_in(&api, &tenant, format, spool, key).await;
        drop(turn);
        triggered
    };
    tokio::spawn(intake).await.map_err(|_| ErrorCode::Internal)?
}

async fn take_in(
    api: &Api,
    tenant: &TenantId,
    format: Format,
    spool: spool::Spool,
    key: Option<String>,
) -> Result<Response, Failure> {
    let (head, upload): (LiveBatchHead, Box<dyn Upload>) = match format {
        Format::Table(head, map) => (*head, Box::new(Table::new(spool, map))),
        Format::Json => {
            let reading = tokio::task::spawn_blocking(move || {
                let mut list = JsonList::new(spool);
                list.head().map(|head| (head, list))
            });
            let (head, list) = reading.await.map_err(|_| ErrorCode::Internal)??;
            (read_json(&head).map_err(|problem| Failure::from(*problem))?, Box::new(list))
        }
    };
    let triggered = api.intake.trigger_live(tenant, head, upload, key).await?;
    let batch_id = triggered.batch.batch;
    let body = LiveTriggerResponse {
        job_id: batch_id.job(),
        batch_id: batch_id.clone(),
        status: BatchState::Accepted,
        accepted: triggered.accepted,
        rejected: triggered.rejected,
        errors: triggered.errors,
    };
    accepted(&batch_id, triggered.batch.replayed, body)
}

impl Format {
    fn of(headers: &HeaderMap, uri: &Uri) -> Result<Self, Failure> {
        let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let mut parts = value.unwrap_or_default().split(';');
        let media = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let utf8 = parts.all(|part| match part.trim().split_once('=') {
            Some((name, set)) if name.eq_ignore_ascii_case("charset") => {
                set.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        });
        match media.as_str() {
            "application/json" => {
                query::of::<NoQuery>(uri)?;
                Ok(Self::Json)
            }
            "text/csv" | "text/tab-separated-values" if utf8 => {
                let (head, map) = query::of::<TableQuery>(uri)?.head()?;
                Ok(Self::Table(Box::new(head), map))
            }
            _ => Err(ErrorCode::UnsupportedType.into()),
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
