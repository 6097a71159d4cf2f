//! The doors of other programs, the document, and what machines ask.

use calotype::files::png_text;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use super::support::*;

/// What `webuiapi` 0.9 sends, whatever its user says.
fn webuiapi(changes: Value) -> Value {
    let mut body = json!({
        "enable_hr": false, "hr_scale": 2, "hr_upscaler": "Latent", "hr_second_pass_steps": 0, "hr_resize_x": 0,
        "hr_resize_y": 0, "denoising_strength": 0.7, "firstphase_width": 0, "firstphase_height": 0, "prompt": "",
        "styles": [], "seed": -1, "subseed": -1, "subseed_strength": 0.0, "seed_resize_from_h": 0,
        "seed_resize_from_w": 0, "batch_size": 1, "n_iter": 1, "steps": 20, "cfg_scale": 7.0, "width": 512, "height": 512,
        "restore_faces": false, "tiling": false, "do_not_save_samples": false, "do_not_save_grid": false,
        "negative_prompt": "", "eta": 1.0, "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1,
        "override_settings": {}, "override_settings_restore_afterwards": true, "sampler_name": "Euler a",
        "scheduler": "automatic", "sampler_index": "Euler a", "script_name": null, "script_args": [], "send_images": true,
        "save_images": false, "alwayson_scripts": {},
    });
    changes.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
    body
}

fn small(changes: Value) -> Value {
    let mut body = webuiapi(json!({ "prompt": "a cat", "width": 64, "height": 64, "steps": 3 }));
    changes.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
    body
}

fn info(reply: &Value) -> Value {
    serde_json::from_str(reply["info"].as_str().unwrap()).unwrap()
}

fn images(reply: &Value) -> Vec<Vec<u8>> {
    reply["images"].as_array().unwrap().iter().map(|image| unbase64(image.as_str().unwrap())).collect()
}

#[test]
fn webuis_clients_get_pictures() {
    let client = shared();
    let reply =
        client.post("/sdapi/v1/txt2img", &small(json!({ "batch_size": 2, "seed": 41 }))).expect(200).json();
    let pictures = images(&reply);
    assert_eq!((pictures.len(), info(&reply)["all_seeds"].clone()), (2, json!([41, 42])));
    assert_eq!((&info(&reply)["sampler_name"], &info(&reply)["steps"]), (&json!("Euler a"), &json!(3)));
    let infotext = info(&reply)["infotexts"][1].as_str().unwrap().to_owned();
    assert!(infotext.contains("Seed: 42") && infotext.contains("Size: 64x64"), "{infotext}");
    // A picture of a batch alone, by its seed; and as our own door makes it.
    let alone = client.post("/sdapi/v1/txt2img", &small(json!({ "seed": 42 }))).expect(200).json();
    assert_eq!(pixels(&images(&alone)[0]), pixels(&pictures[1]));
    let own = client.job(&json!({ "request": { "prompt": "a cat", "seed": 42, "steps": 3, "guidance": 7.0, "sampler": "euler-a" } }));
    assert_eq!(client.pixels(&client.pictures(&own)[0]), pixels(&pictures[1]));
    // Any seed, which is told.
    let any = client.post("/sdapi/v1/txt2img", &small(json!({}))).expect(200).json();
    let seed = info(&any)["seed"].as_u64().unwrap();
    let again = client.post("/sdapi/v1/txt2img", &small(json!({ "seed": seed }))).expect(200).json();
    assert_eq!(pixels(&images(&any)[0]), pixels(&images(&again)[0]));

    let read =
        client.post("/sdapi/v1/png-info", &json!({ "image": base64(&pictures[1]) })).expect(200).json();
    assert_eq!(
        (read["info"].as_str().unwrap(), &read["parameters"]["Seed"]),
        (infotext.as_str(), &json!("42"))
    );
    assert_eq!(read["parameters"]["Prompt"], "a cat");
}

