//! Jobs: watched, cancelled, batched; and what is kept of them.

use calotype::explain::heat_map::Baseline;
use calotype::machine::Machine;
use calotype::pipeline::Request;
use calotype::progress::Silent;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use super::support::*;

/// The pictures of a request as the library alone makes them.
fn alone(settings: Value, count: usize) -> Vec<RgbImage> {
    let device = burn::tensor::Device::flex();
    let machine = Machine { device: &device, threads: 2, progress: &Silent };
    let request: Request = serde_json::from_value(settings).unwrap();
    let request = Request { model: Some("emoji-scenes-64".into()), ..request };
    let model = request.load(machine).unwrap();
    let generation = request.prepare(&model, count).unwrap();
    let latents = generation.sample(&model, machine).unwrap();
    generation.decode(&model, latents, &Silent).unwrap()
}

#[test]
fn a_picture_develops_and_is_kept() {
    let client = shared();
    let job = client.job(&json!({
        "request": { "prompt": "a cat sitting by the window", "seed": 7, "steps": 5, "guidance": 3.0 },
        "count": 2, "word_maps": true, "previews": true,
    }));
    let events = client.events(&job);
    let steps: Vec<&Value> =
        events.iter().filter(|(_, name, _)| name == "step").map(|(.., data)| data).collect();
    assert!(!steps.is_empty() && steps.last().unwrap()["step"] == 5, "{events:?}");
    let ids = client.pictures(&job);
    assert_eq!(ids.len(), 2);
    let settings = json!({"prompt": "a cat sitting by the window", "seed": 7, "steps": 5, "guidance": 3.0, "sampler": "euler-a"});
    assert_eq!(ids.iter().map(|id| client.pixels(id)).collect::<Vec<_>>(), alone(settings, 2));

    let last = steps.last().unwrap()["previews"][1].as_str().unwrap();
    assert_eq!(pixels(&client.get(last).expect(200).body), client.pixels(&ids[1]));
    let first = client.get(&format!("/api/jobs/{job}/previews/1?step=1")).expect(200).body;
    assert_ne!(pixels(&first), client.pixels(&ids[1]));
    assert_eq!(client.get(&format!("/api/jobs/{job}/previews/2")).status, 404);

    let picture = client.get(&format!("/api/pictures/{}", ids[1])).expect(200).json();
    assert_eq!(
        (&picture["seed"], &picture["index"], &picture["steps_kept"]),
        (&json!(7), &json!(1), &json!(5))
    );
    assert_eq!(picture["request"]["sampler"], "euler-a");
    let strip = pixels(&client.get(&format!("/api/pictures/{}/strip.png", ids[1])).expect(200).body);
    assert_eq!(strip.dimensions(), (5 * 64, 64));
    assert_eq!(
        pixels(&client.get(picture["thumbnail"].as_str().unwrap()).expect(200).body).dimensions(),
        (64, 64)
    );

    let maps = client.get(&format!("/api/pictures/{}/maps", ids[1])).expect(200).json();
    let words: Vec<&str> =
        maps["words"].as_array().unwrap().iter().map(|word| word["word"].as_str().unwrap()).collect();
    assert_eq!(words, ["a", "cat", "sitting", "by", "the", "window"]);
    let bytes = client.get(maps["maps"].as_str().unwrap()).expect(200).body;
    assert_eq!((bytes.len(), &maps["steps"]), ((1 + 5) * 6 * 16 * 16, &json!(5)));
    assert!(bytes.chunks(256).take(6).all(|map| map.iter().max() == Some(&255)));

    // What it records makes it again.
    let png = client.get(&format!("/api/pictures/{}.png", ids[1])).expect(200).body;
    let record = client.send("POST", "/api/records", &png).expect(200).json();
    assert_eq!(
        (&record["model"], &record["prompt"]),
        (&json!("emoji-scenes-64"), &json!("a cat sitting by the window"))
    );
    let again = client.job(&json!({ "request": record["request"] }));
    assert_eq!(client.pixels(&client.pictures(&again)[0]), pixels(&png));
}

#[test]
fn maps_do_not_change_a_picture() {
    let client = shared();
    let with = json!({ "request": { "prompt": "a dog", "seed": 1, "steps": 3 }, "word_maps": true });
    let without = json!({ "request": { "prompt": "a dog", "seed": 1, "steps": 3 } });
    let [with, without] = [with, without].map(|job| client.pixels(&client.pictures(&client.job(&job))[0]));
    assert_eq!(with, without);
}

