#!/usr/bin/env bash
# Fetches llama.cpp as prebuilt libraries (npm) and its headers (crates.io), and builds ref.c
# against them. Everything lies in target/yardstick; a second run does nothing.
# Prints the folder.
set -euo pipefail
cd "$(dirname "$0")"
npm_package=@node-llama-cpp/linux-x64
npm_version=3.22.1
npm_sha256=0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0
headers_version=0.1.161
headers_sha256=e9bea77fde41bbc15a278891cd5edd2ba07c5260d162614b41080ba1f100b39b

cache=$PWD/../../target/yardstick
mkdir -p "$cache"
cache=$(realpath "$cache")
if [ ! -e "$cache/lib/libllama.so" ]; then
  (cd "$cache" && npm pack --silent "$npm_package@$npm_version" >/dev/null)
  tgz=$cache/node-llama-cpp-linux-x64-$npm_version.tgz
  echo "$npm_sha256  $tgz" | sha256sum --check --quiet >&2
  mkdir -p "$cache/lib"
  tar xzf "$tgz" -C "$cache/lib" --strip-components=3 package/bins/linux-x64
  # The linker looks for names without a version.
  for lib in "$cache"/lib/*.v*.so; do
    ln -sf "$(basename "$lib")" "${lib%%.v*}.so"
  done
fi
if [ ! -e "$cache/include/llama.h" ]; then
  crate=$cache/llama-cpp-sys-2-$headers_version.crate
  curl -sSfL -o "$crate" \
    "https://static.crates.io/crates/llama-cpp-sys-2/llama-cpp-sys-2-$headers_version.crate"
  echo "$headers_sha256  $crate" | sha256sum --check --quiet >&2
  mkdir -p "$cache/include"
  tar xzf "$crate" -C "$cache/include" --strip-components=4 --wildcards '*/llama.cpp/ggml/include/*.h'
  tar xzf "$crate" -C "$cache/include" --strip-components=3 --wildcards '*/llama.cpp/include/llama.h'
fi
if [ ! -e "$cache/ref" ] || [ ref.c -nt "$cache/ref" ]; then
  cc -O2 -std=c11 -D_GNU_SOURCE -Wall -Wextra -I"$cache/include" ref.c -o "$cache/ref" \
    -L"$cache/lib" -Wl,-rpath,"$cache/lib" -Wl,--no-as-needed \
    "$cache"/lib/libllama.so "$cache"/lib/libggml.so "$cache"/lib/libggml-base.so >&2
fi
echo "$cache"
