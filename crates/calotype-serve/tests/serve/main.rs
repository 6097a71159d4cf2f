//! The server as a client meets it: real connections, the released model, hostile input.
#![cfg(unix)]
#![recursion_limit = "256"]

mod doors;
mod jobs;
mod load;
mod malformed;
mod runs;
mod security;
mod support;
