//! Which code computes, on what: the one place where that is decided.
//!
//! Nothing falls back in silence: a backend that was asked for and cannot be had is an error,
//! never a slower one in its stead.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The processor.
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
    /// Apple GPUs.
    Metal,
    /// GPUs of any maker with a Vulkan driver.
    Vulkan,
}

/// Which code runs the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// This crate's own, for CPUs.
    Native,
    /// llama.cpp, in builds with the feature `llama-cpp`.
    LlamaCpp,
}

/// A choice of the user's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Choice<T> {
    /// The best that there is.
    #[default]
    Auto,
    /// This and nothing else.
    Only(T),
}

/// Something that a backend can compute on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// The backend that it belongs to.
    pub backend: Backend,
    /// Its number among the backend's devices, from 0.
    pub index: usize,
    /// Its name, for people: `NVIDIA H200`.
    pub name: String,
    /// Its memory in bytes; 0 where that is not known.
    pub memory: u64,
}

/// Why there is no backend to run on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such name.
    #[error("{given:?} is not one of {}", known.join(", "))]
    Unknown {
        /// What was given.
        given: String,
        /// What is known.
        known: Vec<&'static str>,
    },
    /// The program was built without it.
    #[error("{what} is not built in; build with `--features {feature}`")]
    NotBuilt {
        /// What was asked for.
        what: &'static str,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The program has it, the machine has not.
    #[error("{backend} has no device {index} on this machine; it has {found}")]
    NoDevice {
        /// The backend.
        backend: Backend,
        /// The device asked for.
        index: usize,
        /// How many devices it has.
        found: usize,
    },
    /// The engine does not drive the backend.
    #[error("the engine {engine} does not run on {backend}")]
    NotWith {
        /// The engine.
        engine: Engine,
        /// The backend.
        backend: Backend,
    },
}

impl Backend {
    /// Every backend, whether built in or not.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Cuda, Self::Metal, Self::Vulkan];

    /// Its name on command lines and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
            Self::Vulkan => "vulkan",
        }
    }

    /// Whether it is in this build.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda => false,
            Self::Metal => false,
            Self::Vulkan => false,
        }
    }
}

impl Engine {
    /// Every engine, whether built in or not.
    pub const ALL: [Self; 2] = [Self::Native, Self::LlamaCpp];

    /// Its name on command lines and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::LlamaCpp => "llama-cpp",
        }
    }

    /// Whether it is in this build.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::Native => true,
            Self::LlamaCpp => false,
        }
    }
}

/// The backends in this build.
#[must_use]
pub fn built() -> Vec<Backend> {
    Backend::ALL.into_iter().filter(|backend| backend.is_built()).collect()
}

/// The devices of every backend in this build. Backends that find none are not in the list.
#[must_use]
pub fn devices() -> Vec<Device> {
    vec![Device { backend: Backend::Cpu, index: 0, name: processor(), memory: 0 }]
}

/// The processor's name as the system has it.
fn processor() -> String {
    let named = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    named.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<T: fmt::Display> fmt::Display for Choice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Only(only) => only.fmt(f),
        }
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|backend| backend.as_str() == given).ok_or_else(|| {
            let known = Self::ALL.into_iter().map(Self::as_str).collect();
            Error::Unknown { given: given.to_owned(), known }
        })
    }
}

impl FromStr for Engine {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|engine| engine.as_str() == given).ok_or_else(|| {
            let known = Self::ALL.into_iter().map(Self::as_str).collect();
            Error::Unknown { given: given.to_owned(), known }
        })
    }
}

impl<T: FromStr<Err = Error>> FromStr for Choice<T> {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self, Error> {
        if given == "auto" {
            return Ok(Self::Auto);
        }
        given.parse().map(Self::Only).map_err(|mut error| {
            if let Error::Unknown { known, .. } = &mut error {
                known.insert(0, "auto");
            }
            error
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for backend in Backend::ALL {
            assert_eq!(backend.to_string().parse(), Ok(Choice::Only(backend)));
        }
        for engine in Engine::ALL {
            assert_eq!(engine.to_string().parse(), Ok(Choice::Only(engine)));
        }
        assert_eq!("auto".parse(), Ok(Choice::<Backend>::Auto));
        let error = "gpu".parse::<Choice<Backend>>().expect_err("no such backend");
        assert_eq!(error.to_string(), "\"gpu\" is not one of auto, cpu, cuda, metal, vulkan");
    }

    #[test]
    fn the_processor_is_always_there() {
        assert!(built().contains(&Backend::Cpu));
        let cpu = &devices()[0];
        assert_eq!((cpu.backend, cpu.index), (Backend::Cpu, 0));
        assert!(!cpu.name.is_empty());
    }
}
