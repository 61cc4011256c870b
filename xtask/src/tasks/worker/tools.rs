//! What the machine needs to build a backend: looked for before a build that takes minutes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dialtone_contract::ErrorCode;
use dialtone_harness::failure::Failure;
use dialtone_harness::flow::worker::Backend;

/// Where tools are looked for.
pub struct Machine {
    /// `std::env::consts::OS`.
    os: &'static str,
    /// The folders of `PATH`.
    path: Vec<PathBuf>,
    /// The environment.
    env: fn(&str) -> Option<OsString>,
    /// The root of the file system.
    root: PathBuf,
}

/// A tool that a backend is built with.
struct Tool {
    name: &'static str,
    what: &'static str,
    from: &'static str,
    is_there: fn(&Machine) -> bool,
}

const CXX: Tool = Tool {
    name: "c++",
    what: "a C++ compiler",
    from: "apt-get install g++; macOS: xcode-select --install; Windows: Visual Studio Build Tools",
    is_there: |machine| {
        machine.env_names_file("CXX")
            || ["c++", "g++", "clang++", "cl"].iter().any(|name| machine.program(name))
            // Found by the build through the registry, not through PATH.
            || machine.os == "windows"
    },
};
const CMAKE: Tool = Tool {
    name: "cmake",
    what: "CMake",
    from: "apt-get install cmake; brew install cmake; https://cmake.org/download",
    is_there: |machine| machine.env_names_file("CMAKE") || machine.program("cmake"),
};
const LIBCLANG: Tool = Tool {
    name: "libclang",
    what: "the library of Clang, or LIBCLANG_PATH that names its folder",
    from: "apt-get install libclang-dev; brew install llvm; https://releases.llvm.org",
    is_there: Machine::libclang,
};
const NVCC: Tool = Tool {
    name: "nvcc",
    what: "the CUDA toolkit, on PATH or where CUDA_PATH says",
    from: "https://developer.nvidia.com/cuda-downloads",
    is_there: |machine| {
        let of = |name| machine.dir(name).is_some_and(|dir| has_program(&dir.join("bin"), "nvcc"));
        machine.env_names_file("CUDACXX")
            || machine.program("nvcc")
            || ["CUDA_PATH", "CUDA_HOME", "CUDA_TOOLKIT_ROOT_DIR"].into_iter().any(of)
            || has_program(&machine.root.join("usr/local/cuda/bin"), "nvcc")
    },
};
const GLSLC: Tool = Tool {
    name: "glslc",
    what: "the shader compiler of the Vulkan SDK",
    from: "apt-get install glslc libvulkan-dev spirv-headers; https://vulkan.lunarg.com/sdk/home",
    is_there: |machine| {
        machine.program("glslc")
            || machine.dir("VULKAN_SDK").is_some_and(|dir| {
                has_program(&dir.join("bin"), "glslc") || has_program(&dir.join("Bin"), "glslc")
            })
    },
};
const VULKAN: Tool = Tool {
    name: "vulkan.h",
    what: "the Vulkan headers, or VULKAN_SDK that names their folder",
    from: "apt-get install libvulkan-dev; https://vulkan.lunarg.com/sdk/home",
    is_there: |machine| {
        let header = Path::new("vulkan/vulkan.h");
        let usual = ["usr/include", "usr/local/include", "opt/homebrew/include"];
        usual.iter().any(|dir| machine.root.join(dir).join(header).is_file())
            || machine.dir("VULKAN_SDK").is_some_and(|dir| {
                ["include", "Include"].iter().any(|name| dir.join(name).join(header).is_file())
            })
    },
};
const MACOS: Tool = Tool {
    name: "macOS",
    what: "an Apple machine",
    from: "Metal exists nowhere else",
    is_there: |machine| machine.os == "macos",
};
const XCRUN: Tool = Tool {
    name: "xcrun",
    what: "the command line tools of Xcode",
    from: "xcode-select --install",
    is_there: |machine| machine.os != "macos" || machine.program("xcrun"),
};

/// What each backend is built with.
fn tools(backend: Backend) -> &'static [Tool] {
    match backend {
        Backend::Cpu => &[],
        Backend::Cuda => &[NVCC, CMAKE, LIBCLANG, CXX],
        Backend::Metal => &[MACOS, XCRUN, CMAKE, LIBCLANG, CXX],
        Backend::Vulkan => &[GLSLC, VULKAN, CMAKE, LIBCLANG, CXX],
    }
}

