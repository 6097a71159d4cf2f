//! A tensor added to every sample of a batch, as a burn operation: what embeddings of positions do.

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::{contiguous, tensor, values, with_backward};
use crate::sums::sum_of_rows;
use crate::{Isa, elementwise};

pub fn forward(x: &FlexTensor, row: &FlexTensor) -> FlexTensor {
    let (x, row) = (contiguous(x), contiguous(row));
    tensor(elementwise::add_rows(Isa::best(), values(&x), values(&row)), x.layout().shape().clone())
}

#[derive(Debug)]
struct AddRows;

impl Backward<Flex, 2> for AddRows {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(&gradients.consume::<Flex>(&ops.node));
        let [for_x, for_row] = ops.parents;
        if let Some(node) = for_row {
            let shape: Vec<usize> = dy.layout().shape().iter().skip(1).copied().collect();
            let sum = sum_of_rows(Isa::best(), values(&dy), shape.iter().product());
            gradients.register::<Flex>(node.id, tensor(sum, shape));
        }
        if let Some(node) = for_x {
            gradients.register::<Flex>(node.id, dy);
        }
    }
}

pub fn differentiable<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    row: FloatTensor<Autodiff<Flex, C>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let inputs = [x.node(), row.node()];
    let y = forward(&x.into_primitive(), &row.into_primitive());
    with_backward::<C, _, _>(AddRows, inputs, (), y)
}
