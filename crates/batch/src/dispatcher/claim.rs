//! Which entries are leased next: of which batch, how many, and what stands in the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, EntryState, TenantId, limits};
use dialtone_store::{
    BatchMode, BatchRow, BatchSpec, Change, ClaimDue, Claimed, EntryRow, Held, StoreError,
};
use futures_util::future::join_all;

use super::memory::Memory;
use super::{CLAIMABLE, Dispatcher};
use crate::WhileWaiting;
use crate::policy::pace::Rate;
use crate::policy::schedule;
use crate::policy::share::Want;
use crate::policy::wave::{self, Wave};

/// A leased entry with the spec of its batch and the wall time of the claim's commit.
pub type Leased = (Arc<BatchSpec>, EntryRow, Instant);

/// What one look for work gave.
#[derive(Debug, Default)]
pub struct Claims {
    /// Entries whose dispatches are to be sent.
    pub leased: Vec<Leased>,
    /// Due entries that could not be leased and were moved out of the way.
    pub moved: usize,
}

/// A batch that may begin calls now, and within what.
struct Ready {
    batch: BatchRow,
    /// Entries at most, beside the share of the batch; a wave is leased whole.
    most: u32,
    wave: Option<Wave>,
    rate: Option<Rate>,
}

impl Ready {
    /// What it asks for; `lone` if one call alone may begin.
    fn want(&self, lone: bool) -> Want<'_, TenantId, BatchId> {
        Want {
            tenant: &self.batch.tenant,
            batch: &self.batch.id,
            most: self.most,
            whole: self.wave.is_some() && !lone,
        }
    }
}

/// What bounds a tenant's calls.
#[derive(Clone, Copy, Debug, Default)]
struct Bound {
    /// In flight at once.
    most: Option<u32>,
    /// Calls that it may begin now; others may begin some before the claim.
    room: u32,
}

/// Entries of the batch that may still be put in flight.
fn room(batch: &BatchRow) -> u32 {
    batch.max_concurrent().saturating_sub(batch.count(EntryState::is_in_flight))
}

/// Names of the zones in which calls of the batch may begin at `now`, or `None` where that
/// is no matter.
///
/// # Errors
/// If they may begin in none: when to look again.
fn zones_open(
    memory: &mut Memory,
    batch: &BatchRow,
    now: Timestamp,
) -> Result<Option<Vec<String>>, Timestamp> {
    let Some(window) = &batch.spec.options.window else { return Ok(None) };
    if window.is_by_recipient() {
        return Ok(Some(memory.open_zones(window, now)));
    }
    let opening = schedule::opening_for(window, None, now);
    if opening.is_open() { Ok(None) } else { Err(opening.until()) }
}

impl Dispatcher {
    /// Leases up to `limit` due entries of running batches (a wave is leased whole), each
    /// batch within what its options allow now and its fair share. Fewer, or none, while
    /// LiveKit is taken for down.
    ///
    /// # Errors
    /// If the store fails; leases of a lost answer run out by themselves.
    pub async fn claim(&self, limit: u32) -> Result<Claims, StoreError> {
        let mut claims = Claims::default();
        let now = self.clock.now();
        let mut left = self.breaker.allows(now, limit.min(limits::CLAIM_MAX));
        if left == 0 {
            return Ok(claims);
        }
        let mut after = self.memory().claim();
        let mut begun_behind = after.is_some();
        loop {
            let most = limits::BATCHES_MAX;
            let page = self.store.due_batches(CLAIMABLE, now, after.as_ref(), most).await?;
            let more = page.len() >= most as usize;
            after = page.last().map(|batch| batch.id.clone()).filter(|_| more);
            let served = self.serve(page, now, &mut left, &mut claims).await;
            self.memory().claimed_up_to(after.clone());
            match served {
                // What has been leased so far is sent; whoever looks next meets the failure.
                Err(error) if claims.leased.is_empty() => return Err(error),
                Err(_) => break,
                Ok(()) if left == 0 => break,
                Ok(()) if after.is_some() => {}
                Ok(()) if begun_behind => begun_behind = false,
                Ok(()) => break,
            }
        }
        Ok(claims)
    }

