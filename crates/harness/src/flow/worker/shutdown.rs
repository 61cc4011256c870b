//! The end of a worker: in order, with its answer finished and its last words said.

use std::time::{Duration, Instant};

use dialtone_child::Exit;
use dialtone_child::process::Process;
use dialtone_contract::ErrorCode;
use futures_util::future::join_all;

use super::answers::Known;
use super::client::{Listener, check_reason};
use super::setup::{Bench, Scene};
use super::{beats, crowd};
use crate::failure::Failure;
use crate::stack::{GRACE, Member};

/// Answers that are under way for each slot: with some that wait, a fast model has work for longer
/// than the signal takes.
const CROWD: usize = 2;
/// How often the answers may be complete before the worker is told.
const TRIES: usize = 5;
/// How long the last beat may still be on its way.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Tells the worker to end while it answers, and watches how it does.
///
/// # Errors
/// With the first thing that is not as it must be, and all others as evidence.
pub async fn watch(
    bench: &Bench<'_>,
    scene: &Scene,
    member: &Member,
    (known, slots): (&Known, usize),
) -> Result<String, Failure> {
    // Asked before the end: afterwards the supervisor has taken away what was left.
    let offspring = member.offspring();
    // A worker that gave no right answer so far shows nothing with another one.
    let listeners = match known.first.is_some() {
        true => begin(scene, slots.max(1)).await?,
        false => Vec::new(),
    };
    bench.guard.step.set("waiting for the worker to end");
    let told = Instant::now();
    let (exit, rest) = tokio::join!(member.stop(), rest(listeners));
    let took = told.elapsed();
    let book = scene.hive.book();
    book.until(LAST_WORDS, |arrivals, _| beats::last_words(arrivals).is_ok()).await;

    let mut wrong = Vec::new();
    wrong.extend(heirs(&offspring));
    wrong.extend(disorder(exit, took));
    let said = match rest {
        Ok(said) => said,
        Err(failure) => {
            wrong.push(failure);
            String::new()
        }
    };
    wrong.extend(beats::last_words(&book.arrivals()).err());
    let mut wrong = wrong.into_iter();
    match wrong.next() {
        None => {
            Ok(format!("SIGTERM, exit 0 after {} ms{said}, last beat `stopped`", took.as_millis()))
        }
        Some(first) => {
            let tail = member.log_tail(3);
            let others = wrong.map(|failure| format!("also: {failure}"));
            let lines: Vec<String> = others.chain(tail.lines().map(str::to_owned)).collect();
            Err(first.evidence(lines))
        }
    }
}

/// Processes that the worker had and must not have.
fn heirs(offspring: &[Process]) -> Option<Failure> {
    let names: Vec<_> = offspring.iter().map(|p| format!("{} (pid {})", p.name, p.pid)).collect();
    let names = names.join(", ");
    (!names.is_empty()).then(|| {
        let message =
            format!("the worker had processes of its own when it was told to end: {names}");
        Failure::new(ErrorCode::Leaked, message)
    })
}

/// What is wrong with how it ended.
fn disorder(exit: Option<Exit>, took: Duration) -> Option<Failure> {
    let message = match exit {
        Some(exit) if exit.success() => return None,
        Some(exit) if took >= GRACE => {
            format!("the worker ignored SIGTERM for {} s: {exit}", GRACE.as_secs())
        }
        Some(exit) => format!("the worker ended with {exit} when it was told to end"),
        None => "the worker could not be ended, not even by its supervisor".to_owned(),
    };
    Some(Failure::new(ErrorCode::CheckFailed, message))
}

/// Begins answers that are under way when this returns: text has come, and by the worker's own
/// count there is more to come.
async fn begin(scene: &Scene, slots: usize) -> Result<Vec<Listener>, Failure> {
    for _ in 0..TRIES {
        let before = scene.client.generated().await?;
        let crowd = crowd::gather(&scene.client, &scene.info, slots * CROWD).await?;
        let made = scene.client.generated().await?.saturating_sub(before);
        if made <= crowd.asked / 4 * 3 {
            return Ok(crowd.listeners);
        }
    }
    let message = "every answer was complete before the worker could be told to end";
    Err(Failure::new(ErrorCode::CheckFailed, message))
}

/// Hears them all to their ends; how they ended.
async fn rest(listeners: Vec<Listener>) -> Result<String, Failure> {
    let all = listeners.len();
    let mut complete = 0;
    for reason in join_all(listeners.into_iter().map(listen)).await {
        complete += usize::from(check_reason(&reason?).is_ok());
    }
    Ok(match all {
        0 => String::new(),
        _ => format!(", of {all} answers under way {complete} complete, {} cut", all - complete),
    })
}

/// Hears the rest; why it ended.
async fn listen(mut listener: Listener) -> Result<String, Failure> {
    while listener.hear().await? {}
    let reason = listener.transcript.finish_reason();
    reason.map(str::to_owned).ok_or_else(|| {
        let message = "the answer under way ended without finish_reason";
        Failure::new(ErrorCode::StreamBroken, message)
    })
}
