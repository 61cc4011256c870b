//! The binary as a process: its command line, its exit codes, its life and its end.
#![cfg(unix)]

mod broken;
mod command_line;
mod hive;
mod life;
mod support;
