//! The report: what came of a batch, written once when its last entry has ended.

use dialtone_store::BatchRow;
use serde_json::json;

use crate::batch_status;

/// The report of an ended batch as JSON; the same rows give the same bytes.
pub(crate) fn render(batch: &BatchRow) -> String {
    let status = batch_status(batch);
    let report = json!({
        "schema_version": 1,
        "batch_id": status.batch_id,
        "job_id": status.job_id,
        "mode": status.mode,
        "seed": status.seed,
        "total_calls": status.total_calls,
        "completed_calls": status.completed_calls,
        "failed_calls": status.failed_calls,
        "cancelled_calls": status.cancelled_calls,
        "attempts": status.attempts,
        "dials": status.dials,
        "by_outcome": status.by_outcome,
        "created_at": status.created_at,
        "started_at": status.started_at,
        // Nobody looks into test calls; live batches get theirs from the analysis service.
        "analysis": null,
    });
    report.to_string()
}
