//! Against a server on this machine, which plays the Hub; no environment variable is read or set.

mod server;

use std::path::{Path, PathBuf};

use server::{COMMIT, Server, sha256};

use super::*;
use crate::testing::{TempDir, assert_refuses};

struct Cache(TempDir);

impl Cache {
    fn new() -> Self {
        Self(TempDir::new())
    }

    fn settings(&self, endpoint: &str) -> HubSettings {
        HubSettings { cache: self.0.to_owned(), endpoint: endpoint.into(), token: None, offline: false }
    }

    fn offline(&self) -> HubSettings {
        HubSettings { offline: true, ..self.settings("http://127.0.0.1:1") }
    }

    fn repo(&self) -> PathBuf {
        self.0.join("models--o--m")
    }
}

const INDEX: &str = r#"{"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "PNDMScheduler"],
    "safety_checker": [null, null], "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"]}"#;
const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

fn pipeline() -> Server {
    let weights: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    Server::of_files(&[
        ("README.md", b"not wanted"),
        ("model_index.json", INDEX.as_bytes()),
        ("scheduler/scheduler_config.json", b"{}"),
        ("tokenizer/merges.txt", b"#version"),
        ("tokenizer/vocab.json", b"{ }"),
        ("unet/config.json", b"{  }"),
        (WEIGHTS, &weights),
    ])
}

fn weights_only(settings: &HubSettings, name: &str) -> Result<PathBuf> {
    fetch_with(settings, name, &|files| only(files, ".safetensors"), &mut |_, _| {})
}

fn only(files: &[String], ending: &str) -> Vec<String> {
    files.iter().filter(|file| file.ends_with(ending)).cloned().collect()
}

#[test]
fn names_of_repositories() {
    for name in
        ["stable-diffusion-v1-5/stable-diffusion-v1-5", "o/m@main", "o/m@refs/pr/1", "a_b/c.d-e", "o/_m"]
    {
        assert!(looks_like_repo(name), "{name}");
    }
    let long = format!("o/{}", "m".repeat(97));
    for name in [
        "", "/", "m", "o/", "/m", "o/m/n", "./m", "../m", "o/..", "o/.", "o\\m", "o/m@", "o/m@../x",
        "o/m@a//b", "o/m@/x", "a--b/c", "o/m n", "o/é", "~/m", "-o/m", "o/m.", "C:/m", &long,
    ] {
        assert!(!looks_like_repo(name), "{name}");
    }
}

#[test]
fn a_pipeline_in_the_cache_layout() {
    let (server, cache) = (pipeline(), Cache::new());
    let settings = cache.settings(&server.address);
    let mut heard = Vec::new();
    let folder = fetch_pipeline_with(&settings, "o/m", &mut |file, size| heard.push((file.to_owned(), size)));
    let folder = folder.unwrap();
    assert_eq!(folder, cache.repo().join("snapshots").join(COMMIT));
    assert_eq!(std::fs::read_to_string(cache.repo().join("refs/main")).unwrap(), COMMIT);
    assert_eq!(heard.len(), 6);
    assert!(heard.contains(&(WEIGHTS.into(), 400_000)));
    assert_eq!(heard.last().unwrap().0, "model_index.json");
    assert!(server.asked().iter().all(|request| !request.contains("README")));

    let weights = server.site().files[WEIGHTS].clone();
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), weights);
    #[cfg(unix)]
    {
        let blob = format!("../../../blobs/{}", sha256(&weights));
        assert_eq!(std::fs::read_link(folder.join(WEIGHTS)).unwrap(), Path::new(&blob));
    }

    // What is there is not asked for again, and is all that offline needs.
    fetch_pipeline_with(&settings, "o/m", &mut |_, _| panic!("downloaded again")).unwrap();
    assert_eq!(server.asked().len(), 1);
    for name in ["o/m".to_owned(), format!("o/m@{COMMIT}")] {
        assert_eq!(fetch_pipeline_with(&cache.offline(), &name, &mut |_, _| {}).unwrap(), folder);
    }

    // A deleted blob: missing offline, downloaded again online.
    std::fs::remove_file(cache.repo().join("blobs").join(sha256(&weights))).unwrap();
    let error = fetch_pipeline_with(&cache.offline(), "o/m", &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains(WEIGHTS) && error.contains("unset HF_HUB_OFFLINE"), "{error}");
    fetch_pipeline_with(&settings, "o/m", &mut |file, _| assert_eq!(file, WEIGHTS)).unwrap();
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), weights);
}

