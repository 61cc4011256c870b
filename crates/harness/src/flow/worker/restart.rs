//! A hive that goes away and comes back.

use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;

use super::answers::Known;
use super::beats::{self, Expected};
use super::setup::Scene;
use crate::failure::Failure;

/// Intervals within which a worker must try again, and be heard again.
const INTERVALS: u32 = 4;

/// Intervals for which beats are watched after the first one is back: those that were lost would
/// come at once.
const AFTER: u32 = 2;

/// Takes the hive down, asks the worker meanwhile, brings the hive back, and waits for its beats.
///
/// # Errors
/// If the worker answers otherwise without a hive, or its beats do not come back as they must.
pub async fn watch(
    scene: &mut Scene,
    expected: &Expected,
    known: &Known,
) -> Result<(Duration, String), Failure> {
    let most = expected.interval * INTERVALS + Duration::from_millis(1000);
    let refused = scene.hive.book().refused();
    scene.hive.down().await?;
    // Only now: one may have come while it went down.
    let before = scene.hive.book().arrivals();
    let began = Instant::now();
    let alone = answer_without(scene, known).await;
    let book = scene.hive.book().clone();
    let tried = book.until(most, |_, now| now > refused).await;
    let down_for = began.elapsed();
    scene.hive.up().await?;
    // Only now: whatever went wrong, the hive is there for what follows.
    alone?;
    if !tried {
        let message =
            format!("the worker sent nothing in {} ms without a hive", down_for.as_millis());
        return Err(Failure::new(ErrorCode::NoHeartbeat, message));
    }
    let back = Instant::now();
    let known_before = before.len();
    if !book.until(most, |arrivals, _| arrivals.len() > known_before).await {
        let message = format!("no beat came {} ms after the hive was back", most.as_millis());
        return Err(Failure::new(ErrorCode::NoHeartbeat, message));
    }
    let resumed = back.elapsed();
    tokio::time::sleep(expected.interval * AFTER).await;
    let watched = back.elapsed();
    let after = book.arrivals();
    beats::resumed(&before, &after[known_before..], expected, watched)?;
    let said = format!(
        "{} without a hive for {} ms; beats back after {} ms",
        if known.first.is_some() { "answered" } else { "lived" },
        down_for.as_millis(),
        resumed.as_millis()
    );
    Ok((resumed, said))
}

async fn answer_without(scene: &Scene, known: &Known) -> Result<(), Failure> {
    let Some((ask, answer)) = &known.first else { return Ok(()) };
    let now = scene.client.ask(ask).await?;
    if now == *answer {
        return Ok(());
    }
    let message = "the worker answers otherwise while its hive is away";
    Err(Failure::new(ErrorCode::WrongAnswer, message)
        .evidence([format!("before: {answer:?}"), format!("now:    {now:?}")]))
}
