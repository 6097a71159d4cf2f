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
    fn opened(&self) -> (Layout, Vec<String>) {
        self.listed(&ImageFolder::open(&self.0).unwrap())
    }

    fn listed(&self, folder: &ImageFolder) -> (Layout, Vec<String>) {
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
fn reads_jsonl_in_its_order() {
    let lines = "\u{feff}{\"file_name\": \"b.png\", \"text\": \" a cat \", \"caption\": \"no\", \"objects\": []}\r\n\n\
        {\"file_name\":\"./deep/a.png\",\"caption\":[\"két kutya\", \" \", \"dogs\"]}\n\
        {\"file_name\": \"no_extension\", \"similarity\": NaN, \"text\": null, \"caption\": \"x\"}";
    let pictures = [("b.png", "B"), ("deep/a.png", "A"), ("no_extension", "")];
    let folder = Folder::new(&[&pictures[..], &[(METADATA_JSONL, lines), ("b.txt", "not read")]].concat());
    let expected =
        ["b.png: a cat", "deep/a.png: két kutya | dogs", "no_extension: x"].map(String::from).to_vec();
    assert_eq!(folder.opened(), (Layout::MetadataJsonl, expected.clone()));
    assert_eq!(folder.for_pictures(), expected);
    let opened = ImageFolder::open(&folder.0).unwrap();
    assert_eq!(opened.bytes(1).unwrap().as_ref(), b"A");
    assert_eq!(opened.name(1), folder.0.join("deep/a.png").display().to_string());
}

#[test]
fn refuses_jsonl_with_the_place_of_the_fault() {
    for (name, metadata, expected) in [
        (
            "not-json",
            "{\"file_name\": \"a.png\", \"text\": \"x\"}\n{\"file_n",
            "line 2: EOF while parsing a string",
        ),
        ("not-object", "[1, 2, 3]", "line 1"),
        ("no-file", "{\"text\": \"x\"}", "line 1: `file_name`: missing"),
        (
            "empty-file",
            "{\"file_name\": \"\"}",
            "line 1: `file_name`: expected the name of a file, got nothing",
        ),
        ("number", "{\"file_name\": 7, \"text\": \"x\"}", "line 1: `file_name`: expected a string, got `7`"),
        ("no-caption", "\n{\"file_name\": \"a.png\"}", "line 2: `text`, the caption of `a.png`: missing"),
        (
            "empty",
            "{\"file_name\": \"a.png\", \"text\": \" \"}",
            "line 1: `text`, the caption of `a.png`: empty",
        ),
        (
            "no-list",
            "{\"file_name\": \"a.png\", \"caption\": []}",
            "`caption`, the caption of `a.png`: empty",
        ),
        (
            "no-string",
            "{\"file_name\": \"a.png\", \"text\": [\"x\", 3]}",
            "a list of strings, got `[\"x\",3]`",
        ),
        ("outside", "{\"file_name\": \"b/../../a.png\", \"text\": \"x\"}", "got `b/../../a.png`"),
        ("absolute", "{\"file_name\": \"/etc/a.png\", \"text\": \"x\"}", "got `/etc/a.png`"),
        ("nothing", "\n", "it names no picture"),
        ("folder", "{\"file_name\": \"deep\", \"text\": \"x\"}", "line 1: there is no file `deep`"),
        ("dot", "{\"file_name\": \".\", \"text\": \"x\"}", "line 1: there is no file ``"),
        ("nul", "{\"file_name\": \"a\\u0000.png\", \"text\": \"x\"}", "line 1: there is no file"),
        (
            "gone",
            "{\"file_name\":\"a.png\",\"text\":\"x\"}\n{\"file_name\":\"y\"}\n{\"file_name\":\"z\"}",
            "line 2: there is no file `y` (2 files are missing)",
        ),
        (
            "twice",
            "{\"file_name\":\"a.png\",\"text\":\"x\"}\n\n{\"file_name\":\"./a.png\",\"text\":\"y\"}",
            "line 3: `a.png` is named in line 1 already",
        ),
        (
            "some-without",
            "{\"file_name\":\"a.png\",\"text\":\"x\"}\n{\"file_name\":\"b.png\"}\n{\"file_name\":\"deep/c.png\"}",
            "line 2: `text`, the caption of `b.png`: missing (2 pictures have no caption)",
        ),
    ] {
        let files = [("a.png", ""), ("b.png", ""), ("deep/c.png", ""), (METADATA_JSONL, metadata)];
        let folder = Folder::new(&files);
        let error = folder.refused();
        assert!(error.contains(expected) && error.contains(METADATA_JSONL), "{name}: {error}");
        let only_captions = ["no-caption", "empty", "no-list", "no-string", "some-without"].contains(&name);
        assert_eq!(ImageFolder::open_for_pictures(&folder.0).is_ok(), only_captions, "{name}");
    }
    let missing = ImageFolder::open(Path::new("no such folder")).unwrap_err();
    assert!(missing.to_string().contains("no such folder") && missing.hint().is_some());
}

#[test]
fn reads_csv_with_several_rows_for_a_file() {
    let table = "\u{feff}split,file_name,text\r\ntrain,b.png,\"one, two\nthree\"\r\n\r\ntest,a.png,\"say \"\"hi\"\"\"\r\n\
        test,./b.png, four \r\ntest,a.png,\r\n";
    let folder = Folder::new(&[("a.png", ""), ("b.png", ""), (METADATA_CSV, table)]);
    let expected = ["b.png: one, two\nthree | four", "a.png: say \"hi\""].map(String::from).to_vec();
    assert_eq!(folder.opened(), (Layout::MetadataCsv, expected));
}

#[test]
fn refuses_csv_with_the_place_of_the_fault() {
    for (name, table, expected) in [
        ("csv-empty", "", "header: expected a column `file_name`"),
        ("csv-semicolon", "file_name;text\na.png;x\n", "a column `file_name`, got `file_name;text`"),
        (
            "csv-no-caption",
            "file_name,label\na.png,x\n",
            "a column `text` or `caption`, got `file_name`, `label`",
        ),
        ("csv-nothing", "file_name,text\n\n", "it names no picture"),
        ("csv-short", "file_name,text\n\na.png\n", "line 3: expected 2 fields as in the header, got 1"),
        ("csv-quote", "file_name,text\na.png,x\nb.png,\"y\na.png,z\n", "line 3: a quote is not closed"),
        ("csv-end-quote", "file_name,text\na.png,\"", "line 2: a quote is not closed"),
        (
            "csv-outside",
            "file_name,text\na.png,\"x\ny\"\n../a.png,x\n",
            "line 4: `file_name`: expected a file in",
        ),
        ("csv-gone", "text,file_name\nx,z.png\nx,a.png\n", "line 2: there is no file `z.png`"),
        (
            "csv-blank",
            "file_name,caption\na.png,x\nb.png,\nb.png, \n",
            "line 3: `caption`, the caption of `b.png`: empty",
        ),
    ] {
        let folder = Folder::new(&[("a.png", ""), ("b.png", ""), (METADATA_CSV, table)]);
        let error = folder.refused();
        assert!(error.contains(expected) && error.contains(METADATA_CSV), "{name}: {error}");
        let only_captions = ["csv-no-caption", "csv-blank"].contains(&name);
        assert_eq!(ImageFolder::open_for_pictures(&folder.0).is_ok(), only_captions, "{name}");
    }
    let folder = Folder::new(&[("a.png", "")]);
    folder.write(METADATA_CSV, b"file_name,text\na.png,x\na.png,caf\xe9\n");
    assert!(folder.refused().contains("line 3: it is not UTF-8"));
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
    assert_eq!(folder.opened(), (Layout::CaptionFiles, expected));
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
    assert_eq!(folder.opened(), (Layout::ClassFolders, expected));
    folder.write("_/1.jpg", "");
    assert!(folder.refused().contains("the name of its folder"));
}

#[test]
fn pictures_alone_have_no_captions() {
    let folder = Folder::new(&[("b.png", ""), ("a/1.png", ""), ("c.jpeg", "")]);
    let expected = ["a/1.png: ", "b.png: ", "c.jpeg: "].map(String::from).to_vec();
    assert_eq!(folder.opened(), (Layout::PicturesOnly, expected));
    assert!(Folder::new(&[("a.gif", "")]).refused().contains("it holds no picture"));
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