#[test]
fn a_new_commit_shares_blobs_and_counts_when_complete() {
    let (server, cache) = (pipeline(), Cache::new());
    let settings = cache.settings(&server.address);
    let first = fetch_pipeline_with(&settings, "o/m", &mut |_, _| {}).unwrap();
    server.change(|hub| {
        hub.commit = "f".repeat(40);
        hub.files.insert("unet/config.json".into(), b"{ \"new\": 1 }".to_vec());
        hub.cuts = vec![0; 3];
    });
    fetch_pipeline_with(&settings, "o/m", &mut |_, _| {}).unwrap_err();
    let offline = |name: &str| fetch_pipeline_with(&cache.offline(), name, &mut |_, _| {});
    assert_eq!(offline("o/m").unwrap(), first);
    assert!(
        offline(&format!("o/m@{}", "f".repeat(40))).unwrap_err().to_string().contains("unet/config.json")
    );

    let mut heard = Vec::new();
    let second = fetch_pipeline_with(&settings, "o/m", &mut |file, _| heard.push(file.to_owned())).unwrap();
    assert_eq!(heard, ["unet/config.json"]);
    assert_eq!(offline("o/m").unwrap(), second);
    assert_eq!(std::fs::read(first.join("unet/config.json")).unwrap(), b"{  }");
    assert_eq!(std::fs::read(second.join("unet/config.json")).unwrap(), b"{ \"new\": 1 }");

    // A link that leads nowhere is replaced.
    #[cfg(unix)]
    {
        let link = second.join("unet/config.json");
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("../../../blobs/gone", &link).unwrap();
        fetch_pipeline_with(&settings, "o/m", &mut |_, _| {}).unwrap();
        assert_eq!(std::fs::read(&link).unwrap(), b"{ \"new\": 1 }");
        assert!(link.is_symlink());
    }
}

#[test]
fn an_interrupted_download_goes_on() {
    let (server, cache) = (pipeline(), Cache::new());
    let settings = cache.settings(&server.address);
    // Within one call.
    server.change(|hub| hub.cuts = vec![1000, 3000]);
    let folder = weights_only(&settings, "o/m").unwrap();
    let weights = server.site().files[WEIGHTS].clone();
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), weights);
    let ranges = |server: &Server| -> Vec<String> {
        let of_content = |r: &String| r.contains("GET /content/");
        let range = |r: String| r.split("range=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        server.asked().into_iter().filter(of_content).map(range).collect()
    };
    assert_eq!(ranges(&server), ["", "bytes=1000-", "bytes=4000-"]);

    // Over two calls: the first gives up, the second goes on where it stopped.
    std::fs::remove_dir_all(cache.repo()).unwrap();
    server.change(|hub| hub.cuts = vec![5000, 0, 0, 0]);
    let error = weights_only(&settings, "o/m").unwrap_err().to_string();
    assert!(error.contains("expected 400000 bytes, got 5000") && error.contains("run it again"), "{error}");
    let partial = cache.repo().join("blobs").join(format!("{}.incomplete", sha256(&weights)));
    assert_eq!(std::fs::metadata(&partial).unwrap().len(), 5000);
    assert!(!folder.join(WEIGHTS).exists() && !cache.repo().join("refs/main").exists());
    ranges(&server);
    weights_only(&settings, "o/m").unwrap();
    assert_eq!(ranges(&server), ["bytes=5000-"]);
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), weights);
    assert!(!partial.exists());
}

#[test]
fn a_server_without_ranges_and_a_partial_file_that_is_too_long() {
    let (server, cache) = (pipeline(), Cache::new());
    let weights = server.site().files[WEIGHTS].clone();
    let partial = cache.repo().join("blobs").join(format!("{}.incomplete", sha256(&weights)));
    std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
    for (length, ranges) in [(700, false), (400_001, true)] {
        std::fs::write(&partial, vec![7; length]).unwrap();
        server.change(|hub| hub.ranges = ranges);
        let folder = weights_only(&cache.settings(&server.address), "o/m").unwrap();
        assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), weights);
        std::fs::remove_file(cache.repo().join("blobs").join(sha256(&weights))).unwrap();
    }
}

#[test]
fn content_that_is_not_what_the_hub_has_is_refused() {
    let (server, cache) = (pipeline(), Cache::new());
    server.change(|hub| hub.etag = Some("a".repeat(64)));
    let error = weights_only(&cache.settings(&server.address), "o/m").unwrap_err();
    assert!(matches!(error, Error::Format { .. }) && error.to_string().contains("sha256"), "{error}");
    assert_eq!(std::fs::read_dir(cache.repo().join("blobs")).unwrap().count(), 0);
}

#[test]
fn refusals_say_what_to_do_and_the_token_stays_with_the_hub() {
    let (server, cache) = (pipeline(), Cache::new());
    let mut settings = cache.settings(&server.address);
    let mut error_of = |status: u16, token: Option<&str>| {
        server.change(|hub| hub.status = Some(status));
        settings.token = token.map(str::to_owned);
        weights_only(&settings, "o/m").unwrap_err().to_string()
    };
    assert!(
        error_of(401, None)
            .contains("401; no such repository, or one that needs a token: check the name, or set HF_TOKEN")
    );
    assert!(error_of(401, Some("hf_x")).contains("not valid"));
    assert!(error_of(403, None).contains("accept the licence"));
    assert!(error_of(404, None).contains("check the name"));
    assert!(!error_of(403, Some("hf_secret")).contains("hf_secret"));

    server.change(|hub| hub.status = None);
    server.asked();
    settings.token = Some("hf_x".into());
    weights_only(&settings, "o/m").unwrap();
    let requests = server.asked();
    assert!(requests.iter().any(|r| r.ends_with("host")));
    for request in requests {
        assert_eq!(request.contains("Bearer hf_x"), !request.ends_with("host"), "{request}");
    }
}

