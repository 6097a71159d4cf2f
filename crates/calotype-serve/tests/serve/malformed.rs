//! Requests that nobody means: each is refused with a message, none breaks the server.

use serde_json::{Value, json};

use super::support::*;

/// What stands where another thing belongs.
fn nonsense() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1e308),
        json!(u64::MAX),
        json!(0.5),
        json!(""),
        json!("\u{0}\u{ffff}🦀"),
        json!("x".repeat(5000)),
        json!([]),
        json!([[[[]]]]),
        json!({}),
        json!({ "a": { "b": null } }),
    ]
}

const POSTS: [(&str, &[&str]); 16] = [
    ("/api/data/inspect", &["data"]),
    ("/api/trainings", &["run", "recipe", "parts", "data", "resume"]),
    ("/api/evaluations", &["model", "prompts", "seed"]),
    ("/api/session", &["token"]),
    ("/api/words", &["model", "prompt"]),
    (
        "/api/jobs",
        &[
            "kind",
            "model",
            "request",
            "count",
            "word_maps",
            "previews",
            "init_image",
            "mask",
            "explain_image",
            "parent",
        ],
    ),
    ("/api/choices", &["left", "right", "chosen"]),
    ("/api/recipes/check", &["recipe"]),
    ("/api/records", &[]),
    (
        "/sdapi/v1/txt2img",
        &[
            "prompt",
            "seed",
            "steps",
            "width",
            "sampler_name",
            "scheduler",
            "batch_size",
            "override_settings",
            "alwayson_scripts",
        ],
    ),
    ("/sdapi/v1/img2img", &["init_images", "mask", "denoising_strength", "resize_mode"]),
    ("/sdapi/v1/options", &["sd_model_checkpoint", "CLIP_stop_at_last_layers", "other"]),
    ("/sdapi/v1/png-info", &["image"]),
    (
        "/v1/images/generations",
        &["prompt", "model", "n", "size", "response_format", "output_format", "stream", "seed", "other"],
    ),
    ("/v1/images/edits", &["image"]),
    ("/sdapi/v1/interrupt", &[]),
];

#[test]
fn nothing_that_is_sent_breaks_the_server() {
    let server = TestServer::with(|_, mut config| {
        // What happens to be a picture's request is refused rather than made.
        config.limits.most_steps = 2;
        config.limits.most_side = 64;
        config
    });
    let client = server.client();
    let mut sent = 0;
    let mut check = |reply: Reply, what: &str| {
        sent += 1;
        assert!(
            (200..500).contains(&reply.status) && reply.status != 408,
            "{what}: {} {}",
            reply.status,
            reply.text()
        );
        if reply.status >= 400 {
            let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
            assert!(!message.is_empty() && message.len() < 2000, "{what}: {message}");
        }
    };
    for (path, fields) in POSTS {
        let json = client.with("Content-Type", "application/json");
        for text in [
            "",
            "{",
            "[1,2",
            "nul",
            "{\"a\":}",
            "\u{feff}{}",
            "{} {}",
            "[]",
            "7",
            "\"x\"",
            &"[".repeat(100_000),
        ] {
            check(json.send("POST", path, text.as_bytes()), &format!("{path} {text:.20}"));
        }
        check(json.send("POST", path, &[0xff, 0xfe, 0x00]), path);
        check(client.with("Content-Type", "text/html").send("POST", path, b"x"), path);
        check(
            client.with("Content-Type", "multipart/form-data; boundary=x").send(
                "POST",
                path,
                b"--x\r\nbroken",
            ),
            path,
        );
        for field in fields {
            for value in nonsense() {
                let body = json!({ *field: value, "steps": 1 });
                check(client.post(path, &body), &format!("{path} {body:.120}"));
                let mut body = json!({ "prompt": "a", "steps": 1, "width": 64, "height": 64 });
                body[*field] = value;
                check(client.post(path, &body), &format!("{path} {body:.120}"));
            }
        }
    }
    for setting in [
        "prompt",
        "negative",
        "seed",
        "first",
        "steps",
        "sampler",
        "eta",
        "schedule",
        "guidance",
        "guidance_rescale",
        "guidance_interval",
        "width",
        "height",
        "strength",
        "clip_skip",
        "long_prompt",
        "rng",
        "compat",
        "true_cfg",
    ] {
        for value in nonsense() {
            let mut settings = json!({ "prompt": "a", "steps": 1 });
            settings[setting] = value;
            check(
                client.post("/api/jobs", &json!({ "request": settings })),
                &format!("{setting} {settings:.120}"),
            );
        }
    }
    for path in [
        "/api/pictures?limit=-1",
        "/api/pictures?limit=0",
        "/api/pictures?limit=x",
        "/api/pictures?before=%00",
        "/api/jobs/j-1/previews/x",
        "/api/jobs/j-1/previews/0?step=x",
        "/api/runs/x/series",
        "/api/runs/x/series?part=y",
        "/api/%ff%fe",
        "//",
        "/api",
        "/api/",
        "/v1/models/%00",
        "/api/pictures/%F0%9F%A6%80",
    ] {
        check(client.get(path), path);
        check(client.send("PUT", path, b"x"), path);
    }
    assert!(sent > 900, "{sent}");
    client.get("/health").expect(200);
    // Jobs that nonsense has started end.
    let jobs = client.get("/api/jobs").json();
    for job in jobs["jobs"].as_array().unwrap() {
        let id = job["id"].as_str().unwrap();
        client.delete(&format!("/api/jobs/{id}")).expect(204);
        let (_, name, _) = client.events(id).pop().unwrap();
        assert!(["done", "failed", "cancelled"].contains(&name.as_str()), "{name}");
    }
    assert_eq!(
        client.pictures(&client.job(&json!({ "request": { "prompt": "a cat", "steps": 1 } }))).len(),
        1
    );
}

#[test]
fn bytes_that_are_no_http_are_refused() {
    let client = shared();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n{}",
    ] {
        let reply = client.raw(bytes);
        assert!(reply.status == 0 || (400..500).contains(&reply.status), "{} {}", reply.status, reply.text());
    }
    client.get("/health").expect(200);
}

#[test]
fn what_is_wrong_is_named() {
    let client = shared();
    for (body, status, setting) in [
        (json!({ "request": { "prompt": "a", "width": 65 } }), 422, "width"),
        (json!({ "request": { "prompt": "a", "sampler": "magic" } }), 422, "sampler"),
        (json!({ "request": { "prompt": "a", "eta": 0.5 } }), 422, "eta"),
        (json!({ "request": { "prompt": "a", "lora": ["x"] } }), 422, "lora"),
        (json!({ "request": { "prompt": "a", "guidance_rescale": 2 } }), 422, "guidance_rescale"),
        (json!({ "kind": "train" }), 422, "kind"),
        (json!({ "typo": 1 }), 422, "typo"),
        (json!({ "model": "none" }), 404, "model"),
    ] {
        client.post("/api/jobs", &body).refuses(status, setting);
    }
    let syntax = client.with("Content-Type", "application/json").send("POST", "/api/jobs", b"{\n  \"a\": ,}");
    assert!(syntax.text().contains("line 2 column"), "{}", syntax.text());
    let form =
        client.with("Content-Type", "application/x-www-form-urlencoded").send("POST", "/api/jobs", b"{}");
    assert!(form.expect(415).json()["error"]["hint"].as_str().unwrap().contains("-H"));
}
