//! What the calls in a pickle stand for: tensors, containers, modules. None is made; of those that are not known here
//! the name of what they call is kept.

use std::collections::HashSet;

use safetensors::Dtype;

use super::machine::Persistent;
use super::value::{Fault, Id, MOST_AXES, Result, StorageRef, Tensor, Value, Values};

/// The tables of a `torch.nn.Module`.
const TABLES: [&str; 3] = ["_parameters", "_buffers", "_modules"];

/// The result of `callable(*arguments)`; without `is_call`, of `callable.__new__(*arguments)`, which runs nothing of a
/// class that defines no such thing.
pub(super) fn call(values: &mut Values, callable: Id, arguments: Id, is_call: bool) -> Result<Value> {
    let name = values.get(callable).kind().to_owned();
    match name.as_str() {
        "collections.OrderedDict" => ordered_dict(values, arguments),
        "collections.defaultdict" => Ok(Value::Dict(vec![])),
        "builtins.set" | "builtins.frozenset" | "__builtin__.set" | "__builtin__.frozenset" => {
            match values.list(arguments, "a set")?.first() {
                None => Ok(Value::List(vec![])),
                Some(&items) => Ok(Value::List(values.list(items, "a set")?)),
            }
        }
        // (function, class, arguments, state): the class of a tensor changes none of its numbers.
        "torch._tensor._rebuild_from_type_v2" => {
            let fields = values.list(arguments, &name)?;
            let [function, _, inner, ..] = fields[..] else { return Err(too_few(&name, 3, fields.len())) };
            let function = values.get(function).kind().to_owned();
            tensor_call(values, &function, inner)?.map_or_else(|| values.object(function, is_call), Ok)
        }
        _ => tensor_call(values, &name, arguments)?.map_or_else(|| values.object(name, is_call), Ok),
    }
}

/// The calls that make tensors; `None` for others.
fn tensor_call(values: &mut Values, name: &str, arguments: Id) -> Result<Option<Value>> {
    let (least, dtype_place) = match name {
        "torch._utils._rebuild_tensor" => (4, None),
        "torch._utils._rebuild_tensor_v2" => (6, None),
        "torch._utils._rebuild_tensor_v3" => (7, Some(6)),
        "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => (1, None),
        _ => return Ok(None),
    };
    let fields = values.list(arguments, name)?;
    if fields.len() < least {
        return Err(too_few(name, least, fields.len()));
    }
    if least == 1 {
        let Value::Tensor(tensor) = values.get(fields[0]) else {
            return Err(values.expected(name, "a tensor", fields[0]));
        };
        let tensor = tensor.clone();
        values.charge(tensor.description())?;
        return Ok(Some(Value::Tensor(tensor)));
    }
    let storage = match values.get(fields[0]) {
        Value::Storage(storage) => storage.clone(),
        Value::Object(object) => {
            let reason = format!(
                "the numbers of its tensors lie in it as {} has them, and not as torch.save puts them beside it",
                object.callable
            );
            return Err(Fault::unread(reason));
        }
        _ => return Err(values.expected(name, "a storage", fields[0])),
    };
    values.charge(2 * storage.key.len())?;
    let dtype = match dtype_place {
        None => storage.dtype.ok_or_else(|| Fault::damaged(format!("{name}: the storage has no type")))?,
        Some(place) => {
            let dtype = values.get(fields[place]).kind();
            dtype_of(dtype)
                .ok_or_else(|| Fault::unread(format!("a tensor has dtype {dtype}, which is not read")))?
        }
    };
    let tensor = Tensor {
        storage: storage.key.clone(),
        dtype,
        offset: values.size(fields[1], "a tensor's offset")?.saturating_add(storage.offset),
        shape: values.sizes(fields[2], "a tensor's shape")?,
        stride: values.sizes(fields[3], "a tensor's stride")?,
    };
    check(&tensor, &storage)?;
    Ok(Some(Value::Tensor(Box::new(tensor))))
}

/// Refuses a tensor that looks beyond what its storage is said to have.
fn check(tensor: &Tensor, storage: &StorageRef) -> Result<()> {
    let Tensor { shape, stride, offset, .. } = tensor;
    if shape.len() > MOST_AXES {
        return Err(Fault::damaged(format!("a tensor has {} axes", shape.len())));
    }
    if shape.len() != stride.len() {
        return Err(Fault::damaged(format!("a tensor of shape {shape:?} has the stride {stride:?}")));
    }
    // The length of a storage without a type is in bytes.
    let size = tensor.dtype.bitsize().div_ceil(8);
    let length = storage.dtype.map_or(storage.length / size.max(1), |_| storage.length);
    match tensor.reach() {
        Some(reach) if reach <= length => Ok(()),
        _ => Err(Fault::damaged(format!(
            "a tensor of shape {shape:?}, stride {stride:?} and offset {offset} does not fit storage `{}` of \
             {length} numbers",
            storage.key
        ))),
    }
}

fn too_few(name: &str, expected: usize, got: usize) -> Fault {
    Fault::damaged(format!("{name}: expected {expected} arguments, got {got}"))
}

