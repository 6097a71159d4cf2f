//! TensorBoard's messages: an event is a step and a wall time with a summary; a summary is values with tags.
//!
//! Numbers of the fields: `event.proto`, `summary.proto`, `tensor.proto` and `types.proto` in
//! <https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto>.

use crate::files::protobuf::{Field, Fields, Message};

/// The version that all of today's writers give.
const FILE_VERSION: &str = "brain.Event:2";
/// `Summary.Image.colorspace` of RGB.
const RGB: u64 = 3;
/// `DataType` of 32-bit floats.
const DT_FLOAT: u64 = 1;
/// `DataType` of texts.
const DT_STRING: u64 = 7;
/// The plugin of numbers, in files that store them as tensors.
pub(super) const SCALARS: &str = "scalars";

/// The event that a file begins with. `wall_time` is in seconds since 1970.
pub(super) fn version(wall_time: f64) -> Vec<u8> {
    at(wall_time, 0).bytes(3, FILE_VERSION).into_bytes()
}

/// An event with one value. `wall_time` is in seconds since 1970.
pub(super) fn with_value(wall_time: f64, step: u64, value: Message) -> Vec<u8> {
    at(wall_time, step).message(5, Message::new().message(1, value)).into_bytes()
}

/// The beginning of each event. Step 0 is not written: it is what a missing step means.
fn at(wall_time: f64, step: u64) -> Message {
    let event = Message::new().double(1, wall_time);
    if step == 0 { event } else { event.varint(2, step) }
}

/// A number, as `simple_value`: TensorBoard takes it for its plugin `scalars`, and `EventAccumulator` (so
/// tbparse too) lists it as a scalar, which it does not with the newer form, a tensor.
pub(super) fn scalar(tag: &str, value: f32) -> Message {
    Message::new().bytes(1, tag).float(2, value)
}

/// A picture; `png` is the whole file.
pub(super) fn image(tag: &str, width: u32, height: u32, png: &[u8]) -> Message {
    let (width, height) = (u64::from(width), u64::from(height));
    let image = Message::new().varint(1, height).varint(2, width).varint(3, RGB).bytes(4, png);
    Message::new().bytes(1, tag).message(4, image)
}

/// A text. A tensor without axes: with one, TensorBoard would draw a table around it.
pub(super) fn text(tag: &str, text: &str) -> Message {
    let tensor = Message::new().varint(1, DT_STRING).message(2, Message::new()).bytes(8, text);
    let plugin = Message::new().bytes(1, "text");
    Message::new().bytes(1, tag).message(8, tensor).message(9, Message::new().message(1, plugin))
}

/// An event as read, as far as it is needed here.
#[derive(Debug, Default)]
pub(super) struct Event<'a> {
    /// The training step; 0 if the event has none.
    pub(super) step: i64,
    /// Whether it is one that a file begins with.
    pub(super) is_version: bool,
    summary: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads an event; fields that are not known are passed over.
    ///
    /// # Errors
    /// Where the message is not built as one.
    pub(super) fn read(message: &'a [u8]) -> Result<Self, String> {
        let mut event = Self::default();
        for field in Fields::of(message) {
            match field? {
                // Negative steps are in two's complement.
                (2, Field::Varint(step)) => event.step = step as i64,
                (3, Field::Bytes(_)) => event.is_version = true,
                (5, Field::Bytes(summary)) => event.summary = summary,
                _ => {}
            }
        }
        Ok(event)
    }

    /// The values of its summary; none if it has none.
    ///
    /// # Errors
    /// Where the message is not built as one.
    pub(super) fn values(&self) -> Result<Vec<Value<'a>>, String> {
        let mut values = Vec::new();
        for field in Fields::of(self.summary) {
            if let (1, Field::Bytes(value)) = field? {
                values.push(Value::read(value)?);
            }
        }
        Ok(values)
    }
}

/// One value of a summary.
#[derive(Debug, Default)]
pub(super) struct Value<'a> {
    /// Its name; parts before a `/` are groups.
    pub(super) tag: String,
    /// The plugin that shows it. Writers may give it with the first value of a tag only.
    pub(super) plugin: Option<String>,
    /// A number in the older form.
    pub(super) simple_value: Option<f32>,
    /// A `TensorProto`: the newer form of everything.
    pub(super) tensor: Option<&'a [u8]>,
}

impl<'a> Value<'a> {
    fn read(message: &'a [u8]) -> Result<Self, String> {
        let mut value = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, Field::Bytes(tag)) => value.tag = as_text(tag),
                (2, Field::Fixed32(number)) => value.simple_value = Some(f32::from_le_bytes(number)),
                (8, Field::Bytes(tensor)) => value.tensor = Some(tensor),
                (9, Field::Bytes(metadata)) => value.plugin = plugin(metadata)?,
                _ => {}
            }
        }
        Ok(value)
    }
}

/// `plugin_data.plugin_name` of a `SummaryMetadata`.
fn plugin(metadata: &[u8]) -> Result<Option<String>, String> {
    let mut name = None;
    for field in Fields::of(metadata) {
        if let (1, Field::Bytes(plugin_data)) = field? {
            for field in Fields::of(plugin_data) {
                if let (1, Field::Bytes(text)) = field? {
                    name = Some(as_text(text));
                }
            }
        }
    }
    Ok(name)
}

fn as_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one number of a `TensorProto` of floats.
///
/// # Errors
/// Another type, more or fewer numbers; where the message is not built as one.
pub(super) fn float(tensor: &[u8]) -> Result<f32, String> {
    let (mut data_type, mut bytes) = (0, Vec::new());
    for field in Fields::of(tensor) {
        match field? {
            (1, Field::Varint(number)) => data_type = number,
            // `tensor_content`, or `float_val` packed or not: the same bytes, and a writer gives one of them.
            (4 | 5, Field::Bytes(some)) => bytes.extend(some),
            (5, Field::Fixed32(number)) => bytes.extend(number),
            _ => {}
        }
    }
    if data_type != DT_FLOAT {
        return Err(format!("expected numbers of data type {DT_FLOAT} (DT_FLOAT), got {data_type}"));
    }
    let number = <[u8; 4]>::try_from(bytes.as_slice());
    number.map(f32::from_le_bytes).map_err(|_| format!("expected one number, got {} bytes", bytes.len()))
}
