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

/// Runs `f` on the recipes of tensors that still are; those of others go, with what they hold.
fn with_known<T>(f: impl FnOnce(&mut HashMap<usize, Known>) -> T) -> T {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    known.retain(|_, known| known.storage.strong_count() > 0);
    f(known)
}

/// What an operation with a gradient makes of its inputs, and the inputs for its backward pass. Whoever saves the result
/// saves the way to make it again.
pub fn made<const N: usize>(
    inputs: [&FlexTensor; N],
    make: impl Fn([&FlexTensor; N]) -> FlexTensor + Send + Sync + 'static,
) -> (FlexTensor, [Saved; N]) {
    let y = make(inputs);
    let saved = inputs.map(Saved::of);
    let inputs = saved.clone();
    let again = move || make(inputs.each_ref().map(Saved::value).each_ref());
    let (storage, recipe) = (y.data_arc(), Recipe { make: Box::new(again), made: Mutex::new(None) });
    let known = Known { storage: Arc::downgrade(&storage), recipe: Arc::new(recipe) };
    with_known(|all| all.insert(Arc::as_ptr(&storage).addr(), known));
    (y, saved)
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
                // The forward pass is over, and what only it held.
                with_known(|_| ());
                let mut made = recipe.made.lock().unwrap_or_else(PoisonError::into_inner);
                made.get_or_insert_with(|| (recipe.make)()).reshape(shape.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
    use burn::backend::tensor::FloatTensor;
    use burn::backend::{Autodiff, AutodiffBackend, Flex};

    use super::super::{conv2d, linear, tensor, values};
    use super::*;
    use crate::Products;

    fn doubled([x]: [&FlexTensor; 1]) -> FlexTensor {
        let twice: Vec<f32> = values(x).iter().map(|x| 2.0 * x).collect();
        tensor(twice, x.layout().shape().clone())
    }

    /// What is doubled here is not kept, but made of its input, under the shape in which it was read.
    #[test]
    fn what_can_be_made_again_is_not_kept() {
        let x = tensor(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
        let (y, [input]) = made([&x], doubled);
        assert!(matches!(input, Saved::Numbers(_)));
        let (z, [between]) = made([&y], doubled);
        assert!(matches!(between, Saved::Again(..)));
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
        // With its last reader goes what was made again, and with the recipes what they hold.
        let (again, held) = (Arc::downgrade(&first), Arc::downgrade(&x.data_arc()));
        drop((first, second, readers, input, between, x));
        with_known(|_| ());
        assert_eq!((again.strong_count(), held.strong_count()), (0, 0));
    }

    #[test]
    fn a_part_of_a_tensor_is_kept() {
        let (y, _) = made([&tensor(vec![1.0, 2.0, 3.0, 4.0], [4])], doubled);
        let part = y.narrow(0, 1, 2);
        let saved = Saved::of(&part);
        assert!(matches!(saved, Saved::Numbers(_)));
        assert_eq!(values(&saved.value()), [4.0, 6.0]);
    }

    /// A layer that is not trained asks for the gradient of its input alone.
    #[test]
    fn the_input_of_a_weight_that_is_not_trained_is_not_kept() {
        type Tracked = FloatTensor<Autodiff<Flex, NoCheckpointing>>;
        let numbers = |shape: &[usize]| tensor(vec![0.5; shape.iter().product()], shape.to_vec());
        let plain = |x| <Autodiff<Flex, NoCheckpointing> as AutodiffBackend>::from_inner(x);
        let keeps = |x: &[usize], weight: &[usize], trains: bool, run: &dyn Fn([Tracked; 3]) -> Tracked| {
            let x = numbers(x);
            let storage = Arc::downgrade(&x.data_arc());
            let weight = plain(numbers(weight));
            let weight = if trains { weight.require_grad() } else { weight };
            let y = run([plain(x).require_grad(), weight, plain(numbers(&[8]))]);
            assert!(y.is_tracked());
            storage.strong_count() > 0
        };
        for trains in [false, true] {
            let of_linear = keeps(&[3, 16], &[8, 16], trains, &|[x, weight, bias]| {
                linear::differentiable::<NoCheckpointing>(x, weight, bias, Products::F32)
            });
            let of_convolution = keeps(&[1, 4, 4, 8], &[8, 8, 3, 3], trains, &|[x, weight, bias]| {
                conv2d::differentiable::<NoCheckpointing>(x, weight, bias, 1, [[1, 1]; 2], Products::F32)
            });
            assert_eq!((of_linear, of_convolution), (trains, trains));
        }
    }
}
