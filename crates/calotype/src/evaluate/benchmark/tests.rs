use super::*;
use crate::data::emoji_scenes::{Colour, Noun, Rect, Relation, Scene, Size};
use crate::error::{Error, Result};
use crate::evaluate::prompt_accuracy::Proportion;
use crate::evaluate::scene_checker::{Detection, Reading};
use crate::files::png;
use crate::testing::{TempDir, assert_refuses};

/// SHA-256 of the prompts to cite: a change of them is a new version.
const FROZEN: &str = "b66ce106e7d40277495f1ceb7c669b0f98a103c38b9a944a4f2a3042d010cf3d";

fn scenes(count: usize, pairs: Pairs) -> Vec<Scene> {
    PromptSet { count, ..PromptSet::default() }.scenes(pairs).unwrap()
}

/// What a checker without faults sees in the rendered scene.
fn seen_in(scene: &Scene) -> Reading {
    let detection = |object: &crate::data::emoji_scenes::SceneObject| Detection {
        noun: object.noun,
        size: object.size,
        rect: object.rect,
        score: 1.0,
    };
    Reading { detections: scene.objects.iter().map(detection).collect(), background: scene.spec.background }
}

fn accuracy(scenes: &[Scene], readings: &[Reading]) -> Accuracy {
    let scenes: Vec<&Scene> = scenes.iter().collect();
    let judged = readings.iter().zip(&scenes).map(|(reading, scene)| Judgement::of(reading, scene));
    Accuracy::of(&scenes, &judged.collect::<Result<Vec<_>>>().unwrap()).unwrap()
}

fn of(hits: usize, n: usize) -> Proportion {
    Proportion::new(hits, n).unwrap()
}

#[test]
fn the_prompts_are_frozen() {
    assert_eq!(PromptSet::default().sha256().unwrap(), FROZEN, "new prompts need a new VERSION");
}

#[test]
fn fewer_prompts_are_the_first_of_more_and_nouns_have_no_order() {
    let captions = |set: &PromptSet, pairs| -> Vec<String> {
        set.scenes(pairs).unwrap().into_iter().map(|scene| scene.caption).collect()
    };
    let nouns =
        vec![Noun::Cat, Noun::Frog, Noun::Penguin, Noun::Whale, Noun::Tree, Noun::Sunflower, Noun::Apple];
    let few = PromptSet { count: 3, nouns: nouns.clone(), ..PromptSet::default() };
    let more = PromptSet { count: 9, nouns: nouns.into_iter().rev().collect(), ..PromptSet::default() };
    for pairs in Pairs::ALL {
        assert_eq!(captions(&few, pairs), captions(&more, pairs)[..3]);
    }
    assert_ne!(captions(&few, Pairs::Unseen), captions(&few, Pairs::Seen));
    let other = PromptSet { scene_seed: 0, ..few.clone() };
    assert_ne!(captions(&few, Pairs::Unseen), captions(&other, Pairs::Unseen));
    assert_eq!((few.name(), other.name()), (VERSION.into(), format!("{VERSION} with scene seed 0")));
    let lines = few.lines().unwrap();
    let line: serde_json::Value = serde_json::from_str(lines.lines().nth(4).unwrap()).unwrap();
    assert_eq!(
        (&line["index"], &line["pairs"], &line["file"]),
        (&1.into(), &"seen".into(), &"seen/00001.png".into())
    );
    assert_eq!(line["prompt"], captions(&few, Pairs::Seen)[1]);
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let scenes = |set: PromptSet| set.scenes(Pairs::Seen).map(|_| ());
    let usual = PromptSet::default;
    assert_refuses(
        scenes(PromptSet { count: 1, ..usual() }),
        "prompts: expected at least 2 of each kind, got 1",
    );
    for max_objects in [1, 4] {
        assert_refuses(scenes(PromptSet { max_objects, ..usual() }), "max_objects: expected 2 or 3");
    }
    let nouns = |nouns: &[Noun]| scenes(PromptSet { nouns: nouns.to_vec(), ..usual() });
    assert_refuses(nouns(&[Noun::Cat, Noun::Cat]), "nouns of emoji-scenes: expected each once");
    assert_refuses(nouns(&[Noun::Cat]), "nouns of emoji-scenes: expected nouns of which");
}

