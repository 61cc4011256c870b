use super::{Array, Error, Strings, Value};

/// The key of the architecture's name.
const ARCHITECTURE: &str = "general.architecture";

/// What a file says of its model: values under keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    // Sorted by key: many keys cost no more than their bytes, and hostile ones cannot collide.
    entries: Vec<(Box<str>, Value)>,
}

/// A type that values of the metadata are asked for as.
pub trait FromValue<'a>: Sized {
    /// What the value must be, for errors.
    const EXPECTED: &'static str;
    /// The value, if it is one of these.
    fn from_value(value: &'a Value) -> Option<Self>;
}

impl Metadata {
    /// Of these entries; the first key that stands twice, if one does.
    pub(super) fn new(mut entries: Vec<(Box<str>, Value)>) -> Result<Self, Box<str>> {
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        match entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(pair[0].0.clone()),
            None => Ok(Self { entries }),
        }
    }

    /// The value under `key`.
    pub fn value(&self, key: &str) -> Option<&Value> {
        let index = self.entries.binary_search_by(|entry| (*entry.0).cmp(key)).ok()?;
        Some(&self.entries[index].1)
    }

    /// All entries, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// The value under `key`, as the type that is wanted; `None` if the key is not there.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is of another type.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.value(key) else { return Ok(None) };
        T::from_value(value).map(Some).ok_or_else(|| Error::WrongType {
            key: key.to_owned(),
            found: value.to_string(),
            expected: T::EXPECTED,
        })
    }

    /// The value under `key`, which must be there.
    ///
    /// # Errors
    /// [`Error::Missing`], or [`Error::WrongType`] if it is of another type.
    pub fn need<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, Error> {
        self.get(key)?.ok_or_else(|| Error::Missing { key: key.to_owned() })
    }

    /// The architecture: `llama`.
    ///
    /// # Errors
    /// If the file does not say.
    pub fn architecture(&self) -> Result<&str, Error> {
        self.need(ARCHITECTURE)
    }

    /// The key of a property of the architecture: `llama.context_length` for `context_length`.
    pub fn arch_key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture().unwrap_or_default())
    }

    /// A property of the architecture, `None` if the file does not say: `context_length`.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is of another type.
    pub fn arch<'a, T: FromValue<'a>>(&'a self, name: &str) -> Result<Option<T>, Error> {
        self.get(&self.arch_key(name))
    }

    /// A property of the architecture that must be there.
    ///
    /// # Errors
    /// [`Error::Missing`], or [`Error::WrongType`] if it is of another type.
    pub fn need_arch<'a, T: FromValue<'a>>(&'a self, name: &str) -> Result<T, Error> {
        self.need(&self.arch_key(name))
    }

    /// The integer under `key`.
    ///
    /// # Errors
    /// If it is none, or negative.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, Error> {
        self.get(key)
    }

    /// The number under `key`.
    ///
    /// # Errors
    /// If it is none.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.get(key)
    }

    /// The truth value under `key`.
    ///
    /// # Errors
    /// If it is none.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.get(key)
    }

    /// The string under `key`.
    ///
    /// # Errors
    /// If it is none.
    pub fn str(&self, key: &str) -> Result<Option<&str>, Error> {
        self.get(key)
    }

    /// The strings under `key`.
    ///
    /// # Errors
    /// If they are none.
    pub fn strings(&self, key: &str) -> Result<Option<&Strings>, Error> {
        self.get(key)
    }

    /// The numbers under `key`.
    ///
    /// # Errors
    /// If they are none.
    pub fn f32s(&self, key: &str) -> Result<Option<&[f32]>, Error> {
        self.get(key)
    }

    /// The 32-bit integers under `key`.
    ///
    /// # Errors
    /// If they are none.
    pub fn i32s(&self, key: &str) -> Result<Option<&[i32]>, Error> {
        self.get(key)
    }

    /// The integers under `key`, of any width.
    ///
    /// # Errors
    /// If they are none, or one is negative.
    pub fn u64s(&self, key: &str) -> Result<Option<Vec<u64>>, Error> {
        self.get(key)
    }
}

macro_rules! from_value {
    ($($type:ty, $expected:literal, |$value:ident| $as:expr;)+) => {
        $(impl<'a> FromValue<'a> for $type {
            const EXPECTED: &'static str = $expected;
            fn from_value($value: &'a Value) -> Option<Self> { $as }
        })+
    };
}

from_value! {
    u64, "an integer that is not negative", |value| value.as_u64();
    u32, "an integer of 32 bits that is not negative", |value| value.as_u64()?.try_into().ok();
    usize, "an integer that is not negative", |value| value.as_u64()?.try_into().ok();
    f32, "a number", |value| match *value {
        Value::F32(value) => Some(value),
        Value::F64(value) => Some(value as f32),
        _ => None,
    };
    bool, "true or false", |value| match *value {
        Value::Bool(value) => Some(value),
        _ => None,
    };
    &'a str, "a string", |value| match value {
        Value::String(value) => Some(value),
        _ => None,
    };
    &'a Strings, "an array of strings", |value| match value {
        Value::Array(Array::Strings(values)) => Some(values),
        _ => None,
    };
    &'a [f32], "an array of f32", |value| match value {
        Value::Array(Array::F32(values)) => Some(values),
        _ => None,
    };
    &'a [i32], "an array of i32", |value| match value {
        Value::Array(Array::I32(values)) => Some(values),
        _ => None,
    };
    &'a [u32], "an array of u32", |value| match value {
        Value::Array(Array::U32(values)) => Some(values),
        _ => None,
    };
    &'a [u8], "an array of u8", |value| match value {
        Value::Array(Array::U8(values)) => Some(values),
        _ => None,
    };
    Vec<u64>, "an array of integers that are not negative", |value| match value {
        Value::Array(array) => integers(array),
        _ => None,
    };
}

/// The integers of an array of any width, if none is negative.
fn integers(array: &Array) -> Option<Vec<u64>> {
    match array {
        Array::U8(values) => Some(values.iter().map(|&value| value.into()).collect()),
        Array::U16(values) => Some(values.iter().map(|&value| value.into()).collect()),
        Array::U32(values) => Some(values.iter().map(|&value| value.into()).collect()),
        Array::U64(values) => Some(values.clone()),
        Array::I8(values) => values.iter().map(|&value| value.try_into().ok()).collect(),
        Array::I16(values) => values.iter().map(|&value| value.try_into().ok()).collect(),
        Array::I32(values) => values.iter().map(|&value| value.try_into().ok()).collect(),
        Array::I64(values) => values.iter().map(|&value| value.try_into().ok()).collect(),
        _ => None,
    }
}
