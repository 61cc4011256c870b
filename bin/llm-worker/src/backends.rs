use dialtone_inference::backend::{self, Backend};
use serde_json::json;

use crate::args::Backends;
use crate::failure::Failure;
use crate::output;

/// Prints each backend, whether it is in this build, and what it finds on this machine.
pub fn run(args: Backends) -> Result<(), Failure> {
    let devices = backend::devices();
    let rows: Vec<_> = Backend::ALL.into_iter().map(|backend| Row::of(backend, &devices)).collect();
    if args.json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        output::line(&serde_json::Value::from(rows).to_string());
    } else {
        rows.iter().for_each(Row::print);
    }
    Ok(())
}

struct Row {
    backend: Backend,
    devices: Vec<backend::Device>,
    reason: Option<String>,
}

impl Row {
    fn of(backend: Backend, devices: &[backend::Device]) -> Self {
        let devices: Vec<_> =
            devices.iter().filter(|device| device.backend == backend).cloned().collect();
        let reason = match (backend.is_built(), devices.is_empty()) {
            (false, _) => {
                Some(format!("not in this build; build with `--features llama-cpp,{backend}`"))
            }
            (true, true) => Some("no device on this machine".to_owned()),
            (true, false) => None,
        };
        Self { backend, devices, reason }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "backend": self.backend,
            "built": self.backend.is_built(),
            "usable": self.reason.is_none(),
            "devices": self.devices,
            "reason": self.reason,
        })
    }

    fn print(&self) {
        if let Some(reason) = &self.reason {
            output::line(&format!("{:<8} {reason}", self.backend));
        }
        for device in &self.devices {
            output::line(&format!("{:<8} {} {}", self.backend, device.index, device.name));
        }
    }
}
