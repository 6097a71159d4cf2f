//! Runs of a folder, and recipes.

use image::RgbImage;
use serde_json::json;

use super::support::*;

fn with_run() -> TestServer {
    TestServer::with(|dir, config| {
        let log =
            "{\"step\":0,\"loss\":2.0}\n{\"step\":10,\"loss\":1.0}\n{\"step\":10,\"validation_psnr\":21.5}\n";
        dir.write("runs/first/logs/vae.jsonl", log);
        dir.write("runs/first/recipe.toml", calotype::demo::built_in("smoke").unwrap());
        dir.write("runs/first/report.html", "<!doctype html><title>report</title>");
        dir.write("runs/first/metrics.json", "{\"prompt_accuracy\": 0.8}");
        dir.write("runs/first/samples/vae/000010-reconstruction.png", png(&RgbImage::new(2, 2)));
        dir.write("runs/group/second/logs/clip.jsonl", "{\"step\":0,\"loss\":2.0}\n");
        dir.write("runs/group/second/recipe.toml", calotype::demo::built_in("smoke").unwrap());
        dir.write("runs/no-run/file", "x");
        calotype_serve::Config { runs_dir: Some(dir.path().join("runs")), ..config }
    })
}

#[test]
fn runs_are_shown() {
    let server = with_run();
    let client = server.client();
    let runs = client.get("/api/runs").expect(200).json();
    let mut ids: Vec<&str> =
        runs["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["first", "group:second"]);
    let run = client.get("/api/runs/first").expect(200).json();
    assert_eq!(
        (&run["metrics"]["prompt_accuracy"], &run["report"], &run["model"]),
        (&json!(0.8), &json!(true), &json!(false))
    );
    assert!(run["recipe"].as_str().unwrap().contains("[vae"));
    assert_eq!(run["parts"][0]["part"], "vae");
    let series = client.get("/api/runs/first/series?part=vae").expect(200).json();
    assert_eq!((&series["steps"], &series["series"]["loss"]), (&json!([0.0, 10.0]), &json!([2.0, 1.0])));
    assert_eq!(client.get("/api/runs/first/series?part=vae&since=5").json()["steps"], json!([10.0]));
    let samples = client.get("/api/runs/first/samples?part=vae").expect(200).json();
    assert_eq!(samples["samples"][0]["step"], 10);
    assert_eq!(
        pixels(&client.get(samples["samples"][0]["image"].as_str().unwrap()).expect(200).body).dimensions(),
        (2, 2)
    );
    let report = client.get("/api/runs/first/report").expect(200);
    assert!(report.header("content-security-policy").unwrap().contains("sandbox"));
    client.get("/api/runs/group:second").expect(200);
    for path in ["/api/runs/none", "/api/runs/no-run", "/api/runs/group:second/report"] {
        client.get(path).expect(404);
    }
    client.get("/api/runs/first/series?part=unet").refuses(422, "part");
}

#[test]
fn recipes_are_shown_and_checked() {
    let client = shared();
    let recipes = client.get("/api/recipes").expect(200).json();
    assert_eq!(recipes["recipes"][0]["name"], "smoke");
    let text = recipes["recipes"][0]["text"].as_str().unwrap();
    let check =
        |recipe: &str| client.post("/api/recipes/check", &json!({ "recipe": recipe })).expect(200).json();
    assert_eq!(check(text), json!({ "ok": true }));
    let wrong = check(&text.replacen("beta = ", "beta = -", 1));
    assert_eq!((&wrong["ok"], &wrong["error"]["setting"]), (&json!(false), &json!("vae.beta")), "{wrong}");
    assert_eq!(check("seed = ")["ok"], false);
}

/// The smallest recipe, with few steps.
fn tiny() -> String {
    let text = calotype::demo::built_in("smoke").unwrap();
    let line =
        |line: &str| if line.starts_with("steps = ") { "steps = 400".to_owned() } else { line.to_owned() };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_training_is_started_stopped_and_resumed() {
    let server = TestServer::with(|dir, config| {
        std::fs::create_dir_all(dir.path().join("runs")).unwrap();
        calotype_serve::Config { runs_dir: Some(dir.path().join("runs")), threads: 1, ..config }
    });
    let client = server.client();
    let start = |run: &str, recipe: &str, resume: bool| {
        client.post(
            "/api/trainings",
            &json!({ "run": run, "recipe": recipe, "parts": ["vae"], "resume": resume }),
        )
    };
    start("../evil", &tiny(), false).refuses(422, "run");
    start("x", "model = \"/etc/passwd\"", false).refuses(422, "model");
    start("x", &tiny().replacen("beta = ", "beta = -", 1), false).refuses(422, "vae.beta");
    let id = start("mine", &tiny(), false).expect(202).json()["id"].as_str().unwrap().to_owned();
    start("other", &tiny(), false).expect(409);
    // A picture is made beside it.
    assert_eq!(client.pictures(&client.job(&quick("a cat", 0))).len(), 1);
    let training = |id: &str| client.get(&format!("/api/trainings/{id}")).expect(200).json();
    while training(&id)["step"].as_u64() < Some(3) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(client.get("/api/runs/mine").expect(200).json()["training"], json!(id));
    client.delete(&format!("/api/trainings/{id}")).expect(204);
    let all = events(
        &client.with("Last-Event-ID", "0").get(&format!("/api/trainings/{id}/events")).expect(200).text(),
    );
    assert_eq!(all.last().unwrap().1, "cancelled", "{all:?}");
    assert!(all.iter().any(|(_, name, data)| name == "step" && data["steps"] == 400));
    let saved = client.get("/api/runs/mine").expect(200).json()["parts"][0]["checkpoint"].as_u64().unwrap();
    start("mine", &tiny(), false).refuses(422, "run");
    let again = start("mine", &tiny(), true).expect(202).json()["id"].as_str().unwrap().to_owned();
    while training(&again)["step"].as_u64() <= Some(saved) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // The server stops in the middle of it: the run can go on.
    let dir = server.stop();
    assert!(std::fs::read_dir(dir.path().join("runs/mine/state/vae")).unwrap().count() > 0);
}

#[test]
fn trainings_need_a_folder_and_permission() {
    let body = json!({ "run": "x", "recipe": tiny(), "parts": ["vae"] });
    shared().post("/api/trainings", &body).expect(403);
    let server = TestServer::with(|dir, config| {
        std::fs::create_dir_all(dir.path().join("runs")).unwrap();
        let (runs_dir, token) = (Some(dir.path().join("runs")), Some("long enough".to_owned()));
        calotype_serve::Config { host: "0.0.0.0".into(), runs_dir, token, ..config }
    });
    let mut client = server.client().with("Authorization", "Bearer long enough");
    client.address.set_ip([127, 0, 0, 1].into());
    assert_eq!(client.get("/api/status").expect(200).json()["training_allowed"], false);
    client.post("/api/trainings", &body).expect(403);
}

#[test]
fn a_model_is_measured() {
    let server = with_run();
    let client = server.client();
    let body = json!({ "model": "emoji-scenes-64", "prompts": 4, "seed": 0 });
    let id = client.post("/api/evaluations", &body).expect(202).json()["id"].as_str().unwrap().to_owned();
    client.post("/api/evaluations", &body).expect(409);
    let all = events(&client.get(&format!("/api/evaluations/{id}/events")).expect(200).text());
    assert_eq!(all.last().unwrap().1, "done", "{all:?}");
    let list = client.get("/api/evaluations").expect(200).json();
    let (own, of_run) = (&list["evaluations"][0], &list["evaluations"][1]);
    assert_eq!((&own["id"], &own["metrics"]["prompt_accuracy"]["n"]), (&json!(id), &json!(4)));
    assert_eq!(
        (&of_run["id"], &of_run["metrics"]["prompt_accuracy"]["value"]),
        (&json!("run:first"), &json!(0.8))
    );
    let pictures = client.get(&format!("/api/evaluations/{id}/pictures?kind=unseen")).expect(200).json();
    let first = &pictures["pictures"][0];
    assert_eq!(pixels(&client.get(first["image"].as_str().unwrap()).expect(200).body).dimensions(), (64, 64));
    let nouns = first["found"].as_array().unwrap().len() + first["missing"].as_array().unwrap().len();
    assert_eq!((pictures["pictures"].as_array().unwrap().len(), nouns), (4, 2));
    client.post("/api/evaluations", &json!({ "prompts": 10_000 })).refuses(422, "prompts");
    client.get("/api/evaluations/..%2f..%2f/pictures").expect(404);
}

#[test]
fn every_key_of_a_recipe_is_told() {
    let keys = shared().get("/api/recipes/keys").expect(200).json();
    let keys = keys["keys"].as_array().unwrap();
    let beta = keys.iter().find(|key| key["key"] == "vae.beta").unwrap();
    assert_eq!(
        (&beta["type"], &beta["least"], &beta["part"]),
        (&json!("number"), &json!(0.0), &json!("vae"))
    );
    assert!(keys.len() > 100, "{}", keys.len());
}

#[test]
fn data_is_looked_at_before_a_training() {
    let server = TestServer::with(|dir, config| {
        dir.write("data/mine/a.png", png(&RgbImage::from_pixel(300, 150, image::Rgb([9; 3]))));
        dir.write("data/mine/a.txt", "a grey field");
        dir.write("data/mine/b.png", "no picture");
        calotype_serve::Config { data_dir: Some(dir.path().join("data")), ..config }
    });
    let client = server.client();
    let look = |name: &str| client.post("/api/data/inspect", &json!({ "data": name }));
    let found = look("mine").expect(200).json();
    assert_eq!((&found["pictures"], &found["samples"][0]["caption"]), (&json!(2), &json!("a grey field")));
    assert!(found["faults"][0].as_str().unwrap().contains("b.png"), "{found}");
    let thumbnail =
        found["samples"][0]["thumbnail"].as_str().unwrap().strip_prefix("data:image/png;base64,").unwrap();
    assert_eq!(pixels(&unbase64(thumbnail)).dimensions(), (128, 64));
    for name in ["..", "../data", "/etc", "", "."] {
        look(name).expect(404);
    }
}
