//! The end of a worker: in order, with its answer finished and its last words said.

use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;

use super::answers::Known;
use super::beats;
use super::client::{Ask, Listener};
use super::setup::{Bench, Scene};
use crate::failure::Failure;
use crate::stack::{GRACE, Member};

/// Tokens of the answer that is under way.
const TOKENS: u64 = 128;
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
    known: &Known,
) -> Result<String, Failure> {
    // Asked before the end: afterwards the supervisor has taken away what was left.
    let offspring = member.offspring();
    // A worker that gave no right answer so far shows nothing with another one.
    let listener = match known.first.is_some() {
        true => Some(begin(scene).await?),
        false => None,
    };
    bench.guard.step.set("waiting for the worker to end");
    let told = Instant::now();
    let rest = async {
        match listener {
            Some(listener) => Some(listen(listener).await),
            None => None,
        }
    };
    let (exit, rest) = tokio::join!(member.stop(), rest);
    let took = told.elapsed();
    let book = scene.hive.book();
    book.until(LAST_WORDS, |arrivals, _| beats::last_words(arrivals).is_ok()).await;

    let mut wrong = Vec::new();
    if !offspring.is_empty() {
        let names = offspring.iter().map(|p| format!("{} (pid {})", p.name, p.pid));
        let message = format!(
            "the worker had processes of its own when it was told to end: {}",
            names.collect::<Vec<_>>().join(", ")
        );
        wrong.push(Failure::new(ErrorCode::Leaked, message));
    }
    match exit {
        Some(exit) if exit.success() => {}
        Some(exit) if took >= GRACE => wrong.push(Failure::new(
            ErrorCode::CheckFailed,
            format!("the worker ignored SIGTERM for {} s: {exit}", GRACE.as_secs()),
        )),
        Some(exit) => wrong.push(Failure::new(
            ErrorCode::CheckFailed,
            format!("the worker ended with {exit} when it was told to end"),
        )),
        None => wrong.push(Failure::new(
            ErrorCode::CheckFailed,
            "the worker could not be ended, not even by its supervisor",
        )),
    }
    let said = match rest {
        None => String::new(),
        Some(Ok(reason)) => format!(", the answer under way ended with `{reason}`"),
        Some(Err(failure)) => {
            wrong.push(failure);
            String::new()
        }
    };
    if let Err(failure) = beats::last_words(&book.arrivals()) {
        wrong.push(failure);
    }
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

/// Begins an answer and waits for its first text.
async fn begin(scene: &Scene) -> Result<Listener, Failure> {
    let most = TOKENS.min(scene.info.context / 2).max(1);
    let ask = Ask::endless("Please tell me everything about it.", most);
    let mut listener = scene.client.open(&ask).await?;
    while !listener.transcript.has_text() && listener.hear().await? {}
    Ok(listener)
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