    /// Shares what is left out among these batches until nothing is left or none of them has
    /// more.
    async fn serve(
        &self,
        batches: Vec<BatchRow>,
        now: Timestamp,
        left: &mut u32,
        claims: &mut Claims,
    ) -> Result<(), StoreError> {
        let lone = self.breaker.open_until().is_some();
        let bounds = self.tenants(&batches).await?;
        let bound = |tenant: &TenantId| bounds.get(tenant).copied().unwrap_or_default();
        let ready: Vec<_> = batches.into_iter().filter_map(|row| self.ready(row, now)).collect();
        let mut wants: Vec<_> = ready.iter().map(|ready| ready.want(lone)).collect();
        let mut rest: Vec<_> = ready.iter().map(|ready| ready.most).collect();
        while *left > 0 {
            let shares = self.memory().share(&wants, |tenant| bound(tenant).room, *left);
            if shares.is_empty() {
                break;
            }
            let mut asked = Vec::with_capacity(shares.len());
            for (place, share) in shares {
                // Whoever gets less than his share has no more, and a pace is for one claim.
                wants[place].most = 0;
                let ready = &ready[place];
                let claim = self.claim_of(ready, share, bound(&ready.batch.tenant));
                asked.extend(claim.map(|claim| (place, claim)));
            }
            let began = claims.leased.len();
            for (place, n) in self.ask(&ready, asked, claims).await? {
                rest[place] = rest[place].saturating_sub(n);
                wants[place].most = rest[place];
            }
            let began = u32::try_from(claims.leased.len() - began).unwrap_or(u32::MAX);
            *left = left.saturating_sub(began);
            if began > 0 {
                self.breaker.passed(now);
            }
        }
        Ok(())
    }

    /// Makes these claims, all at once, so that one commit can hold them all. Gives the
    /// batches that may have more, each with what it began.
    async fn ask(
        &self,
        ready: &[Ready],
        asked: Vec<(usize, ClaimDue)>,
        claims: &mut Claims,
    ) -> Result<Vec<(usize, u32)>, StoreError> {
        let places: Vec<_> = asked.iter().map(|(place, claim)| (*place, claim.limit)).collect();
        let answers = asked.into_iter().map(|(_, claim)| self.store.claim_due(claim));
        let answers = join_all(answers).await;
        let committed = Instant::now();
        let (mut more, mut all_held, mut failed) = (Vec::new(), Vec::new(), None);
        for ((place, limit), answer) in places.into_iter().zip(answers) {
            let (ready, spec) = (&ready[place], &ready[place].batch.spec);
            match answer {
                Ok(Claimed { leased, held }) => {
                    let n = u32::try_from(leased.len()).unwrap_or(u32::MAX);
                    if n == limit && ready.wave.is_none() && ready.rate.is_none() {
                        more.push((place, n));
                    }
                    self.memory().began(&leased);
                    let with_spec = |entry| (Arc::clone(spec), entry, committed);
                    claims.leased.extend(leased.into_iter().map(with_spec));
                    all_held.extend(held.into_iter().map(|held| (spec, held)));
                }
                Err(error) => failed = Some(error),
            }
        }
        claims.moved += self.move_held(&all_held).await?;
        failed.map_or(Ok(more), Err)
    }

    /// What bounds the tenants of these batches.
    async fn tenants(&self, batches: &[BatchRow]) -> Result<BTreeMap<TenantId, Bound>, StoreError> {
        let mut bounds: BTreeMap<TenantId, Bound> = BTreeMap::new();
        for BatchRow { tenant, .. } in batches {
            if bounds.contains_key(tenant) {
                continue;
            }
            let most = self.store.max_concurrent(tenant).await?;
            let room = match most {
                Some(most) => most.saturating_sub(self.store.in_flight(tenant).await?),
                None => u32::MAX,
            };
            bounds.insert(tenant.clone(), Bound { most, room });
        }
        Ok(bounds)
    }

