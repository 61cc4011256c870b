use dialtone_clock::Timestamp;
use dialtone_contract::wire::{BatchStatus, EntryView};
use dialtone_contract::{BatchId, EntryKey, TenantId};
use dialtone_store::{Store, StoreError};
use serde::Serialize;

use crate::status::{batch_status, entry_view};

/// What a message is about.
pub(super) struct About<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) webhook: &'a str,
    pub(super) batch: &'a BatchId,
    pub(super) seq: Option<u32>,
    pub(super) at: Timestamp,
}

#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    created_at: Timestamp,
    batch_id: &'a BatchId,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<BatchStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<EntryView>,
}

impl About<'_> {
    /// The same for every try, and for no other message to the endpoint.
    pub(super) fn id(&self) -> String {
        let key = |seq| EntryKey { batch: self.batch.clone(), seq };
        match self.seq {
            Some(seq) => format!("{}.{}", self.webhook, key(seq).entry_id()),
            None => format!("{}.{}", self.webhook, self.batch),
        }
    }

    /// The message, from rows that no longer change; `None` if there are none any more.
    pub(super) async fn body(&self, store: &dyn Store) -> Result<Option<Vec<u8>>, StoreError> {
        let (mut batch, mut entry) = (None, None);
        if let Some(seq) = self.seq {
            let page = store.entries(self.tenant, self.batch, seq.saturating_sub(1), 1).await?;
            let own = page.into_iter().find(|(entry, _)| entry.key.seq == seq);
            let Some((row, calls)) = own else { return Ok(None) };
            entry = Some(entry_view(&row, &calls, false));
        } else {
            let Some(row) = store.batch(self.tenant, self.batch).await? else { return Ok(None) };
            batch = Some(batch_status(&row));
        }
        let message = Message {
            id: &self.id(),
            kind: if self.seq.is_some() { "entry.ended" } else { "batch.ended" },
            created_at: self.at,
            batch_id: self.batch,
            batch,
            entry,
        };
        Ok(Some(serde_json::to_vec(&message).expect("messages are plain data")))
    }
}