#[test]
fn without_a_network_the_cache() {
    let (server, cache) = (pipeline(), Cache::new());
    let settings = cache.settings(&server.address);
    // A port that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = cache.settings(&format!("http://127.0.0.1:{port}"));
    let error = weights_only(&nobody, "o/m").unwrap_err().to_string();
    assert!(error.contains("models--o--m") && error.contains("try again with a network"), "{error}");
    let error = weights_only(&cache.offline(), "o/m").unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE is set"), "{error}");

    let folder = weights_only(&settings, "o/m").unwrap();
    assert_eq!(weights_only(&nobody, "o/m").unwrap(), folder);
    server.change(|hub| hub.status = Some(503));
    assert_eq!(weights_only(&settings, "o/m").unwrap(), folder);
    // Other files than those that were downloaded.
    let all = |files: &[String]| files.to_vec();
    let error = fetch_with(&cache.offline(), "o/m", &all, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("without README.md, model_index.json") && !error.contains(WEIGHTS), "{error}");
    // Another revision.
    assert_refuses(weights_only(&cache.offline(), "o/m@v2"), "o/m@v2: expected");
}

#[test]
fn a_cache_that_python_filled() {
    let (server, cache) = (pipeline(), Cache::new());
    let folder = fetch_pipeline_with(&cache.settings(&server.address), "o/m", &mut |_, _| {}).unwrap();
    std::fs::remove_dir_all(cache.repo().join(".files")).unwrap();
    assert_eq!(fetch_pipeline_with(&cache.offline(), "o/m", &mut |_, _| {}).unwrap(), folder);
    std::fs::remove_file(folder.join(WEIGHTS)).unwrap();
    std::fs::remove_file(folder.join("tokenizer/vocab.json")).unwrap();
    let error = fetch_pipeline_with(&cache.offline(), "o/m", &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("weights in unet/") && error.contains("tokenizer/vocab.json or"), "{error}");
}

#[test]
fn hostile_answers() {
    let (server, cache) = (pipeline(), Cache::new());
    let settings = cache.settings(&server.address);
    for name in [
        "../x.safetensors",
        "a/../../x.safetensors",
        "/etc/x.safetensors",
        "a\\..\\x.safetensors",
        "a//x",
        "C:x.safetensors",
        "./x",
        "a\nb",
        "",
    ] {
        server.change(|hub| hub.extra_names = vec![name.into()]);
        let error = weights_only(&settings, "o/m").unwrap_err();
        assert!(
            matches!(error, Error::Format { .. }) && error.to_string().contains("refused"),
            "{name}: {error}"
        );
    }
    server.change(|hub| hub.extra_names.clear());
    for etag in ["../../x", "", "a/b", "..", "a.b", &"a".repeat(200)] {
        server.change(|hub| hub.etag = Some(etag.into()));
        assert!(weights_only(&settings, "o/m").unwrap_err().to_string().contains("etag"), "{etag}");
    }
    server.change(|hub| (hub.etag, hub.linked_size) = (None, false));
    assert!(weights_only(&settings, "o/m").unwrap_err().to_string().contains("size is not given"));
    for commit in ["../../../../x", "main", ""] {
        server.change(|hub| hub.commit = commit.into());
        assert!(weights_only(&settings, "o/m").unwrap_err().to_string().contains("commit hash"), "{commit}");
    }
    server.change(|hub| (hub.commit, hub.head_commit) = (COMMIT.into(), Some("f".repeat(40))));
    assert!(weights_only(&settings, "o/m").unwrap_err().to_string().contains("another commit"));
    assert!(!cache.repo().join("refs").exists() && !cache.repo().join("blobs").exists());
}

#[test]
fn renamed_repositories_revisions_and_odd_names() {
    let server = Server::of_files(&[("a b/x.safetensors", b"1234"), ("empty.safetensors", b"")]);
    let cache = Cache::new();
    server.change(|hub| hub.old_name = Some("old/name".into()));
    let settings = HubSettings { token: Some("hf_x".into()), ..cache.settings(&server.address) };
    let folder = weights_only(&settings, "old/name@refs/pr/1").unwrap();
    assert_eq!(std::fs::read(folder.join("a b/x.safetensors")).unwrap(), b"1234");
    assert_eq!(std::fs::read(folder.join("empty.safetensors")).unwrap(), b"");
    assert!(cache.0.join("models--old--name/refs/refs/pr/1").is_file());
    let requests = server.asked();
    assert!(requests[0].contains("/revision/refs%2Fpr%2F1 "));
    // The token goes along to the new name.
    assert!(requests.iter().all(|request| request.contains("Bearer hf_x") || request.ends_with("host")));
}
