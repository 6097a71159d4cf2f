//! `calotype serve`: the HTTP server and its page.

use std::path::PathBuf;

use calotype::checkpoint::released;
use calotype::{Error, Result};
use calotype_serve::{Config, Limits, Server, is_loopback};
use serde_json::json;

use crate::message;
use crate::options::Context;

#[derive(clap::Args)]
pub struct Args {
    /// Model of requests that name none: folder, single file, or the small model that comes with the program
    #[arg(long, default_value = released::NAME, value_name = "DIR|FILE|NAME")]
    model: PathBuf,
    /// Folder whose models requests may name
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Address or name to listen on; beyond this machine --token is needed
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    host: String,
    /// Port; 0 takes any that is free
    #[arg(long, default_value_t = 7860)]
    port: u16,
    /// What every request must know, as `Authorization: Bearer TOKEN`; at least 8 characters [default: $CALOTYPE_TOKEN,
    /// which no list of processes shows]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Folder of runs to show and to train in, whose models requests may name as run:NAME [default: runs, made by the first
    /// training]
    #[arg(long, value_name = "DIR")]
    runs_dir: Option<PathBuf>,
    /// Folder below which trainings find pictures
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Let trainings be started from beyond this machine, too
    #[arg(long)]
    allow_training: bool,
    /// Folder of the pictures that were made [default: calotype/history where the user's data lie]
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
}

impl Args {
    fn config(&self, context: &Context) -> Result<Config> {
        for folder in [&self.models_dir, &self.runs_dir, &self.data_dir].into_iter().flatten() {
            std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
        }
        Ok(Config {
            model: self.model.clone(),
            models_dir: self.models_dir.clone(),
            host: self.host.clone(),
            port: self.port,
            token: self.token.clone().or_else(|| std::env::var("CALOTYPE_TOKEN").ok()),
            runs_dir: Some(self.runs_dir.clone().unwrap_or_else(|| "runs".into())),
            data_dir: self.data_dir.clone(),
            allow_training: self.allow_training,
            history: self.history.clone().map_or_else(history, Ok)?,
            device: context.device.clone(),
            device_name: context.device_name.to_string(),
            threads: context.threads,
            commit: env!("CALOTYPE_COMMIT").to_owned(),
            limits: Limits::default(),
        })
    }
}

/// `$XDG_DATA_HOME/calotype/history`, else `~/.local/share/calotype/history`.
fn history() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = set("XDG_DATA_HOME")
        .or_else(|| set("HOME").or_else(std::env::home_dir).map(|home| home.join(".local/share")));
    let data = data.ok_or_else(|| Error::argument("history", "a folder", "none, and there is no home"))?;
    Ok(data.join("calotype/history"))
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let server = Server::start(args.config(context)?)?;
    let address = server.address();
    if !is_loopback(&args.host) {
        context.bars.say(&format!(
            "{} is reached from beyond this machine, by plain HTTP: whoever has the token may use the processor, the models \
             and every picture and run",
            args.host
        ));
    }
    if let Err(fault) = server.load_default_model() {
        server.stop();
        return Err(Error::argument("model", "one that can be read", fault));
    }
    if context.json {
        message::json(&json!({ "address": address.to_string(), "url": format!("http://{address}/") }));
    } else {
        println!("http://{address}/");
    }
    server.wait_for_signal();
    context.bars.say("stopping: what is computed ends after its step");
    server.stop();
    Ok(())
}
