use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use image::{Rgb, RgbImage};

use super::record::{Records, crc32c, framed};
use super::{EventFile, FILE_NAME, event, scalars};
use crate::error::Error;
use crate::files::protobuf::{Field, Fields, Message};
use crate::testing::TempDir;

/// A folder for an event file.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new())
    }

    fn open(&self, step: u64) -> EventFile {
        EventFile::open(&self.0, step, || 2.0).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.0.join(FILE_NAME)
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    fn put(&self, bytes: &[u8]) {
        self.0.write(FILE_NAME, bytes);
    }

    fn steps(&self) -> Vec<u64> {
        scalars(&self.path()).unwrap().into_iter().map(|(step, _, _)| step).collect()
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Where each record begins, and the end of the last.
fn bounds(bytes: &[u8]) -> Vec<usize> {
    let records = Records::new(bytes, "bounds".as_ref()).map(|record| record.unwrap().offset as usize);
    records.chain([bytes.len()]).collect()
}

/// Steps `begin` to `end`, without it: a text at step 0, a number at each, a picture at even ones.
fn log(file: &mut EventFile, begin: u64, end: u64) {
    for step in begin..end {
        if step == 0 {
            file.text(0, "recipe", "steps = 6").unwrap();
        }
        file.scalar(step, "loss/vae", 1.0 / step as f32).unwrap();
        if step % 2 == 0 {
            file.image(step, "samples", &RgbImage::from_pixel(2, 2, Rgb([step as u8; 3]))).unwrap();
        }
    }
}

/// Known answers of RFC 3720, B.4, and the usual check value.
#[test]
fn crc32c_has_its_known_answers() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
}

/// `RecordWriter` of tensorboard 2.21.0 with protobuf 7.36.2 makes these bytes of the same two events.
#[test]
fn file_is_byte_for_byte_that_of_tensorboard() {
    let folder = Folder::new();
    let ticks = AtomicU32::new(0);
    let clock = move || 1_700_000_000.25 + 1.25 * f64::from(ticks.fetch_add(1, Ordering::Relaxed));
    let mut file = EventFile::open(&folder.0, 0, clock).unwrap();
    file.scalar(300, "loss/vae", 0.1).unwrap();
    file.flush().unwrap();
    let version = "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9";
    let scalar =
        "1f00000000000000514b44180900006040fc54d94110ac022a110a0f0a086c6f73732f76616515cdcccc3d42629be0";
    assert_eq!(folder.bytes(), from_hex(&[version, scalar].concat()));
}

/// `Event.SerializeToString()` of tensorboard 2.21.0 with protobuf 7.36.2.
#[test]
fn messages_are_byte_for_byte_those_of_protobuf() {
    let image = event::with_value(2.0, 7, event::image("samples/0", 200, 3, b"PNG"));
    let golden = "09000000000000004010072a1b0a190a0973616d706c65732f30220c080310c80118032203504e47";
    assert_eq!(image, from_hex(golden));

    let text = event::with_value(2.0, 0, event::text("recipe", "a = 1é"));
    let golden =
        "0900000000000000402a230a210a06726563697065420d08071200420761203d2031c3a94a080a060a0474657874";
    assert_eq!(text, from_hex(golden));
}

/// A file of torch 2.15.0's `SummaryWriter` with tensorboard 2.21.0: two scalars in the older form, the
/// second NaN, two in the newer (`new_style=True`), and a text.
#[test]
fn file_of_torch_is_read() {
    let hex = "4800000000000000fe92489d093217e728e2c1da411a0d627261696e2e4576656e743a32522e0a2c74656e736f72\
        626f6172642e73756d6d6172792e7772697465722e6576656e745f66696c655f777269746572b997f41e1c000000\
        00000000c8c1951d09000000000000f83f2a110a0f0a086c6f73732f76616515cdcccc3d9ef4c37e1e0000000000\
        0000d9dc123209000000000000044010012a110a0f0a086c6f73732f766165150000c07fa05b8aab320000000000\
        0000241956ec090000000000000c4010ac022a240a220a096c6f73732f636c6970420808012a04000020c04a0b0a\
        090a077363616c6172738c60c4f83200000000000000241956ec09000000000000124010ad022a240a220a096c6f\
        73732f636c6970420808012a04caf249714a0b0a090a077363616c617273e0f048bb410000000000000000a9c2ab\
        0900000000000014402a360a340a137265636970652f746578745f73756d6d617279421308071204120208014209\
        7374657073203d20334a080a060a0474657874b4269e83";
    let folder = Folder::new();
    folder.put(&from_hex(hex));
    let read = scalars(&folder.path()).unwrap();
    let (vae, clip) = ("loss/vae".to_owned(), "loss/clip".to_owned());
    assert!(read[1].2.is_nan());
    let finite: Vec<_> = read.into_iter().filter(|(_, _, value)| value.is_finite()).collect();
    assert_eq!(finite, [(0, vae, 0.1), (300, clip.clone(), -2.5), (301, clip, 1e30)]);
    // And it can be gone on with: what it holds before step 301 stays as it is.
    folder.open(301);
    assert_eq!(folder.steps(), [0, 1, 300]);
}

#[test]
fn resumed_file_equals_that_of_an_uninterrupted_run() {
    let whole = Folder::new();
    log(&mut whole.open(0), 0, 6);
    for step in 1..=6 {
        let resumed = Folder::new();
        // The crash comes after step 6, which the checkpoint of `step` knows nothing about.
        log(&mut resumed.open(0), 0, 6);
        log(&mut resumed.open(step), step, 6);
        assert_eq!(resumed.bytes(), whole.bytes(), "resumed at step {step}");
        assert_eq!(std::fs::read_dir(&resumed.0).unwrap().count(), 1, "temporary files are left");
    }
    log(&mut whole.open(0), 0, 2);
    assert_eq!(whole.steps(), [0, 1], "a run that begins again begins its file again");
}

#[test]
fn last_record_may_be_cut_anywhere() {
    let folder = Folder::new();
    log(&mut folder.open(0), 0, 4);
    let bytes = folder.bytes();
    let last = bounds(&bytes)[bounds(&bytes).len() - 2];
    for end in last..bytes.len() {
        folder.put(&bytes[..end]);
        assert_eq!(folder.steps(), [0, 1, 2], "cut at byte {end}");
        folder.open(4).scalar(3, "loss/vae", 1.0 / 3.0).unwrap();
        assert_eq!(folder.bytes(), bytes, "cut at byte {end}");
    }
    for end in 0..bounds(&bytes)[1] {
        folder.put(&bytes[..end]);
        drop(folder.open(4));
        assert_eq!(folder.bytes(), bytes[..bounds(&bytes)[1]], "the version is written anew");
    }
}

#[test]
fn damaged_record_is_named_and_the_file_left_alone() {
    let folder = Folder::new();
    log(&mut folder.open(0), 0, 3);
    let bytes = folder.bytes();
    let [begin, end] = [bounds(&bytes)[2], bounds(&bytes)[3]];
    for at in begin..end {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        folder.put(&damaged);
        let errors = [
            scalars(&folder.path()).unwrap_err(),
            EventFile::open(&folder.0, 3, || 2.0).unwrap_err(),
            EventFile::open(&folder.0, 1, || 2.0).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::Format { .. }), "{error}");
            assert!(error.to_string().contains(&format!("byte {begin} has a wrong checksum")), "{error}");
        }
        assert_eq!(folder.bytes(), damaged);
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "temporary files are left");
    }
    log(&mut folder.open(0), 0, 3);
    assert_eq!(folder.bytes(), bytes, "a run that begins again does not need the old file");
}

