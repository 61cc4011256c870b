//! The report: what came of a batch, written once when its last entry has ended.

mod histogram;
mod reporter;
mod table;
mod tally;

use dialtone_contract::wire::{Report, ReportedInvariant};
use dialtone_contract::{BatchState, Outcome};
use dialtone_store::{BatchRow, BatchSpec, Store, StoreError};
use sha2::{Digest as _, Sha256};

use crate::batch_status;
use crate::pages::{each_entry, each_event};
use crate::verify::Recount;

pub use reporter::Reporter;
pub use table::{CSV_HEADER, csv_rows};

/// Rises when a field of the report changes its meaning.
const SCHEMA_VERSION: u32 = 1;

/// The report of a batch whose entries have all ended, from its rows, read page by page.
async fn render(store: &dyn Store, batch: &BatchRow) -> Result<Report, StoreError> {
    let (tenant, id) = (&batch.tenant, &batch.id);
    let mut tally = tally::Tally::default();
    let mut recount = Recount::new(batch.clone());
    each_entry(store, tenant, id, |entry, calls| {
        tally.entry(entry, calls);
        recount.entry(entry, calls);
    })
    .await?;
    each_event(store, tenant, id, |event| {
        tally.event(event);
        recount.event(event);
    })
    .await?;
    if recount.looks_twice() {
        each_entry(store, tenant, id, |entry, calls| recount.again(entry, calls)).await?;
    }
    let reported = |found: crate::Invariant| ReportedInvariant {
        name: found.name.to_owned(),
        holds: found.holds,
        detail: found.detail,
    };
    let invariants = recount.finish(0).into_iter().map(reported).collect();
    Ok(assemble(batch, tally, invariants))
}

fn assemble(
    batch: &BatchRow,
    mut tally: tally::Tally,
    invariants: Vec<ReportedInvariant>,
) -> Report {
    let status = batch_status(batch);
    let durations_ms = tally.finish();
    let partial = batch.state == BatchState::Cancelling;
    Report {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        batch_id: status.batch_id,
        job_id: status.job_id,
        retry_of: batch.spec.retry_of.clone(),
        mode: status.mode,
        seed: status.seed,
        config_sha256: fingerprint(&batch.spec),
        status: if partial { BatchState::Cancelled } else { BatchState::Completed },
        status_reason: status.status_reason,
        partial,
        event_seq: status.event_seq,
        created_at: status.created_at,
        started_at: status.started_at,
        drained_at: tally.drained_at,
        total_calls: status.total_calls,
        completed_calls: status.completed_calls,
        failed_calls: status.failed_calls,
        cancelled_calls: status.cancelled_calls,
        suppressed_calls: status.by_outcome.get(&Outcome::Suppressed).copied().unwrap_or(0),
        rejected_rows: batch.rejected,
        attempts: status.attempts,
        dials: status.dials,
        by_outcome: status.by_outcome,
        by_attempt: tally.by_attempt,
        attempts_histogram: tally.attempts_histogram,
        durations_ms,
        retries: tally.retries,
        timeouts: tally.timeouts,
        pauses: tally.pauses,
        livekit_outages: tally.outages,
        invariants,
        // Nobody looks into test calls; live batches get theirs from the analysis service.
        analysis: None,
    }
}

/// SHA-256 of what the batch was asked to do.
fn fingerprint(spec: &BatchSpec) -> String {
    // By way of a value, whose keys are sorted.
    let canonical = serde_json::to_value(spec).expect("specs are plain data").to_string();
    Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect()
}