#[test]
fn webuis_pictures_begin_with_pictures() {
    let client = shared();
    let picture = png(&RgbImage::from_fn(64, 64, |x, y| Rgb([(4 * x) as u8, (4 * y) as u8, 128])));
    let mask = png(&RgbImage::from_fn(64, 64, |x, _| Rgb([if x < 32 { 255 } else { 0 }; 3])));
    for encoded in [base64(&picture), format!("data:image/png;base64,{}", base64(&picture))] {
        let body = small(json!({ "init_images": [encoded], "denoising_strength": 0.5, "seed": 1 }));
        let reply = client.post("/sdapi/v1/img2img", &body).expect(200).json();
        assert_eq!(images(&reply).len(), 1);
        assert!(reply["parameters"].get("init_images").is_none());
    }
    let body = small(json!({
        "init_images": [base64(&picture)], "mask": base64(&mask), "mask_blur": 4, "inpainting_fill": 0, "inpaint_full_res": true,
        "inpainting_mask_invert": 0, "resize_mode": 0,
    }));
    let reply = client.post("/sdapi/v1/img2img", &body).expect(200).json();
    assert!(info(&reply)["warnings"][0].as_str().unwrap().contains("mask_blur"), "{}", info(&reply));
    client.post("/sdapi/v1/img2img", &small(json!({}))).refuses(422, "init_images");
}

#[test]
fn what_webui_has_and_this_has_not_is_refused_by_name() {
    let client = shared();
    for (change, setting) in [
        (json!({ "alwayson_scripts": { "controlnet": { "args": [] } } }), "alwayson_scripts"),
        (json!({ "script_name": "X/Y/Z plot" }), "script_name"),
        (json!({ "enable_hr": true }), "enable_hr"),
        (json!({ "restore_faces": true }), "restore_faces"),
        (json!({ "styles": ["photo"] }), "styles"),
        (json!({ "sampler_name": "DPM adaptive" }), "sampler_name"),
        (json!({ "scheduler": "polyexponential" }), "scheduler"),
        (json!({ "override_settings": { "eta_noise_seed_delta": 31337 } }), "eta_noise_seed_delta"),
        (json!({ "width": 66 }), "width"),
        (json!({ "seed": -2 }), "seed"),
    ] {
        client.post("/sdapi/v1/txt2img", &small(change)).refuses(422, setting);
    }
    let refused = client.post("/sdapi/v1/txt2img", &small(json!({ "sampler_name": "Magic" }))).expect(422);
    assert!(refused.json()["detail"].as_str().unwrap().contains("Euler a, "), "{}", refused.text());
    let named = client
        .post("/sdapi/v1/txt2img", &small(json!({ "alwayson_scripts": { "ADetailer": {} } })))
        .expect(422);
    assert!(named.text().contains("ADetailer"));
    client
        .post("/sdapi/v1/txt2img", &small(json!({ "sampler_name": "DPM++ 2M Karras", "scheduler": null })))
        .expect(200);
}

#[test]
fn webuis_lists_and_options() {
    let server = TestServer::start();
    let client = server.client();
    let list = |path: &str| client.get(&format!("/sdapi/v1/{path}")).expect(200).json();
    assert_eq!(
        (&list("samplers")[3]["name"], &list("schedulers")[0]["name"]),
        (&json!("Euler a"), &json!("automatic"))
    );
    assert_eq!(list("sd-models")[0]["title"], "emoji-scenes-64");
    assert_eq!(list("scripts"), json!({ "txt2img": [], "img2img": [] }));
    assert_eq!(list("options")["sd_model_checkpoint"], "emoji-scenes-64");
    let set = |options: Value| client.post("/sdapi/v1/options", &options);
    set(json!({ "sd_model_checkpoint": "emoji-scenes-64 [abc]", "CLIP_stop_at_last_layers": 2 })).expect(200);
    assert_eq!(list("options")["CLIP_stop_at_last_layers"], 2);
    set(list("options")).expect(200);
    set(json!({ "sd_model_checkpoint": "none" })).refuses(404, "model");
    set(json!({ "samples_format": "jpg" })).refuses(422, "samples_format");
    assert_eq!(list("progress")["progress"], 0.0);
}

