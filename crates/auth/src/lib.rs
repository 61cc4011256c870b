//! HS256 tokens, HMAC capabilities, and the types that keep secrets and phone
//! numbers out of logs. One algorithm, pinned: there is nothing to negotiate.

pub mod api_key;
mod capability;
pub mod env;
mod jwt;
pub mod livekit;
mod number;
mod phone;
mod secret;
mod webhook;

pub use api_key::KeyHash;
pub use capability::{Capabilities, CapabilityError};
pub use jwt::{JwtError, LEEWAY_S, sign, unix_now, verify};
pub use number::{NumberKey, NumberKeyError, NumberKeys};
pub use phone::{Phone, PhoneError};
pub use secret::Secret;
pub use webhook::{WebhookKeys, sign_webhook, verify_webhook};
