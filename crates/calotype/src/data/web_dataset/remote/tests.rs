//! Against a server on this machine.

use super::*;
use crate::testing::web_server::{self, Reply, Request, Site};
use crate::testing::{TempDir, assert_refuses};

type Server = web_server::Server<Shard>;

/// One shard under every name, and how the server behaves.
struct Shard {
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
}

impl Site for Shard {
    fn reply(&mut self, request: &Request, _address: &str) -> Reply {
        if request.path == "/moved.tar" {
            return Reply::new(302, "location: /s.tar\r\n", []);
        }
        let mut reply = Reply::of_content(request, &self.content, self.ranges);
        match reply.status {
            200 => reply.status = self.status,
            206 => {
                let start = self.content.len() - reply.body.len();
                let shifted = format!("bytes {}-", start + self.shift);
                reply.headers = reply.headers.replace(&format!("bytes {start}-"), &shifted);
            }
            _ => {}
        }
        reply.headers += self.headers;
        if !self.cuts.is_empty() {
            reply.cut = Some(self.cuts.remove(0));
        }
        reply
    }
}

fn serve(content: &[u8]) -> Server {
    let content = content.to_vec();
    Server::start(Shard { content, ranges: true, shift: 0, status: 200, headers: "", cuts: vec![] })
}

impl Server {
    fn change(&self, change: impl FnOnce(&mut Shard)) {
        change(&mut self.site());
    }

    /// `path range` of each request since the last call.
    fn asked(&self) -> Vec<String> {
        self.requests().iter().map(|request| format!("{} {}", request.path, request.range)).collect()
    }
}

struct Cache(TempDir);

impl Cache {
    fn new() -> Self {
        Self(TempDir::new())
    }

    /// Lays down what an interrupted download of `url` would have left.
    fn partial(&self, url: &str, bytes: &[u8]) {
        self.0.write(&format!("{}.part", file_name(url).unwrap()), bytes);
    }

    fn files(&self) -> usize {
        std::fs::read_dir(&self.0).map_or(0, Iterator::count)
    }
}

fn content() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_shard_is_downloaded_once() {
    let (server, cache) = (serve(&content()), Cache::new());
    let url = format!("{}/data/s.tar?key=secret", server.address);
    let path = fetch(&url, &cache.0).unwrap();
    assert!(std::fs::read(&path).unwrap() == content());
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.len() == "s-0123456789ab.tar".len() && name.starts_with("s-") && name.ends_with(".tar"));
    assert_eq!(server.asked(), ["/data/s.tar?key=secret "]);
    assert_eq!(fetch(&url, &cache.0).unwrap(), path);
    assert!(server.asked().is_empty());
    assert_eq!(cache.files(), 1);
}

#[test]
fn a_download_goes_on_where_it_ended() {
    let (server, cache) = (serve(&content()), Cache::new());
    server.change(|server| server.cuts = vec![300_000, 100_000]);
    let url = format!("{}/moved.tar", server.address);
    assert!(std::fs::read(fetch(&url, &cache.0).unwrap()).unwrap() == content());
    let requests = server.asked();
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
        let (server, cache) = (serve(&all), Cache::new());
        server.change(|server| (server.ranges, server.shift) = (ranges, shift));
        let url = format!("{}/s.tar", server.address);
        cache.partial(&url, &part);
        assert!(std::fs::read(fetch(&url, &cache.0).unwrap()).unwrap() == all, "{test}");
        assert_eq!((server.asked(), cache.files()), (requests.iter().map(|r| r.to_string()).collect(), 1));
    }
}

#[test]
fn refusals() {
    let (server, cache) = (serve(&content()), Cache::new());
    let refusal = |url: &str| fetch(url, &cache.0).unwrap_err().to_string();
    let url = format!("{}/s.tar?key=secret", server.address);

    server.change(|server| server.cuts = vec![1000, 0, 0, 0]);
    let got = refusal(&url);
    assert!(got.contains("expected 800000 bytes, got 1000 bytes") && !got.contains("secret"), "{got}");
    assert_eq!(server.asked().len(), 4);
    // What came is kept; a server without ranges that breaks off at the same byte each time is given up.
    server.change(|server| (server.ranges, server.cuts) = (false, vec![5000; 9]));
    assert!(refusal(&url).contains("got 5000 bytes"));
    assert_eq!(server.asked().len(), 4);

    server.change(|server| (server.cuts, server.status) = (vec![], 404));
    assert!(refusal(&url).contains("expected status 200, got 404"));
    server.change(|server| server.status = 503);
    assert!(refusal(&url).contains("status 503"));
    assert_eq!(server.asked().len(), 1 + 3);
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
    let (server, cache) = (serve(&content()), Cache::new());
    let url = format!("{}/s.tar", server.address);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert!(std::fs::read(fetch(&url, &cache.0).unwrap()).unwrap() == content()));
        }
    });
    assert_eq!((server.asked().len(), cache.files()), (1, 1));
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
    let (server, cache) = (serve(&content()), Cache::new());
    let names = ["local-{0,1}.tar".to_owned(), format!("{}/s-{{0..1}}.tar", server.address)];
    let files = resolve(&names, &cache.0).unwrap();
    assert_eq!(files[..2], [PathBuf::from("local-0.tar"), "local-1.tar".into()]);
    assert!(files[2..].iter().all(|file| std::fs::read(file).unwrap() == content()));
    assert_eq!(server.asked(), ["/s-0.tar ", "/s-1.tar "]);
    // Nothing is downloaded if one of the names cannot be used.
    let names = [format!("{}/new.tar", server.address), "https://h/x.tar.gz".to_owned()];
    assert_refuses(resolve(&names, &cache.0), "URL of a shard: expected");
    assert!(server.asked().is_empty());
    // A file may have braces in its name.
    let odd = cache.0.join("x{1}.tar");
    std::fs::write(&odd, b"").unwrap();
    assert_eq!(resolve(&[odd.display().to_string()], &cache.0).unwrap(), [odd]);
}
