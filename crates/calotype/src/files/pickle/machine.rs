//! The stack machine of pickles, protocols 0 to 5, which only describes what Python's would do.
//!
//! Instructions: `pickletools.py` of CPython.

use std::collections::HashMap;

use super::calls;
use super::value::{Fault, Id, Result, Value, Values};

/// Instructions of a pickle: as many as ten checkpoints of the largest models have.
const MOST_INSTRUCTIONS: usize = 1 << 24;
/// Values on the stack, marks in it, and values that are kept for later.
const MOST_KEPT: usize = 1 << 22;
/// The longest text that is kept, and the longest line, in bytes. No name is so long.
const LONGEST_TEXT: usize = 1 << 20;

/// What stands for a tensor's numbers in a pickle.
pub(super) enum Persistent<'a> {
    /// Nothing: there are no numbers beside this pickle.
    Nothing,
    /// `('storage', class, key, device, length)`, of `torch.save`.
    Storages,
    /// The name of a tensor that is described elsewhere.
    Tensors(&'a HashMap<String, super::value::Tensor>),
}

/// Bytes from front to back.
pub(super) struct Input<'a> {
    pub rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| Fault::cut_off("a value"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| Fault::cut_off("a value"))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<usize> {
        Ok(usize::from(self.array::<1>()?[0]))
    }

    fn length_4(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn length_8(&mut self) -> Result<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| Fault::cut_off("a value"))
    }

    /// Up to the end of the line, which is left out.
    fn line(&mut self) -> Result<String> {
        let within = &self.rest[..self.rest.len().min(LONGEST_TEXT)];
        let end = within.iter().position(|&byte| byte == b'\n').ok_or_else(|| match within.len() {
            LONGEST_TEXT => Fault::damaged(format!("a line has more than {LONGEST_TEXT} bytes")),
            _ => Fault::cut_off("a line"),
        })?;
        let line = self.take(end + 1)?;
        let line = line.strip_suffix(b"\r\n").unwrap_or(&line[..end]);
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    fn text(&mut self, length: usize) -> Result<Value> {
        let bytes = self.take(length)?;
        if length > LONGEST_TEXT {
            return Ok(Value::Other("a long text"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Fault::damaged("a text is no UTF-8"))?;
        Ok(Value::Text(text.to_owned()))
    }

    /// A text of Python 2, which may be any bytes.
    fn old_text(&mut self, length: usize) -> Result<Value> {
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).ok().filter(|_| length <= LONGEST_TEXT);
        Ok(text.map_or(Value::Other("bytes"), |text| Value::Text(text.to_owned())))
    }

    fn bytes(&mut self, length: usize) -> Result<Value> {
        self.take(length)?;
        Ok(Value::Other("bytes"))
    }

    /// A whole number, the lowest byte first.
    fn long(&mut self, length: usize) -> Result<Value> {
        let bytes = self.take(length)?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut number = [if negative { 0xFF } else { 0 }; 8];
        if bytes.len() > number.len() {
            return Ok(Value::Other("a large number"));
        }
        number[..bytes.len()].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(number)))
    }
}

/// Reads one pickle, up to the instruction that ends it.
pub(super) fn read(input: &mut Input, values: &mut Values, persistent: &Persistent) -> Result<Id> {
    let machine = Machine { values, persistent, stack: vec![], marks: vec![], memo: HashMap::new() };
    machine.run(input)
}

struct Machine<'a> {
    values: &'a mut Values,
    persistent: &'a Persistent<'a>,
    stack: Vec<Id>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

