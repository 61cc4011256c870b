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

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The backend.
    pub backend: Choice<Backend>,
    /// The engine.
    pub engine: Choice<Engine>,
    /// Number of the backend's device.
    pub device: usize,
}

/// What will run the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The engine.
    pub engine: Engine,
    /// The device that it computes on.
    pub device: Device,
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
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Vulkan => cfg!(feature = "vulkan"),
        }
    }

    /// The error for a build without it.
    fn missing(self) -> Error {
        Error::NotBuilt { what: self.as_str(), feature: self.as_str() }
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
            Self::LlamaCpp => cfg!(feature = "llama-cpp"),
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
    let mut devices =
        vec![Device { backend: Backend::Cpu, index: 0, name: processor(), memory: 0 }];
    #[cfg(feature = "llama-cpp")]
    devices.extend(crate::llama_cpp::devices());
    devices.retain(|device| device.backend.is_built());
    devices
}

/// What is to run a model of which `native` tells whether this crate's own engine knows it.
///
/// Where all is left open, a GPU is taken if this build drives one that the machine has, else
/// the native engine, else, for models that it does not know, llama.cpp if it is built in. A
/// backend that is named is that backend: a model that the native engine does not know is then
/// an error, unless llama.cpp is named too.
///
/// # Errors
/// If what is asked for cannot be had.
pub fn choose(wanted: &Wanted, native: bool) -> Result<Chosen, Error> {
    let llama_cpp = Engine::LlamaCpp.is_built();
    // Looking for GPUs loads their drivers; whoever wants none is spared that.
    let gpus_matter = !matches!(wanted.backend, Choice::Only(Backend::Cpu))
        && wanted.engine != Choice::Only(Engine::Native);
    let devices = if gpus_matter { devices() } else { vec![] };
    choose_from(wanted, native, llama_cpp, &built(), &devices)
}

/// [`choose`] for a build and a machine.
fn choose_from(
    wanted: &Wanted,
    native: bool,
    llama_cpp: bool,
    built: &[Backend],
    devices: &[Device],
) -> Result<Chosen, Error> {
    if wanted.engine == Choice::Only(Engine::LlamaCpp) && !llama_cpp {
        let what = Engine::LlamaCpp.as_str();
        return Err(Error::NotBuilt { what, feature: what });
    }
    let has_gpu = |device: &&Device| {
        device.backend != Backend::Cpu && device.index == wanted.device && llama_cpp
    };
    let backend = match (wanted.backend, wanted.engine) {
        (Choice::Only(backend), _) => backend,
        (Choice::Auto, Choice::Only(Engine::Native)) => Backend::Cpu,
        (Choice::Auto, _) => devices.iter().find(has_gpu).map_or(Backend::Cpu, |gpu| gpu.backend),
    };
    if !built.contains(&backend) {
        return Err(backend.missing());
    }
    if backend == Backend::Cpu {
        let open = wanted.backend == Choice::Auto;
        let engine = match wanted.engine {
            Choice::Only(engine) => engine,
            Choice::Auto if !native && llama_cpp && open => Engine::LlamaCpp,
            Choice::Auto => Engine::Native,
        };
        let device = Device { backend, index: 0, name: processor(), memory: 0 };
        // Another number is meant for a GPU, which is not there.
        return match wanted.device {
            0 => Ok(Chosen { engine, device }),
            index => Err(Error::NoDevice { backend, index, found: 1 }),
        };
    }
    if wanted.engine == Choice::Only(Engine::Native) {
        return Err(Error::NotWith { engine: Engine::Native, backend });
    }
    let mut found = devices.iter().filter(|device| device.backend == backend);
    let count = found.clone().count();
    match found.find(|device| device.index == wanted.device) {
        Some(device) => Ok(Chosen { engine: Engine::LlamaCpp, device: device.clone() }),
        None => Err(Error::NoDevice { backend, index: wanted.device, found: count }),
    }
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

    /// What is chosen on a machine with two GPUs for CUDA.
    fn chosen(backend: &str, engine: &str, device: usize, native: bool) -> Result<String, Error> {
        let wanted = Wanted { backend: backend.parse()?, engine: engine.parse()?, device };
        let gpu = |index| Device {
            backend: Backend::Cuda,
            index,
            name: format!("CUDA{index}"),
            memory: 1 << 30,
        };
        let built = [Backend::Cpu, Backend::Cuda, Backend::Vulkan];
        let chosen = choose_from(&wanted, native, true, &built, &[gpu(0), gpu(1)])?;
        Ok(format!("{} {}{}", chosen.engine, chosen.device.backend, chosen.device.index))
    }

    /// What is chosen in a build of everything, on a machine without GPUs.
    fn without_gpu(backend: &str, engine: &str, native: bool) -> Result<String, Error> {
        let wanted = Wanted { backend: backend.parse()?, engine: engine.parse()?, device: 0 };
        let chosen = choose_from(&wanted, native, true, &Backend::ALL, &[])?;
        Ok(format!("{} {}", chosen.engine, chosen.device.backend))
    }

    #[test]
    fn a_gpu_is_taken_where_the_user_leaves_it_open() {
        assert_eq!(chosen("auto", "auto", 0, true).as_deref(), Ok("llama-cpp cuda0"));
        assert_eq!(chosen("auto", "llama-cpp", 1, true).as_deref(), Ok("llama-cpp cuda1"));
        assert_eq!(chosen("auto", "native", 0, true).as_deref(), Ok("native cpu0"));
        assert_eq!(chosen("cpu", "auto", 0, true).as_deref(), Ok("native cpu0"));
        assert_eq!(chosen("cpu", "llama-cpp", 0, true).as_deref(), Ok("llama-cpp cpu0"));
    }

    #[test]
    fn models_unknown_here_go_to_llama_cpp_only_where_that_is_left_open() {
        assert_eq!(without_gpu("auto", "auto", true).as_deref(), Ok("native cpu"));
        assert_eq!(without_gpu("auto", "auto", false).as_deref(), Ok("llama-cpp cpu"));
        assert_eq!(without_gpu("cpu", "auto", false).as_deref(), Ok("native cpu"));
        assert_eq!(without_gpu("cpu", "llama-cpp", false).as_deref(), Ok("llama-cpp cpu"));
    }

    #[test]
    fn nothing_stands_in_for_what_cannot_be_had() {
        for backend in [Backend::Cuda, Backend::Metal, Backend::Vulkan] {
            let error = without_gpu(backend.as_str(), "auto", true);
            assert_eq!(error, Err(Error::NoDevice { backend, index: 0, found: 0 }));
        }
        let error = Error::NoDevice { backend: Backend::Cuda, index: 2, found: 2 };
        assert_eq!(chosen("cuda", "auto", 2, true), Err(error));
        let error = Error::NoDevice { backend: Backend::Cpu, index: 1, found: 1 };
        assert_eq!(chosen("cpu", "auto", 1, true), Err(error));
        let error = Error::NotBuilt { what: "metal", feature: "metal" };
        assert_eq!(chosen("metal", "auto", 0, true), Err(error));
        let error = Error::NotWith { engine: Engine::Native, backend: Backend::Cuda };
        assert_eq!(chosen("cuda", "native", 0, true), Err(error));
        let wanted = Wanted { engine: Choice::Only(Engine::LlamaCpp), ..Wanted::default() };
        let error = choose_from(&wanted, true, false, &[Backend::Cpu], &[]);
        assert_eq!(error, Err(Error::NotBuilt { what: "llama-cpp", feature: "llama-cpp" }));
    }
}
