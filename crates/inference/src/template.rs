//! Chat templates: messages to the one text that the model was trained on.

/// How a model wants a conversation written.
#[derive(Debug)]
pub struct ChatTemplate;
