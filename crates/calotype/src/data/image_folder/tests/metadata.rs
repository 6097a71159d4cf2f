//! `metadata.jsonl` and `metadata.csv`: what is read, and where a fault is said to be.

use super::*;

#[test]
fn reads_jsonl_in_its_order() {
    let lines = "\u{feff}{\"file_name\": \"b.png\", \"text\": \" a cat \", \"caption\": \"no\", \"objects\": []}\r\n\n\
        {\"file_name\":\"./deep/a.png\",\"caption\":[\"két kutya\", \" \", \"dogs\"]}\n\
        {\"file_name\": \"no_extension\", \"similarity\": NaN, \"text\": null, \"caption\": \"x\"}";
    let pictures = [("b.png", "B"), ("deep/a.png", "A"), ("no_extension", "")];
    let folder = Folder::new(&[&pictures[..], &[(METADATA_JSONL, lines), ("b.txt", "not read")]].concat());
    let expected =
        ["b.png: a cat", "deep/a.png: két kutya | dogs", "no_extension: x"].map(String::from).to_vec();
    assert_eq!(folder.opened(), (FolderLayout::MetadataJsonl, expected.clone()));
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
    assert_eq!(folder.opened(), (FolderLayout::MetadataCsv, expected));
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
