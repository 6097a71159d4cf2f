use std::fs;

use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::*;
use crate::files::sha256::hex;
use crate::testing::{TempDir, test_data};

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        self.0.write(name, bytes)
    }

    /// Opens one shard of these bytes.
    fn open(&self, bytes: &[u8]) -> Result<WebDataset> {
        WebDataset::open(&[self.file("s.tar", bytes)])
    }

    /// What opening such a shard is refused with.
    fn refusal(&self, bytes: &[u8]) -> String {
        let error = self.open(bytes).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
        assert!(error.to_string().contains("s.tar"), "{error}");
        error.to_string()
    }
}

fn header(kind: EntryType, length: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(length as u64);
    header.set_mode(0o644);
    header
}

/// A tar of files.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, bytes) in members {
        tar.append_data(&mut header(EntryType::Regular, bytes.len()), name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A tar of one member, whose header is as it is, and then the sample `a`.
fn with(mut first: Header, content: &[u8]) -> Vec<u8> {
    first.set_cksum();
    let mut bytes = first.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(tar(&[("a.jpg", b"A")]));
    bytes
}

fn named(name: &str, kind: EntryType, length: usize) -> Header {
    let mut header = header(kind, length);
    header.set_path(name).unwrap();
    header
}

fn pax(record: &str) -> Vec<u8> {
    with(named("pax", EntryType::XHeader, record.len()), record.as_bytes())
}

#[test]
fn members_of_a_key_are_a_sample() {
    let folder = Folder::new();
    let data = folder
        .open(&tar(&[
            ("train/v1.0/cat.jpg", b"cat picture"),
            ("train/v1.0/cat.TXT", b"\xef\xbb\xbf a cat \r\n\n two cats\n"),
            (
                "train/v1.0/cat.json",
                br#"{"text": "a tom", "captions": ["a cat", " ", null, "k\u00e9t"], "id": 7}"#,
            ),
            ("train/v1.0/cat.cls", b"feline"),
            ("./dog.seg.png", b"not its picture"),
            ("dog.PNG", b"dog"),
            ("dog.cls", b" sheep dog\n"),
            ("README", b"no key"),
            (".hidden.jpg", b"no key"),
            ("20.webp", b"twenty"),
            ("2.webp", b"two"),
            ("2.cls", b"17"),
            ("2.json", b"[1, 2]"),
            ("3.jpeg", b"three"),
            ("3.caption", b"one\ttab"),
        ]))
        .unwrap();
    let shard = folder.0.join("s.tar").display().to_string();
    let all: Vec<_> = (0..data.len())
        .map(|i| (data.name(i), data.captions(i), String::from_utf8(data.bytes(i).unwrap().into()).unwrap()))
        .collect();
    let captions = |list: &[&str]| list.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    let cat = captions(&["a cat", "two cats", "a tom", "két"]);
    let (dog, none, three) = (captions(&["sheep dog"]), captions(&[]), captions(&["one\ttab"]));
    assert_eq!(
        all,
        [
            (format!("{shard}: train/v1.0/cat.jpg"), &cat[..], "cat picture".to_owned()),
            (format!("{shard}: dog.PNG"), &dog, "dog".into()),
            (format!("{shard}: 20.webp"), &none, "twenty".into()),
            (format!("{shard}: 2.webp"), &none, "two".into()),
            (format!("{shard}: 3.jpeg"), &three, "three".into()),
        ]
    );
    assert!(data.faults().is_empty() && data.left_out().is_empty());
    assert!(matches!(data.bytes(5), Err(Error::Argument { .. })));
}

#[test]
fn what_cannot_be_used_is_a_fault() {
    let folder = Folder::new();
    let mut builder = Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        builder.append_data(&mut header(EntryType::Regular, bytes.len()), name, bytes).unwrap();
    };
    add("alone.txt", b"a caption");
    add("alone.npy", b"numbers");
    add("both.jpg", b"1");
    add("both.JPG", b"2");
    add("empty.png", b"");
    add("good.png", b"G");
    // Its size is what links of some programs say; no content follows.
    let mut link = header(EntryType::Symlink, 1000);
    builder.append_link(&mut link, "link.jpg", "/etc/passwd").unwrap();
    builder.append_link(&mut header(EntryType::Link, 0), "hard.jpg", "good.png").unwrap();
    builder.append_link(&mut header(EntryType::Symlink, 0), "latest", "good.png").unwrap();
    builder.append_data(&mut header(EntryType::Directory, 0), "folder.jpg/", &b""[..]).unwrap();
    let data = folder.open(&builder.into_inner().unwrap()).unwrap();
    assert_eq!((data.len(), &data.bytes(0).unwrap()[..]), (1, &b"G"[..]));
    let expected = [
        "Missing alone: no picture (jpg, jpeg, png, webp, jpe, jfif, gif, bmp, tif, tiff), only npy, txt",
        "Repeated both: two pictures, `both.jpg` and `both.JPG`",
        "Unreadable empty.png: it is empty",
        "Unreadable hard.jpg: it is a hard link, which is not read",
        "Unreadable link.jpg: it is a symbolic link, which is not read",
    ];
    assert_eq!(faults(&folder, &data), expected);
    assert!(data.left_out()[0].ends_with("s.tar: latest` is a symbolic link, which is not read"));
    assert_eq!(data.left_out().len(), 1);
}

