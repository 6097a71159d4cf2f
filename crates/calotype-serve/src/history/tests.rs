use std::sync::atomic::{AtomicUsize, Ordering};

use image::Rgb;

use super::*;

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("calotype-history-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn add(history: &History, prompt: &str) -> String {
    let request = Request { prompt: prompt.into(), seed: Some(u64::MAX), ..Request::default() };
    let new = NewPicture {
        job: "j-0",
        model: "model",
        request: &request,
        texts: vec![("parameters", prompt.into())],
        index: 1,
        image: &RgbImage::from_pixel(4, 2, Rgb([1, 2, 3])),
        strip: Some(vec![1, 2]),
        steps: 20,
        maps: None,
        parent: None,
        seconds: 0.5,
    };
    history.add(new).unwrap()
}

#[test]
fn what_is_kept_is_found_again() {
    let folder = Folder::new();
    let ids = {
        let history = History::open(&folder.0, 10, 1 << 20).unwrap();
        assert!(History::open(&folder.0, 10, 1 << 20).is_err(), "one server at a time");
        ["a cat", "a dog", "a Catfish"].map(|prompt| add(&history, prompt))
    };
    let history = History::open(&folder.0, 10, 1 << 20).unwrap();
    let row = history.row(&ids[0]).unwrap();
    assert_eq!((row.prompt.as_str(), row.seed, row.index, row.steps), ("a cat", u64::MAX, 1, 20));
    assert_eq!(png_text::read(&history.file(&ids[0], "png").unwrap()).unwrap()[0].1, "a cat");
    assert_eq!(history.file(&ids[0], "strip.png").unwrap(), [1, 2]);
    let names =
        |(rows, more): (Vec<Row>, bool)| (rows.into_iter().map(|row| row.id).collect::<Vec<_>>(), more);
    let [cat, dog, fish] = ids.clone();
    assert_eq!(names(history.list(2, None, None).unwrap()), (vec![fish.clone(), dog.clone()], true));
    assert_eq!(names(history.list(2, Some(&dog), None).unwrap()), (vec![cat.clone()], false));
    assert_eq!(names(history.list(9, None, Some("cat")).unwrap()), (vec![fish, cat], false));
    history.delete(&dog).unwrap();
    assert!(history.row(&dog).is_err() && history.file(&dog, "png").is_err());
    for id in ["../../etc/passwd", "p-0000000000000000", "p-..............", ""] {
        assert_eq!(history.file(id, "png").unwrap_err().status, 404, "{id}");
    }
}

#[test]
fn what_a_crash_leaves_is_mended() {
    let folder = Folder::new();
    let (kept, lost) = {
        let history = History::open(&folder.0, 10, 1 << 20).unwrap();
        (add(&history, "kept"), add(&history, "lost"))
    };
    let pictures = folder.0.join("pictures");
    fs::remove_file(pictures.join(format!("{lost}.png"))).unwrap();
    for left in ["p-aaaaaaaaaaaaaaaa.png", "p-bbbbbbbbbbbbbbbb.png.77.0.tmp"] {
        fs::write(pictures.join(left), "half").unwrap();
    }
    let history = History::open(&folder.0, 10, 1 << 20).unwrap();
    let (rows, _) = history.list(10, None, None).unwrap();
    assert_eq!(rows.into_iter().map(|row| row.id).collect::<Vec<_>>(), [kept]);
    assert_eq!(fs::read_dir(&pictures).unwrap().count(), 2);
}

#[test]
fn the_oldest_go_where_there_are_too_many() {
    let folder = Folder::new();
    let history = History::open(&folder.0, 2, 1 << 20).unwrap();
    let ids = ["1", "2", "3"].map(|prompt| add(&history, prompt));
    assert!(history.row(&ids[0]).is_err());
    assert_eq!(history.list(9, None, None).unwrap().0.len(), 2);
    drop(history);
    let history = History::open(&folder.0, 2, 1).unwrap();
    assert!(history.list(9, None, None).unwrap().0.is_empty());
}

#[test]
fn choices_are_counted_by_model() {
    let folder = Folder::new();
    let history = History::open(&folder.0, 10, 1 << 20).unwrap();
    let id = add(&history, "a cat");
    // A model against itself says nothing.
    assert!(history.choose(&id, &id, "left").unwrap().is_empty());
    assert!(history.choose(&id, "p-0000000000000000", "left").is_err());
}
