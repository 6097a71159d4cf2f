//! Against a server on this machine.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;

/// What the server has and how it behaves.
struct Behaviour {
    content: Vec<u8>,
    ranges: bool,
    /// Every 206 says that it begins so many bytes later.
    shift: usize,
    /// In place of 200.
    status: u16,
    /// Headers besides.
    headers: &'static str,
    /// Ends the next contents after so many bytes.
    cuts: Vec<usize>,
    /// `path range` of each request.
    log: Vec<String>,
}

struct Server {
    address: String,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl Server {
    fn start(content: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let behaviour = Arc::new(Mutex::new(Behaviour {
            content: content.to_vec(),
            ranges: true,
            shift: 0,
            status: 200,
            headers: "",
            cuts: vec![],
            log: vec![],
        }));
        let shared = behaviour.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is no fault of the server.
                let _ = answer(stream, &shared);
            }
        });
        Self { address, behaviour }
    }

    fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    /// The requests since the last call.
    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.behaviour.lock().unwrap().log)
    }
}

fn answer(mut stream: TcpStream, behaviour: &Mutex<Behaviour>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?;
    let mut range = String::new();
    for line in lines.map_while(|line| line.ok()).take_while(|line| !line.is_empty()) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: ") {
            range = value.to_owned();
        }
    }
    let mut behaviour = behaviour.lock().unwrap();
    behaviour.log.push(format!("{path} {range}"));
    if path == "/moved.tar" {
        let head = "HTTP/1.1 302 x\r\nlocation: /s.tar\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return stream.write_all(head.as_bytes()).ok();
    }
    let all = behaviour.content.len();
    let start = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse().ok());
    let (status, from, place) = match start.filter(|_| behaviour.ranges) {
        Some(start) if start >= all => (416, all, format!("content-range: bytes */{all}\r\n")),
        Some(start) => {
            let first = start + behaviour.shift;
            (206, start, format!("content-range: bytes {first}-{}/{all}\r\n", all - 1))
        }
        None => (behaviour.status, 0, String::new()),
    };
    let headers = behaviour.headers;
    let length = match headers.contains("transfer-encoding") {
        true => String::new(),
        false => format!("content-length: {}\r\n", all - from),
    };
    let head = format!("HTTP/1.1 {status} x\r\n{place}{headers}{length}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let end = match behaviour.cuts.is_empty() {
        true => all,
        false => all.min(from + behaviour.cuts.remove(0)),
    };
    stream.write_all(&behaviour.content[from..end]).ok()
}

/// A cache in a temporary folder, removed at the end.
struct Cache(PathBuf);