#[test]
fn what_waits_is_sampled_together_with_the_bits_of_each_alone() {
    let server = TestServer::start();
    let client = server.client();
    let busy = client.job(&slow());
    client.wait_for(&busy, "running");
    let asked = [
        ("a cat", 1, 4.0, None),
        ("a big red apple on top of a book", 2, 7.5, Some("a dog")),
        ("", u64::MAX, 2.0, None),
        ("a fish", 1, 4.0, Some("")),
        ("a boat below a house on a blue background", 99, 4.0, None),
    ];
    let settings = asked.map(|(prompt, seed, guidance, negative)| {
        json!({ "prompt": prompt, "seed": seed, "guidance": guidance, "negative": negative, "steps": 6, "sampler": "euler-a" })
    });
    let jobs: Vec<String> =
        settings.iter().map(|settings| client.job(&json!({ "request": settings }))).collect();
    client.delete(&format!("/api/jobs/{busy}")).expect(204);
    for (job, settings) in jobs.iter().zip(settings) {
        let got = client.pixels(&client.pictures(job)[0]);
        assert_eq!(got, alone(settings.clone(), 1)[0], "{settings}");
    }
    let metrics = client.get("/metrics").expect(200).text();
    let batches = metrics.lines().find_map(|line| line.strip_prefix("calotype_batches_total ")).unwrap();
    assert_eq!(batches, "2", "one for the job that was stopped, one for all others");
}

#[test]
fn a_job_is_stopped_while_it_waits_and_while_it_runs() {
    let server = TestServer::start();
    let client = server.client();
    let (running, waiting) = (client.job(&slow()), client.job(&quick("a cat", 0)));
    client.wait_for(&running, "running");
    assert_eq!(client.get(&format!("/api/jobs/{waiting}")).json()["position"], 0);
    client.delete(&format!("/api/jobs/{waiting}")).expect(204);
    assert_eq!(client.events(&waiting).pop().unwrap().1, "cancelled");
    client.delete(&format!("/api/jobs/{running}")).expect(204);
    client.wait_for(&running, "cancelled");
    assert_eq!(client.get(&format!("/api/jobs/{running}")).json()["pictures"], json!([]));
    // The server goes on.
    assert_eq!(client.pictures(&client.job(&quick("a cat", 0))).len(), 1);
    let states: Vec<Value> = client.get("/api/jobs").json()["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["state"].clone())
        .collect();
    assert_eq!(states, ["done", "cancelled", "cancelled"]);
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let server = TestServer::with(|_, mut config| {
        config.limits.queue = 2;
        config
    });
    let client = server.client();
    let busy = client.job(&slow());
    client.wait_for(&busy, "running");
    let waiting = [client.job(&quick("a", 0)), client.job(&quick("b", 1))];
    let refused = client.post("/api/jobs", &quick("c", 2)).expect(429);
    assert!(refused.header("retry-after").is_some());
    client.delete(&format!("/api/jobs/{busy}")).expect(204);
    assert!(waiting.iter().all(|job| client.pictures(job).len() == 1));
}

#[test]
fn a_job_that_takes_too_long_is_given_up() {
    let server = TestServer::with(|_, mut config| {
        config.limits.job_time = std::time::Duration::from_millis(300);
        config
    });
    let client = server.client();
    let (_, name, data) = client.events(&client.job(&slow())).pop().unwrap();
    assert_eq!(name, "failed");
    assert!(data["error"]["message"].as_str().unwrap().contains("took longer"), "{data}");
}

#[test]
fn events_go_on_where_a_stream_ended() {
    let client = shared();
    let job = client.job(&json!({ "request": { "prompt": "a cat", "steps": 3 } }));
    client.pictures(&job);
    let all = client.with("Last-Event-ID", "0").events(&job);
    let names: Vec<&str> =
        all.iter().map(|(_, name, _)| name.as_str()).filter(|name| *name != "queued").collect();
    assert_eq!(names, ["stage", "stage", "step", "step", "step", "stage", "picture", "done"]);
    assert!(all.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0));
    let at = all.len() - 3;
    assert_eq!(client.with("Last-Event-ID", &all[at].0.to_string()).events(&job), all[at + 1..]);
    // Who has seen nothing is told the end at once; who has seen all, nothing.
    assert_eq!(client.events(&job).len(), 1);
    assert!(client.with("Last-Event-ID", "999").events(&job).is_empty());
}

