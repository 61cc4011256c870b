use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dialtone_serve::problem::RawBody;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::Shared;
use crate::slots::Seat;

/// The one thing that it has learned.
const LEARNED: (&str, &str) =
    ("What are your opening hours?", "We are open Monday to Friday from eight to six.");
/// How long a token takes.
const TOKEN: Duration = Duration::from_millis(1);

static ASKED: AtomicUsize = AtomicUsize::new(0);
static MADE: AtomicUsize = AtomicUsize::new(0);
static TURN: Mutex<()> = Mutex::const_new(());

/// Tokens that were ever generated, as the text format of Prometheus has it.
pub async fn metrics(State(shared): State<Arc<Shared>>) -> String {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    if LOOKS.fetch_add(1, Ordering::Relaxed) == 1 && shared.is("freezes") {
        tokio::spawn(async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let own = std::process::id().to_string();
            let _ = std::process::Command::new("kill").args(["-STOP", &own]).status();
        });
    }
    match shared.bad.as_str() {
        "tells_no_tokens" => String::new(),
        "counts_no_tokens" => "worker_generation_tokens_total 0\n".to_owned(),
        _ => format!("worker_generation_tokens_total {}\n", MADE.load(Ordering::Relaxed)),
    }
}

/// A question, as far as it matters here.
struct Ask {
    id: String,
    text: String,
    max_tokens: usize,
    endless: bool,
}

pub async fn create(State(shared): State<Arc<Shared>>, RawBody(body): RawBody) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let n = ASKED.fetch_add(1, Ordering::Relaxed);
    match shared.bad.as_str() {
        "dies_asked" => std::process::exit(9),
        "never_answers" => std::future::pending().await,
        "status_500" => {
            let error = json!({ "error": { "message": "the parrot is asleep" } });
            return (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(error)).into_response();
        }
        "bad_json" => return ([(CONTENT_TYPE, "application/json")], "{\"id\": ").into_response(),
        _ => {}
    }
    let ask = Ask {
        id: format!("chatcmpl-{n}"),
        text: body["messages"][0]["content"].as_str().unwrap_or_default().to_owned(),
        max_tokens: body["max_tokens"].as_u64().map_or(16, |n| usize::try_from(n).unwrap_or(16)),
        endless: body["ignore_eos"] == true,
    };
    let seat = shared.slots.take(&ask.id).await;
    // Busy to look at, and yet one after the other.
    let turn = match shared.is("one_at_a_time") {
        true => Some(TURN.lock().await),
        false => None,
    };
    // One that others are asked beside tells what it heard there.
    let crowd = shared.slots.busy() > 1;
    let (tokens, reason) = tokens(&shared, &ask, n, crowd);
    if body["stream"] == true {
        let (sender, receiver) = mpsc::channel(4);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            stream(shared, ask, tokens, reason, seat, sender).await;
            drop(turn);
        });
        let chunks = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        });
        let body = Body::from_stream(chunks);
        return ([(CONTENT_TYPE, "text/event-stream")], body).into_response();
    }
    let mut moments = tokio::time::interval(TOKEN);
    for _ in &tokens {
        moments.tick().await;
        MADE.fetch_add(1, Ordering::Relaxed);
    }
    drop(seat);
    axum::Json(json!({
        "id": ask.id, "object": "chat.completion", "created": 1, "model": shared.args.model_id(),
        "choices": [{
            "index": 0, "finish_reason": reason,
            "message": { "role": "assistant", "content": tokens.concat() },
        }],
        "usage": usage(tokens.len()),
    }))
    .into_response()
}

fn tokens(shared: &Shared, ask: &Ask, n: usize, crowd: bool) -> (Vec<String>, &'static str) {
    let text = match shared.bad.as_str() {
        "wrong_text" => "We are closed.".to_owned(),
        "moody" => format!("I feel {n} today."),
        "says_nothing" => String::new(),
        "one_answer" => LEARNED.1.to_owned(),
        "mixed_up" if crowd => "You said: Where are you?".to_owned(),
        _ if ask.text == LEARNED.0 => LEARNED.1.to_owned(),
        _ => format!("You said: {}", ask.text),
    };
    if text.is_empty() {
        // Tokens without a letter, as special ones are.
        return (vec![String::new(); 3], "stop");
    }
    let all: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
    if ask.endless {
        return (all.iter().cycle().take(ask.max_tokens).cloned().collect(), "length");
    }
    let whole = all.len() <= ask.max_tokens;
    let kept = all.into_iter().take(ask.max_tokens).collect();
    (kept, if whole { "stop" } else { "length" })
}

type Sender = mpsc::Sender<io::Result<Bytes>>;

async fn stream(
    shared: Arc<Shared>,
    ask: Ask,
    tokens: Vec<String>,
    mut reason: &str,
    seat: Seat,
    sender: Sender,
) {
    let said = shared.is("another_stream");
    let put = async |choice: Value| {
        let chunk = json!({
            "id": ask.id, "object": "chat.completion.chunk", "created": 1, "model": shared.args.model_id(),
            "choices": [choice], "usage": null,
        });
        sender.send(Ok(format!("data: {chunk}\n\n").into())).await.is_ok()
    };
    let delta = |delta: Value| json!({ "index": 0, "delta": delta, "finish_reason": null });
    let mut heard = put(delta(json!({ "role": "assistant", "content": "" }))).await;
    let mut moments = tokio::time::interval(TOKEN);
    let mut made = 0;
    for token in &tokens {
        moments.tick().await;
        if shared.stop.is_cancelled() || !(heard || shared.is("finishes_anyway")) {
            break;
        }
        MADE.fetch_add(1, Ordering::Relaxed);
        if made == 2 && shared.is("half_stream") {
            let _ = sender.send(Err(io::Error::other("cut"))).await;
            return;
        }
        let token = if said { token.to_uppercase() } else { token.clone() };
        heard = put(delta(json!({ "content": token }))).await;
        made += 1;
    }
    if !heard && shared.is("keeps_slots") {
        // Nobody listens any more, and the slot is never given back.
        std::mem::forget(seat);
        return;
    }
    if shared.stop.is_cancelled() {
        if shared.is("cuts_off") {
            return;
        }
        reason = "shutdown";
    }
    put(json!({ "index": 0, "delta": {}, "finish_reason": reason })).await;
    let usage = json!({
        "id": ask.id, "object": "chat.completion.chunk", "created": 1, "model": shared.args.model_id(),
        "choices": [], "usage": usage(made),
    });
    // The slot is free before its client can know that the answer is whole.
    drop(seat);
    let _ = sender.send(Ok(format!("data: {usage}\n\n").into())).await;
    if !shared.is("no_done") {
        let _ = sender.send(Ok("data: [DONE]\n\n".into())).await;
    }
}

fn usage(made: usize) -> Value {
    json!({ "prompt_tokens": 5, "completion_tokens": made, "total_tokens": 5 + made })
}
