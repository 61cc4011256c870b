//! A client that goes away frees its slot.

use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;

use super::binary::ModelInfo;
use super::client::{Ask, Client, Slot};
use super::setup::SOON;
use crate::failure::Failure;

/// Tokens of an answer that nobody waits for.
const TOKENS: u64 = 256;
/// How often the slots are looked at.
const LOOK: Duration = Duration::from_millis(2);
/// How often clients may come too late to leave early.
const TRIES: usize = 3;

/// When the slots were free.
pub enum Freed {
    /// So long after the clients had left.
    After(Duration),
    /// Nobody could leave early: every answer was complete before.
    Unseen,
}

/// Opens as many long answers as there are slots, leaves them after their first text, and waits
/// until no slot is busy.
///
/// # Errors
/// If a slot stays busy, or the worker answers no more.
pub async fn watch(client: &Client, info: &ModelInfo, slots: usize) -> Result<Freed, Failure> {
    for _ in 0..TRIES {
        if let Some(freed) = leave_early(client, info, slots.max(1)).await? {
            return Ok(Freed::After(freed));
        }
    }
    Ok(Freed::Unseen)
}

async fn leave_early(
    client: &Client,
    info: &ModelInfo,
    slots: usize,
) -> Result<Option<Duration>, Failure> {
    let most = TOKENS.min(info.context / 2).max(1);
    let mut listeners = Vec::with_capacity(slots);
    for n in 0..slots {
        let ask = Ask::endless(&format!("Tell me the long story number {n}."), most);
        listeners.push(client.open(&ask).await?);
    }
    for listener in &mut listeners {
        while !listener.transcript.has_text() && listener.hear().await? {}
    }
    let seen = busy(&client.slots().await?);
    let left = Instant::now();
    drop(listeners);
    let freed = until_free(client, left).await?;
    // What was free before they left has shown nothing.
    Ok((seen > 0).then_some(freed))
}

async fn until_free(client: &Client, left: Instant) -> Result<Duration, Failure> {
    loop {
        let slots = client.slots().await?;
        if busy(&slots) == 0 {
            return Ok(left.elapsed());
        }
        if left.elapsed() > SOON {
            let message = format!(
                "{} of {} slots are busy {} s after their clients have gone",
                busy(&slots),
                slots.len(),
                SOON.as_secs()
            );
            let lines = slots.iter().enumerate().map(|(n, slot)| {
                let who = slot.request.as_deref().unwrap_or("nobody");
                format!("slot {n}: {}, {who}", slot.state)
            });
            return Err(Failure::new(ErrorCode::SlotLeaked, message).evidence(lines));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn busy(slots: &[Slot]) -> usize {
    slots.iter().filter(|slot| slot.is_busy()).count()
}
