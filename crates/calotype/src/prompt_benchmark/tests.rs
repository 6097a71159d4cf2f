use super::*;
use crate::testing::TempDir;

/// The rendered scenes are a model without faults: as good as the calibration.
#[test]
fn rendered_scenes_are_as_right_as_the_checker_can_read_them() {
    let folder = TempDir::new();
    let prompts = PromptSet { count: 30, ..PromptSet::default() };
    for pairs in Pairs::ALL {
        for (i, scene) in prompts.scenes(pairs).unwrap().iter().enumerate() {
            png::write(&folder.join(pairs.file(i)), &scene.image).unwrap();
        }
    }
    let outcome = of_pictures(&prompts, &folder.join("")).unwrap();
    for judged in &outcome.pairs {
        assert_eq!(json!(judged.accuracy), json!(judged.rendered));
        assert!(judged.accuracy.prompts.rate() > 0.95);
    }
    let value = outcome.to_json("abc").unwrap();
    assert_eq!((&value["benchmark"], &value["protocol"]["size"]), (&"emoji-scenes-1".into(), &32.into()));
    assert_eq!(value["unseen_pairs"]["prompts"]["n"], 30);
    assert_eq!(value["protocol"]["prompts_sha256"], prompts.sha256().unwrap());
    assert_eq!(value["other_prompt"]["seen_pairs"]["prompts"]["n"], 30);

    outcome.write(&folder.join("out"), &folder.join(""), "abc").unwrap();
    let page = std::fs::read_to_string(folder.join("out/report.html")).unwrap();
    for said in ["Unseen pairs: prompts that are right", "95 % interval", "Each noun", "✓ "] {
        assert!(page.contains(said), "{said}");
    }
    assert_eq!(outcome.rows().len(), outcome.pairs[0].accuracy.rows().len());
    assert!(outcome.rows()[0][1].ends_with(", n 30)"), "{:?}", outcome.rows()[0]);
}

#[test]
fn a_run_says_what_its_model_knows() {
    let folder = TempDir::new();
    let model = folder.join("run/model");
    std::fs::create_dir_all(&model).unwrap();
    assert_eq!(Known::of(&model).unwrap(), None);
    assert_eq!(Known::of(&folder.join("none")).unwrap(), None);
    folder.write(
        "run/recipe.toml",
        "seed = 0\n[data]\nsize = 32\nmax_objects = 1\nnouns = [\"cat\", \"dog\"]\n",
    );
    let known = Known::of(&model).unwrap().unwrap();
    assert_eq!((known.nouns.len(), known.max_objects), (2, 2));
    folder.write("run/recipe.toml", "seed = \"x\"");
    assert!(matches!(Known::of(&model), Err(Error::Format { .. })));
}