    /// Whether the batch may begin calls now. If only time stands in its way, when it had
    /// better be looked at again is kept for the loop.
    fn ready(&self, batch: BatchRow, now: Timestamp) -> Option<Ready> {
        if room(&batch) == 0 || batch.count(EntryState::is_waiting) == 0 {
            return None;
        }
        let options = &batch.spec.options;
        let mut memory = self.memory();
        if let Err(until) = zones_open(&mut memory, &batch, now) {
            memory.look_again(until);
            return None;
        }
        let rate = self.rate(&batch);
        if let Some(next) = rate.map(|rate| rate.next(batch.paced_at))
            && now < next
        {
            memory.look_again(next);
            return None;
        }
        let (mut most, mut next_wave) = (u32::MAX, None);
        if options.wave_size > 0 {
            let looked_at = memory.look_at_wave(&batch.id, now);
            let in_flight = batch.count(EntryState::is_in_flight);
            match wave::next(options, batch.claimed_at, looked_at, in_flight, now) {
                Wave::Wait { until } => {
                    memory.look_again(until);
                    return None;
                }
                begin @ Wave::Begin { .. } => next_wave = Some(begin),
            }
            let poll = Duration::from_secs(options.poll_s.into());
            memory.look_again(now + poll);
            most = options.wave_size;
        }
        Some(Ready { most: most.min(room(&batch)), wave: next_wave, rate, batch })
    }

    fn rate(&self, batch: &BatchRow) -> Option<Rate> {
        let per_s = batch.calls_per_second()?;
        let start = batch.started_at.unwrap_or(batch.created_at);
        Some(Rate::new(self.rules.scale(), per_s, batch.spec.options.ramp_s, start))
    }

    fn claim_of(&self, ready: &Ready, share: u32, bound: Bound) -> Option<ClaimDue> {
        let batch = &ready.batch;
        // Time has passed since the batch was ready; the claim holds for its own moment.
        let now = self.clock.now();
        let zones_open = zones_open(&mut self.memory(), batch, now).ok()?;
        let allowed = ready.rate.map(|rate| rate.allowed(batch.paced_at, now, share));
        let limit = allowed.map_or(share, |allowed| allowed.calls);
        (limit > 0).then(|| ClaimDue {
            tenant: batch.tenant.clone(),
            batch: batch.id.clone(),
            claimable: CLAIMABLE,
            limit,
            max_in_flight: batch.max_concurrent(),
            tenant_max_in_flight: bound.most,
            barrier: ready.wave == Some(Wave::Begin { past_timeout: false }),
            pace: allowed.map(|allowed| allowed.pace),
            exclusive: batch.spec.mode == BatchMode::Live,
            zones_open,
            now,
            deadline: self.rules.guard(now, limits::LEASE),
            lease_epoch: self.epoch,
        })
    }

    /// Moves due entries that may not be leased out of the way of those that may; gives
    /// their number.
    async fn move_held(
        &self,
        held: &[(&Arc<BatchSpec>, (EntryRow, Held))],
    ) -> Result<usize, StoreError> {
        if held.is_empty() {
            return Ok(0);
        }
        let now = self.clock.now();
        let later = self.rules.guard(now, limits::HELD_AGAIN);
        let decide = |(spec, (entry, why)): &(&Arc<BatchSpec>, (EntryRow, Held))| {
            let open = |at| schedule::earliest(&spec.options, entry.timezone.as_deref(), at);
            let what = match why {
                Held::Suppressed => WhileWaiting::Suppressed,
                // Another call may last for minutes: that it holds this one up is said once.
                Held::NumberBusy { free_at: None } if !self.memory().newly_busy(&entry.key) => {
                    WhileWaiting::DeferredAgain(open(later))
                }
                Held::NumberBusy { free_at } => {
                    WhileWaiting::Deferred(open(free_at.unwrap_or(later)))
                }
                Held::ZoneClosed => WhileWaiting::Deferred(open(now)),
            };
            Some(Change::Entry(self.rules.while_waiting(spec, entry, what, now).ok()?))
        };
        let changes: Vec<_> = held.iter().filter_map(decide).collect();
        let applied = self.store.apply(&changes).await?;
        Ok(applied.iter().filter(|applied| applied.is_applied()).count())
    }
}
