//! The server as a process: its line, its refusals, signals and kills.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use super::*;

/// A server that is ended with its test.
struct Serving {
    process: Child,
    address: String,
}

impl Serving {
    /// `calotype serve` in `dir`, when it has said where it listens.
    fn start(dir: &TempDir) -> Self {
        let args = ["serve", "--port", "0", "--history", "history"];
        let mut process = command(dir, &args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{line}");
        Self { process, address }
    }

    /// (status, body).
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer[end + 4..].to_vec())
    }

    fn json(&self, method: &str, path: &str, body: &str) -> Value {
        serde_json::from_slice(&self.ask(method, path, body).1).unwrap()
    }

    fn pictures(&self) -> Vec<Value> {
        self.json("GET", "/api/pictures?limit=500", "")["pictures"].as_array().unwrap().clone()
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_killed_server_has_lost_no_picture_and_has_no_half_one() {
    let dir = TempDir::new();
    let mut before = Vec::new();
    for round in 0..3 {
        let serving = Serving::start(&dir);
        let kept: Vec<Value> = serving.pictures();
        for picture in &before {
            assert!(kept.contains(picture), "{picture} is lost");
        }
        for picture in &kept {
            let (status, png) = serving.ask("GET", picture["image"].as_str().unwrap(), "");
            assert_eq!((status, image::load_from_memory(&png).is_ok()), (200, true), "{picture}");
        }
        let files = fs::read_dir(dir.join("history/pictures")).unwrap().count();
        let of_rows: usize = kept.iter().map(|p| if p["steps_kept"] == 0 { 1 } else { 2 }).sum();
        assert_eq!(files, of_rows, "no file without a row");
        for seed in 0..12 {
            let job = format!(
                r#"{{"request": {{"prompt": "a cat", "steps": 3, "seed": {seed}}}, "previews": true}}"#
            );
            assert_eq!(serving.ask("POST", "/api/jobs", &job).0, 202);
        }
        // At another place in each round.
        let since = Instant::now();
        while serving.pictures().len() < kept.len() + 1 + 3 * round
            && since.elapsed() < Duration::from_secs(60)
        {
            std::thread::sleep(Duration::from_millis(3));
        }
        before = serving.pictures();
        assert!(before.len() > kept.len());
        serving.signal("-KILL");
    }
}

#[test]
fn a_server_ends_when_it_is_asked_to() {
    for signal in ["-INT", "-TERM"] {
        let dir = TempDir::new();
        let mut serving = Serving::start(&dir);
        let job = r#"{"request": {"prompt": "a cat", "steps": 400, "width": 128, "height": 128}}"#;
        assert_eq!(serving.ask("POST", "/api/jobs", job).0, 202);
        serving.signal(signal);
        assert_eq!(serving.process.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn what_a_server_cannot_be_is_refused() {
    let dir = TempDir::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let message = fails(&dir, 2, &["serve", "--port", &port, "--history", "history"]);
    assert_says(&message, &["--port", "a free port", &port]);
    let message = fails(&dir, 2, &["serve", "--host", "0.0.0.0", "--port", "0", "--history", "history"]);
    assert_says(&message, &["--host", "--token", "all pictures"]);
    let message = fails(&dir, 2, &["serve", "--model", "none", "--port", "0", "--history", "history"]);
    assert_says(&message, &["--model", "none"]);
    let message = fails(&dir, 1, &["serve", "--models-dir", "none", "--port", "0", "--history", "history"]);
    assert_says(&message, &["none"]);
    let serving = Serving::start(&dir);
    let message = fails(&dir, 1, &["serve", "--port", "0", "--history", "history"]);
    assert_says(&message, &["another server has this history", "--history"]);
    drop(serving);
}