/// A TensorBoard that is running has the file open.
#[test]
fn file_that_needs_no_change_is_not_replaced() {
    let folder = Folder::new();
    log(&mut folder.open(0), 0, 3);
    let watcher = std::fs::File::open(folder.path()).unwrap();
    log(&mut folder.open(3), 3, 5);
    assert_eq!(watcher.metadata().unwrap().len(), folder.bytes().len() as u64);
}

/// Other writers' files need not have their steps in order, nor begin with a version.
#[test]
fn steps_are_dropped_wherever_they_are() {
    let folder = Folder::new();
    let step = |step| framed(&event::with_value(1.0, step, event::scalar("loss", 1.0)));
    let negative = Message::new().varint(2, -1_i64 as u64).into_bytes();
    folder.put(&[step(1), step(9), framed(&negative), step(2), step(3)].concat());
    drop(folder.open(3));
    let kept = [framed(&event::version(2.0)), step(1), framed(&negative), step(2)].concat();
    assert_eq!(folder.bytes(), kept);
    folder.put(&step(1));
    drop(folder.open(3));
    assert_eq!(folder.bytes(), [framed(&event::version(2.0)), step(1)].concat());
}

#[test]
fn picture_is_stored_whole() {
    let folder = Folder::new();
    let picture = RgbImage::from_fn(5, 3, |x, y| Rgb([x as u8 * 50, y as u8 * 80, 7]));
    folder.open(0).image(4, "samples/0", &picture).unwrap();
    let record = Records::open(&folder.path()).unwrap().last().unwrap().unwrap();
    // Event.summary, Summary.value, Value.image, Image.encoded_image_string.
    let png = [5, 1, 4, 4].iter().fold(record.data.as_slice(), |message, number| bytes_of(message, *number));
    assert_eq!(image::load_from_memory(png).unwrap().to_rgb8(), picture);
}

