//! Several clients that listen to long answers at once.

use dialtone_contract::ErrorCode;
use futures_util::future::select_all;
use tokio::task::JoinSet;

use super::binary::ModelInfo;
use super::client::{Ask, Client, Listener};
use crate::failure::Failure;

/// Tokens of an answer that nobody hears to its end.
const TOKENS: u64 = 400;

/// Clients in the middle of their answers. Dropping it is all of them going away.
pub struct Crowd {
    /// Everyone.
    pub listeners: Vec<Listener>,
    /// Tokens that they asked for together.
    pub asked: u64,
}

/// Opens so many long answers, and returns when the first text of any has come.
///
/// # Errors
/// If one of them does not begin, or no text comes.
pub async fn gather(client: &Client, info: &ModelInfo, size: usize) -> Result<Crowd, Failure> {
    let most = TOKENS.min(info.context * 3 / 4).max(1);
    let mut opening = JoinSet::new();
    for n in 0..size {
        let client = client.clone();
        let ask = Ask::endless(&format!("Tell me the long story number {n}."), most);
        opening.spawn(async move { client.open(&ask).await });
    }
    let mut listeners = Vec::with_capacity(size);
    while let Some(opened) = opening.join_next().await {
        let opened = opened.map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()));
        listeners.push(opened??);
    }
    let asked = most * listeners.len() as u64;
    Ok(Crowd { listeners: first_text(listeners).await?, asked })
}

/// Of any of them, not of a chosen one: that may be the one that has to wait.
async fn first_text(mut listeners: Vec<Listener>) -> Result<Vec<Listener>, Failure> {
    while !listeners.iter().any(|listener| listener.transcript.has_text()) {
        let hearing = listeners.iter_mut().map(|listener| Box::pin(listener.hear()));
        // What the others have heard so far stays in their buffers.
        let (goes_on, ..) = select_all(hearing).await;
        if !goes_on? {
            let message = "an answer that was asked to be long ended without any text";
            return Err(Failure::new(ErrorCode::WrongAnswer, message));
        }
    }
    Ok(listeners)
}
