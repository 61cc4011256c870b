//! Which backend runs the model, as the binary itself says.

use dialtone_contract::ErrorCode;
use serde::Deserialize;

use crate::failure::Failure;

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// The processor.
    Cpu,
    /// NVIDIA.
    Cuda,
    /// Apple.
    Metal,
    /// Any GPU with a Vulkan driver.
    Vulkan,
}

impl Backend {
    /// All of them, in the order of a matrix.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Cuda, Self::Metal, Self::Vulkan];

    /// Fastest first: what `auto` tries.
    const BY_SPEED: [Self; 4] = [Self::Cuda, Self::Metal, Self::Vulkan, Self::Cpu];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
            Self::Vulkan => "vulkan",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The fastest one that is there.
    Auto,
    /// This one and no other.
    One(Backend),
}

impl Asked {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::One(backend) => backend.as_str(),
        }
    }
}

/// One line of `llm-worker backends --json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Offer {
    /// The backend.
    pub backend: String,
    /// Whether the binary has it.
    pub built: bool,
    /// What it could run on.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Why it cannot be used.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Something to run on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Device {
    /// What `--device` takes.
    pub index: u32,
    /// How the backend calls it.
    pub name: String,
}

/// The backend of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The backend.
    pub backend: Backend,
    /// What there is to say of it.
    pub said: String,
}

impl Offer {
    fn usable(&self) -> bool {
        // The processor is there even where nobody lists it.
        self.built && (!self.devices.is_empty() || self.backend == Backend::Cpu.as_str())
    }

    fn why_not(&self) -> String {
        let why = if self.built { "no device" } else { "not built" };
        let reason = self.reason.as_deref().unwrap_or(why);
        // What to do about it follows after the reason, and is too long for one line.
        reason.split(';').next().unwrap_or(why).to_owned()
    }
}

/// Chooses among what the binary offers. Nothing else takes the place of a backend that was asked
/// for by name.
///
/// # Errors
/// `backend_not_built`; `no_device`, which is a reason to skip; or a device that is not there
/// beside others that are.
pub fn choose(asked: Asked, device: Option<u32>, offers: &[Offer]) -> Result<Chosen, Failure> {
    let of = |backend: Backend| offers.iter().find(|offer| offer.backend == backend.as_str());
    let Asked::One(backend) = asked else { return best(device, &of) };
    let name = backend.as_str();
    let Some(offer) = of(backend).filter(|offer| offer.built) else {
        let reason = of(backend).and_then(|offer| offer.reason.clone());
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        let message = format!("this llm-worker has no backend `{name}`{reason}");
        return Err(Failure::new(ErrorCode::BackendNotBuilt, message));
    };
    if !offer.usable() {
        let message = format!("{name}: {}", offer.why_not());
        return Err(Failure::new(ErrorCode::NoDevice, message));
    }
    Ok(Chosen { backend, said: format!("{name}{}", on(offer, device)?) })
}

fn best<'a>(
    device: Option<u32>,
    of: &impl Fn(Backend) -> Option<&'a Offer>,
) -> Result<Chosen, Failure> {
    let mut passed_over = Vec::new();
    for backend in Backend::BY_SPEED {
        let name = backend.as_str();
        match of(backend) {
            Some(offer) if offer.usable() => {
                let why = match passed_over.is_empty() {
                    true => String::new(),
                    false => format!("; {}", passed_over.join(", ")),
                };
                let said = format!("{name}{} (auto{why})", on(offer, device)?);
                return Ok(Chosen { backend, said });
            }
            Some(offer) => passed_over.push(format!("{name}: {}", offer.why_not())),
            None => passed_over.push(format!("{name}: unknown to this llm-worker")),
        }
    }
    Err(Failure::new(ErrorCode::BackendNotBuilt, "this llm-worker offers no backend at all")
        .evidence(passed_over))
}

/// The device, in words.
fn on(offer: &Offer, device: Option<u32>) -> Result<String, Failure> {
    let Some(index) = device else {
        return Ok(offer.devices.first().map_or_else(String::new, |one| format!(" {}", one.name)));
    };
    if let Some(found) = offer.devices.iter().find(|one| one.index == index) {
        return Ok(format!(" {}", found.name));
    }
    let there = offer.devices.iter().map(|one| format!("{} ({})", one.index, one.name));
    let message = format!(
        "{} has no device {index}; there is {}",
        offer.backend,
        there.collect::<Vec<_>>().join(", ")
    );
    Err(Failure::environment(message).hint("give --device one of these, or drop it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers() -> Vec<Offer> {
        serde_json::from_str(
            r#"[{"backend":"cpu","built":true,"devices":[{"index":0,"name":"avx512","more":1}]},
                {"backend":"cuda","built":true,"devices":[],"reason":"no driver"},
                {"backend":"metal","built":false,"reason":"not macOS"}]"#,
        )
        .expect("readable")
    }

    #[test]
    fn auto_takes_the_fastest_that_is_there_and_says_why() {
        let mut offers = offers();
        let chosen = choose(Asked::Auto, None, &offers).expect("the processor");
        assert_eq!(chosen.backend, Backend::Cpu);
        assert_eq!(
            chosen.said,
            "cpu avx512 (auto; cuda: no driver, metal: not macOS, \
             vulkan: unknown to this llm-worker)"
        );
        offers[1].devices.push(Device { index: 0, name: "H200".into() });
        let chosen = choose(Asked::Auto, None, &offers).expect("the GPU");
        assert_eq!((chosen.backend, chosen.said.as_str()), (Backend::Cuda, "cuda H200 (auto)"));
    }

    #[test]
    fn a_backend_that_was_asked_for_is_never_replaced() {
        let code = |backend| {
            let failure = choose(Asked::One(backend), None, &offers()).expect_err("not there");
            (failure.code, failure.exit.code(), failure.message)
        };
        let (not_built, no_device) = (ErrorCode::BackendNotBuilt, ErrorCode::NoDevice);
        assert_eq!(code(Backend::Cuda), (no_device, 4, "cuda: no driver".into()));
        let said = "this llm-worker has no backend `metal`: not macOS";
        assert_eq!(code(Backend::Metal), (not_built, 5, said.into()));
        let said = "this llm-worker has no backend `vulkan`";
        assert_eq!(code(Backend::Vulkan), (not_built, 5, said.into()));
        assert!(choose(Asked::One(Backend::Cpu), Some(0), &offers()).is_ok());
    }

    #[test]
    fn a_device_that_is_not_there_is_told_with_those_that_are() {
        let failure = choose(Asked::One(Backend::Cpu), Some(3), &offers()).expect_err("no");
        assert_eq!(failure.message, "cpu has no device 3; there is 0 (avx512)");
        assert_eq!(failure.exit.code(), 5);
    }
}
