//! LiveKit's JSON: protojson with proto names (snake_case) and unset fields written
//! out (protocol's `*.twirp.go`: `UseProtoNames`, `EmitUnpopulated`). The generated
//! serde of the protobuf types writes camelCase and leaves unset fields out, so the
//! answers are filled up from these tables.

use livekit_protocol as proto;
use serde::Serialize;
use serde_json::{Map, Value};

/// A message's fields by proto name.
pub(crate) type Shape = &'static [(&'static str, Field)];

/// A field's type, as far as its empty value goes.
pub(crate) enum Field {
    Text,
    Number,
    Int64,
    Bool,
    Enum(&'static str),
    Map,
    List,
    Messages(Shape),
    Message(Shape),
}

use Field::{Bool, Enum, Int64, List, Message, Messages, Number, Text};

const VERSION: Shape = &[("unix_micro", Int64), ("ticks", Number)];

const ROOM: Shape = &[
    ("sid", Text),
    ("name", Text),
    ("empty_timeout", Number),
    ("departure_timeout", Number),
    ("max_participants", Number),
    ("creation_time", Int64),
    ("creation_time_ms", Int64),
    ("turn_password", Text),
    ("enabled_codecs", List),
    ("metadata", Text),
    ("num_participants", Number),
    ("num_publishers", Number),
    ("active_recording", Bool),
    ("version", Message(VERSION)),
];

const PERMISSION: Shape = &[
    ("can_subscribe", Bool),
    ("can_publish", Bool),
    ("can_publish_data", Bool),
    ("can_publish_sources", List),
    ("hidden", Bool),
    ("recorder", Bool),
    ("can_update_metadata", Bool),
    ("agent", Bool),
    ("can_subscribe_metrics", Bool),
];

const PARTICIPANT: Shape = &[
    ("sid", Text),
    ("identity", Text),
    ("state", Enum("JOINING")),
    ("tracks", List),
    ("metadata", Text),
    ("joined_at", Int64),
    ("joined_at_ms", Int64),
    ("name", Text),
    ("version", Number),
    ("permission", Message(PERMISSION)),
    ("region", Text),
    ("is_publisher", Bool),
    ("kind", Enum("STANDARD")),
    ("attributes", Field::Map),
    ("disconnect_reason", Enum("UNKNOWN_REASON")),
    ("kind_details", List),
    ("data_tracks", List),
    ("client_protocol", Number),
    ("capabilities", List),
];

const JOB_STATE: Shape = &[
    ("status", Enum("JS_PENDING")),
    ("error", Text),
    ("started_at", Int64),
    ("ended_at", Int64),
    ("updated_at", Int64),
    ("participant_identity", Text),
    ("worker_id", Text),
    ("agent_id", Text),
];

const JOB: Shape = &[
    ("id", Text),
    ("dispatch_id", Text),
    ("type", Enum("JT_ROOM")),
    ("room", Message(ROOM)),
    ("participant", Message(PARTICIPANT)),
    ("namespace", Text),
    ("metadata", Text),
    ("agent_name", Text),
    ("state", Message(JOB_STATE)),
    ("enable_recording", Bool),
    ("deployment", Text),
    ("attributes", Field::Map),
];

const DISPATCH_STATE: Shape =
    &[("jobs", Messages(JOB)), ("created_at", Int64), ("deleted_at", Int64)];

const DISPATCH: Shape = &[
    ("id", Text),
    ("agent_name", Text),
    ("room", Text),
    ("metadata", Text),
    ("state", Message(DISPATCH_STATE)),
    ("restart_policy", Enum("JRP_ON_FAILURE")),
    ("deployment", Text),
    ("attributes", Field::Map),
];

/// An answer of a Twirp service.
pub(crate) trait Answer: prost::Message + Serialize {
    /// Its fields.
    const SHAPE: Shape;
}

macro_rules! answers {
    ($($message:ty => $shape:expr;)*) => {
        $(impl Answer for $message { const SHAPE: Shape = $shape; })*
    };
}

answers! {
    proto::Room => ROOM;
    proto::ListRoomsResponse => &[("rooms", Messages(ROOM))];
    proto::DeleteRoomResponse => &[];
    proto::ListParticipantsResponse => &[("participants", Messages(PARTICIPANT))];
    proto::ParticipantInfo => PARTICIPANT;
    proto::RemoveParticipantResponse => &[];
    proto::SendDataResponse => &[];
    proto::AgentDispatch => DISPATCH;
    proto::ListAgentDispatchResponse => &[("agent_dispatches", Messages(DISPATCH))];
}

/// The message in LiveKit's JSON.
pub(crate) fn json<A: Answer>(message: &A) -> Result<Value, serde_json::Error> {
    Ok(fill(serde_json::to_value(message)?, A::SHAPE))
}

fn fill(value: Value, shape: Shape) -> Value {
    let Value::Object(mut given) = value else { return value };
    let mut out = Map::new();
    for (name, field) in shape {
        let value = given.remove(&camel(name));
        out.insert((*name).to_owned(), fill_field(value, field));
    }
    // A field that a newer protocol brings is passed on under its proto name.
    for (name, value) in given {
        out.insert(snake(&name), value);
    }
    Value::Object(out)
}

fn fill_field(value: Option<Value>, field: &Field) -> Value {
    match (value, field) {
        (Some(value), Message(shape)) => fill(value, shape),
        (Some(Value::Array(items)), Messages(shape)) => {
            items.into_iter().map(|item| fill(item, shape)).collect()
        }
        (Some(value), _) => value,
        (None, Text) => Value::from(""),
        (None, Number) => Value::from(0),
        // protojson writes 64-bit integers as text.
        (None, Int64) => Value::from("0"),
        (None, Bool) => Value::from(false),
        (None, Enum(first)) => Value::from(*first),
        (None, Field::Map) => Value::Object(Map::new()),
        (None, List | Messages(_)) => Value::Array(Vec::new()),
        (None, Message(_)) => Value::Null,
    }
}

fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else {
            out.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        }
    }
    out
}

fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_have_proto_names_and_unset_fields() {
        let room = proto::Room { name: "r".into(), empty_timeout: 300, ..Default::default() };
        let list = proto::ListRoomsResponse { rooms: vec![room] };
        let value = json(&list).expect("plain data");
        assert_eq!(value["rooms"][0]["empty_timeout"], 300);
        assert_eq!(value["rooms"][0]["creation_time"], "0");
        assert_eq!(value["rooms"][0]["active_recording"], false);
        assert_eq!(value["rooms"][0]["version"], Value::Null);
        let empty = json(&proto::ListRoomsResponse::default()).expect("plain data");
        assert_eq!(empty, json!({ "rooms": [] }));
    }

    #[test]
    fn the_keys_of_maps_stay_as_they_are() {
        let dispatch = proto::AgentDispatch {
            attributes: [("callId".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        };
        assert_eq!(json(&dispatch).expect("plain data")["attributes"], json!({ "callId": "1" }));
        assert_eq!(
            (camel("creation_time_ms"), snake("createdAt")),
            ("creationTimeMs".into(), "created_at".into())
        );
    }
}
