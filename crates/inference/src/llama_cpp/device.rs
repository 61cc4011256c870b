use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::{LlamaBackend, load_backends, load_backends_from_path};
use llama_cpp_2::{LlamaBackendDeviceType, LogOptions};

use crate::backend::{Backend, Device};

use super::Error;

/// llama.cpp, started once in a process.
///
/// Its backends are libraries (`libggml-cpu-zen4.so`, `libggml-cuda.so`), of which it takes
/// those that this machine can run. They are looked for beside the program, where a package
/// has them, and else where they were built; never in the working directory.
pub(super) fn backend() -> Result<&'static LlamaBackend, Error> {
    static BACKEND: OnceLock<Result<LlamaBackend, PathBuf>> = OnceLock::new();
    let started = BACKEND.get_or_init(|| {
        llama_cpp_2::send_logs_to_tracing(LogOptions::default());
        let beside = std::env::current_exe().unwrap_or_default();
        let beside = beside.parent().unwrap_or(Path::new(".")).to_owned();
        if beside.to_str().is_some_and(|path| !path.contains('\0')) {
            load_backends_from_path(&beside);
        }
        if none() {
            load_backends();
        }
        match LlamaBackend::init() {
            Ok(backend) if !none() => Ok(backend),
            _ => Err(beside),
        }
    });
    started.as_ref().map_err(|looked| Error::NoLibraries { looked: looked.clone() })
}

/// Whether no library was found.
fn none() -> bool {
    llama_cpp_2::list_llama_ggml_backend_devices().is_empty()
}

/// The GPUs that llama.cpp drives in this build.
#[must_use]
pub fn devices() -> Vec<Device> {
    gpus().into_iter().map(|(device, ..)| device).collect()
}

/// llama.cpp's own number and name of a GPU.
pub(super) fn find(backend: Backend, index: usize) -> Option<(usize, String)> {
    let is_it = |device: &Device| device.backend == backend && device.index == index;
    gpus().into_iter().find(|(device, ..)| is_it(device)).map(|(_, number, name)| (number, name))
}

/// Each GPU with llama.cpp's number and name for it.
fn gpus() -> Vec<(Device, usize, String)> {
    if backend().is_err() {
        return Vec::new();
    }
    let mut found: Vec<(Device, usize, String)> = Vec::new();
    for device in llama_cpp_2::list_llama_ggml_backend_devices() {
        let gpu = matches!(
            device.device_type,
            LlamaBackendDeviceType::Gpu | LlamaBackendDeviceType::IntegratedGpu
        );
        let Some(backend) = named(&device.backend).filter(|_| gpu) else { continue };
        let index = found.iter().filter(|(other, ..)| other.backend == backend).count();
        let memory = device.memory_total as u64;
        let known = Device { backend, index, name: device.description, memory };
        found.push((known, device.index, device.name));
    }
    found
}

/// The backend that llama.cpp calls so.
fn named(name: &str) -> Option<Backend> {
    match name {
        "CUDA" => Some(Backend::Cuda),
        "Metal" | "MTL" => Some(Backend::Metal),
        "Vulkan" => Some(Backend::Vulkan),
        _ => None,
    }
}
