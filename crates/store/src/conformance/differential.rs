//! The same random operations on two engines: equal answers, equal rows.

use std::sync::Arc;

use dialtone_clock::{Timestamp, seed_from};
use dialtone_contract::{
    AttemptEffect, BatchId, BatchState, EntryKey, EntryState, TRANSITIONS, Target, TenantId,
};

use super::fixture::{
    CLAIMABLE, Snapshot, at, claim_due, far, move_batch, new_batch, new_entry, number, snapshot,
    tenant, transition,
};
use crate::memory::MemoryStore;
use crate::{
    BatchFilter, Change, ClaimDue, EntryRow, Idempotency, Lane, NewEntry, NumberRelease, Pace,
    Store, StoreError,
};

/// Operations of the walk that every engine takes.
const STEPS: u32 = 1_500;

pub(super) async fn a_random_walk_agrees_with_memory(store: Arc<dyn Store>) {
    let made = Walk::new(1, STEPS).run(&MemoryStore::new(), &*store).await;
    assert!(made > STEPS / 5, "a walk of {STEPS} steps made only {made} changes");
}

/// A seeded random walk over the ports.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    seed: u64,
    steps: u32,
    draws: u64,
    now: i64,
    made: u32,
}

/// Compares what two engines answered; of errors only that there is one.
///
/// # Panics
/// If the answers differ.
pub fn compare<T: PartialEq + std::fmt::Debug>(
    what: &str,
    left: Result<T, StoreError>,
    right: Result<T, StoreError>,
) -> Option<T> {
    match (left, right) {
        (Ok(left), Ok(right)) => {
            assert_eq!(left, right, "{what}: the engines answer differently");
            Some(left)
        }
        (Err(_), Err(_)) => None,
        (left, right) => panic!("{what}: {left:?} against {right:?}"),
    }
}

impl Walk {
    /// `steps` operations that `seed` decides.
    pub fn new(seed: u64, steps: u32) -> Self {
        Self { seed, steps, draws: 0, now: 0, made: 0 }
    }

    /// Walks both engines, which must be empty, and compares each answer, and all rows
    /// every so often and at the end. The number of changes that were made to entries.
    ///
    /// # Panics
    /// If the engines ever differ, or if what both hold is inconsistent.
    pub async fn run(mut self, left: &dyn Store, right: &dyn Store) -> u32 {
        for step in 0..self.steps {
            // Kept on the heap: a caller that runs many walks has a small stack.
            Box::pin(self.step(left, right)).await;
            if step % 250 == 249 {
                self.compare_rows(left, right).await;
            }
        }
        self.compare_rows(left, right).await;
        self.made
    }

