mod metadata;

use super::*;
use crate::testing::TempDir;

struct Folder(TempDir);

impl Folder {
    /// With files of the given contents; those of pictures are not looked at.
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new());
        for (file, content) in files {
            folder.write(file, content);
        }
        folder
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        self.0.write(file, content);
    }

    /// Layout, and each picture with its captions: `a.jpg: one | two`.
    fn opened(&self) -> (FolderLayout, Vec<String>) {
        self.listed(&ImageFolder::open(&self.0).unwrap())
    }

    fn listed(&self, folder: &ImageFolder) -> (FolderLayout, Vec<String>) {
        let entry = |i: usize| {
            let path = folder.entries()[i].path.strip_prefix(&self.0).unwrap();
            format!("{}: {}", path.display(), folder.captions(i).join(" | "))
        };
        (folder.layout(), (0..folder.len()).map(entry).collect())
    }

    fn refused(&self) -> String {
        ImageFolder::open(&self.0).unwrap_err().to_string()
    }

    fn for_pictures(&self) -> Vec<String> {
        self.listed(&ImageFolder::open_for_pictures(&self.0).unwrap()).1
    }
}

#[test]
fn reads_caption_files_sorted_by_path() {
    let files = [
        ("z.jpg", ""),
        ("z.txt", "\u{feff} last \r\n\r\n"),
        ("deep/er/cat.v2.JPG", ""),
        ("deep/er/cat.v2.txt", "a cat\n\n  \nan animal\n"),
        ("b.webp", ""),
        ("b.caption", "b"),
        ("readme.txt", "not a caption"),
        (".hidden.png", ""),
        (".git/a.png", ""),
        ("notes.pdf", ""),
    ];
    let folder = Folder::new(&files);
    let expected =
        ["b.webp: b", "deep/er/cat.v2.JPG: a cat | an animal", "z.jpg: last"].map(String::from).to_vec();
    assert_eq!(folder.opened(), (FolderLayout::CaptionFiles, expected));
}

#[test]
fn a_picture_without_caption_is_refused_unless_pictures_are_enough() {
    let folder = Folder::new(&[("a.jpg", ""), ("a.txt", "a"), ("b.jpg", ""), ("c.jpg", ""), ("c.txt", "\n")]);
    let error = folder.refused();
    assert!(error.contains("b.jpg") && error.contains("(2 pictures have no caption"), "{error}");
    assert_eq!(folder.for_pictures(), ["a.jpg: a", "b.jpg: ", "c.jpg: "]);

    folder.write("b.txt", b"caf\xe9");
    folder.write("c.txt", "c");
    let error = folder.refused();
    assert!(error.contains("b.txt") && error.contains("UTF-8"), "{error}");
    assert_eq!(folder.for_pictures(), ["a.jpg: a", "b.jpg: ", "c.jpg: c"]);

    folder.write("b.txt", "b");
    folder.write("b.caption", "b");
    let error = folder.refused();
    assert!(error.contains("b.caption") && error.contains("b.txt"), "{error}");
}

#[test]
fn class_folders_say_their_names() {
    let folder = Folder::new(&[("sea_horse/2.jpg", ""), ("train/Wild--cat/1.png", ""), ("readme.txt", "")]);
    let expected =
        ["sea_horse/2.jpg: sea horse", "train/Wild--cat/1.png: Wild cat"].map(String::from).to_vec();
    assert_eq!(folder.opened(), (FolderLayout::ClassFolders, expected));
    folder.write("_/1.jpg", "");
    assert!(folder.refused().contains("the name of its folder"));
}

#[test]
fn pictures_alone_have_no_captions() {
    let folder = Folder::new(&[("b.png", ""), ("a/1.png", ""), ("c.jpeg", "")]);
    let expected = ["a/1.png: ", "b.png: ", "c.jpeg: "].map(String::from).to_vec();
    assert_eq!(folder.opened(), (FolderLayout::PicturesOnly, expected));
    let unread = Folder::new(&[("a.avif", "")]).refused();
    assert!(unread.contains("it holds no picture") && unread.contains("a.avif"), "{unread}");
    let split = Folder::new(&[("train/a.png", ""), ("train/metadata.jsonl", "")]);
    assert!(split.refused().contains("open that folder by itself"));
}

