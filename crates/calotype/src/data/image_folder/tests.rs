use super::*;

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, metadata: &str) -> Self {
        let path = std::env::temp_dir().join(format!("calotype-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(METADATA), metadata).unwrap();
        Self(path)
    }

    fn picture(&self, name: &str, width: u32, height: u32) {
        RgbImage::from_pixel(width, height, image::Rgb([9, 8, 7])).save(self.0.join(name)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn reads_pictures_and_captions() {
    let folder = Folder::new(
        "reads",
        "{\"file_name\": \"a.png\", \"text\": \" a cat \", \"objects\": []}\n\n{\"file_name\":\"b.png\",\"text\":\"két kutya\"}",
    );
    folder.picture("a.png", 3, 2);
    image::RgbaImage::from_pixel(1, 1, image::Rgba([0, 100, 255, 51])).save(folder.0.join("b.png")).unwrap();
    let opened = ImageFolder::open(&folder.0).unwrap();
    assert_eq!(opened.len(), 2);
    let (picture, caption) = opened.load(0).unwrap();
    assert_eq!((picture.dimensions(), caption.as_str()), ((3, 2), "a cat"));
    let (picture, caption) = opened.load(1).unwrap();
    assert_eq!(picture.get_pixel(0, 0).0, [204, 224, 255]); // one fifth over white
    assert_eq!(caption, "két kutya");
    assert!(opened.load(2).is_err());
}

#[test]
fn refuses_with_the_place_of_the_fault() {
    for (name, metadata, expected) in [
        ("not-json", "{\"file_name\": \"a.png\", \"text\": \"x\"}\n{\"file_n", "line 2"),
        ("not-object", "[1, 2, 3]", "line 1"),
        ("no-file", "{\"text\": \"x\"}", "line 1: `file_name`"),
        ("number", "{\"file_name\": 7, \"text\": \"x\"}", "line 1"),
        ("no-caption", "\n{\"file_name\": \"a.png\"}", "line 2: `text`, the caption of `a.png`: missing"),
        (
            "empty",
            "{\"file_name\": \"a.png\", \"text\": \"  \"}",
            "line 1: `text`, the caption of `a.png`: empty",
        ),
        ("outside", "{\"file_name\": \"../a.png\", \"text\": \"x\"}", "got `../a.png`"),
        ("absolute", "{\"file_name\": \"/etc/a.png\", \"text\": \"x\"}", "got `/etc/a.png`"),
        ("nothing", "\n", "it names no picture"),
    ] {
        let folder = Folder::new(name, metadata);
        let error = ImageFolder::open(&folder.0).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(METADATA), "{name}: {error}");
        inspect(&folder.0).unwrap();
    }
    let missing = ImageFolder::open(Path::new("no such folder")).unwrap_err();
    assert!(missing.to_string().contains(METADATA) && missing.hint().is_some());
}

#[test]
fn inspection_finds_every_planted_fault() {
    let lines = [
        "{\"file_name\": \"a.png\", \"text\": \"one two three\"}",
        "{\"file_name\": \"deep/b.png\", \"text\": \"one\"}",
        "{\"file_name\": \"truncated.png\", \"text\": \"one two\"}",
        "{\"file_name\": \"text.png\", \"text\": \"one two\"}",
        "{\"file_name\": \"gone.png\", \"text\": \"one two\"}",
        "{\"file_name\": \"c.png\"}",
        "{\"file_name\": \"d.png\", \"text\": \"\"}",
        "\u{fffd}",
    ];
    let folder = Folder::new("inspect", &lines.join("\n"));
    fs::create_dir_all(folder.0.join("deep")).unwrap();
    fs::create_dir_all(folder.0.join("masks")).unwrap();
    for (name, width) in [("a.png", 4), ("deep/b.png", 5), ("c.png", 6), ("d.png", 6), ("masks/m.png", 6)] {
        folder.picture(name, width, 4);
    }
    folder.picture("unnamed.png", 4, 4);
    let whole = fs::read(folder.0.join("a.png")).unwrap();
    fs::write(folder.0.join("truncated.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.0.join("text.png"), "not a picture").unwrap();

    let report = inspect(&folder.0).unwrap();
    assert_eq!((report.lines, report.images), (8, 2));
    assert_eq!(report.sizes, BTreeMap::from([("4x4".into(), 1), ("5x4".into(), 1)]));
    assert_eq!(report.caption_words, CaptionWords { min: 1, mean: 2.0, max: 3 });
    let unreadable = report.unreadable_images.join("\n");
    assert_eq!(report.unreadable_images.len(), 3, "{unreadable}");
    assert!(["truncated.png", "text.png", "gone.png", PICTURE].iter().all(|s| unreadable.contains(s)));
    assert!(report.missing_captions[0].contains("line 6") && report.missing_captions.len() == 1);
    assert!(report.empty_captions[0].contains("line 7") && report.empty_captions.len() == 1);
    assert!(report.bad_lines[0].contains("line 8") && report.bad_lines.len() == 1);
    assert!(report.images_without_line[0].ends_with("unnamed.png") && report.images_without_line.len() == 1);
    assert_eq!(report.problems(), 7);
    assert!(serde_json::to_string(&report).unwrap().contains("\"4x4\":1"));
}