#[test]
fn webuis_progress_and_interrupt_are_of_the_clients_own_job() {
    let server = TestServer::start();
    let client = server.client();
    let waiting = client.clone();
    let body = small(json!({ "width": 128, "height": 128, "steps": 400, "batch_size": 4 }));
    let made = std::thread::spawn(move || waiting.post("/sdapi/v1/txt2img", &body));
    let progress = loop {
        let now = client.get("/sdapi/v1/progress").expect(200).json();
        if !now["current_image"].is_null() {
            break now;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert!(progress["progress"].as_f64().unwrap() > 0.0);
    assert_eq!(pixels(&unbase64(progress["current_image"].as_str().unwrap())).dimensions(), (128, 128));
    // Somebody else's interrupt is not of this job.
    client.with("X-Calotype-Client", "another").send("POST", "/sdapi/v1/interrupt", b"").expect(200);
    assert_eq!(client.get("/api/jobs").json()["jobs"][0]["state"], "running");
    client.send("POST", "/sdapi/v1/interrupt", b"").expect(200);
    let reply = made.join().unwrap().expect(200).json();
    assert_eq!(reply["images"], json!([]));
}

#[test]
fn a_client_that_goes_away_stops_its_job() {
    use std::io::Write;
    let server = TestServer::start();
    let client = server.client();
    let body = small(json!({ "width": 128, "height": 128, "steps": 400 })).to_string();
    let mut stream = std::net::TcpStream::connect(client.address).unwrap();
    let head = format!(
        "POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let job = loop {
        let jobs = client.get("/api/jobs").json();
        if let Some(job) = jobs["jobs"].get(0).filter(|job| job["state"] == "running") {
            break job["id"].as_str().unwrap().to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    drop(stream);
    client.wait_for(&job, "cancelled");
}

#[test]
fn openais_clients_get_pictures() {
    let client = shared().with("Authorization", "Bearer anything");
    let body = json!({ "prompt": "a cat", "n": 2, "size": "64x64", "seed": 3, "steps": 3, "guidance": 4.0, "model": "emoji-scenes-64", "quality": "low", "user": "u" });
    let reply = client.post("/v1/images/generations", &body).expect(200).json();
    let data = reply["data"].as_array().unwrap();
    let first = unbase64(data[0]["b64_json"].as_str().unwrap());
    assert_eq!((data.len(), reply["created"].is_u64()), (2, true));
    let own = client.job(
        &json!({ "request": { "prompt": "a cat", "seed": 3, "steps": 3, "guidance": 4.0 }, "count": 2 }),
    );
    assert_eq!(client.pixels(&client.pictures(&own)[0]), pixels(&first));
    assert!(png_text::read(&first).unwrap().iter().any(|(keyword, _)| keyword == "calotype"));

    let body = json!({ "prompt": "a cat", "steps": 1, "response_format": "url", "output_format": "png" });
    let url = client.post("/v1/images/generations", &body).expect(200).json()["data"][0]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = url.strip_prefix(&format!("http://{}", client.address)).unwrap();
    assert_eq!(pixels(&client.get(path).expect(200).body).dimensions(), (64, 64));
    let body = json!({ "prompt": "a cat", "steps": 1, "output_format": "webp" });
    let webp = unbase64(
        client.post("/v1/images/generations", &body).expect(200).json()["data"][0]["b64_json"]
            .as_str()
            .unwrap(),
    );
    assert_eq!(image::guess_format(&webp).unwrap(), image::ImageFormat::WebP);

    assert_eq!(client.get("/v1/models").expect(200).json()["data"][0]["id"], "emoji-scenes-64");
    client.get("/v1/models/emoji-scenes-64").expect(200);
    let missing =
        client.post("/v1/images/generations", &json!({ "prompt": "a", "model": "dall-e-3" })).expect(404);
    assert_eq!(missing.json()["error"]["param"], "model");
    client.post("/v1/images/generations", &json!({ "prompt": "a", "typo": 1 })).refuses(422, "typo");
}

#[test]
fn openais_edits_paint_what_is_transparent() {
    let client = shared();
    let mut hollow = image::RgbaImage::from_pixel(64, 64, image::Rgba([10, 200, 90, 255]));
    hollow.enumerate_pixels_mut().filter(|(x, ..)| *x < 32).for_each(|(_, _, pixel)| pixel[3] = 0);
    let mut bytes = std::io::Cursor::new(Vec::new());
    hollow.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let opaque = png(&RgbImage::from_pixel(64, 64, Rgb([10, 200, 90])));
    let form = |parts: &[(&str, &[u8])]| {
        let part = |(name, content): &(&str, &[u8])| {
            let file = if ["image", "mask"].contains(name) {
                "; filename=\"a.png\"\r\nContent-Type: image/png"
            } else {
                ""
            };
            [
                format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes(),
                content,
                b"\r\n",
            ]
            .concat()
        };
        let body = [parts.iter().flat_map(part).collect::<Vec<u8>>(), b"--xyz--\r\n".to_vec()].concat();
        client.with("Content-Type", "multipart/form-data; boundary=xyz").send(
            "POST",
            "/v1/images/edits",
            &body,
        )
    };
    let settings: [(&str, &[u8]); 4] = [("prompt", b"a cat"), ("steps", b"3"), ("seed", b"1"), ("n", b"1")];
    let reply =
        form(&[&settings[..], &[("image", &opaque), ("mask", bytes.get_ref())]].concat()).expect(200).json();
    let made = pixels(&unbase64(reply["data"][0]["b64_json"].as_str().unwrap()));
    let near =
        made.enumerate_pixels().filter(|(x, ..)| *x > 44).all(|(_, _, pixel)| pixel[1].abs_diff(200) < 60);
    assert!(near, "what is opaque stays");
    form(&[&settings[..], &[("image", &opaque)]].concat()).expect(200);
    form(&[&settings[..], &[("image", &opaque), ("mask", &opaque)]].concat()).refuses(422, "mask");
    form(&settings).refuses(422, "image");
    form(&[("prompt", b"a"), ("image", b"no picture"), ("steps", b"1")]).refuses(422, "image");
    form(&[("prompt", b"a"), ("steps", b"many")]).refuses(422, "steps");
}

#[test]
fn machines_are_answered() {
    let client = shared();
    assert_eq!(client.get("/health").expect(200).json(), json!({ "status": "ok" }));
    let document = client.get("/openapi.json").expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    // Every path of the document answers, and not as an address that there is not.
    for (path, methods) in document["paths"].as_object().unwrap() {
        let filled = path
            .replace("{id}", "x")
            .replace("{picture}", "0")
            .replace("{part}", "vae")
            .replace("{file}", "y")
            .replace("{name}", "z")
            .replace("{kind}", "unseen");
        for method in methods.as_object().unwrap().keys() {
            let reply = client.send(&method.to_uppercase(), &filled, b"");
            assert_ne!(reply.status, 405, "{method} {path}");
            assert!(!reply.text().contains("there is no page"), "{method} {path}: {}", reply.text());
        }
    }
    client.send("PUT", "/api/status", b"").expect(405);
    let metrics = client.get("/metrics").expect(200);
    assert!(metrics.text().contains("# TYPE calotype_requests_total counter"));
    let page = client.get("/").expect(200);
    let tag = page.header("etag").unwrap().to_owned();
    assert!(client.with("If-None-Match", &tag).get("/").expect(304).body.is_empty());
}
