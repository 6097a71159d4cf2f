//! A server on a port of its own, and a client that sends whatever it is told to.

use std::io::{Cursor, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burn::tensor::Device;
use calotype_serve::{Config, Limits, Server};
use image::RgbImage;
use serde_json::{Value, json};

/// A folder that goes with its test.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("calotype-serve-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server and its folder.
pub struct TestServer {
    pub address: SocketAddr,
    pub dir: TempDir,
    server: Option<Server>,
}

pub fn config(dir: &TempDir) -> Config {
    Config {
        model: "emoji-scenes-64".into(),
        models_dir: None,
        host: "127.0.0.1".into(),
        port: 0,
        token: None,
        runs_dir: None,
        data_dir: None,
        history: dir.path().join("history"),
        allow_training: false,
        device: Device::flex(),
        device_name: "cpu".into(),
        threads: 2,
        commit: "test".into(),
        limits: Limits { requests_per_second: 1e6, burst: 1e6, ..Limits::default() },
    }
}

impl TestServer {
    pub fn with(change: impl FnOnce(&TempDir, Config) -> Config) -> Self {
        let dir = TempDir::new();
        let config = change(&dir, config(&dir));
        let server = Server::start(config).unwrap();
        server.load_default_model().unwrap();
        Self { address: server.address(), dir, server: Some(server) }
    }

    pub fn start() -> Self {
        Self::with(|_, config| config)
    }

    pub fn stop(mut self) -> TempDir {
        self.server.take().unwrap().stop();
        std::mem::replace(&mut self.dir, TempDir::new())
    }

    pub fn client(&self) -> Client {
        Client { address: self.address, headers: vec![] }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

/// One for all tests that leave it as it is.
pub fn shared() -> Client {
    static SHARED: LazyLock<TestServer> = LazyLock::new(TestServer::start);
    SHARED.client()
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    #[track_caller]
    pub fn refuses(self, status: u16, setting: &str) {
        let reply = self.expect(status);
        assert_eq!(reply.json()["error"]["setting"], setting, "{}", reply.text());
        assert!(!reply.json()["error"]["message"].as_str().unwrap().is_empty());
    }
}

/// Sends with these headers beside its own.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub headers: Vec<(String, String)>,
}

impl Client {
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        client.headers.push((name.into(), value.into()));
        client
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, b"")
    }

    pub fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.with("Content-Type", "application/json").send("POST", path, body.to_string().as_bytes())
    }

    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: {}\r\n", self.address);
        }
        self.headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        head += "\r\n";
        self.raw(&[head.as_bytes(), body].concat())
    }

    /// What comes back for these bytes.
    pub fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        // A server that refuses early may close before all is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        parsed(&answer)
    }

    /// A job's id.
    #[track_caller]
    pub fn job(&self, body: &Value) -> String {
        self.post("/api/jobs", body).expect(202).json()["id"].as_str().unwrap().to_owned()
    }

    /// The events of a job to its end: (id, name, data).
    pub fn events(&self, job: &str) -> Vec<(u64, String, Value)> {
        events(&self.get(&format!("/api/jobs/{job}/events")).expect(200).text())
    }

    /// The pictures of a job, when it is done.
    #[track_caller]
    pub fn pictures(&self, job: &str) -> Vec<String> {
        let (_, name, data) = self.events(job).pop().unwrap();
        assert_eq!(name, "done", "{data}");
        let ids = data["pictures"].as_array().unwrap();
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    /// A picture's pixels.
    #[track_caller]
    pub fn pixels(&self, picture: &str) -> RgbImage {
        pixels(&self.get(&format!("/api/pictures/{picture}.png")).expect(200).body)
    }

    /// Waits until a job is in a state.
    #[track_caller]
    pub fn wait_for(&self, job: &str, state: &str) -> Value {
        let since = Instant::now();
        loop {
            let now = self.get(&format!("/api/jobs/{job}")).expect(200).json();
            if now["state"] == state {
                return now;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "still {now}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub fn events(text: &str) -> Vec<(u64, String, Value)> {
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name));
        line.map(|line| line.trim_start_matches(": ").to_owned())
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("event"));
    blocks
        .map(|block| {
            let id = field(block, "id").unwrap().parse().unwrap();
            let data = serde_json::from_str(&field(block, "data").unwrap()).unwrap();
            (id, field(block, "event").unwrap(), data)
        })
        .collect()
}

fn parsed(answer: &[u8]) -> Reply {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut body = answer.get(end + 4..).unwrap_or_default().to_vec();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Reply { status, head, body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
        let length = usize::from_str_radix(String::from_utf8_lossy(&rest[..end]).trim(), 16).unwrap_or(0);
        let chunk = rest.get(end + 2..end + 2 + length).unwrap_or_default();
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + length..).unwrap_or_default();
        if length == 0 {
            break;
        }
    }
    body
}

pub fn pixels(png: &[u8]) -> RgbImage {
    image::load_from_memory(png).unwrap().into_rgb8()
}

pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub fn unbase64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

pub fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Two steps of a prompt and a seed.
pub fn quick(prompt: &str, seed: u64) -> Value {
    json!({ "request": { "prompt": prompt, "seed": seed, "steps": 2, "sampler": "ddim" } })
}

/// A job that takes seconds.
pub fn slow() -> Value {
    json!({ "request": { "prompt": "a cat", "steps": 500, "sampler": "ddim" }, "count": 4 })
}