/// Each fault as `Kind part: reason`, sorted.
fn faults(folder: &Folder, data: &WebDataset) -> Vec<String> {
    let shard = format!("{}: ", folder.0.join("s.tar").display());
    let one = |fault: Fault| {
        format!("{:?} {}: {}", fault.kind, fault.file.strip_prefix(&shard).unwrap(), fault.reason)
    };
    let mut all: Vec<String> = data.faults().into_iter().map(one).collect();
    all.sort();
    all
}

#[test]
fn other_kinds_of_pictures_count_where_there_is_no_usual_one() {
    let folder = Folder::new();
    let data = folder
        .open(&tar(&[
            ("1.gif", b"G"),
            ("1.txt", b"one"),
            ("2.TIFF", b"T"),
            ("3.jpg", b"J"),
            ("3.bmp", b"a mask"),
            ("4.avif", b"A"),
            ("4.txt", b"four"),
            ("5.bmp", b"B"),
            ("5.tif", b"T"),
        ]))
        .unwrap();
    let pictures: Vec<_> = (0..data.len()).map(|i| data.bytes(i).unwrap().into_owned()).collect();
    assert_eq!(pictures, [b"G", b"T", b"J"]);
    let all = faults(&folder, &data);
    assert_eq!(all.len(), 2, "{all:?}");
    let (avif, two) = (&all[0], &all[1]);
    assert!(avif.starts_with("Missing 4: no picture") && avif.contains("only avif, txt"), "{avif}");
    assert!(avif.contains("the kind AVIF are not read") && avif.contains("magick IN.avif OUT.png"), "{avif}");
    assert_eq!(two, "Repeated 5: two pictures, `5.bmp` and `5.tif`");
}

#[test]
fn where_captions_are_needed_samples_without_are_faults_like_others() {
    let folder = Folder::new();
    let bare = |folder: &Folder| {
        folder.open(&tar(&[
            ("1.jpg", b"1"),
            ("1.txt", b"one"),
            ("2.jpg", b"2"),
            ("3.jpg", b"3"),
            ("3.cls", b"7"),
        ]))
    };
    let data = bare(&folder).unwrap();
    assert_eq!((data.len(), data.faults().len()), (3, 0));
    let data = data.without_captionless();
    assert_eq!((data.len(), data.captions(0)), (1, &["one".to_owned()][..]));
    let reason = "no caption, where other samples have one";
    assert_eq!(
        faults(&folder, &data),
        [format!("Caption 2.jpg: {reason}"), format!("Caption 3.jpg: {reason}")]
    );
    // Pictures alone are another kind of data.
    let none = folder.open(&tar(&[("1.jpg", b"1"), ("2.jpg", b"2")])).unwrap().without_captionless();
    assert_eq!((none.len(), none.faults().len()), (2, 0));
}

#[test]
fn a_shard_of_faults_alone_does_not_refuse_the_others() {
    let folder = Folder::new();
    let good = folder.file("1.tar", &tar(&[("a.jpg", b"A"), ("a.txt", b"a")]));
    let odd = folder.file("2.tar", &tar(&[("b.jpg", b"B"), ("b.txt", b"caf\xe9")]));
    let data = WebDataset::open(&[good.clone(), odd.clone()]).unwrap();
    assert_eq!((data.len(), data.faults().len()), (1, 1));
    assert_eq!(data.faults()[0].file, format!("{}: b.txt", odd.display()));
    let refused = WebDataset::open(&[odd]).unwrap_err().to_string();
    assert!(
        refused.contains("no sample can be used; 1 faults, the first") && refused.contains("b.txt"),
        "{refused}"
    );
    // A tar of something else is no shard.
    let other = folder.file("3.tar", &tar(&[("README", b"x")]));
    let refused = WebDataset::open(&[good, other]).unwrap_err().to_string();
    assert!(refused.contains("3.tar") && refused.contains("it holds no sample: no member"), "{refused}");
}

