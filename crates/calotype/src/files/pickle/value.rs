//! What a pickle describes: values that refer to each other. Nothing of it is made or called.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use safetensors::Dtype;

pub(super) use crate::files::fault::{Fault, Result};

/// Values that a pickle may have, of some 50 bytes each: a hundred times as many as a checkpoint has.
const MOST_VALUES: usize = 4_000_000;
/// Bytes that may be copied out of texts, lists and tensors: few bytes of a pickle can ask for many copies.
const MOST_COPIED: usize = 1 << 26;
/// More axes than any tensor has.
pub(super) const MOST_AXES: usize = 64;
/// The longest name of a class, tensor or storage, in bytes: it stands in messages.
pub(super) const LONGEST_NAME: usize = 1000;

/// A value by its number. Lists and dicts may contain themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

/// A value of Python, as far as weights need it.
#[derive(Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    /// A number or bytes that no weight file depends on.
    Other(&'static str),
    /// A list, tuple or set.
    List(Vec<Id>),
    /// A dict, in the order of the file. Of equal keys the last counts.
    Dict(Vec<(Id, Id)>),
    /// A class or function: `module.name`.
    Class(String),
    /// What a class or function would have given.
    Object(Box<Object>),
    Storage(Box<StorageRef>),
    Tensor(Box<Tensor>),
}

/// The result of a call that was not made.
#[derive(Debug)]
pub(super) struct Object {
    /// What would have been called: `module.name`.
    pub callable: String,
    /// Whether it would have been: an object of a class may also be made without.
    pub is_call: bool,
    /// Entries that were added to it, if it is a kind of dict.
    pub items: Vec<(Id, Id)>,
}

/// Numbers that lie elsewhere in the file.
#[derive(Debug, Clone)]
pub(super) struct StorageRef {
    /// Its name there.
    pub key: String,
    /// Its numbers; not known of an untyped one, whose length is in bytes.
    pub dtype: Option<Dtype>,
    /// How many it has.
    pub whole: usize,
    /// How many of these, from the first on, tensors may reach.
    pub length: usize,
    /// Where the part of it begins that is meant.
    pub offset: usize,
}

/// Tensors by name, in whose order they are read: of several faults the same one is named in every run.
pub(super) type Tensors = BTreeMap<String, Tensor>;

/// A tensor: how it looks at its storage.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub storage: String,
    pub dtype: Dtype,
    /// The first of its numbers in the storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub stride: Vec<usize>,
}

impl Tensor {
    /// Its numbers; `None` for more than there can be.
    pub(super) fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size))
    }

    /// Numbers of the storage up to the last that it looks at; `None` for more than there can be.
    pub(super) fn reach(&self) -> Option<usize> {
        if self.count()? == 0 {
            return Some(self.offset);
        }
        let steps = self.shape.iter().zip(&self.stride);
        let mut last = steps.map(|(size, step)| (size - 1).checked_mul(*step));
        let last = last.try_fold(self.offset, |sum, step| sum.checked_add(step?))?;
        last.checked_add(1)
    }

    /// Bytes of its description.
    pub(super) fn description(&self) -> usize {
        self.storage.len() + size_of_val(&self.shape[..]) + size_of_val(&self.stride[..])
    }

    /// Whether its numbers lie one after the other, row by row.
    pub(super) fn is_contiguous(&self) -> bool {
        let mut next = 1_usize;
        self.shape.iter().zip(&self.stride).rev().all(|(&size, &step)| {
            let fits = size <= 1 || step == next;
            next = size.max(1).saturating_mul(next);
            fits
        })
    }
}

/// All values of a file.
#[derive(Debug, Default)]
pub(super) struct Values {
    values: Vec<Value>,
    /// Bytes that were copied.
    copied: usize,
}

impl Values {
    pub(super) fn add(&mut self, value: Value) -> Result<Id> {
        if self.values.len() >= MOST_VALUES {
            return Err(Fault::unread(format!("it has more than {MOST_VALUES} values")));
        }
        if let Value::Text(text) = &value {
            self.charge(text.len())?;
        }
        self.values.push(value);
        Ok(Id(self.values.len() as u32 - 1))
    }

