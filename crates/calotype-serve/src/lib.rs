//! Calotype's HTTP server: its own API with a page for people, and the APIs that clients know.
//!
//! | question | module |
//! |---|---|
//! | Who may ask what? | [`config`], `security` |
//! | Which doors are there? | `routes`, `api`, `webui`, `openai` |
//! | What happens to a request? | `jobs`: queue, batch, worker, events |
//! | What is kept? | `history` |
//! | Which models? | `models` |
//! | Who trains, and measures? | `tasks` |
//!
//! A server beside other work of a program:
//!
//! ```no_run
//! # fn beside(config: calotype_serve::Config) -> calotype::Result<()> {
//! let server = calotype_serve::Server::start(config)?;
//! println!("{}", server.address());
//! server.stop();
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::match_bool, clippy::todo, clippy::unimplemented)]
#![recursion_limit = "256"]

mod answer;
mod api;
mod app;
pub mod config;
mod given;
mod history;
mod jobs;
mod metrics;
mod models;
mod openai;
mod openapi;
mod problem;
mod routes;
mod security;
mod server;
mod studio;
mod tasks;
mod webui;

pub use config::{Config, Limits};
pub use security::is_loopback;
pub use server::Server;
