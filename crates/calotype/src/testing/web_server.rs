//! A web server on this machine, for tests of downloads; what it has and how it fails is the test's.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// `bytes=7-`, or empty.
    pub range: String,
    /// `Authorization`, or empty.
    pub token: String,
    pub host: String,
}

/// An answer. `connection: close` is added, and the length unless `headers` say how the body is sent.
pub struct Reply {
    pub status: u16,
    /// Each ends in `\r\n`.
    pub headers: String,
    pub body: Vec<u8>,
    /// After so many bytes of the body the connection breaks off.
    pub cut: Option<usize>,
}

impl Reply {
    pub fn new(status: u16, headers: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: headers.into(), body: body.into(), cut: None }
    }

    /// The part of `content` that `request` wants, if the server knows ranges.
    pub fn of_content(request: &Request, content: &[u8], knows_ranges: bool) -> Self {
        let start =
            request.range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse().ok());
        let all = content.len();
        match start.filter(|_| knows_ranges) {
            Some(start) if start >= all => Self::new(416, format!("content-range: bytes */{all}\r\n"), []),
            Some(start) => {
                let range = format!("content-range: bytes {start}-{}/{all}\r\n", all - 1);
                Self::new(206, range, &content[start..])
            }
            None => Self::new(200, "", content),
        }
    }
}

/// What a server has; tests change it while it runs.
pub trait Site: Send + 'static {
    /// `address`: the server's own, `http://127.0.0.1:PORT`.
    fn reply(&mut self, request: &Request, address: &str) -> Reply;
}

/// A running server.
pub struct Server<S> {
    pub address: String,
    site: Arc<Mutex<S>>,
    log: Arc<Mutex<Vec<Request>>>,
}

impl<S: Site> Server<S> {
    pub fn start(site: S) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { address, site: Arc::new(Mutex::new(site)), log: Arc::default() };
        let (address, site, log) = (server.address.clone(), server.site.clone(), server.log.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (address, site, log) = (address.clone(), site.clone(), log.clone());
                std::thread::spawn(move || {
                    let request = Request::read(&stream)?;
                    log.lock().unwrap().push(request.clone());
                    let reply = site.lock().unwrap().reply(&request, &address);
                    // A client that goes away is no fault of the server.
                    reply.send(stream, request.method == "HEAD").ok()
                });
            }
        });
        server
    }

    /// What it has, to look at and to change.
    pub fn site(&self) -> MutexGuard<'_, S> {
        self.site.lock().unwrap()
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next()?.ok()?;
        let mut words = first.split(' ').map(str::to_owned);
        let mut request = Self { method: words.next()?, path: words.next()?, ..Self::default() };
        for line in lines {
            let line = line.ok()?;
            let Some((name, value)) = line.split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = value.to_owned(),
                "authorization" => request.token = value.to_owned(),
                "host" => request.host = value.to_owned(),
                _ => {}
            }
        }
        Some(request)
    }
}

impl Reply {
    fn send(self, mut stream: TcpStream, only_head: bool) -> std::io::Result<()> {
        let Self { status, headers, body, cut } = self;
        let is_chunked = headers.contains("transfer-encoding");
        let length = if is_chunked { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let head = format!("HTTP/1.1 {status} x\r\n{headers}{length}connection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let sent = if only_head { 0 } else { cut.unwrap_or(body.len()).min(body.len()) };
        stream.write_all(&body[..sent])
    }
}