/// The field `number` of a message, which is bytes.
fn bytes_of(message: &[u8], number: u64) -> &[u8] {
    let field = Fields::of(message).map(Result::unwrap).find(|(of_field, _)| *of_field == number);
    match field {
        Some((_, Field::Bytes(bytes))) => bytes,
        other => panic!("field {number} is {other:?}"),
    }
}

#[test]
fn unusable_arguments_are_refused_and_nothing_is_written() {
    let folder = Folder::new();
    let mut file = folder.open(0);
    let before = folder.bytes();
    assert!(matches!(file.scalar(0, "", 1.0), Err(Error::Argument { .. })));
    assert!(matches!(file.text(1 << 63, "recipe", ""), Err(Error::Argument { .. })));
    assert!(matches!(file.image(0, "samples", &RgbImage::new(0, 4)), Err(Error::Shape { .. })));
    assert_eq!(folder.bytes(), before);
}

#[test]
fn numbers_survive_the_round_trip() {
    let folder = Folder::new();
    let values = [0.0, -0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let steps = [0, 1, 127, 128, 1 << 32, (1 << 63) - 2, (1 << 63) - 1];
    let mut file = folder.open(0);
    for (step, value) in steps.into_iter().zip(values) {
        file.scalar(step, "größe", value).unwrap();
    }
    let read = scalars(&folder.path()).unwrap();
    assert_eq!(read.len(), values.len());
    for ((step, value), (step_read, tag, value_read)) in steps.into_iter().zip(values).zip(read) {
        assert_eq!((step_read, tag.as_str(), value_read.to_bits()), (step, "größe", value.to_bits()));
    }
}

#[test]
fn events_that_are_none_are_errors_with_their_place() {
    let folder = Folder::new();
    let version = framed(&event::version(1.0));
    let scalar_of = |tensor: Message| {
        let plugin = Message::new().message(1, Message::new().bytes(1, event::SCALARS));
        event::with_value(1.0, 0, Message::new().bytes(1, "loss").message(8, tensor).message(9, plugin))
    };
    let negative = Message::new()
        .varint(2, -1_i64 as u64)
        .message(5, Message::new().message(1, event::scalar("loss", 1.0)));
    let cases = [
        (vec![0x10], "field 2: needs 1 bytes, the message has 0 left"),
        (vec![0x0b, 1], "field 1: wire type 3"),
        (vec![0x09, 1, 2], "field 1: needs 8 bytes, the message has 2 left"),
        ([&[0x10][..], &[0xff; 10]].concat(), "field 2: a whole number of more than 10 bytes"),
        ([&[0x2a][..], &[0xff; 9], &[1]].concat(), "field 5: needs 18446744073709551615 bytes"),
        (scalar_of(Message::new().varint(1, 2).double(6, 1.0)), "`loss`: expected numbers of data type 1"),
        (
            scalar_of(Message::new().varint(1, 1).float(5, 1.0).float(5, 2.0)),
            "expected one number, got 8 bytes",
        ),
        (negative.into_bytes(), "expected a step from 0, got -1"),
    ];
    for (message, reason) in cases {
        folder.put(&[version.clone(), framed(&message)].concat());
        let error = scalars(&folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("the event at byte {}", version.len())), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}

/// A length that is not there costs no memory: it is taken for that of a record that was cut.
#[test]
fn claimed_length_is_not_believed() {
    let folder = Folder::new();
    for length in [1_u64 << 40, u64::MAX] {
        // The checksum of a length is that of a record whose data are these eight bytes.
        let checksum = framed(&length.to_le_bytes())[20..].to_vec();
        folder.put(&[length.to_le_bytes().to_vec(), checksum, vec![0; 100]].concat());
        assert_eq!(scalars(&folder.path()).unwrap(), []);
    }
}