/// The others are read.
#[test]
fn a_text_that_cannot_be_read_leaves_out_its_sample() {
    let folder = Folder::new();
    let big = vec![b'x'; (1 << 20) + 1];
    let texts: [(&str, &[u8]); 10] = [
        ("1.json", br#"{"caption": "one", "similarity": NaN, "width": -Infinity}"#),
        ("2.txt", b"caf\xe9"),
        ("3.json", br#"{"caption": 3}"#),
        ("4.json", br#"{"caption": "four""#),
        ("5.json", br#"{"text": ["five", {"a": 1}]}"#),
        ("6.txt", &big),
        ("7.cls", b"\xff"),
        ("8.json", b"\xfe\xff\x00{"),
        ("9.json", br#"{"caption": "nine \ud800"}"#),
        ("a.json", br#"{"caption": null}"#),
    ];
    let members: Vec<(String, &[u8])> = texts
        .iter()
        .flat_map(|(name, text)| [(format!("{}.jpg", &name[..1]), &b"J"[..]), (name.to_string(), *text)])
        .collect();
    let members: Vec<(&str, &[u8])> = members.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let data = folder.open(&tar(&members)).unwrap();
    let captions: Vec<_> = (0..data.len()).map(|i| data.captions(i).join(" ")).collect();
    assert_eq!(captions, ["one", ""]);
    let all = faults(&folder, &data);
    for (fault, reason) in all.iter().zip([
        "Caption 2.txt: at byte 3072: not UTF-8",
        "Caption 3.json: at byte 5120: `caption`: expected a string or a list of strings, got `3`",
        "Caption 4.json: at byte",
        "Caption 5.json: at byte",
        ": a text of 1048577 bytes",
        "Caption 7.cls: at byte",
        "Caption 8.json: at byte",
        "Caption 9.json: at byte",
    ]) {
        assert!(fault.contains(reason), "expected {reason}\ngot {fault}");
    }
    assert_eq!(all.len(), 8);
}

#[test]
fn long_names() {
    let folder = Folder::new();
    let key = "k".repeat(300);
    let data = folder.open(&tar(&[(&format!("{key}.jpg"), b"J"), (&format!("{key}.txt"), b"long")])).unwrap();
    assert!(data.name(0).ends_with(&format!(": {key}.jpg")));
    assert_eq!(data.captions(0), ["long"]);

    // pax: a line end in a value before the path, and the content's length in place of the header's.
    let records = "13 comment=x\n7 y=z\n\n22 path=\u{e1}rv\u{ed}z/b.jpg\n9 size=3\n";
    let mut bytes = with(named("p", EntryType::XHeader, records.len()), records.as_bytes());
    bytes.truncate(1024);
    bytes.extend(with(named("x", EntryType::Regular, 0), b"BBB"));
    let data = folder.open(&bytes).unwrap();
    assert!(data.name(0).ends_with(": árvíz/b.jpg"), "{}", data.name(0));
    assert_eq!((&data.bytes(0).unwrap()[..], data.len()), (&b"BBB"[..], 2));

    // Bytes that are no text, and what could steer a terminal, are escaped.
    let mut odd = named("x", EntryType::Regular, 1);
    odd.as_old_mut().name[..8].copy_from_slice(b"\xe9\x1b[m.png\0"[..8].try_into().unwrap());
    let data = folder.open(&with(odd, b"O")).unwrap();
    assert!(data.name(0).ends_with(r": \xe9\x1b[m.png"), "{}", data.name(0));
}

#[test]
fn faults_name_member_and_byte() {
    let folder = Folder::new();
    let big = vec![b'x'; (1 << 20) + 1];
    let picture: (&str, &[u8]) = ("a.jpg", b"A");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "the file is empty"),
        (tar(&[]), "it holds no sample: no member"),
        (tar(&[("README", b"x")]), "it holds no sample: no member"),
        (tar(&[("a.txt", b"x"), ("b.txt", b"x")]), "2 faults, the first: `"),
        (
            tar(&[picture, ("b.jpg", b"B"), ("a.txt", b"x")]),
            "key `a` comes twice: `a.jpg` at byte 0 and, after other keys, `a.txt` at byte 2048",
        ),
        (tar(&[picture, picture]), "`a.jpg` comes twice: at byte 0 and at byte 1024"),
        (tar(&[picture, ("a.txt", &big)]), "a.txt`: at byte 1024: a text of 1048577 bytes"),
        (tar(&[picture, ("a.txt", b"\xff")]), "a.txt`: at byte 1024: not UTF-8"),
        (tar(&[picture, ("a.json", b"{\"a\"")]), "a.json`: at byte 1024: not JSON"),
        (tar(&[picture, ("a.json", b"{\"text\": 3}")]), "`text`: expected a string or a list"),
        ([tar(&[picture]), tar(&[("b.jpg", b"B")])].concat(), "byte 2048 there is more: are these joined"),
        (b"\x1f\x8b\x08rest".to_vec(), "run gunzip on it first"),
        (vec![b'x'; 2048], "byte 0: it is no tar header"),
        (pax("11 size=-1\n"), "byte 0: a size that is no number"),
        (pax("25 GNU.sparse.realsize=9\n"), "byte 0: the next one is a sparse file"),
        (pax("9 path=a\n9 path=b\n"), "given twice"),
        (pax("99 path=a\n"), "byte 0: a pax header without sense"),
        (pax("0 path=a\n"), "byte 0: a pax header without sense"),
        (pax("2 path=a\n"), "byte 0: a pax header without sense"),
        (pax("18446744073709551615 path=a\n"), "byte 0: a pax header without sense"),
        (pax("29 size=18446744073709551615\n"), "the member at byte 1024: it has 18446744073709551615 bytes"),
        (with(named("g", EntryType::XGlobalHeader, 9), b"9 size=1\n"), "gives all members one name"),
        (with(named("x", EntryType::GNUSparse, 0), b""), "byte 0: it is a sparse file"),
        (
            with(named("L", EntryType::GNULongName, big.len()), &big),
            "byte 0: a name or pax header of 1048577",
        ),
        (
            with(named("L", EntryType::GNULongName, 1 << 40), b""),
            "byte 0: it has 1099511627776 bytes, 2048 are",
        ),
        (
            [&with(named("L", EntryType::GNULongName, 1), b"l")[..1024], &[0; 1024]].concat(),
            "byte 0: it describes a member that does not come",
        ),
    ];
    for (bytes, expected) in cases {
        let got = folder.refusal(&bytes);
        assert!(got.contains(expected), "expected {expected}\ngot {got}");
    }
    for (field, expected) in [
        ([0xff; 12], "its size is negative"),
        ([0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], "beyond 64 bits"),
        (
            [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "it has 18446744073709551615 bytes",
        ),
        (*b"-0000000001\0", "its size is no number"),
        ([0; 12], "its size is no number"),
    ] {
        let mut header = named("b.jpg", EntryType::Regular, 1);
        header.as_old_mut().size = field;
        let got = folder.refusal(&with(header, b"B"));
        assert!(got.contains(expected), "expected {expected}\ngot {got}");
    }
    assert!(matches!(WebDataset::open(&[]), Err(Error::Argument { .. })));
    assert!(matches!(WebDataset::open(&[folder.0.join("none.tar")]), Err(Error::Io { .. })));
    assert!(matches!(WebDataset::open(&[folder.0.to_owned()]), Err(Error::Format { .. })));
}

#[test]
fn every_cut_is_noticed() {
    let folder = Folder::new();
    let whole = tar(&[("a.jpg", &[7; 700]), ("a.txt", b"a"), (&"b".repeat(150), b""), ("b.jpg", b"B")]);
    let end = whole.len() - 1024;
    for cut in (0..end + 512).step_by(37).chain([end - 512, end, end + 511]) {
        let got = folder.refusal(&whole[..cut]);
        assert!(got.contains("cut short") || got.contains("empty"), "{cut}: {got}");
    }
    let got = folder.refusal(&whole[..600]);
    assert!(got.contains("byte 0: it has 700 bytes, 88 are there"), "{got}");
    assert_eq!(folder.open(&whole[..end + 512]).unwrap().len(), 2);
}

/// Whatever a header says, opening ends, and what it finds can be read.
#[test]
fn damaged_headers_do_no_harm() {
    let folder = Folder::new();
    let whole = tar(&[("a.jpg", &[7; 700]), ("a.txt", b"a"), (&format!("{}.png", "b".repeat(150)), b"B")]);
    let fields = [0..2, 99..101, 124..136, 156..158, 257..265, 345..347, 386..388, 482..484];
    for start in [0, 2560] {
        for at in fields.iter().cloned().flatten() {
            for value in [0, b' ', b'7', b'L', 0x80, 0xff] {
                let mut header = Header::new_old();
                header.as_mut_bytes().copy_from_slice(&whole[start..start + 512]);
                header.as_mut_bytes()[at] = value;
                header.set_cksum();
                let mut bytes = whole.clone();
                bytes[start..start + 512].copy_from_slice(header.as_bytes());
                if let Ok(data) = folder.open(&bytes) {
                    (0..data.len()).for_each(|i| assert!(data.bytes(i).unwrap().len() <= bytes.len()));
                }
            }
        }
    }
}

#[test]
fn many_threads_read_many_shards() {
    let folder = Folder::new();
    for shards in [3, OPEN_SHARDS + 1] {
        let picture = |n: usize| [n.to_string().as_bytes(), &vec![n as u8; 100 * n]].concat();
        let paths: Vec<PathBuf> = (0..shards)
            .map(|s| {
                let members = [("0.jpg", &picture(2 * s)[..]), ("1.jpg", &picture(2 * s + 1))];
                folder.file(&format!("{s}.tar"), &tar(&members))
            })
            .collect();
        let data = WebDataset::open(&paths).unwrap();
        assert_eq!(data.len(), 2 * shards);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let data = &data;
                scope.spawn(move || {
                    for round in 0..400 {
                        let i = (round * 31 + thread * 7) % data.len();
                        assert_eq!(data.bytes(i).unwrap(), picture(i));
                    }
                });
            }
        });
    }
}

#[test]
fn a_shard_that_shrinks_is_an_error() {
    let folder = Folder::new();
    let data = folder.open(&tar(&[("a.jpg", &[7; 700])])).unwrap();
    fs::OpenOptions::new().write(true).open(folder.0.join("s.tar")).unwrap().set_len(1000).unwrap();
    let error = data.bytes(0).unwrap_err().to_string();
    assert!(error.contains("`a.jpg`, 700 bytes at byte 512, is no longer whole"), "{error}");
}

#[test]
fn folders() {
    let folder = Folder::new();
    let refusal = || WebDataset::open_folder(&folder.0).unwrap_err().to_string();
    assert!(refusal().contains("it has no file `*.tar`"));
    folder.file("b-10.tar", &tar(&[("x.jpg", b"3")]));
    folder.file("b-02.tar", &tar(&[("x.jpg", b"2")]));
    folder.file("A.TAR", &tar(&[("x.jpg", b"1")]));
    folder.file("._b-02.tar", b"not a tar");
    folder.file("notes.txt", b"not a tar");
    folder.file("b-02.tar.gz", b"\x1f\x8b");
    folder.file("b-10.tgz", b"\x1f\x8b");
    let data = WebDataset::open_folder(&folder.0).unwrap();
    let pictures: Vec<_> = (0..3).map(|i| data.bytes(i).unwrap()[0]).collect();
    assert_eq!((data.len(), pictures), (3, b"123".to_vec()));
    let gz = folder.file("c.tar.gz", b"\x1f\x8b");
    assert!(refusal().contains("c.tar.gz") && refusal().contains("gunzip"));
    assert!(WebDataset::open(&[gz]).unwrap_err().to_string().contains("gunzip"));
}

/// Numbers from Python 3.11's `tarfile`: the sha256 of all pictures and of all captions, one a line.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn real_shards() {
    let data = WebDataset::open_folder(&test_data().join("data/caltech101-96")).unwrap();
    assert_eq!((data.len(), data.faults().len()), (6502, 0));
    let (mut pictures, mut captions) = (Sha256::new(), Sha256::new());
    for i in 0..data.len() {
        pictures.update(data.bytes(i).unwrap());
        captions.update(format!("{}\n", data.captions(i).join("\n")));
    }
    assert_eq!(hex(&pictures.finalize()), "ee53cf8f2125cc2b2d106e6f572a13e360ea75acba108df3aa69d475a8a933ee");
    assert_eq!(hex(&captions.finalize()), "f9733b3f1f55c4d6502a4170019cbf931b6ae53d88641365796b140d281d720a");
}
