//! Each threat of docs/security.md.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use calotype_serve::Server;
use image::{Rgb, RgbImage};
use serde_json::json;

use super::support::*;

#[test]
fn a_strangers_name_for_this_machine_is_refused() {
    let client = shared();
    for host in ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "10.1.2.3", ""] {
        let reply = client.with("Host", host).get("/api/status");
        assert!(reply.status == 421 || reply.status == 400, "{host}: {}", reply.text());
    }
    for host in ["localhost", "127.0.0.1:1", "[::1]:7860"] {
        client.with("Host", host).get("/api/status").expect(200);
    }
    assert_eq!(client.raw(b"GET /api/status HTTP/1.1\r\nConnection: close\r\n\r\n").status, 400);
}

#[test]
fn another_pages_scripts_change_nothing_and_read_nothing() {
    let client = shared();
    let own = format!("http://{}", client.address);
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:1"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        let reply = client.with(name, value).post("/api/jobs", &quick("a cat", 0)).expect(403);
        assert!(reply.header("access-control-allow-origin").is_none());
        client.with(name, value).delete("/api/pictures/p-0000000000000000").expect(403);
    }
    client.with("Origin", &own).post("/api/jobs", &quick("a cat", 0)).expect(202);
    // Asked beforehand by browsers: nothing is allowed.
    let asked = client.with("Origin", "https://evil.example").send("OPTIONS", "/api/jobs", b"");
    assert!(asked.header("access-control-allow-origin").is_none() && asked.status == 405, "{}", asked.head);
    let read = client.with("Origin", "https://evil.example").get("/api/pictures");
    assert!(read.header("access-control-allow-origin").is_none());
    assert_eq!(read.header("cross-origin-resource-policy"), Some("same-origin"));
}

#[test]
fn browsers_are_told_to_run_nothing_but_the_page() {
    let client = shared();
    for path in ["/", "/api/status", "/nothing", "/metrics"] {
        let reply = client.get(path);
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
    }
    assert!(client.get("/").header("content-type").unwrap().starts_with("text/html"));
}

#[test]
fn nothing_without_the_token() {
    let server = TestServer::with(|_, config| calotype_serve::Config {
        token: Some("correct horse".into()),
        ..config
    });
    let client = server.client();
    let doors = [
        "/api/status",
        "/api/pictures",
        "/sdapi/v1/samplers",
        "/v1/models",
        "/metrics",
        "/api/jobs/x/events",
    ];
    for path in doors {
        for client in [
            client.clone(),
            client.with("Authorization", "Bearer wrong"),
            client.with("Cookie", "calotype_session=0"),
        ] {
            assert_eq!(client.get(path).expect(401).json()["error"]["code"], "invalid_api_key");
        }
        let known = client.with("Authorization", "Bearer correct horse").get(path);
        assert!(known.status == 200 || known.status == 404, "{path}: {}", known.text());
    }
    client.post("/v1/images/generations", &json!({ "prompt": "a cat" })).expect(401);
    // The page itself, and whether the server lives, say nothing.
    for path in ["/", "/health", "/openapi.json"] {
        client.get(path).expect(200);
    }
    client.post("/api/session", &json!({ "token": "wrong" })).expect(401);
    let session = client.post("/api/session", &json!({ "token": "correct horse" })).expect(204);
    let cookie = session.header("set-cookie").unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("horse"),
        "{cookie}"
    );
    client.with("Cookie", cookie.split(';').next().unwrap()).get("/api/status").expect(200);
}

#[test]
fn beyond_this_machine_only_with_a_token() {
    let dir = TempDir::new();
    let start = |host: &str, token: Option<&str>| {
        let config =
            calotype_serve::Config { host: host.into(), token: token.map(str::to_owned), ..config(&dir) };
        Server::start(config).map(Server::stop).map_err(|error| error.to_string())
    };
    let refused = start("0.0.0.0", None).unwrap_err();
    assert!(refused.contains("a token beside it") && refused.contains("all pictures"), "{refused}");
    assert!(start("0.0.0.0", Some("short")).unwrap_err().contains("at least 8"));
    start("0.0.0.0", Some("long enough")).unwrap();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let dir = TempDir::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused =
        Server::start(calotype_serve::Config { port, ..config(&dir) }).map(Server::stop).unwrap_err();
    assert!(
        refused.to_string().contains("a free port") && refused.to_string().contains(&port.to_string()),
        "{refused}"
    );
}

#[test]
fn huge_bodies_are_refused_before_they_arrive() {
    let client = shared();
    for path in ["/api/jobs", "/api/records", "/sdapi/v1/img2img", "/v1/images/edits"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: 1073741824\r\n\r\n"
        );
        let since = Instant::now();
        assert_eq!(client.raw(head.as_bytes()).status, 413, "{path}");
        assert!(since.elapsed() < Duration::from_secs(10));
    }
    // One that does not say how long it is.
    let mut stream = TcpStream::connect(client.address).unwrap();
    stream
        .write_all(b"POST /api/records HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
    let sent = (0..64).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(sent < 64, "all 64 MiB were taken");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn headers_without_end_are_refused() {
    let client = shared();
    let many = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(5000)
    );
    assert_eq!(client.raw(many.as_bytes()).status, 431);
}