#[test]
fn a_perfect_picture_is_right_in_everything() {
    let scenes = scenes(40, Pairs::Unseen);
    let readings: Vec<Reading> = scenes.iter().map(seen_in).collect();
    let all = accuracy(&scenes, &readings);
    for (name, share) in all.rows() {
        assert!(share.is_none_or(|share| share.hits() == share.n()), "{name}");
    }
    assert_eq!((all.prompts, all.nouns, all.relations), (of(40, 40), of(80, 80), Some(of(40, 40))));
    let said = |what: fn(&Scene) -> usize| scenes.iter().map(what).sum::<usize>();
    let sizes = said(|scene| scene.spec.objects.iter().filter(|(_, size)| size.is_some()).count());
    let colours = said(|scene| usize::from(scene.caption.ends_with("background")));
    assert_eq!((all.sizes, all.colours), (Some(of(sizes, sizes)), Some(of(colours, colours))));
    assert!(sizes > 5 && (20..40).contains(&colours), "{sizes} {colours}");
    let of_relation = |relation| scenes.iter().filter(|scene| scene.spec.relation == Some(relation)).count();
    for relation in Relation::ALL {
        assert_eq!(all.each_relation[&relation].map_or(0, |share| share.n()), of_relation(relation));
    }
    assert_eq!(all.each_noun.values().map(Proportion::n).sum::<usize>(), 80);
}

/// One fault in one picture of several: the part that it belongs to misses one hit, and what follows from it.
#[test]
fn each_fault_counts_where_it_belongs() {
    let scenes = scenes(40, Pairs::Unseen);
    let perfect: Vec<Reading> = scenes.iter().map(seen_in).collect();
    let position = |fits: &dyn Fn(&Scene) -> bool| scenes.iter().position(fits).unwrap();
    let with = |i: usize, spoil: &dyn Fn(&mut Reading)| {
        let mut readings = perfect.clone();
        spoil(&mut readings[i]);
        let faults = Judgement::of(&readings[i], &scenes[i]).unwrap().faults(&readings[i], &scenes[i]);
        (accuracy(&scenes, &readings), faults)
    };
    let all = accuracy(&scenes, &perfect);
    let (sizes, colours) = (all.sizes.unwrap().n(), all.colours.unwrap().n());

    // A noun that is not there takes the relation's trial away.
    let noun = scenes[0].spec.objects[1].0;
    let (missing, faults) = with(0, &|reading| reading.detections.truncate(1));
    assert_eq!(
        (missing.prompts, missing.nouns, missing.relations),
        (of(39, 40), of(79, 80), Some(of(39, 39)))
    );
    assert_eq!((missing.counts, missing.everything), (of(39, 40), of(39, 40)));
    assert_eq!(missing.each_noun[&noun].hits() + 1, missing.each_noun[&noun].n());
    assert_eq!(faults, [format!("no {noun}"), "1 object".into()]);

    let left = position(&|scene| scene.spec.relation == Some(Relation::LeftOf));
    let (wrong, faults) = with(left, &|reading| {
        let [a, b] = [reading.detections[0].rect, reading.detections[1].rect];
        (reading.detections[0].rect, reading.detections[1].rect) = (b, a);
    });
    assert_eq!((wrong.prompts, wrong.nouns, wrong.relations), (of(39, 40), of(80, 80), Some(of(39, 40))));
    let share = wrong.each_relation[&Relation::LeftOf].unwrap();
    assert_eq!((share.hits() + 1, faults.as_slice()), (share.n(), ["not left of".to_owned()].as_slice()));

    let sized = position(&|scene| scene.spec.objects[0].1 == Some(Size::Small));
    let (big, faults) = with(sized, &|reading| reading.detections[0].size = Size::Big);
    assert_eq!((big.prompts, big.sizes), (of(40, 40), Some(of(sizes - 1, sizes))));
    assert_eq!(
        (big.everything, faults),
        (of(39, 40), vec![format!("{} is big", scenes[sized].spec.objects[0].0)])
    );

    let blue = position(&|scene| scene.caption.ends_with("blue background"));
    let (gray, faults) = with(blue, &|reading| reading.background = Colour::Gray);
    assert_eq!(
        (gray.prompts, gray.colours, gray.everything),
        (of(40, 40), Some(of(colours - 1, colours)), of(39, 40))
    );
    assert_eq!(faults, ["background is gray"]);
    // Nobody asked for a colour.
    let unnamed = position(&|scene| !scene.caption.ends_with("background"));
    assert_eq!(with(unnamed, &|reading| reading.background = Colour::Gray).0.everything, of(40, 40));

    let extra = Detection {
        noun: Noun::Cat,
        size: Size::Big,
        rect: Rect { x: 0, y: 0, width: 9, height: 9 },
        score: 0.7,
    };
    let (more, faults) = with(7, &|reading| reading.detections.push(extra));
    assert_eq!((more.prompts, more.counts, more.everything), (of(40, 40), of(39, 40), of(39, 40)));
    assert_eq!(faults, ["3 objects"]);
}

