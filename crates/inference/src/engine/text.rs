use super::stops::Stops;
use crate::tokenizer::TextStream;

/// The text of one answer on its way out: whole characters, without the text that ends it.
#[derive(Debug)]
pub(super) struct Text {
    characters: TextStream,
    stops: Stops,
}

impl Text {
    pub fn new(stops: Vec<String>) -> Self {
        Self { characters: TextStream::new(), stops: Stops::new(stops) }
    }

    /// Takes the bytes of a token. Returns what can leave now, and whether the answer ends.
    pub fn push(&mut self, bytes: &[u8]) -> (String, bool) {
        self.stops.push(&self.characters.push(bytes))
    }

    /// What was held back, when nothing follows. A character that is not whole is no text: a
    /// voice cannot say it.
    pub fn rest(&mut self) -> String {
        self.stops.rest()
    }
}