impl Cache {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("calotype-shards-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    /// Lays down what an interrupted download of `url` would have left.
    fn partial(&self, url: &str, bytes: &[u8]) {
        std::fs::create_dir_all(&self.0).unwrap();
        std::fs::write(self.0.join(format!("{}.part", file_name(url).unwrap())), bytes).unwrap();
    }

    fn files(&self) -> usize {
        std::fs::read_dir(&self.0).map_or(0, Iterator::count)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn content() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_shard_is_downloaded_once() {
    let (server, cache) = (Server::start(&content()), Cache::new("once"));
    let url = format!("{}/data/s.tar?key=secret", server.address);
    let path = fetch(&url, &cache.0).unwrap();
    assert!(std::fs::read(&path).unwrap() == content());
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.len() == "s-0123456789ab.tar".len() && name.starts_with("s-") && name.ends_with(".tar"));
    assert_eq!(server.requests(), ["/data/s.tar?key=secret "]);
    assert_eq!(fetch(&url, &cache.0).unwrap(), path);
    assert!(server.requests().is_empty());
    assert_eq!(cache.files(), 1);
}

#[test]
fn a_download_goes_on_where_it_ended() {
    let (server, cache) = (Server::start(&content()), Cache::new("goes-on"));
    server.change(|server| server.cuts = vec![300_000, 100_000]);
    let url = format!("{}/moved.tar", server.address);
    assert!(std::fs::read(fetch(&url, &cache.0).unwrap()).unwrap() == content());
    let requests = server.requests();
    // The range is asked for at the place that a redirect leads to as well.
    assert_eq!(requests.len(), 6);
    assert_eq!([&requests[0], &requests[1]], ["/moved.tar ", "/s.tar "]);
    assert_eq!([&requests[2], &requests[3]], ["/moved.tar bytes=300000-", "/s.tar bytes=300000-"]);
    assert_eq!([&requests[4], &requests[5]], ["/moved.tar bytes=400000-", "/s.tar bytes=400000-"]);
}

#[test]
fn a_partial_file_is_used_only_where_it_fits() {
    let all = content();
    for (test, part, ranges, shift, requests) in [
        ("fits", all[..1000].to_vec(), true, 0, &["/s.tar bytes=1000-"][..]),
        ("whole", all.clone(), true, 0, &["/s.tar bytes=800000-"]),
        ("no-ranges", vec![9; 1000], false, 0, &["/s.tar bytes=1000-"]),
        ("other-range", vec![9; 1000], true, 5, &["/s.tar bytes=1000-", "/s.tar "]),
        ("too-long", vec![9; 800_001], true, 0, &["/s.tar bytes=800001-", "/s.tar "]),
    ] {
        let (server, cache) = (Server::start(&all), Cache::new(test));
        server.change(|server| (server.ranges, server.shift) = (ranges, shift));
        let url = format!("{}/s.tar", server.address);
        cache.partial(&url, &part);
        assert!(std::fs::read(fetch(&url, &cache.0).unwrap()).unwrap() == all, "{test}");
        assert_eq!((server.requests(), cache.files()), (requests.iter().map(|r| r.to_string()).collect(), 1));
    }
}

#[test]
fn refusals() {
    let (server, cache) = (Server::start(&content()), Cache::new("refusals"));
    let refusal = |url: &str| fetch(url, &cache.0).unwrap_err().to_string();
    let url = format!("{}/s.tar?key=secret", server.address);

    server.change(|server| server.cuts = vec![1000, 0, 0, 0]);
    let got = refusal(&url);
    assert!(got.contains("expected 800000 bytes, got 1000 bytes") && !got.contains("secret"), "{got}");
    assert_eq!(server.requests().len(), 4);
    // What came is kept; a server without ranges that breaks off at the same byte each time is given up.
    server.change(|server| (server.ranges, server.cuts) = (false, vec![5000; 9]));
    assert!(refusal(&url).contains("got 5000 bytes"));
    assert_eq!(server.requests().len(), 4);

    server.change(|server| (server.cuts, server.status) = (vec![], 404));
    assert!(refusal(&url).contains("expected status 200, got 404"));
    server.change(|server| server.status = 503);
    assert!(refusal(&url).contains("status 503"));
    assert_eq!(server.requests().len(), 1 + 3);
    server.change(|server| (server.status, server.headers) = (200, "content-type: text/html\r\n"));
    assert!(refusal(&url).contains("expected a tar file, got a web page"));
    server.change(|server| server.headers = "transfer-encoding: chunked\r\n");
    assert!(refusal(&url).contains("Content-Length"));
    server.change(|server| (server.headers, server.content) = ("", vec![]));
    assert!(refusal(&url).contains("Content-Length"));
    assert!(cache.files() == 1); // only the `.part`

    for (url, expected) in [
        ("ftp://h/s.tar", "http:// or https://"),
        ("https://h", "a file's name"),
        ("https://h/folder/?s.tar", "a file's name"),
        ("https://u:secret@h/s.tar.gz?secret", "`https://h/s.tar.gz`"),
        ("https://h/s.TGZ", "gunzip"),
    ] {
        let got = refusal(url);
        assert!(got.contains(expected) && !got.contains("secret"), "{got}");
    }
}

#[test]
fn several_at_once_share_a_download() {
    let (server, cache) = (Server::start(&content()), Cache::new("at-once"));
    let url = format!("{}/s.tar", server.address);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert!(std::fs::read(fetch(&url, &cache.0).unwrap()).unwrap() == content()));
        }
    });
    assert_eq!((server.requests().len(), cache.files()), (1, 1));
}

#[test]
fn names_in_the_cache() {
    let name = |url| file_name(url).unwrap();
    // printf %s https://h/a/s-000.tar | sha256sum
    assert_eq!(name("https://h/a/s-000.tar"), "s-000-52cd403a3ddd.tar");
    assert_ne!(name("https://h/a/s-000.tar"), name("https://h/b/s-000.tar"));
    for url in [
        "https://h/..",
        "https://h/.tar",
        "https://h/%2e%2e%2fx.tar",
        "https://h/a\\..\\b:c.tar",
        "https://h/é",
    ] {
        let name = name(url);
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        assert!(name.chars().all(safe) && !name.starts_with('.') && name.ends_with(".tar"), "{name}");
    }
    assert!(name(&format!("https://h/{}.tar", "x".repeat(5000))).len() < 110);
}

#[test]
fn paths_and_urls_together() {
    let (server, cache) = (Server::start(&content()), Cache::new("resolve"));
    let names = ["local-{0,1}.tar".to_owned(), format!("{}/s-{{0..1}}.tar", server.address)];
    let files = resolve(&names, &cache.0).unwrap();
    assert_eq!(files[..2], [PathBuf::from("local-0.tar"), "local-1.tar".into()]);
    assert!(files[2..].iter().all(|file| std::fs::read(file).unwrap() == content()));
    assert_eq!(server.requests(), ["/s-0.tar ", "/s-1.tar "]);
    // Nothing is downloaded if one of the names cannot be used.
    let names = [format!("{}/new.tar", server.address), "https://h/x.tar.gz".to_owned()];
    assert!(resolve(&names, &cache.0).is_err());
    assert!(server.requests().is_empty());
    // A file may have braces in its name.
    let odd = cache.0.join("x{1}.tar");
    std::fs::write(&odd, b"").unwrap();
    assert_eq!(resolve(&[odd.display().to_string()], &cache.0).unwrap(), [odd]);
}
