//! A quantised matrix as a tensor's storage: f32 for whoever looks at its numbers, blocks for the kernels that know of them.
//!
//! burn keeps numbers behind a trait object that has no type to ask for, so the kernels' question goes to it with a read
//! that may copy nothing, and the answer comes back through the thread.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::{Arc, OnceLock};

use burn::tensor::DType;
use burn_flex::FlexTensor;
use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes, Reader};

use super::QuantisedMatrix;

thread_local! {
    /// What is asked for, while it is.
    static ASKED: RefCell<Question> = const { RefCell::new(Question::None) };
}

enum Question {
    None,
    Asked,
    Answered(Arc<QuantisedMatrix>),
}

/// The matrix of a tensor that is a whole one, if nobody has written to it.
pub(crate) fn of(tensor: &FlexTensor) -> Option<Arc<QuantisedMatrix>> {
    let (layout, storage) = (tensor.layout(), tensor.data_arc());
    let whole = layout.is_contiguous()
        && layout.start_offset() == 0
        && storage.len() == layout.num_elements() * size_of::<f32>();
    if !whole || tensor.dtype() != DType::F32 {
        return None;
    }
    ASKED.set(Question::Asked);
    // The numbers themselves are of no interest.
    let _ = storage.read(Reader::new().no_copy());
    match ASKED.replace(Question::None) {
        Question::Answered(matrix) if layout.shape()[..] == [matrix.rows, matrix.columns] => Some(matrix),
        _ => None,
    }
}

impl QuantisedMatrix {
    /// As the storage of a tensor of f32, `[rows, columns]`. The numbers are there as soon as somebody looks at them, and
    /// stay; [`linear`](fn@crate::linear) and [`embedding`](fn@crate::embedding) do not look.
    pub fn into_bytes(self) -> Bytes {
        let length = self.len() * size_of::<f32>();
        let storage = Storage::Packed { matrix: Arc::new(self), numbers: OnceLock::new() };
        // SAFETY: `memory` gives the matrix's numbers, all initialised.
        unsafe { Bytes::from_controller(Box::new(storage), length) }
    }
}

/// Packed, until somebody wants to write.
enum Storage {
    Packed { matrix: Arc<QuantisedMatrix>, numbers: OnceLock<Vec<f32>> },
    Written(Vec<f32>),
}

/// The numbers, if they are there or may be made. They are made before they are kept: what makes them shares its work
/// out, and a thread that waits for its part may be given other work that asks for the same numbers.
fn made<'a>(
    matrix: &QuantisedMatrix,
    numbers: &'a OnceLock<Vec<f32>>,
    policy: AccessPolicy,
) -> Result<&'a [f32], AccessError> {
    match numbers.get() {
        Some(numbers) => Ok(numbers),
        None if policy.copy_allowed() => {
            let unpacked = matrix.unpacked();
            Ok(numbers.get_or_init(|| unpacked))
        }
        None => Err(AccessError::WouldCopy),
    }
}

impl AllocationController for Storage {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    /// `File` as long as the numbers are not in memory.
    fn property(&self) -> AllocationProperty {
        match self {
            Self::Packed { numbers, .. } if numbers.get().is_none() => AllocationProperty::File,
            _ => AllocationProperty::Other,
        }
    }

    fn capacity(&self) -> usize {
        size_of::<f32>()
            * match self {
                Self::Packed { matrix, .. } => matrix.len(),
                Self::Written(numbers) => numbers.len(),
            }
    }

    fn duplicate(&self) -> Option<Box<dyn AllocationController>> {
        Some(Box::new(match self {
            Self::Packed { matrix, .. } => Self::Packed { matrix: matrix.clone(), numbers: OnceLock::new() },
            Self::Written(numbers) => Self::Written(numbers.clone()),
        }))
    }

    unsafe fn memory_mut(&mut self, policy: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        if let Self::Packed { matrix, numbers } = self {
            made(matrix, numbers, policy)?;
            *self = Self::Written(numbers.take().unwrap_or_default());
        }
        match self {
            // SAFETY: the bytes of the vector's numbers; any bytes are a number.
            Self::Written(numbers) => Ok(unsafe {
                std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), size_of_val(numbers.as_slice()))
            }),
            Self::Packed { .. } => Err(AccessError::WouldCopy),
        }
    }

    fn memory(&self, policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let numbers = match self {
            Self::Packed { matrix, numbers } => {
                let asked = ASKED.with_borrow_mut(|question| match question {
                    Question::Asked => {
                        *question = Question::Answered(matrix.clone());
                        true
                    }
                    _ => false,
                });
                if asked {
                    return Err(AccessError::WouldCopy);
                }
                made(matrix, numbers, policy)?
            }
            Self::Written(numbers) => numbers,
        };
        // SAFETY: the bytes of the slice's numbers, which may be seen as ones that need not be initialised.
        Ok(unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) })
    }
}
