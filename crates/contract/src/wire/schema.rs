use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// The schema of a text that has one of these spellings.
pub fn spellings(description: &str, names: impl Iterator<Item = &'static str>) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description.trim()))
        .enum_values(Some(names))
        .into()
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::{Value, to_value};
    use utoipa::PartialSchema;

    use crate::{BatchState, CallState, EntryState, Outcome, PlannedOutcome};

    fn agrees<T: PartialSchema + Serialize>(all: &[T]) {
        let schema = to_value(T::schema()).expect("plain data");
        assert_eq!(schema["enum"], to_value(all).expect("plain data"));
        assert!(matches!(&schema["description"], Value::String(text) if text.len() > 5));
    }

    #[test]
    fn the_reference_spells_as_the_wire_does() {
        agrees(BatchState::ALL);
        agrees(EntryState::ALL);
        agrees(CallState::ALL);
        agrees(Outcome::ALL);
        agrees(PlannedOutcome::ALL);
    }
}
