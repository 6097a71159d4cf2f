//! Protobuf's wire format, as much of it as events and tokenizers need.
//!
//! A message is its fields one after another, each with its number and one of four kinds of value.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// A message being written. Fields go in ascending order of their numbers, as protobuf's own writers do.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// One with no fields yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a whole number; negative ones are given in two's complement.
    pub fn varint(mut self, number: u64, value: u64) -> Self {
        self.key(number, VARINT);
        self.push_varint(value);
        self
    }

    /// With a `double`.
    pub fn double(mut self, number: u64, value: f64) -> Self {
        self.key(number, FIXED_64);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// With a `float`.
    pub fn float(mut self, number: u64, value: f32) -> Self {
        self.key(number, FIXED_32);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// With bytes or a text.
    pub fn bytes(mut self, number: u64, value: impl AsRef<[u8]>) -> Self {
        self.key(number, BYTES);
        self.push_varint(value.as_ref().len() as u64);
        self.0.extend(value.as_ref());
        self
    }

    /// With another message inside.
    pub fn message(self, number: u64, value: Message) -> Self {
        self.bytes(number, value.0)
    }

    /// As it is stored.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn key(&mut self, number: u64, kind: u64) {
        self.push_varint(number << 3 | kind);
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    fn push_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// What a field holds, before its type is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    /// A whole number, a truth value or an enum.
    Varint(u64),
    /// A `double`, for one.
    Fixed64([u8; 8]),
    /// Bytes, a text, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// A `float`, for one.
    Fixed32([u8; 4]),
}

/// The fields of a message with their numbers, in the order of the message. Ends after the first error.
#[derive(Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Those of `message`. The texts of its errors say where the message is not built as one.
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Field<'a>), String> {
        let key = self.varint()?;
        let number = key >> 3;
        let field = match key & 7 {
            VARINT => self.varint().map(Field::Varint),
            FIXED_64 => self.array().map(Field::Fixed64),
            BYTES => self.varint().and_then(|length| self.take(length)).map(Field::Bytes),
            FIXED_32 => self.array().map(Field::Fixed32),
            other => Err(format!("wire type {other}, which is none")),
        };
        field.map(|field| (number, field)).map_err(|reason| format!("field {number}: {reason}"))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a whole number of more than 10 bytes".into())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| self.short(N as u64))?;
        self.rest = rest;
        Ok(*array)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let fits = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = fits.ok_or_else(|| self.short(length))?;
        self.rest = rest;
        Ok(taken)
    }

    fn short(&self, needed: u64) -> String {
        format!("needs {needed} bytes, the message has {} left", self.rest.len())
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}
