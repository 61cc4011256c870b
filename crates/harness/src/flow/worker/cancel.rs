//! A client that goes away frees its slot.

use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;
use tokio::task::JoinSet;

use super::binary::ModelInfo;
use super::client::{Ask, Client, Listener, Slot};
use super::setup::SOON;
use crate::failure::Failure;

/// Tokens of an answer that nobody waits for.
const TOKENS: u64 = 400;
/// Clients for each slot: with some that wait, a fast model is busy for long enough to be seen.
const CROWD: usize = 2;
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

/// Opens more long answers than there are slots, leaves them after the first text, and waits until
/// no slot is busy.
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
    let mut listeners = crowd(client, info, slots).await?;
    if let Some(first) = listeners.first_mut() {
        while !first.transcript.has_text() && first.hear().await? {}
    }
    let seen = busy(&client.slots().await?);
    let left = Instant::now();
    drop(listeners);
    let freed = until_free(client, left).await?;
    // What was free before they left has shown nothing.
    Ok((seen > 0).then_some(freed))
}

/// One client for each slot, and some that may have to wait or be turned away.
async fn crowd(client: &Client, info: &ModelInfo, slots: usize) -> Result<Vec<Listener>, Failure> {
    let most = TOKENS.min(info.context * 3 / 4).max(1);
    let mut opening = JoinSet::new();
    for n in 0..slots * CROWD {
        let client = client.clone();
        let ask = Ask::endless(&format!("Tell me the long story number {n}."), most);
        opening.spawn(async move { client.open(&ask).await });
    }
    let (mut listeners, mut refused) = (Vec::new(), None);
    while let Some(opened) = opening.join_next().await {
        match opened {
            Ok(Ok(listener)) => listeners.push(listener),
            Ok(Err(failure)) => refused = Some(failure),
            Err(error) => refused = Some(Failure::new(ErrorCode::Internal, error.to_string())),
        }
    }
    match refused {
        Some(failure) if listeners.len() < slots => Err(failure),
        _ => Ok(listeners),
    }
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