#[test]
fn unnamed_pictures_are_found_but_not_in_other_folders() {
    let line = "{\"file_name\": \"deep/a.png\", \"text\": \"x\"}";
    let files = [("deep/a.png", ""), ("deep/b.png", ""), ("c.JPG", ""), (".d.jpg", ""), ("masks/m.png", "")];
    let folder = Folder::new(&[&files[..], &[(METADATA_JSONL, line)]].concat());
    let unnamed = ImageFolder::open(&folder.0).unwrap().unnamed().unwrap();
    assert_eq!(unnamed, [folder.0.join("c.JPG"), folder.0.join("deep/b.png")]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_inside_and_refused_outside() {
    use std::os::unix::fs::symlink;
    let elsewhere = Folder::new(&[("secret.jpg", ""), ("deep/x.jpg", "")]);
    let folder = Folder::new(&[("a.jpg", "A")]);
    symlink("a.jpg", folder.0.join("b.jpg")).unwrap();
    symlink(elsewhere.0.join("deep"), folder.0.join("deep")).unwrap(); // a folder: not searched
    symlink("gone.pdf", folder.0.join("c.pdf")).unwrap(); // no picture: ignored
    assert_eq!(folder.opened().1, ["a.jpg: ", "b.jpg: "]);

    let out = folder.0.join("c.jpg");
    symlink(elsewhere.0.join("secret.jpg"), &out).unwrap();
    let error = folder.refused();
    assert!(error.contains("c.jpg") && error.contains("outside of the folder"), "{error}");
    for file in ["c.jpg", "deep/x.jpg"] {
        folder.write(METADATA_JSONL, format!("{{\"file_name\": \"{file}\", \"text\": \"x\"}}"));
        let error = folder.refused();
        assert!(error.contains(&format!("line 1: `{file}`: it is a link to a file outside")), "{error}");
    }
    fs::remove_file(folder.0.join(METADATA_JSONL)).unwrap();
    fs::remove_file(&out).unwrap();
    symlink("gone.jpg", &out).unwrap();
    assert!(folder.refused().contains("does not exist"));
    fs::remove_file(&out).unwrap();
    symlink(elsewhere.0.join("secret.jpg"), folder.0.join(METADATA_JSONL)).unwrap();
    assert!(folder.refused().contains("outside of the folder"));
}

/// What a folder's faults are: kind, line, end of the file's name.
fn faults(folder: &ImageFolder) -> Vec<String> {
    let one = |fault: &Fault| {
        let name = Path::new(&fault.file).file_name().unwrap().to_string_lossy().into_owned();
        format!("{:?} {name}{}", fault.kind, fault.line.map_or(String::new(), |line| format!(":{line}")))
    };
    folder.faults().iter().map(one).collect()
}

#[test]
fn every_fault_of_metadata_is_listed_in_one_go() {
    let lines = r#"{"file_name": "a.png", "text": "a", "similarity": NaN}
{"file_n
{"file_name": "../../etc/passwd", "text": "x"}
{"file_name": "gone.png", "text": "x"}
{"file_name": "b.png", "text": 7}
{"file_name": "a.png", "text": "again"}
{"text": "x"}
{"file_name": "c.png", "text": "c"}
{"file_name": "d.png", "text": ""}"#;
    let pictures = [("a.png", ""), ("b.png", ""), ("c.png", ""), ("d.png", "")];
    let folder = Folder::new(&[&pictures[..], &[(METADATA_JSONL, lines)]].concat());
    let expected = [
        "Metadata metadata.jsonl:2",
        "Outside metadata.jsonl:3",
        "Metadata metadata.jsonl:7",
        "Missing metadata.jsonl:4",
        "Caption metadata.jsonl:5",
        "Repeated metadata.jsonl:6",
        "Caption metadata.jsonl:9",
    ];
    let captioned = ImageFolder::open_usable(&folder.0, CaptionNeed::Required).unwrap();
    assert_eq!(faults(&captioned), expected);
    assert_eq!(folder.listed(&captioned).1, ["a.png: a", "c.png: c"]);
    let all = ImageFolder::open_usable(&folder.0, CaptionNeed::Optional).unwrap();
    assert_eq!(faults(&all), expected);
    assert_eq!(folder.listed(&all).1, ["a.png: a", "b.png: ", "c.png: c", "d.png: "]);
    assert!(folder.refused().contains("line 2: EOF"));
    // Nothing at all can be used: the error has all faults.
    folder.write(METADATA_JSONL, "{\"file_n\n{\"file_name\": \"gone.png\", \"text\": \"x\"}");
    let error = ImageFolder::open_usable(&folder.0, CaptionNeed::Required).unwrap_err().to_string();
    assert!(error.contains("2 faults") && error.contains("line 1") && error.contains("line 2"), "{error}");
}

#[test]
fn every_fault_of_tables_and_caption_files_is_listed() {
    let folder = Folder::new(&[("a.png", ""), ("b.png", "")]);
    folder.write(METADATA_CSV, b"file_name,text\na.png,x\na.png\nb.png,caf\xe9\n../c.png,y\nd.png,z\n");
    let opened = ImageFolder::open_usable(&folder.0, CaptionNeed::Required).unwrap();
    let expected = [
        "Metadata metadata.csv:3",
        "Caption metadata.csv:4",
        "Outside metadata.csv:5",
        "Missing metadata.csv:6",
    ];
    assert_eq!((faults(&opened), opened.len()), (expected.map(String::from).to_vec(), 1));

    let folder = Folder::new(&[("a.png", ""), ("a.txt", "a"), ("b.png", ""), ("c.png", ""), ("d.png", "")]);
    folder.write("b.txt", b"caf\xe9");
    folder.write("d.txt", "d");
    folder.write("d.caption", "d");
    let opened = ImageFolder::open_usable(&folder.0, CaptionNeed::Required).unwrap();
    let expected = ["Caption b.txt", "Caption c.png", "Caption d.caption"].map(String::from).to_vec();
    assert_eq!((faults(&opened), opened.len()), (expected, 1));
    assert_eq!(ImageFolder::open_usable(&folder.0, CaptionNeed::Optional).unwrap().len(), 4);
}

#[test]
fn metadata_may_be_a_list_and_texts_utf_16() {
    let list = r#" [
  {"file_name": "a.png", "text": "one, [two] \" {three}", "size": [1, 2]},
  {"file_name": "b.png", "text": "b"}, {"file_name": "c.png",
    "text": ["c", "d"]}
]
"#;
    let pictures = [("a.png", ""), ("b.png", ""), ("c.png", "")];
    let folder = Folder::new(&[&pictures[..], &[(METADATA_JSONL, list)]].concat());
    let expected = ["a.png: one, [two] \" {three}", "b.png: b", "c.png: c | d"];
    assert_eq!(folder.opened().1, expected);
    let utf16 = |text: &str| -> Vec<u8> {
        [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    folder.write(METADATA_JSONL, utf16(list));
    assert_eq!(folder.opened().1, expected);
    folder.write(METADATA_JSONL, utf16("{\"file_name\": \"a.png\", \"text\": \"két\"}\r\n"));
    assert_eq!(folder.opened().1, ["a.png: két"]);
    for (text, expected) in [
        ("[\n{\"file_name\": \"a.png\", \"text\": \"x\"},\n{\"file_n", "line 3: EOF"),
        ("[{\"file_name\": \"a.png\", \"text\": \"x\"}", "line 1: EOF"),
        ("[{\"file_name\": \"a.png\", \"text\": \"x\"}]\nrest", "line 2: expected value"),
        ("[]", "it names no picture"),
    ] {
        folder.write(METADATA_JSONL, text);
        let error = folder.refused();
        assert!(error.contains(expected), "expected {expected}\ngot {error}");
    }
    fs::remove_file(folder.0.join(METADATA_JSONL)).unwrap();
    folder.write(METADATA_CSV, utf16("file_name,text\nb.png,két\n"));
    assert_eq!(folder.opened().1, ["b.png: két"]);
    fs::remove_file(folder.0.join(METADATA_CSV)).unwrap();
    pictures.iter().for_each(|(name, _)| folder.write(&name.replace("png", "txt"), utf16("két\n")));
    assert_eq!(folder.opened().1, ["a.png: két", "b.png: két", "c.png: két"]);
}

#[test]
fn names_are_found_in_either_unicode_form() {
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    for (stored, named) in [(decomposed, composed), (composed, decomposed)] {
        let line = format!("{{\"file_name\": \"{named}/{named}.png\", \"text\": \"x\"}}");
        let file = format!("{stored}/{stored}.png");
        let folder = Folder::new(&[(&file, ""), (METADATA_JSONL, &line)]);
        assert_eq!(folder.opened().1, [format!("{file}: x")]);
        assert!(ImageFolder::open(&folder.0).unwrap().left_out().is_empty());
        let table = format!("file_name,text\n{named}/{named}.png,x\n");
        fs::remove_file(folder.0.join(METADATA_JSONL)).unwrap();
        folder.write(METADATA_CSV, table);
        assert_eq!(folder.opened().1, [format!("{file}: x")]);
        let folder = Folder::new(&[(&format!("{stored}.png"), ""), (&format!("{named}.txt"), "x")]);
        assert_eq!(folder.opened(), (FolderLayout::CaptionFiles, vec![format!("{stored}.png: x")]));
    }
    // Another letter is another name.
    let folder =
        Folder::new(&[("cafe.png", ""), (METADATA_JSONL, r#"{"file_name": "café.png", "text": "x"}"#)]);
    assert!(folder.refused().contains("there is no file `café.png`"));
}

#[test]
fn pictures_of_all_kinds_are_read_or_named() {
    let files = ["0.png", "3.bmp", "4.gif", "5.tiff", "6.jfif", "7.avif", "8.HEIC", "9.svg", "notes.pdf"];
    let folder = Folder::new(&files.map(|name| (name, "")));
    let opened = ImageFolder::open(&folder.0).unwrap();
    assert_eq!(folder.listed(&opened).1, ["0.png: ", "3.bmp: ", "4.gif: ", "5.tiff: ", "6.jfif: "]);
    let left_out = opened.left_out();
    for (line, name) in left_out.iter().zip(["7.avif", "8.HEIC", "9.svg"]) {
        assert!(line.contains(name) && line.contains("only PNG, JPEG, WebP, GIF, BMP or TIFF"), "{line}");
    }
    assert_eq!(left_out.len(), 3);
}

#[test]
fn folders_called_train_and_test_are_splits() {
    let opened = |files: &[&str]| {
        let files: Vec<(&str, &str)> = files.iter().map(|file| (*file, "x")).collect();
        let folder = Folder::new(&files);
        let found = ImageFolder::open(&folder.0).unwrap();
        (folder.listed(&found), found.left_out().len())
    };
    let none = |entries: &[&str]| entries.iter().map(|entry| entry.to_string()).collect::<Vec<_>>();
    for (files, layout, entries, left_out) in [
        (
            &["train/a.png", "test/b.png", "valid/c.png"][..],
            FolderLayout::PicturesOnly,
            &["train/a.png: "][..],
            2,
        ),
        (&["train/cat/a.png", "test/cat/b.png"], FolderLayout::ClassFolders, &["train/cat/a.png: cat"], 1),
        (
            &["Train/a.png", "Train/a.txt", "test/b.png", "test/b.txt"],
            FolderLayout::CaptionFiles,
            &["Train/a.png: x"],
            1,
        ),
        (&["test/b.png"], FolderLayout::PicturesOnly, &["test/b.png: "], 0),
        // A class that is called so, beside others.
        (
            &["train/a.png", "boat/b.png"],
            FolderLayout::ClassFolders,
            &["boat/b.png: boat", "train/a.png: train"],
            0,
        ),
    ] {
        assert_eq!(opened(files), ((layout, none(entries)), left_out), "{files:?}");
    }
}

#[cfg(unix)]
#[test]
fn links_to_folders_and_bad_links_are_named() {
    use std::os::unix::fs::symlink;
    let elsewhere = Folder::new(&[("x.jpg", "")]);
    let folder = Folder::new(&[("a.jpg", "A")]);
    symlink(&*elsewhere.0, folder.0.join("deep")).unwrap();
    let opened = ImageFolder::open(&folder.0).unwrap();
    assert!(
        opened.left_out()[0]
            .ends_with("deep` is a link to a folder, which is not searched: open that folder by itself")
    );
    symlink(elsewhere.0.join("x.jpg"), folder.0.join("b.jpg")).unwrap();
    symlink("gone.jpg", folder.0.join("c.jpg")).unwrap();
    let mut found = faults(&ImageFolder::open_usable(&folder.0, CaptionNeed::Required).unwrap());
    found.sort();
    assert_eq!(found, ["Missing c.jpg", "Outside b.jpg"]);
}

/// Names of other scripts, and letters of two accents: each stored in one form and named in the other.
#[test]
fn names_in_either_form_are_found_in_any_script_and_layout() {
    for (composed, decomposed) in [
        ("\u{ac15}\u{c544}\u{c9c0}", "\u{1100}\u{1161}\u{11bc}\u{110b}\u{1161}\u{110c}\u{1175}"), // 강아지
        ("ti\u{1ebf}ng", "tie\u{302}\u{301}ng"),                                                  // tiếng
        ("\u{c5}ngstrom", "\u{212b}ngstrom"), // the sign Å is the letter Å
        ("\u{304c}", "\u{304b}\u{3099}"),     // が
    ] {
        for (stored, named) in [(composed, decomposed), (decomposed, composed)] {
            let file = format!("{composed}/{stored} 1.jpg");
            let line = format!("{{\"file_name\": \"./{decomposed}/{named} 1.jpg\", \"text\": \"x\"}}");
            let folder = Folder::new(&[(&file, ""), (METADATA_JSONL, &line)]);
            assert_eq!(folder.opened().1, [format!("{file}: x")], "{stored} {named}");
            let list = Folder::new(&[(&file, ""), (METADATA_JSONL, &format!("[{line}]"))]);
            assert_eq!(list.opened().1, [format!("{file}: x")]);
            let beside = format!("{composed}/{named} 1.caption");
            let folder = Folder::new(&[(&file, ""), (&beside, "x")]);
            assert_eq!(folder.opened(), (FolderLayout::CaptionFiles, vec![format!("{file}: x")]));
        }
    }
    // Where both forms are there, each name means its own file, and neither is named twice.
    let both = [("caf\u{e9}.png", "one"), ("cafe\u{301}.png", "two")];
    let lines =
        both.map(|(name, text)| format!("{{\"file_name\": \"{name}\", \"text\": \"{text}\"}}")).join("\n");
    let folder = Folder::new(&[(both[0].0, ""), (both[1].0, ""), (METADATA_JSONL, &lines)]);
    assert_eq!(folder.opened().1, both.map(|(name, text)| format!("{name}: {text}")));
}

#[test]
fn odd_numbers_of_python_do_no_harm_wherever_they_stand() {
    let lines = [
        r#"{"a": {"b": [NaN, {"c": -Infinity}]}, "file_name": "0.png", "text": "zero"}"#,
        r#"{"NaN": Infinity, "file_name": "1.png", "text": ["one \" NaN", "-Infinity"]}"#,
        r#"{"file_name":"2.png","text":"two","box":[-Infinity,NaN,Infinity,-1e400]}"#,
        r#"{"file_name": "3.png", "text": NaN, "caption": "three"}"#,
    ];
    let pictures: Vec<String> = (0..4).map(|i| format!("{i}.png")).collect();
    let mut files: Vec<(&str, &str)> = pictures.iter().map(|name| (name.as_str(), "")).collect();
    let expected = ["0.png: zero", "1.png: one \" NaN | -Infinity", "3.png: three"];
    let text = lines.join("\n");
    files.push((METADATA_JSONL, &text));
    let folder = Folder::new(&files);
    let usable = ImageFolder::open_usable(&folder.0, CaptionNeed::Required).unwrap();
    assert_eq!(folder.listed(&usable).1, expected);
    // A number that is too large for any program is a fault of its line.
    assert_eq!(faults(&usable), ["Metadata metadata.jsonl:3"]);
    folder.write(METADATA_JSONL, format!("[{}]", lines.join(",\n")));
    let usable = ImageFolder::open_usable(&folder.0, CaptionNeed::Required).unwrap();
    assert_eq!(
        (folder.listed(&usable).1, faults(&usable)),
        (expected.map(String::from).to_vec(), vec!["Metadata metadata.jsonl:3".to_owned()])
    );
}

#[test]
fn metadata_in_utf_16_of_either_order_is_read_with_or_without_its_mark() {
    let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let lines = "{\"file_name\": \"a.png\", \"text\": \"𝄞 és 中文\"}\r\n{\"file_name\": \"b.png\", \"text\": \"b\"}\r\n";
    let table = "file_name,text,notes\r\na.png,\"𝄞 és 中文\",\"two\r\nlines\"\r\nb.png,b,\r\n";
    let expected = ["a.png: 𝄞 és 中文", "b.png: b"];
    for (name, text) in [(METADATA_JSONL, lines), (METADATA_CSV, table)] {
        let folder = Folder::new(&[("a.png", ""), ("b.png", "")]);
        for bytes in [big(&format!("\u{feff}{text}")), little(text), big(text)] {
            folder.write(name, bytes);
            assert_eq!(folder.opened().1, expected, "{name}");
        }
        // Cut in the middle of a character: no text, and said with its line.
        folder.write(name, &little(text)[..41]);
        assert!(folder.refused().contains(name), "{}", folder.refused());
    }
    let folder = Folder::new(&[("a.png", "")]);
    folder.write("a.caption", big("\u{feff}eins\r\nzwei"));
    assert_eq!(folder.opened().1, ["a.png: eins | zwei"]);
}

#[cfg(unix)]
#[test]
fn loops_and_chains_of_links_end() {
    use std::os::unix::fs::symlink;
    let folder =
        Folder::new(&[("one/a.jpg", "A"), ("one/a.txt", "a"), ("two/b.jpg", "B"), ("two/b.txt", "b")]);
    let link = |to: &str, name: &str| symlink(to, folder.0.join(name)).unwrap();
    link("..", "one/up");
    link(".", "self");
    link("two", "again.jpg"); // a folder that is called as a picture
    link("loop", "loop");
    link("chain2", "chain1");
    link("two", "chain2");
    link("../one/a.jpg", "two/c.jpg");
    link("../one/a.txt", "two/c.txt");
    link("ring2.png", "ring1.png");
    link("ring1.png", "ring2.png");
    let opened = ImageFolder::open_usable(&folder.0, CaptionNeed::Required).unwrap();
    assert_eq!(folder.listed(&opened).1, ["one/a.jpg: a", "two/b.jpg: b", "two/c.jpg: a"]);
    let mut found = faults(&opened);
    found.sort();
    assert_eq!(found, ["Missing ring1.png", "Missing ring2.png"]);
    let named: Vec<String> = opened.left_out();
    for name in ["one/up", "self", "again.jpg", "chain1", "chain2"] {
        let path = format!("`{}` is a link to a folder", folder.0.join(name).display());
        assert_eq!(named.iter().filter(|line| line.starts_with(&path)).count(), 1, "{name}: {named:?}");
    }
    assert_eq!(named.len(), 5);
    // The folder itself may be a link, and metadata a link in it.
    let beside = Folder::new(&[]);
    symlink(folder.0.join("two"), beside.0.join("data")).unwrap();
    assert_eq!(
        ImageFolder::open(&beside.0.join("data")).err().map(|e| e.to_string().contains("data/c.")),
        Some(true)
    );
    fs::remove_file(folder.0.join("two/c.jpg")).unwrap();
    fs::remove_file(folder.0.join("two/c.txt")).unwrap();
    folder.write("two/lines", r#"{"file_name": "b.jpg", "text": "named"}"#);
    link("lines", "two/metadata.jsonl");
    let through = ImageFolder::open(&beside.0.join("data")).unwrap();
    assert_eq!(
        (through.captions(0), through.layout()),
        (&["named".to_owned()][..], FolderLayout::MetadataJsonl)
    );
    link("metadata.csv", "one/metadata.csv");
    let ring = ImageFolder::open(&folder.0.join("one")).unwrap_err().to_string();
    assert!(ring.contains("metadata.csv"), "{ring}");
}
