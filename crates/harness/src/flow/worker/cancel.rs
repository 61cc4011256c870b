//! A client that goes away ends its answer and frees its slot.

use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;

use super::binary::ModelInfo;
use super::client::{Client, Slot};
use super::crowd;
use super::setup::SOON;
use crate::failure::Failure;

/// How often the slots are looked at.
const LOOK: Duration = Duration::from_millis(2);
/// How often the worker may have been done before it could know that its clients had left.
const TRIES: usize = 5;

/// What became of answers whose clients left.
pub struct Left {
    /// From the clients' leaving to the last slot that was free.
    pub freed: Duration,
    /// Tokens that were generated all the same.
    pub made: u64,
    /// Tokens that were asked for.
    pub asked: u64,
}

/// Opens a long answer for each slot, leaves them all after the first text, and waits until no
/// slot is busy. Free slots alone prove nothing of a fast model, which may have been done by
/// then: most of what was asked for must never have been generated.
///
/// # Errors
/// If a slot stays busy, the answers are generated to their end, or the worker answers no more.
pub async fn watch(client: &Client, info: &ModelInfo, slots: usize) -> Result<Left, Failure> {
    let mut lines = Vec::new();
    for _ in 0..TRIES {
        let left = leave_early(client, info, slots.max(1)).await?;
        if left.made <= left.asked / 4 * 3 {
            return Ok(left);
        }
        lines.push(format!("{} of {} tokens were generated", left.made, left.asked));
    }
    let message = "answers are generated to their end though their clients have gone";
    Err(Failure::new(ErrorCode::SlotLeaked, message).evidence(lines))
}

async fn leave_early(client: &Client, info: &ModelInfo, slots: usize) -> Result<Left, Failure> {
    let before = client.generated().await?;
    let crowd = crowd::gather(client, info, slots).await?;
    let asked = crowd.asked;
    let left = Instant::now();
    drop(crowd);
    let freed = until_free(client, left).await?;
    let made = client.generated().await?.saturating_sub(before);
    if made == 0 {
        let message = "worker_generation_tokens_total stood still while the worker answered";
        return Err(Failure::new(ErrorCode::WrongAnswer, message));
    }
    Ok(Left { freed, made, asked })
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
