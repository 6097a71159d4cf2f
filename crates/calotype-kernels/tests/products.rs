//! Precision of products is an argument: what is computed beside a call, or between its two passes, changes nothing.

use burn::tensor::{Device, Tensor, TensorData};
use calotype_kernels::{Products, attention, conv2d, linear};

fn leaf<const D: usize>(shape: [usize; D], step: f32) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i| (step * i as f32).sin()).collect();
    Tensor::<D>::from_data(TensorData::new(values, shape), &Device::flex()).autodiff().require_grad()
}

fn bits<const D: usize>(x: Tensor<D>) -> Vec<u32> {
    x.into_data().iter::<f32>().map(f32::to_bits).collect()
}

/// A convolution in each of its forms (Winograd's, windows, a linear map), attention and a linear map.
struct Network {
    x: Tensor<4>,
    kernels: [Tensor<4>; 3],
    weight: Tensor<2>,
}

impl Network {
    fn new() -> Self {
        let kernels = [leaf([16, 16, 3, 3], 0.37), leaf([16, 16, 3, 3], 0.53), leaf([16, 16, 1, 1], 0.71)];
        Self { x: leaf([3, 8, 8, 16], 0.29), kernels, weight: leaf([24, 16], 0.83) }
    }

    fn forward(&self, products: Products) -> Tensor<3> {
        let bias = |n: usize| leaf([n], 0.11);
        let shapes = [(1, 1), (2, 1), (1, 0)];
        let h = self.kernels.iter().zip(shapes).fold(self.x.clone(), |h, (kernel, (stride, padding))| {
            conv2d(h, kernel.clone(), bias(16), stride, [[padding; 2]; 2], products).tanh()
        });
        let h = h.reshape([3, 16, 16]);
        let h = attention(h.clone(), h.clone(), h, 2, false, products);
        linear(h, self.weight.clone(), bias(24), products)
    }

    /// The output and every gradient.
    fn backward(&self, y: Tensor<3>) -> Vec<Vec<u32>> {
        let gradients = y.clone().square().sum().backward();
        let of_kernels = self.kernels.iter().map(|kernel| bits(kernel.grad(&gradients).unwrap()));
        let mut all: Vec<Vec<u32>> = of_kernels.collect();
        all.extend([bits(self.x.grad(&gradients).unwrap()), bits(self.weight.grad(&gradients).unwrap())]);
        all.push(bits(y));
        all
    }
}

/// Both passes, with nothing else between them.
fn alone(products: Products) -> Vec<Vec<u32>> {
    let network = Network::new();
    let y = network.forward(products);
    network.backward(y)
}

#[test]
fn a_backward_pass_has_the_precision_of_its_forward_pass() {
    let expected = [alone(Products::F32), alone(Products::Bf16)];
    assert_eq!(expected[0] != expected[1], Products::Bf16.is_available());
    let networks = [Network::new(), Network::new()];
    let exact = networks[0].forward(Products::F32);
    let rounded = networks[1].forward(Products::Bf16);
    assert_eq!([networks[0].backward(exact), networks[1].backward(rounded)], expected);
}

#[test]
fn two_precisions_at_the_same_time_give_what_each_gives_alone() {
    let both = [Products::F32, Products::Bf16];
    let expected = both.map(alone);
    let expected = &expected;
    std::thread::scope(|threads| {
        for (products, expected) in both.into_iter().zip(expected) {
            threads.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(alone(products), *expected, "{products:?}");
                }
            });
        }
    });
}

#[test]
fn packed_weights_are_kept_for_each_precision() {
    let network = Network::new();
    let without_graph = |products| {
        let (x, weight) = (network.x.clone().inner(), network.kernels[1].clone().inner());
        bits(conv2d(x, weight, leaf([16], 0.11).inner(), 2, [[1; 2]; 2], products))
    };
    let first = [without_graph(Products::F32), without_graph(Products::Bf16)];
    assert_eq!([without_graph(Products::F32), without_graph(Products::Bf16)], first);
}