    fn below(&mut self, n: u64) -> u64 {
        self.draws += 1;
        let hash = seed_from(self.seed, &[b"walk", &self.draws.to_le_bytes()]);
        // The high bits of the hash are the better mixed ones.
        (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % n
    }

    fn small(&mut self, n: u32) -> u32 {
        u32::try_from(self.below(u64::from(n))).expect("below a small number")
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a length")
    }

    fn time(&mut self, spread: u32) -> Timestamp {
        at(self.now + i64::from(self.small(spread)) - i64::from(spread / 4))
    }

    /// One of a few batches, new ones as time goes by; the tenant is sometimes not the
    /// batch's.
    fn batch(&mut self) -> (TenantId, BatchId) {
        let n = self.small(4) + u32::try_from(self.now / 300).expect("a short walk");
        let own = if n.is_multiple_of(3) { "other" } else { "acme" };
        let stranger = self.below(12) == 0;
        (tenant(if stranger { "stranger" } else { own }), BatchId::from_token(&format!("w{n}")))
    }

    async fn step(&mut self, left: &dyn Store, right: &dyn Store) {
        self.now += i64::from(self.small(3));
        match self.below(24) {
            0..=3 => self.create(left, right).await,
            4..=5 => self.load(left, right).await,
            6 => self.accept(left, right).await,
            7..=10 => self.claim(left, right).await,
            11 => self.move_batch(left, right).await,
            12..=20 => self.apply(left, right).await,
            21 => self.outbox(left, right).await,
            22 if self.below(2) == 0 => self.suppress(left, right).await,
            22 => self.report(left, right).await,
            _ => self.look(left, right).await,
        }
    }

    async fn create(&mut self, left: &dyn Store, right: &dyn Store) {
        let (tenant, batch) = self.batch();
        let new = new_batch(&tenant, &batch, self.small(50));
        compare("create", left.create_batch(new.clone()).await, right.create_batch(new).await);
    }

    async fn load(&mut self, left: &dyn Store, right: &dyn Store) {
        let (tenant, batch) = self.batch();
        let new: Vec<NewEntry> =
            (0..self.small(60)).map(|_| new_entry(1 + self.small(80), self.time(40))).collect();
        compare(
            "add",
            left.add_entries(&tenant, &batch, &new).await,
            right.add_entries(&tenant, &batch, &new).await,
        );
    }

    async fn accept(&mut self, left: &dyn Store, right: &dyn Store) {
        let (tenant, batch) = self.batch();
        let key = (self.below(2) == 0).then(|| Idempotency {
            key: format!("key{}", self.small(3)),
            request_hash: format!("hash{}", self.small(2)),
        });
        let when = at(self.now);
        compare(
            "accept",
            left.accept_batch(&tenant, &batch, when, key.clone()).await,
            right.accept_batch(&tenant, &batch, when, key).await,
        );
    }

    async fn claim(&mut self, left: &dyn Store, right: &dyn Store) {
        let (tenant, batch) = self.batch();
        let limit = self.small(8);
        let claim = ClaimDue {
            now: at(self.now),
            deadline: self.time(60),
            lease_epoch: u64::from(self.small(3)),
            tenant_max_in_flight: (self.below(4) == 0).then(|| self.small(30)),
            barrier: self.below(6) == 0,
            pace: self.pace(left, &tenant, &batch).await,
            exclusive: self.below(2) == 0,
            zones_open: self.zones(),
            ..claim_due(&tenant, &batch, limit)
        };
        compare("claim", left.claim_due(claim.clone()).await, right.claim_due(claim).await);
    }

    /// Mostly none; else one that was decided on what the batch says, or on something else.
    async fn pace(
        &mut self,
        store: &dyn Store,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Option<Pace> {
        if self.below(3) > 0 {
            return None;
        }
        let row = store.batch(tenant, batch).await.expect("read");
        let seen = row.and_then(|row| row.paced_at).filter(|_| self.below(4) > 0);
        Some(Pace { seen, from: at(self.now), each_us: i64::from(self.small(3_000_000)) })
    }

    fn zones(&mut self) -> Option<Vec<String>> {
        let some = [vec![], vec![""], vec!["Europe/Berlin"], vec!["", "Europe/Berlin"]];
        let zones = &some[self.index(some.len())];
        (self.below(3) == 0).then(|| zones.iter().map(|zone| (*zone).to_owned()).collect())
    }

    async fn suppress(&mut self, left: &dyn Store, right: &dyn Store) {
        let (tenant, _) = self.batch();
        let number = number(1 + self.small(80));
        if self.below(2) == 0 {
            compare(
                "suppress",
                left.suppress(&tenant, &[number], "walk", at(self.now)).await,
                right.suppress(&tenant, &[number], "walk", at(self.now)).await,
            );
        } else {
            compare(
                "unsuppress",
                left.unsuppress(&tenant, number).await,
                right.unsuppress(&tenant, number).await,
            );
        }
    }

    async fn move_batch(&mut self, left: &dyn Store, right: &dyn Store) {
        use BatchState::{Accepted, Cancelling, Completed, Paused, Running};
        let (tenant, batch) = self.batch();
        let from = self.pick(&[Accepted, Running, Paused, Running, Paused]);
        // Ends are rare, so that there is something left to walk on.
        let to = if self.below(40) == 0 {
            self.pick(&[Cancelling, Completed])
        } else {
            self.pick(&[Running, Paused, Running])
        };
        let change = [Change::Batch(move_batch(&tenant, &batch, from, to))];
        compare("move", left.apply(&change).await, right.apply(&change).await);
    }

    async fn apply(&mut self, left: &dyn Store, right: &dyn Store) {
        // Mostly entries that something can happen to, of any batch.
        let begun: Vec<EntryRow> = if self.below(8) > 0 {
            let due = left.due_deadlines(far(), u32::MAX).await.expect("read");
            due.into_iter().map(|(entry, _)| entry).collect()
        } else {
            let (tenant, batch) = self.batch();
            let rows = left.entries(&tenant, &batch, 0, u32::MAX).await.expect("read");
            rows.into_iter().map(|(entry, _)| entry).filter(|entry| entry.attempt > 0).collect()
        };
        if begun.is_empty() {
            return;
        }
        let mut changes = Vec::new();
        for _ in 0..=self.below(3) {
            let entry = &begun[self.index(begun.len())];
            changes.push(Change::Entry(self.change(entry)));
        }
        let answers = compare("apply", left.apply(&changes).await, right.apply(&changes).await);
        let made = answers.into_iter().flatten().filter(|answer| answer.is_applied()).count();
        self.made += u32::try_from(made).expect("few changes");
    }

    /// A change to an entry: mostly one that the rules would make, sometimes stale.
    fn change(&mut self, entry: &EntryRow) -> crate::Transition {
        use EntryState::{Cancelled, Completed, Failed, RetryWait};
        let legal: Vec<_> = TRANSITIONS
            .iter()
            .filter(|rule| rule.attempt != AttemptEffect::Next)
            .filter(|rule| rule.from.contains(&entry.state))
            .collect();
        let any: Vec<_> = TRANSITIONS[1..].iter().collect();
        let rule = self.pick(if legal.is_empty() { &any } else { &legal });
        let to = match rule.to {
            Target::State(to) => to,
            Target::Same => entry.state,
            Target::AttemptEnds(_) => self
                .pick(&[RetryWait, RetryWait, RetryWait, RetryWait, Completed, Failed, Cancelled]),
        };
        let mut change = transition(entry, rule.event, to);
        change.at = at(self.now);
        change.not_before = change.not_before.map(|_| self.time(40));
        change.deadline = change.deadline.map(|_| self.time(60));
        if legal.is_empty() {
            // Nothing may happen to it: make sure that nothing does.
            change.attempt += 1;
        }
        match self.below(16) {
            0 => change.attempt += 1,
            1 => change.attempt -= 1,
            2 => change.lease_epoch = Some(entry.lease_epoch),
            3 => change.lease_epoch = Some(entry.lease_epoch + 1),
            4 => change.from = self.pick(EntryState::ALL),
            5 => change.key.seq += 100,
            6 => change.deadline_seen = entry.deadline,
            7 => change.deadline_seen = Some(at(4711)),
            8 => change.batch_in = Some(CLAIMABLE),
            9 => change.batch_in = Some(&[BatchState::Paused]),
            10 => change.number = Some(release(entry, None)),
            11 => change.number = Some(release(entry, Some(self.time(60)))),
            _ => {}
        }
        if change.from == entry.state {
            change
        } else {
            crate::Transition { attempt: 99, ..change }
        }
    }

    async fn outbox(&mut self, left: &dyn Store, right: &dyn Store) {
        let (now, again, limit) = (at(self.now), self.time(40), self.small(5));
        let due = compare(
            "outbox",
            left.due_outbox(Lane::LiveKit, now, again, limit).await,
            right.due_outbox(Lane::LiveKit, now, again, limit).await,
        );
        let ids: Vec<i64> = due.into_iter().flatten().map(|row| row.id).collect();
        if self.below(3) > 0 {
            compare("done", left.outbox_done(&ids).await, right.outbox_done(&ids).await);
        }
    }

    async fn report(&mut self, left: &dyn Store, right: &dyn Store) {
        let (tenant, batch) = self.batch();
        let (text, when) = (format!("report {}", self.draws), at(self.now));
        compare(
            "report",
            left.put_report(&tenant, &batch, &text, when).await,
            right.put_report(&tenant, &batch, &text, when).await,
        );
        compare("epoch", left.next_epoch().await, right.next_epoch().await);
    }

    async fn look(&mut self, left: &dyn Store, right: &dyn Store) {
        let (tenant, batch) = self.batch();
        let (now, limit) = (self.time(40), self.small(9));
        compare(
            "deadlines",
            left.due_deadlines(now, limit).await,
            right.due_deadlines(now, limit).await,
        );
        compare("next", left.next_due(now, CLAIMABLE).await, right.next_due(now, CLAIMABLE).await);
        let after = self.small(80);
        compare(
            "entries",
            left.entries(&tenant, &batch, after, limit).await,
            right.entries(&tenant, &batch, after, limit).await,
        );
        let key = EntryKey { batch: batch.clone(), seq: after };
        let attempt = self.small(3);
        compare(
            "call",
            left.call(&tenant, &key, attempt).await,
            right.call(&tenant, &key, attempt).await,
        );
        let after = self.below(40);
        compare(
            "events",
            left.events(&tenant, &batch, after, limit).await,
            right.events(&tenant, &batch, after, limit).await,
        );
        compare(
            "list",
            left.batches(&tenant, &BatchFilter::default(), limit).await,
            right.batches(&tenant, &BatchFilter::default(), limit).await,
        );
        let states = [self.pick(BatchState::ALL), self.pick(BatchState::ALL)];
        compare("in", left.batches_in(&states).await, right.batches_in(&states).await);
        compare(
            "due",
            left.due_batches(&states, at(self.now), None, limit).await,
            right.due_batches(&states, at(self.now), None, limit).await,
        );
    }

    async fn compare_rows(&self, left: &dyn Store, right: &dyn Store) {
        for name in ["acme", "other", "stranger"] {
            let tenant = tenant(name);
            let rows = compare(
                "all",
                left.batches(&tenant, &BatchFilter::default(), u32::MAX).await,
                right.batches(&tenant, &BatchFilter::default(), u32::MAX).await,
            );
            for row in rows.into_iter().flatten() {
                let both: [Snapshot; 2] = [
                    snapshot(left, &tenant, &row.id).await,
                    snapshot(right, &tenant, &row.id).await,
                ];
                assert_eq!(both[0], both[1], "seed {}: the rows differ", self.seed);
                both[0].check();
            }
        }
        assert_eq!(
            left.next_due(far(), CLAIMABLE).await.expect("read"),
            right.next_due(far(), CLAIMABLE).await.expect("read"),
        );
    }
}

fn release(entry: &EntryRow, free_at: Option<Timestamp>) -> NumberRelease {
    NumberRelease { key: entry.number, free_at }
}
