use serde_json::{Value, json};

/// A test batch that is good, to be made bad field by field.
#[derive(Clone, Debug)]
pub struct TestBatch {
    body: Value,
}

impl TestBatch {
    /// A batch with these counts; the rest completes.
    pub fn of(total: u32, fail: u32, stuck: u32, dropped: u32) -> Self {
        let body = json!({
            "voice_id": "demo", "initiated_by": 1, "total": total, "fail_count": fail,
            "stuck_count": stuck, "dropped_count": dropped,
        });
        Self { body }
    }

    /// The default mix: 24 completed, 100 failed, 15 stuck, 10 dropped.
    pub fn default_mix() -> Self {
        Self::of(149, 100, 15, 10)
    }

    /// Sets the field at a JSON pointer; its parents are made.
    ///
    /// # Panics
    /// If a parent is no object.
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.body;
        for name in pointer.trim_start_matches('/').split('/') {
            if at.is_null() {
                *at = json!({});
            }
            at = at.as_object_mut().expect("an object").entry(name).or_insert(Value::Null);
        }
        *at = value.into();
        self
    }

    /// Takes a field away.
    pub fn without(mut self, name: &str) -> Self {
        self.body.as_object_mut().and_then(|fields| fields.remove(name));
        self
    }

    /// The seed of the plan.
    pub fn seed(self, seed: u64) -> Self {
        self.with("/seed", seed)
    }

    /// How long calls last, in seconds of story time.
    pub fn talk_s(self, seconds: f64) -> Self {
        let span = json!({ "min_s": seconds, "max_s": seconds });
        self.with("/durations/completed", span.clone()).with("/durations/failed", span)
    }

    /// The request's body.
    pub fn json(&self) -> &Value {
        &self.body
    }
}
