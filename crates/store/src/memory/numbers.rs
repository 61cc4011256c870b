//! Numbers that are being called, or were until shortly before.

use std::collections::BTreeMap;

use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::{EntryKey, TenantId};

use crate::{Held, NumberRelease};

/// Who calls a number, or from when on it may be called again.
enum Use {
    By(EntryKey),
    FreeAt(Timestamp),
}

#[derive(Default)]
pub(super) struct Numbers(BTreeMap<(TenantId, NumberKey), Use>);

impl Numbers {
    /// Takes the number for `entry`, or says why it cannot be taken.
    pub(super) fn hold(
        &mut self,
        number: (TenantId, NumberKey),
        entry: &EntryKey,
        now: Timestamp,
    ) -> Option<Held> {
        match self.0.get(&number) {
            Some(Use::By(_)) => return Some(Held::NumberBusy { free_at: None }),
            Some(Use::FreeAt(at)) if *at > now => {
                return Some(Held::NumberBusy { free_at: Some(*at) });
            }
            _ => {}
        }
        self.0.insert(number, Use::By(entry.clone()));
        None
    }

    /// Lets go of a number that `entry` holds.
    pub(super) fn release(&mut self, tenant: &TenantId, entry: &EntryKey, release: &NumberRelease) {
        let number = (tenant.clone(), release.key);
        if !matches!(self.0.get(&number), Some(Use::By(holder)) if holder == entry) {
            return;
        }
        match release.free_at {
            Some(at) => self.0.insert(number, Use::FreeAt(at)),
            None => self.0.remove(&number),
        };
    }
}