/// Names every tool that is missing, and where it comes from.
pub fn check(backend: Backend, machine: &Machine) -> Result<(), Failure> {
    let missing: Vec<&Tool> =
        tools(backend).iter().filter(|tool| !(tool.is_there)(machine)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Where the system itself is wrong, no tool helps.
    let names: Vec<_> = match missing.iter().find(|tool| tool.name == MACOS.name) {
        Some(_) => vec![MACOS.name],
        None => missing.iter().map(|tool| tool.name).collect(),
    };
    let lines = missing
        .iter()
        .filter(|tool| names.contains(&tool.name))
        .map(|tool| format!("{}: {} ({})", tool.name, tool.what, tool.from));
    let message = format!("{} needs {}", backend.as_str(), names.join(", "));
    let failure = Failure::new(ErrorCode::ToolMissing, message).evidence(lines);
    Err(match names[0] == MACOS.name {
        true => failure.hint("use another backend: --backend auto takes the best one here"),
        false => failure,
    })
}

impl Machine {
    /// The one that this process runs on.
    pub fn this() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            os: std::env::consts::OS,
            path: std::env::split_paths(&path).collect(),
            env: |name| std::env::var_os(name).filter(|value| !value.is_empty()),
            root: PathBuf::from("/"),
        }
    }

    fn program(&self, name: &str) -> bool {
        self.path.iter().any(|dir| has_program(dir, name))
    }

    fn dir(&self, name: &str) -> Option<PathBuf> {
        (self.env)(name).map(PathBuf::from)
    }

    fn env_names_file(&self, name: &str) -> bool {
        self.dir(name).is_some_and(|path| {
            path.is_file() || path.to_str().is_some_and(|program| self.program(program))
        })
    }

    fn libclang(&self) -> bool {
        if let Some(dir) = self.dir("LIBCLANG_PATH") {
            return dir.is_file() || has_libclang(&dir);
        }
        let usual = ["usr/lib", "usr/lib64", "usr/local/lib", "opt/homebrew/opt/llvm/lib"];
        let usual = usual.map(|dir| self.root.join(dir));
        let below = |dir: PathBuf| {
            let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.path())
        };
        let deeper = usual.iter().cloned().flat_map(below).flat_map(|dir| {
            let lib = dir.join("lib");
            [dir, lib]
        });
        // LLVM beside its own clang, as on Windows.
        let beside = self.path.iter().flat_map(|dir| [dir.clone(), dir.join("../lib")]);
        let apple = self.root.join("Library/Developer/CommandLineTools/usr/lib");
        let xcode = self
            .root
            .join("Applications/Xcode.app/Contents/Developer/Toolchains")
            .join("XcodeDefault.xctoolchain/usr/lib");
        let mut dirs = usual.iter().cloned().chain(deeper).chain(beside).chain([apple, xcode]);
        dirs.any(|dir| has_libclang(&dir))
    }
}

fn has_program(dir: &Path, name: &str) -> bool {
    dir.join(name).is_file() || dir.join(format!("{name}.exe")).is_file()
}

fn has_libclang(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).any(|name| {
        let library = name.starts_with("libclang.") || name.starts_with("libclang-");
        library && [".so", ".dylib", ".dll"].iter().any(|kind| name.contains(kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(root: &Path, os: &'static str) -> Machine {
        let path = vec![root.join("bin")];
        Machine { os, path, env: |_| None, root: root.to_owned() }
    }

    fn put(root: &Path, file: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, b"").expect("written");
    }

    #[test]
    fn everything_that_is_missing_is_named_with_its_source() {
        let root = tempfile::tempdir().expect("a folder");
        let machine = machine(root.path(), "linux");
        let lacks = |backend| match check(backend, &machine) {
            Ok(()) => String::new(),
            Err(failure) => {
                assert_eq!((failure.code, failure.exit.code()), (ErrorCode::ToolMissing, 5));
                assert!(!failure.evidence.is_empty());
                failure.message
            }
        };
        assert_eq!(lacks(Backend::Cpu), "");
        assert_eq!(lacks(Backend::Cuda), "cuda needs nvcc, cmake, libclang, c++");
        assert_eq!(lacks(Backend::Vulkan), "vulkan needs glslc, vulkan.h, cmake, libclang, c++");
        assert_eq!(lacks(Backend::Metal), "metal needs macOS");
        for file in ["bin/cmake", "bin/g++", "usr/lib/llvm-19/lib/libclang-19.so.1"] {
            put(root.path(), file);
        }
        assert_eq!(lacks(Backend::Cuda), "cuda needs nvcc");
        put(root.path(), "usr/local/cuda/bin/nvcc");
        assert_eq!(lacks(Backend::Cuda), "");
        put(root.path(), "bin/glslc.exe");
        put(root.path(), "usr/include/vulkan/vulkan.h");
        assert_eq!(lacks(Backend::Vulkan), "");
    }

    #[test]
    fn on_an_apple_machine_metal_needs_the_tools_of_xcode() {
        let root = tempfile::tempdir().expect("a folder");
        let mac = machine(root.path(), "macos");
        let failure = check(Backend::Metal, &mac).expect_err("nothing is there");
        assert_eq!(failure.message, "metal needs xcrun, cmake, libclang, c++");
        assert_eq!(failure.evidence[0].split(':').next(), Some("xcrun"));
    }
}
