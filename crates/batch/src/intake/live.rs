use dialtone_auth::Phone;
use dialtone_contract::wire::{Durations, LiveBatchHead, OutcomeMode, RejectsMode};
use dialtone_contract::{BatchId, FieldError, OutcomeWeights, ScriptedFaults, TenantId, limits};
use dialtone_store::{Accepted, BatchMode, BatchSpec, Idempotency, NewBatch, NewEntry};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Intake, IntakeError, Triggered, replay};
use crate::options;
use crate::policy::schedule;
use crate::policy::zone::Zone;
use crate::upload::{Chunk, GoodRow, RowRules, Survey, Upload, UploadError, send_chunks};

/// Chunks that are ready while one is being written.
const CHUNKS_AHEAD: usize = 1;

/// What became of a live trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveTriggered {
    /// The batch.
    pub batch: Triggered,
    /// Rows that became entries.
    pub accepted: u32,
    /// Rows that were left out.
    pub rejected: u32,
    /// What is wrong with the first of them.
    pub errors: Vec<FieldError>,
}

impl Intake {
    /// Creates a live batch from an upload; when this returns, the batch survives any
    /// crash. Must run to its end: a caller that can be cancelled puts it into a task.
    ///
    /// The upload is read twice: once to know what stands in it, and only if that is good
    /// again, to write it.
    ///
    /// # Errors
    /// If a field or, where the request says so, a row is not valid, the key belongs to
    /// another request, or upload or store fail.
    pub async fn trigger_live(
        &self,
        tenant: &TenantId,
        head: LiveBatchHead,
        upload: Box<dyn Upload>,
        key: Option<String>,
    ) -> Result<LiveTriggered, IntakeError> {
        let rules = self.row_rules(&head);
        let reading = tokio::task::spawn_blocking(move || {
            let mut upload = upload;
            let survey = Survey::of(&mut *upload, &head, rules)?;
            Ok::<_, UploadError>((survey, head, upload))
        });
        let (survey, head, upload) = reading.await.map_err(|_| IntakeError::ReaderDied)??;
        let idempotency = key.map(|key| Idempotency { key, request_hash: survey.hash.clone() });
        if let Some(new) = &idempotency
            && let Some((batch, hash)) = self.store.accepted_under(tenant, &new.key).await?
        {
            let batch = replay(batch, &hash, new)?;
            return self.as_answered(tenant, batch).await;
        }
        let spec = self.live_spec(tenant, &head, &survey).await?;
        let batch = BatchId::from_token(&Uuid::now_v7().simple().to_string());
        let new = NewBatch {
            tenant: tenant.clone(),
            id: batch.clone(),
            spec,
            created_at: self.clock.now(),
        };
        let loading = self.load_upload(new, upload, rules, &survey, idempotency);
        let triggered = self.kept_or_discarded(tenant, &batch, loading).await?;
        self.as_answered(tenant, triggered).await
    }

    fn row_rules(&self, head: &LiveBatchHead) -> RowRules {
        let window = head.options.window.as_ref();
        RowRules {
            duplicates: head.options.duplicates,
            simulated: self.simulated_live,
            needs_zone: window.is_some_and(|window| window.is_by_recipient()),
            zone: |name| Zone::named(name).map(|zone| zone.name()),
        }
    }

    /// What is said of a batch that has been taken in, now or before.
    async fn as_answered(
        &self,
        tenant: &TenantId,
        batch: Triggered,
    ) -> Result<LiveTriggered, IntakeError> {
        let row = self.store.batch(tenant, &batch.batch).await?;
        let (accepted, rejected) = row.map_or((0, 0), |row| (row.spec.total, row.rejected));
        let shown = u32::try_from(limits::REJECTS_SHOWN).unwrap_or(u32::MAX);
        let errors = match rejected {
            0 => Vec::new(),
            _ => self.store.rejects(tenant, &batch.batch, 0, shown).await?,
        };
        Ok(LiveTriggered { batch, accepted, rejected, errors })
    }

    async fn live_spec(
        &self,
        tenant: &TenantId,
        head: &LiveBatchHead,
        survey: &Survey,
    ) -> Result<BatchSpec, IntakeError> {
        let mut errors = Vec::new();
        options::check(&head.options, BatchMode::Live, &mut errors);
        if head.from_number.as_deref().is_some_and(|number| Phone::parse(number).is_err()) {
            errors.push(FieldError::new("/from_number", "invalid", "not an E.164 number"));
        }
        self.check_owner(tenant, &head.voice_id, head.initiated_by, &mut errors).await?;
        if survey.good + survey.bad == 0 {
            let detail = "a batch has at least one entry";
            errors.push(FieldError::new("/entries", "out_of_range", detail));
        }
        if !errors.is_empty() {
            return Err(IntakeError::Invalid(errors));
        }
        if survey.good == 0 || (survey.bad > 0 && head.rejects == RejectsMode::Refuse) {
            return Err(IntakeError::Rows {
                bad: survey.bad,
                all: survey.good + survey.bad,
                first: survey.first_bad.clone(),
            });
        }
        Ok(BatchSpec {
            mode: BatchMode::Live,
            seed: super::drawn_seed(),
            voice_id: head.voice_id.clone(),
            initiated_by: head.initiated_by,
            agent_id: head.agent_id,
            from_number: head.from_number.clone(),
            total: survey.good,
            weights: OutcomeWeights::default(),
            faults: ScriptedFaults::default(),
            outcomes: OutcomeMode::Exact,
            durations: Durations::default(),
            options: options::in_force(head.options.clone(), BatchMode::Live),
            retry_of: None,
            webhooks: self.store.webhooks(tenant).await?,
        })
    }

    async fn load_upload(
        &self,
        new: NewBatch,
        mut upload: Box<dyn Upload>,
        rules: RowRules,
        survey: &Survey,
        idempotency: Option<Idempotency>,
    ) -> Result<Triggered, IntakeError> {
        let (tenant, batch, due) = (new.tenant.clone(), new.id.clone(), new.created_at);
        let options = new.spec.options.clone();
        self.store.create_batch(new).await?;
        let (sender, mut chunks) = mpsc::channel::<Chunk>(CHUNKS_AHEAD);
        let reader = tokio::task::spawn_blocking(move || send_chunks(&mut *upload, rules, &sender));
        let (mut taken, mut left_out) = (0, 0);
        while let Some(Chunk { good, bad, .. }) = chunks.recv().await {
            let entry = |(seq, row): (u32, GoodRow)| NewEntry {
                seq,
                number: self.numbers.key(tenant.as_str(), &row.to),
                to: row.to,
                timezone: row.timezone.map(str::to_owned),
                variables: row.variables,
                planned: None,
                not_before: schedule::earliest(&options, row.timezone, due),
            };
            let entries: Vec<_> = (taken + 1..).zip(good).map(entry).collect();
            taken += u32::try_from(entries.len()).unwrap_or(u32::MAX);
            left_out += u32::try_from(bad.len()).unwrap_or(u32::MAX);
            self.store.add_entries(&tenant, &batch, &entries).await?;
            if !bad.is_empty() {
                self.store.add_rejects(&tenant, &batch, &bad).await?;
            }
        }
        reader.await.map_err(|_| IntakeError::ReaderDied)??;
        if (taken, left_out) != (survey.good, survey.bad) {
            return Err(IntakeError::ReaderDied);
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
}
