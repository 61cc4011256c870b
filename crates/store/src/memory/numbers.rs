//! Numbers that are being called, or were until shortly before.

use std::collections::BTreeMap;

use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::{EntryKey, TenantId};

use crate::{Held, NumberRelease, NumberUse};

#[derive(Default)]
pub(super) struct Numbers(BTreeMap<(TenantId, NumberKey), NumberUse>);

impl Numbers {
    /// Takes the number for `entry`, or says why it cannot be taken.
    pub(super) fn hold(
        &mut self,
        number: (TenantId, NumberKey),
        entry: &EntryKey,
        now: Timestamp,
    ) -> Option<Held> {
        match self.0.get(&number) {
            Some(NumberUse::By(_)) => return Some(Held::NumberBusy { free_at: None }),
            Some(NumberUse::FreeAt(at)) if *at > now => {
                return Some(Held::NumberBusy { free_at: Some(*at) });
            }
            _ => {}
        }
        self.0.insert(number, NumberUse::By(entry.clone()));
        None
    }

    /// Lets go of a number that `entry` holds.
    pub(super) fn release(&mut self, tenant: &TenantId, entry: &EntryKey, release: &NumberRelease) {
        let number = (tenant.clone(), release.key);
        if !matches!(self.0.get(&number), Some(NumberUse::By(holder)) if holder == entry) {
            return;
        }
        match release.free_at {
            Some(at) => self.0.insert(number, NumberUse::FreeAt(at)),
            None => self.0.remove(&number),
        };
    }

    /// What stands in the way of a call to the number.
    pub(super) fn of(&self, number: &(TenantId, NumberKey)) -> Option<NumberUse> {
        self.0.get(number).cloned()
    }

    /// Forgets numbers that have been free since `before`.
    pub(super) fn forget(&mut self, before: Timestamp, limit: u32) -> u32 {
        let is_free = |used: &NumberUse| matches!(used, NumberUse::FreeAt(at) if *at <= before);
        let free = self.0.iter().filter(|(_, used)| is_free(used)).map(|(number, _)| number);
        let free: Vec<_> = free.take(limit as usize).cloned().collect();
        free.iter().for_each(|number| drop(self.0.remove(number)));
        u32::try_from(free.len()).unwrap_or(u32::MAX)
    }
}
