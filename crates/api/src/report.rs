//! The report of an ended batch: the summary that was written once, and the table of its
//! entries, streamed from rows that no longer change.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dialtone_batch::{CSV_HEADER, csv_rows, entry_view};
use dialtone_contract::wire::{EntryView, Report};
use dialtone_contract::{BatchId, ErrorCode, TenantId, limits};
use dialtone_serve::problem::Query;
use dialtone_store::{BatchRow, StoreError};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Failure;
use crate::tenant::Tenant;
use crate::{Api, Shared};

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct JsonQuery {
    /// Show whole phone numbers.
    #[serde(default)]
    reveal: bool,
    /// Whether the entries come with the summary; they do if not given.
    #[serde(default = "yes")]
    #[param(default = true)]
    entries: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CsvQuery {
    /// Show whole phone numbers.
    #[serde(default)]
    reveal: bool,
}

/// The summary with its entries.
#[derive(Serialize, ToSchema)]
pub struct ReportDocument {
    #[serde(flatten)]
    summary: Report,
    /// Every entry, by place, as its listing shows it; not with `entries=false`.
    #[schema(required = false)]
    entries: Vec<EntryView>,
}

/// The report of an ended batch.
///
/// Written once when the last entry has ended; the same bytes each time it is read. That of a
/// cancelled batch says `partial`.
#[utoipa::path(
    get, path = "/batch/{batch_id}/report", operation_id = "batch_report", tag = "batches",
    params(("batch_id" = String, Path, description = "The batch."), JsonQuery),
    responses((status = 200, description = "The report.", body = ReportDocument)),
    extensions(("x-problems" = json!(["report_not_ready"])))
)]
pub async fn json(
    State(api): Shared,
    tenant: Tenant,
    batch_id: Path<String>,
    query: Query<JsonQuery>,
) -> Result<Response, Failure> {
    document(api, tenant, batch_id, query).await
}

/// The report of an ended batch, under the name of a file.
#[utoipa::path(
    get, path = "/batch/{batch_id}/report.json", operation_id = "batch_report_json",
    tag = "batches",
    params(("batch_id" = String, Path, description = "The batch."), JsonQuery),
    responses((status = 200, description = "The report.", body = ReportDocument)),
    extensions(("x-problems" = json!(["report_not_ready"])))
)]
pub async fn json_file(
    State(api): Shared,
    tenant: Tenant,
    batch_id: Path<String>,
    query: Query<JsonQuery>,
) -> Result<Response, Failure> {
    document(api, tenant, batch_id, query).await
}

async fn document(
    api: Arc<Api>,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
    Query(query): Query<JsonQuery>,
) -> Result<Response, Failure> {
    let (batch, summary) = ended(&api, &tenant, batch_id).await?;
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    if !query.entries {
        return Ok((json, summary).into_response());
    }
    // The summary is an object; the entries become its last member.
    let open = summary.strip_suffix('}').ok_or(ErrorCode::Internal)?;
    let head = format!("{open},\"entries\":[");
    let table = Table { form: Form::Json, head, tail: "]}", reveal: query.reveal };
    Ok((json, table.stream(api, &batch)).into_response())
}

/// The attempts of an ended batch as a table, one line each.
///
/// An entry without attempts has a line too. A cell that a spreadsheet would take for a formula
/// begins with an apostrophe; so do the numbers, for their plus.
#[utoipa::path(
    get, path = "/batch/{batch_id}/report.csv", operation_id = "batch_report_csv", tag = "batches",
    params(("batch_id" = String, Path, description = "The batch."), CsvQuery),
    responses((status = 200, description = "The table.", content_type = "text/csv", body = String,
        headers(("Content-Disposition" = String, description = "The name of the file.")))),
    extensions(("x-problems" = json!(["report_not_ready"])))
)]
pub async fn csv(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
    Query(query): Query<CsvQuery>,
) -> Result<Response, Failure> {
    let (batch, _) = ended(&api, &tenant, batch_id).await?;
    let name = format!("attachment; filename=\"{}.csv\"", batch.id);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (CONTENT_DISPOSITION, HeaderValue::from_str(&name).map_err(|_| ErrorCode::Internal)?),
    ];
    let head = CSV_HEADER.to_owned();
    let table = Table { form: Form::Csv, head, tail: "", reveal: query.reveal };
    Ok((headers, table.stream(api, &batch)).into_response())
}

/// A batch that has ended, with the summary.
async fn ended(
    api: &Api,
    tenant: &TenantId,
    batch_id: String,
) -> Result<(BatchRow, String), Failure> {
    let id = BatchId::new(batch_id);
    let row = api.store.batch(tenant, &id).await?.ok_or(ErrorCode::NotFound)?;
    if !row.state.is_terminal() {
        return Err(ErrorCode::ReportNotReady.into());
    }
    let report = api.store.reports(tenant, &id).await?.into_iter().next();
    Ok((row, report.ok_or(ErrorCode::ReportNotReady)?))
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Csv,
}

/// The entries of an ended batch, with what stands around them.
struct Table {
    form: Form,
    head: String,
    tail: &'static str,
    reveal: bool,
}

struct Place {
    api: Arc<Api>,
    tenant: TenantId,
    batch: BatchId,
    after: u32,
    /// The next page, or the tail, is the last.
    ended: bool,
    table: Table,
}

impl Table {
    /// Streams it page by page: while the client does not read, nothing is read.
    fn stream(self, api: Arc<Api>, batch: &BatchRow) -> Body {
        let (tenant, batch) = (batch.tenant.clone(), batch.id.clone());
        let place = Place { api, tenant, batch, after: 0, ended: false, table: self };
        Body::from_stream(stream::try_unfold(place, |mut place| async move {
            Ok::<_, StoreError>(place.next().await?.map(|chunk| (chunk, place)))
        }))
    }
}

impl Place {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let mut text = std::mem::take(&mut self.table.head);
        let (store, tenant, batch) = (&self.api.store, &self.tenant, &self.batch);
        let page = store.entries(tenant, batch, self.after, limits::SELECT_MAX).await;
        // A broken stream is all that a client can be told of it now.
        let page = page.inspect_err(|error| tracing::error!(%error, "a report breaks off"))?;
        for (entry, calls) in &page {
            match self.table.form {
                Form::Csv => csv_rows(&mut text, entry, calls, self.table.reveal),
                Form::Json => {
                    let view = entry_view(entry, calls, self.table.reveal);
                    text.push_str(if self.after == 0 && entry.key.seq == 1 { "" } else { "," });
                    text += &serde_json::to_string(&view).expect("entries are plain data");
                }
            }
        }
        match page.last() {
            Some((last, _)) => self.after = last.key.seq,
            None => {
                self.ended = true;
                text.push_str(self.table.tail);
            }
        }
        Ok((!text.is_empty()).then(|| text.into()))
    }
}
