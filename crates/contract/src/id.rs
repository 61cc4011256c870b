use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An id that does not have the shape of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind} id")]
pub struct IdError {
    kind: &'static str,
    text: String,
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps `text` as it is; ids are opaque to everyone but their maker.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type!(
    /// A customer; on every row and first in every query.
    TenantId, "tenant"
);
id_type!(
    /// A batch: `bat_` and a time-ordered token.
    BatchId, "batch"
);
id_type!(
    /// The pipeline run of a batch: `job_` and the batch's token, stable over restarts.
    JobId, "job"
);
id_type!(
    /// An entry as outsiders name it: `ent_<token>_<seq>`.
    EntryId, "entry"
);
id_type!(
    /// One attempt at an entry: `call_<token>_<seq>_<attempt>`. Also the LiveKit room's name.
    CallId, "call"
);

impl BatchId {
    /// The id of the batch with this token (letters and digits only).
    pub fn from_token(token: &str) -> Self {
        Self(format!("bat_{token}"))
    }

    fn token(&self) -> &str {
        self.0.strip_prefix("bat_").unwrap_or(&self.0)
    }

    /// The id of this batch's pipeline run.
    pub fn job(&self) -> JobId {
        JobId(format!("job_{}", self.token()))
    }
}

/// What names an entry inside the platform: its batch and its place in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey {
    /// The batch.
    pub batch: BatchId,
    /// Place in the batch, from 1.
    pub seq: u32,
}

impl EntryKey {
    /// The entry's public id.
    pub fn entry_id(&self) -> EntryId {
        EntryId(format!("ent_{}_{}", self.batch.token(), self.seq))
    }

    /// The id of one attempt at this entry.
    pub fn call_id(&self, attempt: u32) -> CallId {
        CallId(format!("call_{}_{}_{attempt}", self.batch.token(), self.seq))
    }
}

fn number(text: &str) -> Option<u32> {
    // No sign, no leading zero: one entry has one spelling.
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok()).flatten()
}

fn token(text: &str) -> Option<BatchId> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| BatchId::from_token(text))
}

impl EntryId {
    /// The entry that this id names.
    ///
    /// # Errors
    /// If the text was not made by [`EntryKey::entry_id`].
    pub fn key(&self) -> Result<EntryKey, IdError> {
        let parse = || {
            let (batch, seq) = self.0.strip_prefix("ent_")?.split_once('_')?;
            Some(EntryKey { batch: token(batch)?, seq: number(seq)? })
        };
        parse().ok_or_else(|| IdError { kind: "entry", text: self.0.clone() })
    }
}

impl CallId {
    /// The entry and the attempt that this id names.
    ///
    /// # Errors
    /// If the text was not made by [`EntryKey::call_id`].
    pub fn parts(&self) -> Result<(EntryKey, u32), IdError> {
        let parse = || {
            let mut parts = self.0.strip_prefix("call_")?.splitn(3, '_');
            let batch = token(parts.next()?)?;
            let seq = number(parts.next()?)?;
            Some((EntryKey { batch, seq }, number(parts.next()?)?))
        };
        parse().ok_or_else(|| IdError { kind: "call", text: self.0.clone() })
    }
}

impl FromStr for TenantId {
    type Err = IdError;
    /// Lower-case letters, digits and dashes, 1 to 63.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=63).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError { kind: "tenant", text: text.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_key() {
        let key = EntryKey { batch: BatchId::from_token("0199a"), seq: 149 };
        assert_eq!(key.entry_id().as_str(), "ent_0199a_149");
        assert_eq!(key.entry_id().key(), Ok(key.clone()));
        assert_eq!(key.call_id(3).parts(), Ok((key.clone(), 3)));
        assert_eq!(key.batch.job().as_str(), "job_0199a");
    }

    #[test]
    fn foreign_ids_are_refused() {
        for bad in
            ["", "call_", "call_a_1", "call_a_1_0", "call_a_01_1", "call_a_1_1_1", "call_a_-1_1"]
        {
            assert!(CallId::new(bad).parts().is_err(), "{bad} was read");
        }
        for bad in ["", "ent_a", "ent__1", "ent_a_0", "ent_a_4294967296"] {
            assert!(EntryId::new(bad).key().is_err(), "{bad} was read");
        }
    }
}
