//! The command line, as it reads.
