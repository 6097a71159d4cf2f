//! GGUF files, written by hand.

/// What goes into a file.
#[derive(Clone)]
pub struct GgufFile {
    pub version: u32,
    pub alignment: usize,
    values: Vec<Vec<u8>>,
    tensors: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of all tensors so far, each at a multiple of the alignment.
    length: usize,
}

/// A length and a text.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl GgufFile {
    pub fn new() -> Self {
        Self { version: 3, alignment: 32, values: vec![], tensors: vec![], length: 0 }
    }

    /// Metadata: `kind` is ggml's number, `value` its bytes.
    pub fn value(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.values.push([&text(key)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    /// Metadata of text.
    pub fn text(self, key: &str, value: &str) -> Self {
        self.value(key, 8, &text(value))
    }

    /// A tensor of PyTorch's `shape`; `kind` is ggml's number.
    pub fn tensor(mut self, name: &str, shape: &[usize], kind: u32, data: &[u8]) -> Self {
        let sizes = shape.iter().rev().flat_map(|size| (*size as u64).to_le_bytes());
        let mut entry = [&text(name)[..], &(shape.len() as u32).to_le_bytes()].concat();
        entry.extend(sizes);
        entry.extend(kind.to_le_bytes());
        entry.extend((self.length as u64).to_le_bytes());
        let mut data = data.to_vec();
        data.resize(data.len().next_multiple_of(self.alignment), 0);
        self.length += data.len();
        self.tensors.push((entry, data));
        self
    }

    /// A tensor of f32 numbers.
    pub fn floats(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, shape, 0, &data)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut file = [&b"GGUF"[..], &self.version.to_le_bytes()].concat();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.values.len() as u64).to_le_bytes());
        file.extend(self.values.concat());
        self.tensors.iter().for_each(|(entry, _)| file.extend(entry));
        file.resize(file.len().next_multiple_of(self.alignment), 0);
        self.tensors.iter().for_each(|(_, data)| file.extend(data));
        file
    }
}
