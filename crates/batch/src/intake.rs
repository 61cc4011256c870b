mod live;

use std::sync::Arc;

use dialtone_auth::{NumberKeys, Phone};
use dialtone_clock::Clock;
use dialtone_contract::wire::{OutcomeMode, SpanS, TestBatchRequest};
use dialtone_contract::{BatchId, FieldError, OutcomeWeights, TenantId, TestMix, limits};
use dialtone_store::{
    Accepted, BatchMode, BatchSpec, Idempotency, NewBatch, NewEntry, Store, StoreError,
};
use uuid::Uuid;

pub use live::LiveTriggered;

use crate::policy::schedule;
use crate::upload::UploadError;
use crate::{number, options, outcomes};

/// Why a batch was not created. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Fields are not valid.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// The idempotency key belongs to another request.
    #[error("the idempotency key was used with another body")]
    KeyConflict,
    /// Rows of an upload are not valid.
    #[error("{bad} of {all} rows are not valid")]
    Rows {
        /// How many.
        bad: u32,
        /// Rows in all.
        all: u32,
        /// What is wrong with the first of them.
        first: Vec<FieldError>,
    },
    /// An upload cannot be read.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The reader of an upload gave up, or read something else the second time.
    #[error("the upload was not read to its end")]
    ReaderDied,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggered {
    /// The batch.
    pub batch: BatchId,
    /// Whether it had been created before, under the same key.
    pub replayed: bool,
}

/// Takes in batches.
pub struct Intake {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    numbers: NumberKeys,
    simulated_live: bool,
}

impl Intake {
    /// Takes in batches for `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, numbers: NumberKeys) -> Self {
        Self { store, clock, numbers, simulated_live: false }
    }

    /// Whether live batches may have simulated numbers: where nobody can be called.
    pub fn with_simulated_live(self, allowed: bool) -> Self {
        Self { simulated_live: allowed, ..self }
    }

    /// Creates a test batch; when this returns, the batch survives any crash. Must run to
    /// its end: a caller that can be cancelled puts it into a task.
    ///
    /// # Errors
    /// If a field is not valid, the key belongs to another request, or the store fails.
    pub async fn trigger_test(
        &self,
        tenant: &TenantId,
        request: &TestBatchRequest,
        idempotency: Option<Idempotency>,
    ) -> Result<Triggered, IntakeError> {
        if let Some(new) = &idempotency
            && let Some((batch, hash)) = self.store.accepted_under(tenant, &new.key).await?
        {
            return replay(batch, &hash, new);
        }
        let spec = self.test_spec(tenant, request).await?;
        let batch = BatchId::from_token(&Uuid::now_v7().simple().to_string());
        let new = NewBatch {
            tenant: tenant.clone(),
            id: batch.clone(),
            spec,
            created_at: self.clock.now(),
        };
        self.load(new, idempotency).await
    }

    async fn load(
        &self,
        new: NewBatch,
        idempotency: Option<Idempotency>,
    ) -> Result<Triggered, IntakeError> {
        let (tenant, batch) = (new.tenant.clone(), new.id.clone());
        self.kept_or_discarded(&tenant, &batch, self.load_and_accept(new, idempotency)).await
    }

    /// Loads the batch; takes it away again if that fails, or if another one holds its key.
    async fn kept_or_discarded(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        loading: impl Future<Output = Result<Triggered, IntakeError>>,
    ) -> Result<Triggered, IntakeError> {
        let loaded = loading.await;
        if !matches!(&loaded, Ok(triggered) if triggered.batch == *batch) {
            // What cannot be removed now is removed when the server starts again.
            if let Err(error) = self.store.discard_batch(tenant, batch).await {
                tracing::warn!(%error, batch.id = %batch, "an unfinished batch was not removed");
            }
        }
        loaded
    }

    async fn load_and_accept(
        &self,
        new: NewBatch,
        idempotency: Option<Idempotency>,
    ) -> Result<Triggered, IntakeError> {
        let (tenant, batch, spec) = (new.tenant.clone(), new.id.clone(), new.spec.clone());
        let not_before = schedule::earliest(&spec.options, None, new.created_at);
        self.store.create_batch(new).await?;
        let plan = match spec.outcomes {
            OutcomeMode::Exact => {
                outcomes(spec.seed, TestMix { weights: spec.weights, faults: spec.faults })
            }
            OutcomeMode::Weighted => Vec::new(),
        };
        let entry = |seq: u32, to: Phone| NewEntry {
            seq,
            number: self.numbers.key(tenant.as_str(), &to),
            to,
            timezone: None,
            variables: None,
            planned: plan.get(seq as usize - 1).copied(),
            not_before,
        };
        let mut seqs = 1..=spec.total;
        loop {
            let chunk: Vec<_> =
                seqs.by_ref().take(limits::LOAD_CHUNK).map(|seq| entry(seq, number(seq))).collect();
            if chunk.is_empty() {
                break;
            }
            self.store.add_entries(&tenant, &batch, &chunk).await?;
        }
        let now = self.clock.now();
        match self.store.accept_batch(&tenant, &batch, now, idempotency.clone()).await? {
            Accepted::Accepted => Ok(Triggered { batch, replayed: false }),
            Accepted::Replayed { batch, request_hash } => {
                let new = idempotency.expect("only a key can be replayed");
                replay(batch, &request_hash, &new)
            }
        }
    }

    async fn test_spec(
        &self,
        tenant: &TenantId,
        request: &TestBatchRequest,
    ) -> Result<BatchSpec, IntakeError> {
        let mut errors = Vec::new();
        let planned = check_counts(request, &mut errors);
        options::check(&request.options, BatchMode::Test, &mut errors);
        check_durations(request, &mut errors);
        self.check_owner(tenant, &request.voice_id, request.initiated_by, &mut errors).await?;
        let Some(completed) = planned.filter(|_| errors.is_empty()) else {
            return Err(IntakeError::Invalid(errors));
        };
        let [failed, stuck, dropped] = request.counts();
        Ok(BatchSpec {
            mode: BatchMode::Test,
            seed: request.seed.unwrap_or_else(drawn_seed),
            voice_id: request.voice_id.clone(),
            initiated_by: request.initiated_by,
            agent_id: request.agent_id,
            from_number: request.from_number.clone(),
            total: request.total,
            weights: OutcomeWeights { completed, failed, stuck, dropped },
            faults: request.faults,
            outcomes: request.outcomes,
            durations: request.durations,
            options: options::in_force(request.options.clone(), BatchMode::Test),
            retry_of: None,
            webhooks: self.store.webhooks(tenant).await?,
        })
    }

    /// Whether the tenant has this voice and this user.
    async fn check_owner(
        &self,
        tenant: &TenantId,
        voice: &str,
        user: i64,
        errors: &mut Vec<FieldError>,
    ) -> Result<(), StoreError> {
        if !self.store.has_voice(tenant, voice).await? {
            let detail = format!("there is no voice `{voice}`");
            errors.push(FieldError::new("/voice_id", "unknown", detail));
        }
        if !self.store.has_user(tenant, user).await? {
            let detail = format!("there is no user {user}");
            errors.push(FieldError::new("/initiated_by", "unknown", detail));
        }
        Ok(())
    }
}

