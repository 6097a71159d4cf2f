//! A server from its start to its end: the port, the connections, the thread that computes, and the order in which all of
//! that stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use calotype::{Error, Result};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

use crate::app::{App, Shared};
use crate::config::Config;
use crate::security::{Peer, is_loopback};
use crate::{jobs, routes};

/// How long a client may take over its headers.
const HEADERS: Duration = Duration::from_secs(15);
/// How long connections may take to end when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// Threads that answer; those that compute are others.
const ANSWERING: usize = 2;

/// A server that runs.
pub struct Server {
    address: SocketAddr,
    app: Shared,
    runtime: Runtime,
    worker: Option<JoinHandle<()>>,
    connections: Arc<Semaphore>,
}

impl Server {
    /// Takes the port and begins to answer.
    ///
    /// # Errors
    /// `Error::Argument` for a port that is taken, an address that is not this machine's, one beyond this machine without
    /// a token, or no threads; as [`crate::history::History::open`].
    pub fn start(config: Config) -> Result<Self> {
        require_token(&config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(ANSWERING)
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| Error::argument("threads", "threads that the system grants", e))?;
        // Before the history, which only one server has: a port that is taken is the likelier mistake.
        let listener = runtime.block_on(listen(&config.host, config.port))?;
        let address = listener.local_addr().map_err(|e| Error::argument("host", "an address", e))?;
        let connections = Arc::new(Semaphore::new(config.limits.connections));
        let app = Arc::new(App::new(config)?);
        let threads = pool(app.config.threads)?;
        let working = app.clone();
        let worker = std::thread::Builder::new()
            .name("calotype-jobs".into())
            .spawn(move || jobs::work(&working, &threads))
            .map_err(|e| Error::argument("threads", "threads that the system grants", e))?;
        let router = routes::router(app.clone());
        runtime.spawn(accept(listener, router, connections.clone(), app.stopping.subscribe()));
        Ok(Self { address, app, runtime, worker: Some(worker), connections })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the default model, so that the first picture need not wait for it.
    ///
    /// # Errors
    /// Why it cannot be read, as a message.
    pub fn load_default_model(&self) -> std::result::Result<(), String> {
        let models = &self.app.models;
        models.load(&models.default, 0).map(drop).map_err(|problem| problem.message)
    }

    /// Waits for Ctrl-C, or to be asked to end.
    pub fn wait_for_signal(&self) {
        self.runtime.block_on(async {
            #[cfg(unix)]
            {
                let ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
                if let Ok(mut ended) = ended {
                    tokio::select! {
                        _ = tokio::signal::ctrl_c() => {}
                        _ = ended.recv() => {}
                    }
                    return;
                }
            }
            // Where no handler can be installed, the first signal ends the process as it always does.
            let _ = tokio::signal::ctrl_c().await;
        });
    }

    /// Stops: no more connections, what waits is cancelled, what is computed ends after its step.
    pub fn stop(mut self) {
        self.app.jobs.stop();
        self.app.stopping.send_replace(true);
        self.app.trainings.stop();
        self.app.evaluations.stop();
        if let Some(worker) = self.worker.take() {
            // A panic was reported where it happened.
            let _ = worker.join();
        }
        let all = self.app.config.limits.connections as u32;
        let connections = self.connections.clone();
        self.runtime.block_on(async {
            let _ = tokio::time::timeout(FAREWELL, connections.acquire_many(all)).await;
        });
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

/// Threads for one kind of work. Pictures, a training and an evaluation have their own, so that none waits for another's
/// end: the system shares the processor among them.
///
/// # Errors
/// `Error::Argument` where the system grants none.
pub fn pool(threads: usize) -> Result<ThreadPool> {
    let built = ThreadPoolBuilder::new().num_threads(threads).build();
    built.map_err(|e| Error::argument("threads", "a number of threads that the system grants", e))
}

/// Beyond this machine nobody may ask without a token.
fn require_token(config: &Config) -> Result<()> {
    match &config.token {
        Some(token) if token.len() < 8 => {
            Err(Error::argument("token", "at least 8 characters, which nobody guesses", token.len()))
        }
        None if !is_loopback(&config.host) => {
            let expected = "a token beside it: whoever reaches the port may use the processor, see all pictures, \
                            models and runs, and fill the disk's history (`token`)";
            Err(Error::argument("host", expected, &config.host))
        }
        _ => Ok(()),
    }
}

async fn listen(host: &str, port: u16) -> Result<TcpListener> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    TcpListener::bind((bare, port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let expected = "a free port; another program, perhaps another `calotype serve`, has this one";
            Error::argument("port", expected, port)
        }
        std::io::ErrorKind::PermissionDenied => {
            Error::argument("port", "one that you may use: 1024 and above", port)
        }
        _ => Error::argument("host", "an address or a name of this machine", format!("{host}: {error}")),
    })
}

/// Takes connections until the server stops.
async fn accept(
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let permit = tokio::select! {
            permit = connections.clone().acquire_owned() => permit,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        // Nobody closes the semaphore.
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let serving = serve(stream, peer, router.clone(), stopping.clone());
                tokio::spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            // Too many open files, or the client has gone: the next may do.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One connection.
async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, mut stopping: watch::Receiver<bool>) {
    // Events are small, and awaited.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // What a broken connection says is of no use to anybody.
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
