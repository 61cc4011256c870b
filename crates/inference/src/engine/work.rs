use std::sync::Arc;

use super::FinishReason;
use super::desk::Desk;
use crate::decoder::Decoder;
use crate::tokenizer::Tokenize;

/// Starts the thread that owns the model.
pub(super) fn spawn(desk: Arc<Desk>, decoder: Box<dyn Decoder>, tokenizer: Arc<dyn Tokenize>) {
    let run = move || {
        let _model = (decoder, tokenizer);
        loop {
            let mut state = desk.state();
            let waiting: Vec<_> = state.waiting.drain(..).collect();
            let end = state.orphaned || state.deadline.is_some();
            drop(state);
            for waiting in waiting {
                waiting.end(FinishReason::Error("not written yet".to_owned()));
            }
            if end {
                desk.ended.send_replace(true);
                return;
            }
            desk.wait(None);
        }
    };
    let _ = std::thread::Builder::new().name("engine".to_owned()).spawn(run);
}
