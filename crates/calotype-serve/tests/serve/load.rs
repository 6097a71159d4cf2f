//! Many clients at once: nothing is lost, nothing but what is documented goes wrong.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::support::*;

#[test]
fn sixty_mixed_requests_of_six_clients() {
    let server = TestServer::with(|_, mut config| {
        config.limits.queue = 16;
        config
    });
    let clients = (0..6).map(|number| {
        let client = server.client().with("X-Calotype-Client", &format!("client {number}"));
        std::thread::spawn(move || (0..10).map(|i| ask(&client, number, i)).collect::<Vec<u16>>())
    });
    let threads: Vec<_> = clients.collect();
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for status in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
        *statuses.entry(status).or_default() += 1;
    }
    let good: usize = statuses.iter().filter(|(status, _)| **status < 300).map(|(_, count)| count).sum();
    let busy = statuses.get(&429).copied().unwrap_or(0) + statuses.get(&503).copied().unwrap_or(0);
    assert_eq!(good + busy, 60, "{statuses:?}");
    assert!(good >= 40, "{statuses:?}");
    let client = server.client();
    let jobs = client.get("/api/jobs").json();
    for job in jobs["jobs"].as_array().unwrap() {
        let (_, name, data) = client.events(job["id"].as_str().unwrap()).pop().unwrap();
        assert_eq!(name, "done", "{data}");
    }
    let (waiting, running) = (
        client.get("/api/status").json()["queue"]["waiting"].clone(),
        client.get("/api/status").json()["queue"]["running"].clone(),
    );
    assert_eq!((waiting, running), (json!(0), json!(0)));
}

fn ask(client: &Client, number: u64, i: u64) -> u16 {
    let seed = 10 * number + i;
    match i % 5 {
        0 => client.post("/api/jobs", &quick("a cat", seed)).status,
        1 => {
            client
                .post("/v1/images/generations", &json!({ "prompt": "a dog", "seed": seed, "steps": 2 }))
                .status
        }
        2 => client.get("/api/pictures?limit=5").status,
        3 => {
            let body = json!({ "prompt": "a fish", "seed": seed, "steps": 2, "width": 64, "height": 64, "batch_size": 2 });
            client.post("/sdapi/v1/txt2img", &body).status
        }
        _ => {
            let job = json!({ "request": { "prompt": "a boat", "seed": seed, "steps": 3 }, "word_maps": true, "previews": true });
            let reply = client.post("/api/jobs", &job);
            if reply.status == 202 {
                let id = reply.json()["id"].as_str().unwrap().to_owned();
                let last: Value = client.events(&id).pop().unwrap().2;
                assert_eq!(last["pictures"].as_array().map(Vec::len), Some(1), "{last}");
            }
            reply.status
        }
    }
}

#[test]
fn a_server_stops_in_the_middle_of_a_job() {
    let server = TestServer::start();
    let client = server.client();
    let (running, _waiting) = (client.job(&slow()), client.job(&quick("a cat", 0)));
    client.wait_for(&running, "running");
    let watching = client.clone();
    let stream = std::thread::spawn(move || watching.events(&running));
    std::thread::sleep(std::time::Duration::from_millis(100));
    let since = std::time::Instant::now();
    let dir = server.stop();
    assert!(since.elapsed() < std::time::Duration::from_secs(5), "{:?}", since.elapsed());
    stream.join().unwrap();
    // Nothing half is left, and the history can be opened.
    assert_eq!(std::fs::read_dir(dir.path().join("history/pictures")).unwrap().count(), 0);
    let history = dir.path().join("history");
    let again = TestServer::with(|_, config| calotype_serve::Config { history, ..config });
    assert_eq!(again.client().get("/api/pictures").json()["pictures"], json!([]));
}