#[test]
fn pictures_begin_with_pictures() {
    let client = shared();
    let picture = RgbImage::from_fn(64, 64, |x, y| Rgb([(4 * x) as u8, (4 * y) as u8, 128]));
    let half = RgbImage::from_fn(64, 64, |x, _| Rgb([if x < 32 { 255 } else { 0 }; 3]));
    let url = format!("data:image/png;base64,{}", base64(&png(&picture)));
    let job = client.job(&json!({
        "request": { "prompt": "a cat", "steps": 4, "strength": 0.5 }, "init_image": url, "mask": base64(&png(&half)),
    }));
    let made = client.pixels(&client.pictures(&job)[0]);
    let change = |from: u32| {
        let pixels = made.enumerate_pixels().filter(|(x, ..)| (from..from + 24).contains(x));
        pixels.map(|(x, y, pixel)| u64::from(pixel[0].abs_diff(picture.get_pixel(x, y)[0]))).sum::<u64>()
    };
    assert!(change(0) > 2 * change(40), "{} where it is painted, {} where not", change(0), change(40));
    client
        .post("/api/jobs", &json!({ "request": { "prompt": "a", "strength": 0.5 } }))
        .refuses(422, "strength");
    client.post("/api/jobs", &json!({ "request": { "prompt": "a" }, "mask": url })).refuses(422, "mask");
}

#[test]
fn a_given_picture_is_explained() {
    let client = shared();
    let picture = png(&RgbImage::from_pixel(64, 64, Rgb([200, 100, 50])));
    let job = client.job(
        &json!({ "kind": "explain", "request": { "prompt": "a cat" }, "explain_image": base64(&picture) }),
    );
    let id = &client.pictures(&job)[0];
    assert_eq!(client.pixels(id), pixels(&picture));
    let maps = client.get(&format!("/api/pictures/{id}/maps")).expect(200).json();
    assert_eq!((maps["words"].as_array().unwrap().len(), &maps["steps"]), (2, &json!(10)));
    assert_eq!(format!("{:?}", Baseline::WordMean), "WordMean");
}

#[test]
fn the_history_is_searched_and_pictures_are_deleted() {
    let server = TestServer::start();
    let client = server.client();
    for (prompt, seed) in [("a cat", 0), ("a dog", 1), ("a black cat", 2)] {
        client.pictures(&client.job(&quick(prompt, seed)));
    }
    let list = |query: &str| {
        let page = client.get(&format!("/api/pictures{query}")).expect(200).json();
        let prompts: Vec<String> = page["pictures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["prompt"].as_str().unwrap().to_owned())
            .collect();
        (prompts, page["more"].as_bool().unwrap(), page["pictures"].clone())
    };
    assert_eq!(list("?limit=2").0, ["a black cat", "a dog"]);
    assert!(list("?limit=2").1);
    let before = list("?limit=2").2[1]["id"].as_str().unwrap().to_owned();
    assert_eq!(list(&format!("?before={before}")).0, ["a cat"]);
    assert_eq!(list("?prompt=cat").0, ["a black cat", "a cat"]);
    client.delete(&format!("/api/pictures/{before}")).expect(204);
    client.delete(&format!("/api/pictures/{before}")).expect(404);
    assert_eq!(list("").0, ["a black cat", "a cat"]);
    // Another server finds the same.
    let dir = server.stop();
    let history = dir.path().join("history");
    let again = TestServer::with(|_, config| calotype_serve::Config { history, ..config });
    assert_eq!(again.client().get("/api/pictures").json()["pictures"].as_array().unwrap().len(), 2);
}

#[test]
fn words_and_models_are_told() {
    let client = shared();
    let words = client.post("/api/words", &json!({ "prompt": "A cat by a zebra" })).expect(200).json();
    assert_eq!(words["words"][1], json!({ "word": "cat", "start": 2, "end": 5 }));
    assert_eq!(words["unknown"], json!(["zebra"]));
    assert_eq!(words["most_tokens"], 22);
    let models = client.get("/api/models").expect(200).json();
    let model = &models["models"][0];
    assert_eq!(
        (&model["name"], &model["width"], &model["side_multiple"]),
        (&json!("emoji-scenes-64"), &json!(64), &json!(4))
    );
    assert_eq!(model["words"]["nouns"].as_array().unwrap().len(), 40);
    for example in model["examples"].as_array().unwrap() {
        let words = client.post("/api/words", &json!({ "prompt": example })).expect(200).json();
        assert_eq!(words["unknown"], json!([]), "{example}");
    }
    let status = client.get("/api/status").expect(200).json();
    assert_eq!(
        (&status["default_model"], &status["token_required"]),
        (&json!("emoji-scenes-64"), &json!(false))
    );
    assert_eq!(client.get("/api/samplers").json()["samplers"].as_array().unwrap().len(), 16);
}

#[test]
fn people_choose_between_pictures() {
    let client = shared();
    let id = &client.pictures(&client.job(&quick("a cat", 5)))[0];
    let choice =
        |chosen: &str| client.post("/api/choices", &json!({ "left": id, "right": id, "chosen": chosen }));
    assert_eq!(choice("left").expect(200).json(), json!({ "models": [] }));
    choice("both").refuses(422, "chosen");
    client.post("/api/choices", &json!({ "left": id, "right": "p-0", "chosen": "left" })).expect(404);
}
