//! Packed weights that are kept for the next forward pass.
//!
//! Sampling runs the same weights through the same products step after step, and a training step does so for each share
//! of its batch. Packing them takes as long as a good part of the products where a batch is small, so what was packed is
//! kept for as long as the tensor it was made of lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use burn_flex::FlexTensor;
use burn_std::Bytes;

use crate::conv2d::Form;
use crate::isa::Isa;
use crate::memory::Buffer;

/// Numbers that are kept at most: 256 MiB. A network of more weights than this has larger products too,
/// beside which packing is little.
const MOST: usize = 64 << 20;

struct Kept {
    /// The storage that was packed. A weak reference is enough: while it stands, no other storage gets the
    /// same address, and burn writes to no storage that somebody else refers to.
    of: Weak<Bytes>,
    packed: Arc<Buffer>,
}

type Address = (usize, Form, Isa);

static KEPT: Mutex<Option<HashMap<Address, Kept>>> = Mutex::new(None);

/// What `pack` makes of `weight`, from the last time if its storage is still the same; `None` where it is not kept, and
/// there is no room for it.
pub fn packed(
    isa: Isa,
    weight: &FlexTensor,
    form: Form,
    pack: impl FnOnce() -> Buffer,
) -> Option<Arc<Buffer>> {
    let address = address(isa, weight, form)?;
    if let Some(packed) = find(address) {
        return Some(packed);
    }
    has_room(form.packed(weight.layout().num_elements())).then(|| {
        let packed = Arc::new(pack());
        keep(address, Kept { of: Arc::downgrade(&weight.data_arc()), packed: packed.clone() });
        packed
    })
}

/// `None` for a part of a larger storage, which would share its address with the other parts.
fn address(isa: Isa, weight: &FlexTensor, form: Form) -> Option<Address> {
    let storage = weight.data_arc();
    let whole = storage.len() == weight.layout().num_elements() * weight.dtype().size();
    (whole && weight.is_contiguous()).then(|| (Arc::as_ptr(&storage).addr(), form, isa))
}

fn find(address: Address) -> Option<Arc<Buffer>> {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let found = kept.as_ref()?.get(&address)?;
    (found.of.strong_count() > 0).then(|| found.packed.clone())
}

/// Whether about so many numbers may be kept beside those that are, after the rest is let go.
fn room(kept: &mut HashMap<Address, Kept>, numbers: usize) -> bool {
    kept.retain(|_, kept| kept.of.strong_count() > 0);
    kept.values().map(|kept| kept.packed.len()).sum::<usize>() + numbers <= MOST
}

fn has_room(numbers: usize) -> bool {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    room(kept.get_or_insert_default(), numbers)
}

fn keep(address: Address, new: Kept) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = kept.get_or_insert_default();
    if room(kept, new.packed.len()) {
        kept.insert(address, new);
    }
}
