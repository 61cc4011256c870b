use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, EntryKey, TenantId, limits};

use crate::EntryRow;

/// A request for entries to work on: `pending` and `retry_wait` entries whose time has
/// come are leased, each with a new attempt and its call log.
#[derive(Clone, Debug)]
pub struct ClaimDue {
    /// The tenant.
    pub tenant: TenantId,
    /// The batch.
    pub batch: BatchId,
    /// Nothing is leased unless the batch is in one of these states.
    pub claimable: &'static [BatchState],
    /// Entries at most.
    pub limit: u32,
    /// Nothing is leased beyond so many entries of the batch in flight, those of other
    /// dispatchers included.
    pub max_in_flight: u32,
    /// Nothing is leased beyond so many entries of the tenant in flight.
    pub tenant_max_in_flight: Option<u32>,
    /// Nothing is leased while anything of the batch is in flight: one wave at a time.
    pub barrier: bool,
    /// How fast entries may be leased.
    pub pace: Option<Pace>,
    /// An entry is leased only if nobody calls its number, and holds the number then.
    pub exclusive: bool,
    /// Time zones whose window is open, the empty one for entries that name none; entries
    /// of others are held. `None`: there is no window.
    pub zones_open: Option<Vec<String>>,
    /// Product time.
    pub now: Timestamp,
    /// When the lease runs out.
    pub deadline: Timestamp,
    /// Fencing token of the dispatcher.
    pub lease_epoch: u64,
}

impl ClaimDue {
    /// Entries that may be leased, by those in flight already.
    pub fn room(&self, batch_in_flight: u32, tenant_in_flight: u32) -> u32 {
        if self.barrier && batch_in_flight > 0 {
            return 0;
        }
        let of_tenant = self.tenant_max_in_flight.unwrap_or(u32::MAX);
        self.limit
            .min(self.max_in_flight.saturating_sub(batch_in_flight))
            .min(of_tenant.saturating_sub(tenant_in_flight))
    }

    /// Due entries that are looked at to find as many as there is room for: more, as those
    /// in front may all be held.
    pub fn looks(&self, room: u32) -> u32 {
        if room == 0 { 0 } else { room.max(limits::SELECT_MAX) }
    }

    /// Whether the entry's window is open.
    pub fn is_open(&self, entry: &EntryRow) -> bool {
        let zone = entry.timezone.as_deref().unwrap_or_default();
        self.zones_open.as_ref().is_none_or(|open| open.iter().any(|name| name == zone))
    }
}

/// A claim's turn in the batch's pace. Compared and swapped like a state: of two claims
/// that were decided on the same `seen`, one gets entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// `paced_at` of the batch when the claim was decided.
    pub seen: Option<Timestamp>,
    /// Where `paced_at` is counted from now.
    pub from: Timestamp,
    /// How far each leased entry moves it, in microseconds.
    pub each_us: i64,
}

impl Pace {
    /// `paced_at` after a claim that leased `n` entries.
    pub fn after(&self, n: u32) -> Timestamp {
        let moved = self.each_us.saturating_mul(i64::from(n));
        Timestamp::from_micros(self.from.as_micros().saturating_add(moved))
    }
}

/// What a claim found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claimed {
    /// Entries that are leased now.
    pub leased: Vec<EntryRow>,
    /// Entries that are due and were not leased, each with the reason; they stay due
    /// until the rules move them.
    pub held: Vec<(EntryRow, Held)>,
}

/// Why a due entry was not leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The number is suppressed.
    Suppressed,
    /// The number is being called, or was until shortly before.
    NumberBusy {
        /// When it may be called again, if that is known.
        free_at: Option<Timestamp>,
    },
    /// The window of the entry's time zone is closed.
    ZoneClosed,
}

/// What stands in the way of a call to a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumberUse {
    /// An attempt at this entry.
    By(EntryKey),
    /// It may not be called before this time, which may have come.
    FreeAt(Timestamp),
}