#[test]
fn pictures_that_would_burst_are_refused_by_their_headers() {
    let client = shared();
    let mut bomb = png(&RgbImage::from_pixel(8, 8, Rgb([1; 3])));
    for side in [8193u32, 50_000, u32::MAX >> 1] {
        bomb[16..20].copy_from_slice(&side.to_be_bytes());
        bomb[20..24].copy_from_slice(&side.to_be_bytes());
        let crc = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.to_be_bytes());
        for body in [
            json!({ "request": { "prompt": "a" }, "init_image": base64(&bomb) }),
            json!({ "request": { "prompt": "a" }, "explain_image": base64(&bomb), "kind": "explain" }),
        ] {
            let reply = client.post("/api/jobs", &body);
            assert!(reply.status == 413 || reply.status == 422, "{side}: {}", reply.text());
        }
        let reply =
            client.post("/sdapi/v1/img2img", &json!({ "prompt": "a", "init_images": [base64(&bomb)] }));
        assert!(reply.status == 413 || reply.status == 422, "{side}: {}", reply.text());
    }
    // Twelve kilobytes that become fifty megabytes of pixels.
    let plain = png(&RgbImage::new(4097, 4097));
    client
        .post("/api/jobs", &json!({ "request": { "prompt": "a" }, "init_image": base64(&plain) }))
        .refuses(413, "init_image");
    // Few pixels, and a side that grows beyond measure while it is resized.
    for (width, height) in [(1, 8193), (8193, 1)] {
        let thin = png(&RgbImage::new(width, height));
        client
            .post("/api/jobs", &json!({ "request": { "prompt": "a" }, "init_image": base64(&thin) }))
            .refuses(413, "init_image");
    }
}

/// Of PNG.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn what_would_take_all_memory_is_refused() {
    let client = shared();
    for (settings, count, setting) in [
        (json!({ "prompt": "a", "width": 1_000_000 }), 1, "width"),
        (json!({ "prompt": "a", "height": 4096 }), 1, "height"),
        (json!({ "prompt": "a", "steps": 1_000_000 }), 1, "steps"),
        (json!({ "prompt": "a" }), 1_000_000, "count"),
        (json!({ "prompt": "a" }), 0, "count"),
        (json!({ "prompt": "a".repeat(100_000) }), 1, "prompt"),
    ] {
        client.post("/api/jobs", &json!({ "request": settings, "count": count })).refuses(422, setting);
    }
}

#[test]
fn no_text_of_a_request_becomes_a_path() {
    let server = TestServer::with(|dir, config| {
        dir.write("models/.hidden/model_index.json", "{}");
        dir.write("secret.safetensors", "x");
        calotype_serve::Config {
            models_dir: Some(dir.path().join("models")),
            runs_dir: Some(dir.path().join("models")),
            ..config
        }
    });
    let client = server.client();
    for name in [
        "../secret",
        "../secret.safetensors",
        "/etc/passwd",
        ".hidden",
        "models/../secret",
        "C:\\x",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ] {
        client
            .post("/api/jobs", &json!({ "model": name, "request": { "prompt": "a" } }))
            .refuses(404, "model");
        client.post("/api/words", &json!({ "model": name, "prompt": "a" })).refuses(404, "model");
        client.post("/v1/images/generations", &json!({ "model": name, "prompt": "a" })).refuses(404, "model");
        let override_settings = json!({ "sd_model_checkpoint": name });
        client
            .post("/sdapi/v1/txt2img", &json!({ "prompt": "a", "override_settings": override_settings }))
            .refuses(404, "model");
    }
    for path in [
        "/api/pictures/..%2f..%2fhistory.sqlite",
        "/api/pictures/..%2f..%2fhistory.sqlite.png",
        "/api/pictures/%2e%2e",
        "/api/pictures/p-0000000000000000.png",
        "/api/runs/..%2f..",
        "/api/runs/%2e%2e/report",
        "/api/runs/x/samples/vae/..%2f..%2fsecret.png",
        "/../Cargo.toml",
        "/..%2fCargo.toml",
        "/js/..%2findex.html",
        "/studio/index.html",
    ] {
        let reply = client.get(path);
        assert!(reply.status == 404 || reply.status == 422, "{path}: {} {}", reply.status, reply.text());
    }
}

#[test]
fn an_address_that_asks_too_often_waits() {
    let server = TestServer::with(|_, mut config| {
        (config.limits.requests_per_second, config.limits.burst) = (1.0, 5.0);
        config
    });
    let client = server.client();
    let replies: Vec<Reply> = (0..8).map(|_| client.get("/api/status")).collect();
    assert!(replies[..5].iter().all(|reply| reply.status == 200));
    let refused = replies.last().unwrap();
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
}

#[test]
fn who_is_refused_while_still_sending_hears_why() {
    let server = TestServer::with(|_, mut config| {
        (config.limits.requests_per_second, config.limits.burst) = (0.01, 1.0);
        config
    });
    let client = server.client();
    assert_eq!(client.get("/api/status").status, 200);
    for _ in 0..5 {
        let mut stream = TcpStream::connect(client.address).unwrap();
        let head = "POST /api/words HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(&[b' '; 2000]).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(&[b' '; 2000]).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 429"), "{}", String::from_utf8_lossy(&answer));
    }
}
