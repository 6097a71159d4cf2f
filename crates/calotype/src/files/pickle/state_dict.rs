//! Which of a pickle's tensors are weights, and what they are called.

use std::borrow::Cow;
use std::collections::HashSet;

use super::value::{Fault, Id, LONGEST_NAME, Result, Tensors, Value, Values};

/// Under what trainers keep weights beside the rest of their state, first choice first.
const WRAPPERS: [&str; 12] = [
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "weights",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema_model",
    "ema",
    "params_ema",
    "params",
];
/// Wrappers in wrappers.
const MOST_WRAPPERS: usize = 4;
/// Values that are looked at, and bytes of names and shapes: a dict may stand in many places, its name in front of many.
const MOST_VISITS: usize = 2_000_000;
const MOST_NAMES: usize = 1 << 26;
/// Dicts in dicts.
const DEEPEST: usize = 100;

/// Names of callables that may stand in a file beside its tensors, without effect here: settings that trainers
/// saved with their weights. A call of anything else is a file that wants to run something.
const HARMLESS: [&str; 14] = [
    "torch.",
    "numpy.",
    "collections.",
    "_codecs.",
    "copyreg._reconstructor",
    "copy_reg._reconstructor",
    "pytorch_lightning.",
    "lightning.",
    "lightning_fabric.",
    "omegaconf.",
    "typing.",
    "datetime.",
    "pathlib.",
    "argparse.",
];

/// The tensors of a whole pickle by name; where a trainer has wrapped its weights, those and nothing else.
pub(super) fn tensors(values: &Values, root: Id) -> Result<Tensors> {
    if let Some(callable) = foreign(values, root) {
        return Err(Fault::unread(format!(
            "it wants to call `{callable}`, which weights have no use for; nothing was called"
        )));
    }
    let Some(mut weights) = values.dict(root) else {
        return Err(Fault::unread(format!("expected a dict of tensors, got {}", values.get(root).kind())));
    };
    // A wrapper has no weights of its own, but perhaps a step in a tensor; in a wrapper there may be another.
    for _ in 0..MOST_WRAPPERS {
        let is_weight = |id: Id| matches!(values.get(id), Value::Tensor(tensor) if tensor.count() != Some(1));
        let has_weights = weights.iter().any(|(_, value)| is_weight(*value));
        let wrapped = |key: &&str| values.dict(values.entry(weights, key)?).filter(|inner| !inner.is_empty());
        match WRAPPERS.iter().find_map(wrapped) {
            Some(inner) if !has_weights => weights = inner,
            _ => break,
        }
    }
    let mut walk = Walk { values, visits: 0, names: 0, path: vec![], tensors: Tensors::new() };
    walk.entries(weights)?;
    Ok(walk.tensors)
}

struct Walk<'a> {
    values: &'a Values,
    visits: usize,
    /// Bytes of all names.
    names: usize,
    path: Vec<Cow<'a, str>>,
    tensors: Tensors,
}

impl<'a> Walk<'a> {
    fn entries(&mut self, entries: &'a [(Id, Id)]) -> Result<()> {
        for (key, value) in entries {
            self.count()?;
            // Under a class, as pytorch_lightning has its callbacks, there are no weights.
            if let Some(key) = self.values.key(*key) {
                self.visit(key, *value)?;
            }
        }
        Ok(())
    }

    fn visit(&mut self, key: Cow<'a, str>, id: Id) -> Result<()> {
        self.path.push(key);
        let values = self.values;
        match values.get(id) {
            Value::Tensor(tensor) => {
                let name = self.name(tensor.description())?;
                self.tensors.insert(name, (**tensor).clone());
            }
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.count()?;
                    self.visit(i.to_string().into(), *item)?;
                }
            }
            // Quantised and sparse tensors.
            Value::Object(object) if object.callable.starts_with("torch._utils._rebuild_") => {
                let (name, callable) = (self.name(0)?, &object.callable);
                return Err(Fault::unread(format!(
                    "tensor `{name}` is made by {callable}, which is not read"
                )));
            }
            _ => self.entries(values.dict(id).unwrap_or_default())?,
        }
        self.path.pop();
        Ok(())
    }

    /// The name of the tensor where it is, whose description has so many bytes.
    fn name(&mut self, description: usize) -> Result<String> {
        let name = self.path.join(".");
        self.names += name.len() + description;
        if self.names > MOST_NAMES || name.len() > LONGEST_NAME {
            return Err(Fault::unread("the names of its tensors are too long"));
        }
        Ok(name)
    }

    fn count(&mut self) -> Result<()> {
        self.visits += 1;
        if self.visits > MOST_VISITS {
            return Err(Fault::unread(format!("it refers to its values more than {MOST_VISITS} times")));
        }
        if self.path.len() > DEEPEST {
            return Err(Fault::unread(format!("its values lie more than {DEEPEST} deep in each other")));
        }
        Ok(())
    }
}

/// The first callable that would be called and is not [`HARMLESS`].
fn foreign(values: &Values, root: Id) -> Option<&str> {
    let (mut seen, mut open) = (HashSet::from([root]), vec![root]);
    while let Some(id) = open.pop() {
        if let Value::Object(object) = values.get(id)
            && object.is_call
        {
            let name = object.callable.as_str();
            let known = HARMLESS.iter().any(|module| name.starts_with(module)) || !name.contains('.');
            if !known {
                return Some(name);
            }
        }
        match values.get(id) {
            Value::List(items) => open.extend(items.iter().filter(|item| seen.insert(**item))),
            _ => {
                let entries = values.dict(id).unwrap_or_default().iter().map(|(_, value)| value);
                open.extend(entries.filter(|value| seen.insert(**value)));
            }
        }
    }
    None
}