    /// A class or function by its module and its name.
    pub(super) fn class(&mut self, module: &str, name: &str) -> Result<Value> {
        let length = module.len() + name.len();
        if length > LONGEST_NAME {
            return Err(Fault::damaged(format!("the name of a class has {length} bytes")));
        }
        self.charge(length)?;
        Ok(Value::Class(format!("{module}.{name}")))
    }

    /// What `callable` would have given.
    pub(super) fn object(&mut self, callable: String, is_call: bool) -> Result<Value> {
        self.charge(callable.len())?;
        Ok(Value::Object(Box::new(Object { callable, is_call, items: vec![] })))
    }

    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id.0 as usize]
    }

    /// Puts another value in the place of one; whoever refers to it sees the new one.
    pub(super) fn replace(&mut self, id: Id, value: Value) {
        *self.get_mut(id) = value;
    }

    /// The entries of a list, tuple or set.
    pub(super) fn list(&mut self, id: Id, what: &str) -> Result<Vec<Id>> {
        let Value::List(items) = self.get(id) else { return Err(self.expected(what, "a list", id)) };
        let items = items.clone();
        self.charge(size_of_val(&items[..]))?;
        Ok(items)
    }

    /// The entries of a dict, or of what is a kind of dict.
    pub(super) fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(items) => Some(items),
            Value::Object(object) if !object.items.is_empty() => Some(&object.items),
            _ => None,
        }
    }

    /// The value under a key of a dict.
    pub(super) fn entry(&self, items: &[(Id, Id)], key: &str) -> Option<Id> {
        let found =
            items.iter().rev().find(|(k, _)| matches!(self.get(*k), Value::Text(text) if text == key));
        found.map(|(_, value)| *value)
    }

    /// A key as a part of a tensor's name; `None` for a class, or whatever else names no tensor.
    pub(super) fn key(&self, id: Id) -> Option<Cow<'_, str>> {
        match self.get(id) {
            Value::Text(text) => Some(text.into()),
            Value::Int(number) => Some(number.to_string().into()),
            _ => None,
        }
    }

    /// A text.
    pub(super) fn text(&mut self, id: Id, what: &str) -> Result<String> {
        let text = self.key(id).map(Cow::into_owned).ok_or_else(|| self.expected(what, "a text", id))?;
        if text.len() > LONGEST_NAME {
            return Err(Fault::damaged(format!("{what} has {} bytes", text.len())));
        }
        self.charge(text.len())?;
        Ok(text)
    }

    /// A number that counts something.
    pub(super) fn size(&self, id: Id, what: &str) -> Result<usize> {
        let Value::Int(number) = self.get(id) else { return Err(self.expected(what, "a number", id)) };
        usize::try_from(*number)
            .map_err(|_| Fault::damaged(format!("{what}: expected at least 0, got {number}")))
    }

    /// Numbers that count something.
    pub(super) fn sizes(&mut self, id: Id, what: &str) -> Result<Vec<usize>> {
        self.list(id, what)?.into_iter().map(|id| self.size(id, what)).collect()
    }

    /// Type and length of every storage by its key.
    pub(super) fn storages(&self) -> HashMap<&str, (Option<Dtype>, usize)> {
        let storages = self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some((storage.key.as_str(), (storage.dtype, storage.whole))),
            _ => None,
        });
        storages.collect()
    }

    /// Counts bytes that are copied.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<()> {
        self.copied = self.copied.saturating_add(bytes);
        if self.copied > MOST_COPIED {
            return Err(Fault::unread(format!(
                "it refers to so much of itself that {MOST_COPIED} bytes are copied"
            )));
        }
        Ok(())
    }

    pub(super) fn expected(&self, what: &str, expected: &str, got: Id) -> Fault {
        Fault::damaged(format!("{what}: expected {expected}, got {}", self.get(got).kind()))
    }
}

impl Value {
    /// Its kind in messages.
    pub(super) fn kind(&self) -> &str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) => "a number",
            Value::Text(_) => "a text",
            Value::Other(kind) => kind,
            Value::List(_) => "a list",
            Value::Dict(_) => "a dict",
            Value::Class(name) => name,
            Value::Object(object) => &object.callable,
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }
}