/// `OrderedDict()`, or of a list of pairs.
fn ordered_dict(values: &mut Values, arguments: Id) -> Result<Value> {
    let arguments = values.list(arguments, "an OrderedDict")?;
    let pairs = arguments.first().map_or(Ok(vec![]), |pairs| values.list(*pairs, "an OrderedDict"))?;
    let pair = |pair: Id| match values.get(pair) {
        Value::List(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
        _ => Err(values.expected("an entry of an OrderedDict", "a pair", pair)),
    };
    Ok(Value::Dict(pairs.into_iter().map(pair).collect::<Result<_>>()?))
}

/// Gives an object its state.
pub(super) fn build(values: &mut Values, object: Id, state: Id) -> Result<()> {
    let Value::Dict(entries) = values.get(state) else { return Ok(()) };
    let entries = entries.clone();
    values.charge(size_of_val(&entries[..]))?;
    let is_module = || {
        let is_table = |table| values.entry(&entries, table).is_some_and(|id| values.dict(id).is_some());
        TABLES.into_iter().all(is_table)
    };
    match values.get(object) {
        Value::Object(_) if is_module() => {
            let module = module(values, &entries)?;
            values.replace(object, module);
        }
        Value::Dict(_) => {
            if let Value::Dict(dict) = values.get_mut(object) {
                dict.extend(entries);
            }
        }
        _ => {}
    }
    Ok(())
}

/// A pickled `torch.nn.Module` as its `state_dict()` would be, with a dict for each module inside of it.
fn module(values: &mut Values, attributes: &[(Id, Id)]) -> Result<Value> {
    let left_out = match values.entry(attributes, "_non_persistent_buffers_set") {
        Some(names) => values.list(names, "the names of buffers")?,
        None => vec![],
    };
    let left_out: HashSet<_> = left_out.into_iter().filter_map(|name| values.key(name)).collect();
    let mut entries = vec![];
    for table in TABLES {
        let table_entries =
            values.entry(attributes, table).and_then(|id| values.dict(id)).unwrap_or_default();
        for &(name, value) in table_entries {
            let is_left_out =
                table == "_buffers" && values.key(name).is_some_and(|name| left_out.contains(&name));
            if !is_left_out && !matches!(values.get(value), Value::None) {
                entries.push((name, value));
            }
        }
    }
    values.charge(size_of_val(&entries[..]))?;
    Ok(Value::Dict(entries))
}

/// What a persistent id stands for.
pub(super) fn persistent(values: &mut Values, id: Id, persistent: &Persistent) -> Result<Value> {
    match persistent {
        Persistent::Nothing => {
            Err(Fault::damaged("it is a pickle alone, and has tensors whose numbers should lie beside it"))
        }
        Persistent::Tensors(tensors) => {
            let name = values.text(id, "the name of a tensor")?;
            let tensor = tensors.get(&name).cloned();
            let tensor =
                tensor.ok_or_else(|| Fault::damaged(format!("tensor `{name}` is nowhere in the file")))?;
            values.charge(tensor.description())?;
            Ok(Value::Tensor(Box::new(tensor)))
        }
        Persistent::Storages => {
            let fields = values.list(id, "a storage")?;
            match (fields.first().map(|id| values.get(*id)), fields.len()) {
                // A module whose source was stored with it: `('module', class, file, source)`.
                (Some(Value::Text(tag)), 2..) if tag == "module" => {
                    Ok(Value::Class(values.get(fields[1]).kind().to_owned()))
                }
                (Some(Value::Text(tag)), 5..) if tag == "storage" => storage(values, &fields),
                _ => Err(Fault::damaged("a storage is not described by its class, name and length")),
            }
        }
    }
}

/// `('storage', class, key, device, length)`, in old files with `(key, offset, length)` of a part of it.
fn storage(values: &mut Values, fields: &[Id]) -> Result<Value> {
    let class = values.get(fields[1]).kind().to_owned();
    let dtype = storage_dtype(&class)?;
    let whole = values.size(fields[4], "the length of a storage")?;
    let key = values.text(fields[2], "the name of a storage")?;
    let mut storage = StorageRef { key, dtype, whole, length: whole, offset: 0 };
    if let Some(&view) = fields.get(5)
        && !matches!(values.get(view), Value::None)
    {
        let view = values.list(view, "a part of a storage")?;
        let [_, offset, length] = view[..] else {
            return Err(Fault::damaged("a part of a storage is not described by its key, offset and length"));
        };
        storage.offset = values.size(offset, "the offset of a part")?;
        let end = storage.offset.checked_add(values.size(length, "the length of a part")?);
        storage.length = end.filter(|&end| end <= storage.length && dtype.is_some()).ok_or_else(|| {
            Fault::damaged(format!("a part of storage `{}` lies outside of it", storage.key))
        })?;
    }
    Ok(Value::Storage(Box::new(storage)))
}

/// The numbers of a storage's class; `None` of an untyped one.
pub(super) fn storage_dtype(class: &str) -> Result<Option<Dtype>> {
    Ok(Some(match class.rsplit('.').next().unwrap_or(class) {
        "UntypedStorage" => return Ok(None),
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return Err(Fault::unread(format!("its numbers are in a `{class}`, which is not read"))),
    }))
}

fn dtype_of(name: &str) -> Option<Dtype> {
    Some(match name.strip_prefix("torch.")? {
        "float32" | "float" => Dtype::F32,
        "float64" | "double" => Dtype::F64,
        "float16" | "half" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "int64" | "long" => Dtype::I64,
        "int32" | "int" => Dtype::I32,
        "int16" | "short" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "uint8" => Dtype::U8,
        "bool" => Dtype::BOOL,
        "float8_e4m3fn" => Dtype::F8_E4M3,
        "float8_e5m2" => Dtype::F8_E5M2,
        "float8_e8m0fnu" => Dtype::F8_E8M0,
        "float8_e4m3fnuz" => Dtype::F8_E4M3FNUZ,
        "float8_e5m2fnuz" => Dtype::F8_E5M2FNUZ,
        _ => return None,
    })
}