/// A seed that fits into every JSON reader's numbers.
fn drawn_seed() -> u64 {
    Uuid::now_v7().as_u64_pair().1 & u64::from(u32::MAX)
}

fn replay(batch: BatchId, hash: &str, new: &Idempotency) -> Result<Triggered, IntakeError> {
    if hash == new.request_hash {
        Ok(Triggered { batch, replayed: true })
    } else {
        Err(IntakeError::KeyConflict)
    }
}

/// Checks the counts and gives the number of entries that are left to complete.
fn check_counts(request: &TestBatchRequest, errors: &mut Vec<FieldError>) -> Option<u32> {
    if !(1..=limits::ENTRIES_MAX).contains(&request.total) {
        let detail = format!("{} is not between 1 and {}", request.total, limits::ENTRIES_MAX);
        errors.push(FieldError::new("/total", "out_of_range", detail));
    }
    let [failed, stuck, dropped] = request.counts();
    let counts = [
        ("/fail_count".to_owned(), failed),
        ("/stuck_count".to_owned(), stuck),
        ("/dropped_count".to_owned(), dropped),
    ];
    let faults = request.faults.pairs().map(|(plan, n)| (format!("/faults/{plan}"), n));
    // Every attempt of a weighted batch draws anew, so that no entry has a script.
    if request.outcomes == OutcomeMode::Weighted && !request.faults.is_none() {
        let detail = "faults are scripted where outcomes are exact only";
        errors.push(FieldError::new("/faults", "invalid", detail));
    }
    let mut left = Some(request.total);
    for (pointer, n) in counts.into_iter().chain(faults) {
        left = left.and_then(|left| {
            let rest = left.checked_sub(n);
            if rest.is_none() {
                let total = request.total;
                let detail =
                    format!("{n} is more than the {left} of {total} entries that are left");
                errors.push(FieldError::new(&pointer, "counts_exceed_total", detail));
            }
            rest
        });
    }
    left
}

fn check_durations(request: &TestBatchRequest, errors: &mut Vec<FieldError>) {
    let spans = [
        ("/durations/completed", request.durations.completed, limits::TEST_TALK_MAX),
        ("/durations/failed", request.durations.failed, limits::TEST_FAIL_MAX),
    ];
    for (pointer, SpanS { min_s, max_s }, most) in spans {
        let most_s = most.as_secs_f64();
        if !(0.0 <= min_s && min_s <= max_s && max_s <= most_s) {
            let detail = format!("{min_s} to {max_s} s is not within 0 to {most_s} s");
            errors.push(FieldError::new(pointer, "out_of_range", detail));
        }
    }
    if request.from_number.as_deref().is_some_and(|number| Phone::parse(number).is_err()) {
        let detail = "not an E.164 number";
        errors.push(FieldError::new("/from_number", "invalid", detail));
    }
}