impl Machine<'_> {
    fn run(mut self, input: &mut Input) -> Result<Id> {
        for _ in 0..MOST_INSTRUCTIONS {
            let [instruction] = input.array()?;
            if instruction == b'.' {
                return self.pop();
            }
            if self.stack.len().max(self.marks.len()).max(self.memo.len()) > MOST_KEPT {
                return Err(Fault::unread(format!("it keeps more than {MOST_KEPT} values for later")));
            }
            if let Some(value) = scalar(instruction, input)? {
                self.push(value)?;
            } else if !self.contain(instruction)? && !self.remember(instruction, input)? {
                self.make(instruction, input)?;
            }
        }
        Err(Fault::unread(format!("it has more than {MOST_INSTRUCTIONS} instructions")))
    }

    fn push(&mut self, value: Value) -> Result<()> {
        let id = self.values.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        let above_mark = self.stack.len() > self.marks.last().copied().unwrap_or(0);
        let top = if above_mark { self.stack.pop() } else { None };
        top.ok_or_else(|| Fault::damaged("an instruction finds no value"))
    }

    fn top(&mut self) -> Result<Id> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| Fault::damaged("an instruction finds no mark"))?;
        Ok(self.stack.split_off(mark))
    }

    /// Lists, tuples, dicts and sets, and what is added to them; `false` for other instructions.
    fn contain(&mut self, instruction: u8) -> Result<bool> {
        match instruction {
            b'(' => self.marks.push(self.stack.len()),
            b')' | b']' | 0x8F => self.push(Value::List(vec![]))?,
            b'}' => self.push(Value::Dict(vec![]))?,
            b't' | b'l' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items))?;
            }
            0x85..=0x87 => {
                let mut items = vec![];
                for _ in 0x85..=instruction {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Value::List(items))?;
            }
            b'd' => {
                let items = pairs(&self.pop_to_mark()?)?;
                self.push(Value::Dict(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[(key, value)])?;
            }
            b'u' => {
                let items = pairs(&self.pop_to_mark()?)?;
                self.set(&items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn append(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        match self.values.get_mut(top) {
            Value::List(list) => list.extend(items),
            // A kind of list: nothing in it has a name.
            Value::Object(_) => {}
            _ => return Err(self.values.expected("what is appended to", "a list", top)),
        }
        Ok(())
    }

    fn set(&mut self, items: &[(Id, Id)]) -> Result<()> {
        let top = self.top()?;
        match self.values.get_mut(top) {
            Value::Dict(dict) => dict.extend(items),
            Value::Object(object) => object.items.extend(items),
            _ => return Err(self.values.expected("what gets entries", "a dict", top)),
        }
        Ok(())
    }

    /// The stack and the memo; `false` for other instructions.
    fn remember(&mut self, instruction: u8, input: &mut Input) -> Result<bool> {
        match instruction {
            b'0' => {
                // A mark alone is dropped too.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'g' | b'h' | b'j' => {
                let place = place(instruction, b"gh", input)?;
                let missing = || Fault::damaged(format!("nothing was kept in place {place}"));
                let id = *self.memo.get(&place).ok_or_else(missing)?;
                self.stack.push(id);
            }
            b'p' | b'q' | b'r' => {
                let place = place(instruction, b"pq", input)?;
                let top = self.top()?;
                self.memo.insert(place, top);
            }
            0x94 => {
                let top = self.top()?;
                self.memo.insert(self.memo.len(), top);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Classes, calls, objects and what lies outside of the pickle.
    fn make(&mut self, instruction: u8, input: &mut Input) -> Result<()> {
        match instruction {
            // The version, and the length of a frame.
            0x80 => drop(input.array::<1>()?),
            0x95 => drop(input.array::<8>()?),
            b'c' => {
                let class = self.values.class(&input.line()?, &input.line()?)?;
                self.push(class)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let [module, name] = [module, name].map(|id| self.values.text(id, "a class"));
                let class = self.values.class(&module?, &name?)?;
                self.push(class)?;
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let made = calls::call(self.values, callable, arguments, instruction == b'R')?;
                self.push(made)?;
            }
            0x92 => {
                let (_, _, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.object(class, false)?;
            }
            b'o' => {
                let class = self.pop_to_mark()?.first().copied();
                self.object(class.ok_or_else(|| Fault::damaged("an object has no class"))?, true)?;
            }
            b'i' => {
                let class = self.values.class(&input.line()?, &input.line()?)?;
                self.pop_to_mark()?;
                let object = self.values.object(class.kind().to_owned(), true)?;
                self.push(object)?;
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                calls::build(self.values, object, state)?;
            }
            b'P' => {
                let id = self.values.add(Value::Text(input.line()?))?;
                let found = calls::persistent(self.values, id, self.persistent)?;
                self.push(found)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let found = calls::persistent(self.values, id, self.persistent)?;
                self.push(found)?;
            }
            other => return Err(Fault::damaged(format!("0x{other:02x} is no instruction of a pickle"))),
        }
        Ok(())
    }

    fn object(&mut self, class: Id, is_call: bool) -> Result<()> {
        let object = self.values.object(self.values.get(class).kind().to_owned(), is_call)?;
        self.push(object)
    }
}

/// What a single value's instruction gives; `None` for other instructions.
fn scalar(instruction: u8, input: &mut Input) -> Result<Option<Value>> {
    Ok(Some(match instruction {
        b'N' => Value::None,
        0x88 => Value::Bool(true),
        0x89 => Value::Bool(false),
        b'I' => match input.line()?.as_str() {
            "00" => Value::Bool(false),
            "01" => Value::Bool(true),
            number => whole(number),
        },
        b'L' => whole(input.line()?.trim_end_matches('L')),
        b'F' => {
            input.line()?;
            Value::Other("a number with a point")
        }
        b'G' => {
            input.array::<8>()?;
            Value::Other("a number with a point")
        }
        b'J' => Value::Int(i32::from_le_bytes(input.array()?).into()),
        b'K' => Value::Int(input.byte()? as i64),
        b'M' => Value::Int(u16::from_le_bytes(input.array()?).into()),
        0x8A => {
            let length = input.byte()?;
            input.long(length)?
        }
        0x8B => {
            let length = input.length_4()?;
            input.long(length)?
        }
        b'V' => Value::Text(input.line()?),
        b'S' => Value::Text(input.line()?.trim_matches(['\'', '"']).to_owned()),
        b'X' | b'T' => {
            let length = input.length_4()?;
            if instruction == b'X' { input.text(length)? } else { input.old_text(length)? }
        }
        0x8C | b'U' => {
            let length = input.byte()?;
            if instruction == b'U' { input.old_text(length)? } else { input.text(length)? }
        }
        0x8D => {
            let length = input.length_8()?;
            input.text(length)?
        }
        b'C' => {
            let length = input.byte()?;
            input.bytes(length)?
        }
        b'B' => {
            let length = input.length_4()?;
            input.bytes(length)?
        }
        0x8E | 0x96 => {
            let length = input.length_8()?;
            input.bytes(length)?
        }
        _ => return Ok(None),
    }))
}

fn whole(text: &str) -> Value {
    text.parse().map_or(Value::Other("a large number"), Value::Int)
}

/// A place of the memo: a line, one byte or four.
fn place(instruction: u8, [line, byte]: &[u8; 2], input: &mut Input) -> Result<usize> {
    match instruction {
        _ if instruction == *line => {
            let text = input.line()?;
            text.parse().map_err(|_| Fault::damaged("a place of the memo is no number"))
        }
        _ if instruction == *byte => input.byte(),
        _ => input.length_4(),
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    let (pairs, []) = items.as_chunks::<2>() else {
        return Err(Fault::damaged("a dict has a key without a value"));
    };
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}