#[test]
fn controls_and_calibrations_are_of_the_same_prompts() {
    let scenes = scenes(60, Pairs::Seen);
    let readings: Vec<Reading> = scenes.iter().map(seen_in).collect();
    let refused = JudgedPairs::of(Pairs::Seen, scenes.clone(), readings[1..].to_vec());
    assert_refuses(refused.map(|_| ()), "pictures of the benchmark: expected 60, got 59");
    let judged = JudgedPairs::of(Pairs::Seen, scenes, readings).unwrap();
    assert_eq!(judged.accuracy.everything, of(60, 60));
    // The next scene has its own nouns and relation, and as many objects.
    assert!(judged.other_prompt.prompts.rate() < 0.05 && judged.other_prompt.nouns.rate() < 0.2);
    assert_eq!(judged.other_prompt.counts, of(60, 60));
    // The checker makes few mistakes.
    assert!(judged.rendered.prompts.rate() > 0.97 && judged.rendered.everything.rate() > 0.9);
    assert!(judged.rendered.colours.unwrap().rate() > 0.97 && judged.rendered.sizes.unwrap().rate() > 0.9);
}

#[test]
fn a_folder_has_a_picture_for_each_prompt() {
    let prompts = PromptSet { count: 2, ..PromptSet::default() };
    let folder = TempDir::new();
    let write = |file: &str, size: (u32, u32)| {
        png::write(&folder.join(file), &image::RgbImage::new(size.0, size.1)).unwrap();
    };
    let open = || PictureFolder::open(&folder.join(""), &prompts);
    let refused = |result: Result<()>, part: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "expected `{part}` in: {message}");
    };
    assert!(matches!(PictureFolder::open(&folder.join("none"), &prompts), Err(Error::Io { .. })));
    for file in ["unseen/00000.png", "unseen/00001.png", "seen/00001.png"] {
        write(file, (64, 64));
    }
    refused(
        open().map(drop),
        "for each of 2 unseen and 2 seen pairs, got 1 are missing, the first is `seen/00000.png`",
    );
    write("seen/00000.png", (32, 32));
    let pictures = open().unwrap();
    assert_eq!((pictures.size(), pictures.read(Pairs::Unseen, 2).unwrap().len()), (64, 2));
    refused(
        pictures.read(Pairs::Seen, 2).map(drop),
        "seen/00000.png`: expected 64 x 64, as the first, got 32 x 32",
    );
    for size in [(48, 48), (64, 32)] {
        write("unseen/00000.png", size);
        refused(
            open().map(drop),
            "unseen/00000.png`: expected a square picture whose side is a multiple of 32 pixels",
        );
    }
    write("unseen/00000.png", (32, 32));
    prompts.write(&PromptSet::file_in(&folder.join(""))).unwrap();
    assert_eq!(open().unwrap().size(), 32);
    PromptSet { scene_seed: 0, ..prompts.clone() }.write(&PromptSet::file_in(&folder.join(""))).unwrap();
    refused(open().map(drop), "prompt of `seen/00000.png`");
    folder.write("prompts.jsonl", "{}\n");
    refused(open().map(drop), "prompts.jsonl` as prompts: missing field");
}
