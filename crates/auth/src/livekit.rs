//! LiveKit access tokens: the claims that servers and clients exchange
//! (livekit/protocol, auth/grants.go and auth/accesstoken.go).

use serde::{Deserialize, Serialize};

use crate::{JwtError, Secret, sign, unix_now, verify};

/// What a token allows in rooms. Absent `can_*` members mean yes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VideoGrant {
    /// May create and delete rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_create: bool,
    /// May list rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_list: bool,
    /// May administer `room`.
    #[serde(skip_serializing_if = "is_false")]
    pub room_admin: bool,
    /// May join `room`.
    #[serde(skip_serializing_if = "is_false")]
    pub room_join: bool,
    /// The room that the grant is bound to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room: String,
    /// May register as an agent worker.
    #[serde(skip_serializing_if = "is_false")]
    pub agent: bool,
    /// May publish tracks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// May subscribe to tracks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// May publish data; falls back to `can_publish`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// May change its own metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    /// Invisible to the others in the room.
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The claims of a LiveKit token.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Claims {
    /// API key.
    pub iss: String,
    /// Identity of the participant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub: String,
    /// Expiry, seconds since the Unix epoch.
    pub exp: u64,
    /// Not valid before, seconds since the Unix epoch.
    pub nbf: u64,
    /// Display name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Kind of participant: `standard`, `agent`, ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Participant metadata.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// Participant attributes.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub attributes: std::collections::BTreeMap<String, String>,
    /// Base64 of the SHA-256 of a webhook's body.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// What the token allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrant>,
    /// Room configuration applied when this join creates the room; passed through.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub room_config: serde_json::Value,
}

/// An API key with its secret.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// The key's name (`iss`).
    pub key: String,
    /// The key's secret.
    pub secret: Secret,
}

impl ApiKey {
    /// The pair that LiveKit servers use in development; good on loopback only.
    pub fn dev() -> Self {
        Self { key: "devkey".to_owned(), secret: Secret::new("secret") }
    }

    /// Signs `claims` as this key, valid from now for `ttl_s` seconds.
    pub fn token(&self, claims: Claims, ttl_s: u64) -> String {
        let now = unix_now();
        sign(&Claims { iss: self.key.clone(), nbf: now, exp: now + ttl_s, ..claims }, &self.secret)
    }

    /// Reads a token that this key must have signed.
    ///
    /// # Errors
    /// If the token is not this key's, or is not valid now.
    pub fn verify(&self, token: &str) -> Result<Claims, JwtError> {
        let claims: Claims = verify(token, &self.secret)?;
        if claims.iss == self.key { Ok(claims) } else { Err(JwtError::Claims) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_use_livekits_spelling() {
        let key = ApiKey::dev();
        let video = VideoGrant {
            room_join: true,
            room: "r".into(),
            can_publish: Some(false),
            ..Default::default()
        };
        let json = serde_json::to_value(&video).expect("plain data");
        assert_eq!(json, serde_json::json!({ "roomJoin": true, "room": "r", "canPublish": false }));
        let token = key.token(Claims { video: Some(video.clone()), ..Default::default() }, 60);
        assert_eq!(key.verify(&token).expect("own token").video, Some(video));
        let other = ApiKey { key: "other".into(), ..key };
        assert!(matches!(other.verify(&token), Err(JwtError::Claims)));
    }
}
