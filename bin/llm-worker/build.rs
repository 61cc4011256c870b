//! Puts the libraries of llama.cpp beside the program, which looks for them there, in builds
//! that have them.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DEP_LLAMA_BACKENDS_DIR");
    // What the build of llama.cpp tells those who depend on it: <its folder>/backends.
    let Some(backends) = env::var_os("DEP_LLAMA_BACKENDS_DIR").map(PathBuf::from) else {
        return Ok(());
    };
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN"),
        Ok("macos") => println!("cargo:rustc-link-arg-bins=-Wl,-rpath,@executable_path"),
        // Windows looks there first of itself.
        _ => {}
    }
    // <target>/<profile>/build/<package>/out
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let (Some(beside), Some(llama)) = (out.ancestors().nth(3), backends.parent()) else {
        return Ok(());
    };
    for folder in ["lib", "lib64", "bin", "backends"] {
        put(&llama.join(folder), beside)?;
        // Tests run from there. The build of llama.cpp leaves dangling links in both places, over
        // which its next build in the same target folder would stumble.
        put(&llama.join(folder), &beside.join("deps"))?;
    }
    Ok(())
}

/// Links the libraries of a folder, which may not be there, into another.
fn put(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ![".so", ".dylib", ".dll"].iter().any(|ending| name.contains(ending)) {
            continue;
        }
        // The names of a library are links to one file.
        let file = fs::canonicalize(&path)?;
        let target = to.join(&name);
        // Another build's, or such a link.
        let _ = fs::remove_file(&target);
        if fs::hard_link(&file, &target).is_err() {
            fs::copy(&file, &target)?;
        }
    }
    Ok(())
}
