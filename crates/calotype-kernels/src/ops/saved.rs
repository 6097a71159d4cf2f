//! What a backward pass needs of a forward pass, and what of it is computed again instead.
//!
//! A convolution's weights need its input for their gradient. Where that is the result of something cheap whose own input
//! is kept anyway (a norm with SiLU, a gate, channels side by side), keeping it too would double the memory of a training
//! step: it is made again when the backward pass gets there, by the same kernel, with the same bits.
//!
//! Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv:1604.06174), section 3: cheap operations are
//! the ones to drop.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use burn_flex::FlexTensor;
use burn_std::{Bytes, Shape};

use super::contiguous;

/// How a tensor is made of others.
pub struct Recipe {
    make: Box<dyn Fn() -> FlexTensor + Send + Sync>,
    /// What was made, while somebody else may ask for it.
    made: Mutex<Option<FlexTensor>>,
}

/// A storage, and how to make what is in it.
struct Known {
    storage: Weak<Bytes>,
    recipe: Arc<Recipe>,
}

/// By the address of a storage. While the weak reference stands, no other storage has it, and burn writes to no storage
/// that somebody else refers to.
static KNOWN: Mutex<Option<HashMap<usize, Known>>> = Mutex::new(None);

/// Runs `f` on the recipes of tensors that still are.
fn with_known<T>(f: impl FnOnce(&mut HashMap<usize, Known>) -> T) -> T {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    // What goes holds tensors, whose recipes may be here: they go with the next call.
    let gone = known.extract_if(|_, known| known.storage.strong_count() == 0).collect::<Vec<_>>();
    let result = f(known);
    drop(gone);
    result
}

/// Says how `y`, which an operation with a gradient has just made, can be made again. `make` holds what it needs.
pub fn recomputable(y: &FlexTensor, make: impl Fn() -> FlexTensor + Send + Sync + 'static) {
    let storage = y.data_arc();
    let recipe = Arc::new(Recipe { make: Box::new(make), made: Mutex::new(None) });
    let known = Known { storage: Arc::downgrade(&storage), recipe };
    with_known(|all| all.insert(Arc::as_ptr(&storage).addr(), known));
}

/// A tensor for the backward pass: its numbers, or how they are made.
#[derive(Clone)]
pub enum Saved {
    Numbers(FlexTensor),
    Again(Arc<Recipe>, Shape),
}

impl Debug for Saved {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Numbers(tensor) => write!(f, "{tensor:?}"),
            Self::Again(_, shape) => write!(f, "{shape:?}, to be made again"),
        }
    }
}

impl Saved {
    /// Of what an operation reads.
    pub fn of(x: &FlexTensor) -> Self {
        let storage = x.data_arc();
        let numbers = x.layout().num_elements();
        let whole = x.is_contiguous() && storage.len() == numbers * x.dtype().size();
        let recipe = whole.then(|| {
            with_known(|all| all.get(&Arc::as_ptr(&storage).addr()).map(|known| known.recipe.clone()))
        });
        match recipe.flatten() {
            Some(recipe) => Self::Again(recipe, x.layout().shape().clone()),
            None => Self::Numbers(x.clone()),
        }
    }

    /// The tensor, contiguous.
    pub fn value(&self) -> FlexTensor {
        match self {
            Self::Numbers(tensor) => contiguous(tensor),
            Self::Again(recipe, shape) => {
                let mut made = recipe.made.lock().unwrap_or_else(PoisonError::into_inner);
                made.get_or_insert_with(|| (recipe.make)()).reshape(shape.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{tensor, values};
    use super::*;

    fn doubled(x: &FlexTensor) -> FlexTensor {
        let twice: Vec<f32> = values(x).iter().map(|x| 2.0 * x).collect();
        tensor(twice, x.layout().shape().clone())
    }

    /// What is doubled here is not kept, but made of its input, under the shape in which it was read.
    #[test]
    fn what_can_be_made_again_is_not_kept() {
        let x = tensor(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
        let input = Saved::of(&x);
        assert!(matches!(input, Saved::Numbers(_)));
        let y = doubled(&x);
        recomputable(&y, move || doubled(&input.value()));
        let z = doubled(&y);
        let between = Saved::of(&y);
        recomputable(&z, move || doubled(&between.value()));
        // Two readers, one of them under another shape.
        let readers = [Saved::of(&z), Saved::of(&z.reshape([6].into()))];
        let memory = [&y, &z].map(|tensor| Arc::downgrade(&tensor.data_arc()));
        drop((y, z));
        assert!(memory.iter().all(|storage| storage.strong_count() == 0));
        for (reader, shape) in readers.iter().zip([&[2, 3][..], &[6]]) {
            assert!(matches!(reader, Saved::Again(..)));
            let value = reader.value();
            assert_eq!(value.layout().shape().to_vec(), shape);
            assert_eq!(values(&value), [4.0, 8.0, 12.0, 16.0, 20.0, 24.0]);
        }
        let [first, second] = readers.each_ref().map(|reader| reader.value().data_arc());
        assert!(Arc::ptr_eq(&first, &second), "made once");
    }

    #[test]
    fn a_part_of_a_tensor_is_kept() {
        let x = tensor(vec![1.0, 2.0, 3.0, 4.0], [4]);
        let y = doubled(&x);
        recomputable(&y, move || doubled(&x));
        let part = y.narrow(0, 1, 2);
        let saved = Saved::of(&part);
        assert!(matches!(saved, Saved::Numbers(_)));
        assert_eq!(values(&saved.value()), [4.0, 6.0]);
    }
}
