use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use dialtone_auth::livekit::{ApiKey, Claims, VideoGrant};

/// Why a request is not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No token at all.
    Missing,
    /// A token that no key signed, or that is not valid now.
    Invalid(&'static str),
    /// A good token without the grant that the call needs.
    Lacking,
}

impl Denied {
    /// livekit-server's words (pkg/service/auth.go).
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Missing | Self::Lacking => "permissions denied".to_owned(),
            Self::Invalid(reason) => format!("invalid authorization token: {reason}"),
        }
    }
}

fn token(headers: &HeaderMap, query: &str) -> Result<String, Denied> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let text = value.to_str().map_err(|_| Denied::Invalid("not a header text"))?;
        let token = text.strip_prefix("Bearer ").ok_or(Denied::Invalid("no Bearer prefix"))?;
        return Ok(token.trim().to_owned());
    }
    let token =
        query.split('&').find_map(|pair| pair.strip_prefix("access_token=")).unwrap_or_default();
    if token.is_empty() { Err(Denied::Missing) } else { Ok(token.to_owned()) }
}

/// The claims of a request's token, from its header or its query (browsers cannot
/// set headers on a WebSocket).
pub(crate) fn claims(keys: &[ApiKey], parts: &Parts) -> Result<Claims, Denied> {
    let token = token(&parts.headers, parts.uri.query().unwrap_or_default())?;
    let mut refused = Denied::Invalid("unknown API key");
    for key in keys {
        match key.verify(&token) {
            Ok(claims) => return Ok(claims),
            Err(dialtone_auth::JwtError::Expired) => refused = Denied::Invalid("token has expired"),
            Err(dialtone_auth::JwtError::NotYet) => refused = Denied::Invalid("not valid yet"),
            Err(_) => {}
        }
    }
    Err(refused)
}

/// A call's right, as in livekit-server's pkg/service/auth.go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Right<'a> {
    CreateRoom,
    ListRooms,
    /// Administer the named room.
    Admin(&'a str),
    Agent,
}

/// Checks that the claims hold `right`.
pub(crate) fn require(claims: &Claims, right: Right<'_>) -> Result<(), Denied> {
    let Some(video) = &claims.video else { return Err(Denied::Lacking) };
    let held = match right {
        Right::CreateRoom => video.room_create,
        Right::ListRooms => video.room_list,
        Right::Admin(room) => video.room_admin && video.room == room,
        Right::Agent => video.agent,
    };
    if held { Ok(()) } else { Err(Denied::Lacking) }
}

/// The grant to join a room, checked.
pub(crate) fn join_grant(claims: &Claims) -> Result<&VideoGrant, Denied> {
    match &claims.video {
        Some(video) if video.room_join => Ok(video),
        _ => Err(Denied::Lacking),
    }
}
