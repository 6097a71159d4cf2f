//! What holds to the bit: sums that are burn's, tensors that are left alone, any number of threads.

mod common;

use burn::tensor::Tensor;
use calotype_kernels as kernels;
use calotype_kernels::Activation;
use calotype_kernels::Products::F32;
use common::{leaf, numbers};

fn bits<const D: usize>(x: Tensor<D>) -> Vec<u32> {
    x.into_data().iter::<f32>().map(f32::to_bits).collect()
}

/// The bits of a value and of all gradients, which are burn's.
fn same_bits<const A: usize, const B: usize, const Y: usize>(
    what: &str,
    (a, b): (Tensor<A>, Tensor<B>),
    kernel: impl Fn(Tensor<A>, Tensor<B>) -> Tensor<Y>,
    burn: impl Fn(Tensor<A>, Tensor<B>) -> Tensor<Y>,
) {
    let run = |f: &dyn Fn(Tensor<A>, Tensor<B>) -> Tensor<Y>| {
        let y = f(a.clone(), b.clone());
        let gradients = (y.clone() * numbers(y.dims(), 99).autodiff()).sum().backward();
        [bits(y.inner()), bits(a.grad(&gradients).unwrap()), bits(b.grad(&gradients).unwrap())]
    };
    assert_eq!(run(&kernel), run(&burn), "{what}");
}

#[test]
fn sums_are_burns_to_the_bit() {
    for shape in [[1, 1, 1], [3, 77, 13], [2, 300, 96]] {
        same_bits(
            &format!("sum of {shape:?}"),
            (leaf(shape, 1), leaf(shape, 2)),
            |a, b| kernels::add(a.clone().square(), kernels::add(a, b)),
            |a, b| a.clone().square() + (a + b),
        );
        let [_, rows, width] = shape;
        same_bits(
            &format!("{rows}×{width} for each of {shape:?}"),
            (leaf(shape, 1), leaf([rows, width], 2)),
            kernels::add_rows,
            |x, row| x + row.unsqueeze::<3>(),
        );
    }
}

#[test]
fn orders_of_a_pictures_numbers() {
    for (b, h, w, c) in [(1, 1, 1, 1), (2, 5, 7, 3), (3, 64, 33, 4), (1, 9, 8, 100)] {
        same_bits(
            &format!("{b}×{c}×{h}×{w}"),
            (leaf([b, c, h, w], 1), leaf([b, h, w, c], 2)),
            |first, last| {
                kernels::channels_last(first) * last.clone()
                    + kernels::channels_last(kernels::channels_first(last))
            },
            |first, last| first.permute([0, 2, 3, 1]) * last.clone() + last,
        );
    }
}

/// A shift in the norm is what burn would have added before, and its gradient has burn's sums.
#[test]
fn a_shift_has_the_bits_of_a_sum_before() {
    for (b, h, w, c) in [(1, 1, 1, 4), (3, 5, 7, 12), (2, 16, 16, 32)] {
        let (gamma, beta) = (numbers([c], 4), numbers([c], 5));
        same_bits(
            &format!("{b}×{h}×{w}×{c}"),
            (leaf([b, h, w, c], 1), leaf([b, c], 2)),
            |x, shift| {
                let (gamma, beta) = (gamma.clone().autodiff(), beta.clone().autodiff());
                kernels::group_norm(x, Some(shift), gamma, beta, 2, 1e-5, true)
            },
            |x, shift| {
                let (gamma, beta) = (gamma.clone().autodiff(), beta.clone().autodiff());
                kernels::group_norm(x + shift.reshape([b, 1, 1, c]), None, gamma, beta, 2, 1e-5, true)
            },
        );
    }
}

/// What every reader of a fork hands back is summed once; readers that nobody asks are none.
#[test]
fn a_fork_sums_the_gradients_of_its_readers() {
    let shape = [2, 33, 40];
    same_bits(
        "three readers, one of them forked again",
        (leaf(shape, 1), leaf(shape, 2)),
        |a, b| {
            let [first, second, third, _unread] = kernels::fork(a.square());
            let [inner, unread] = kernels::fork(third);
            drop(unread);
            first * b.clone() + (second.exp() * inner) * b
        },
        |a, b| {
            let a = a.square();
            a.clone() * b.clone() + (a.clone().exp() * a) * b
        },
    );
    let a = leaf(shape, 1);
    let [x, y] = kernels::fork(a.clone());
    let gradients = (x.sum() + y.sum() * 2.0).backward();
    assert!(a.grad(&gradients).unwrap().into_data().iter::<f32>().all(|g| g == 3.0));
    let [plain, _] = kernels::fork(numbers(shape, 1));
    assert!(!plain.is_tracked());
}

/// A sum may be written where a summand lies only if nobody else reads it.
#[test]
fn sums_leave_their_summands_alone() {
    let (a, b) = (numbers([5000], 1), numbers([5000], 2));
    let before = [a.clone(), b.clone()].map(|x| x.into_data());
    let expected = bits(a.clone() + b.clone());
    assert_eq!(bits(kernels::add(a.clone(), b.clone())), expected);
    assert_eq!(bits(kernels::add(a.clone(), numbers([5000], 2))), expected);
    assert_eq!(bits(kernels::add(numbers([5000], 1), b.clone())), expected);
    assert_eq!([a, b].map(|x| x.into_data()), before);
    let part = numbers([6000], 7);
    let whole = bits(part.clone());
    let sum = bits(kernels::add(part.clone().narrow(0, 500, 5000), numbers([5000], 2)));
    assert_eq!(sum, bits(part.clone().narrow(0, 500, 5000) + numbers([5000], 2)));
    assert_eq!(bits(part), whole);
}

#[test]
fn shown_probabilities_change_nothing_of_the_output() {
    let [q, k, v] = [([2, 70, 24], 1), ([2, 33, 24], 2), ([2, 33, 24], 3)].map(|(s, seed)| numbers(s, seed));
    let (y, _) = kernels::attention_shown(q.clone(), k.clone(), v.clone(), 3, 2, F32);
    assert_eq!(y.into_data(), kernels::attention(q, k, v, 3, false, F32).into_data());
}

/// One thread and many give the same bits.
#[test]
fn threads_change_nothing() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            // A convolution by its phases, and one in Winograd's form.
            let x = leaf([5, 24, 24, 20], 1);
            let (strided, square) = (leaf([32, 20, 3, 3], 2), leaf([32, 32, 3, 3], 3));
            let (bias, gamma, beta) = (leaf([32], 4), leaf([32], 5), leaf([32], 6));
            let (scale, offset, of_linear) = (leaf([64], 7), leaf([64], 8), leaf([128], 9));
            let (shift, row, weight) = (leaf([5, 32], 10), leaf([144, 64], 11), leaf([128, 64], 12));
            let h = kernels::conv2d(x.clone(), strided.clone(), bias.clone(), 2, [[1, 1]; 2], F32);
            let h = kernels::conv2d(h, square.clone(), bias.clone(), 1, [[1, 1]; 2], F32);
            let h = kernels::group_norm(h, Some(shift.clone()), gamma.clone(), beta.clone(), 4, 1e-5, true);
            let [h, skip] = kernels::fork(h);
            let h = kernels::concat(h.clone(), h).reshape([5, 144, 64]);
            let h = kernels::add_rows(h, row.clone());
            let h = kernels::layer_norm(h, scale.clone(), offset.clone(), 1e-5);
            let h = kernels::geglu(kernels::linear(h, weight.clone(), of_linear.clone(), F32));
            let [q, k, v] = kernels::fork(kernels::activation(h, Activation::QuickGelu));
            let (y, p) = kernels::attention_shown(q, k, v, 4, 2, F32);
            let regions = |seed| numbers([5, 144, 2], seed).abs().autodiff();
            let weights = numbers([5, 2], 15).abs().autodiff();
            let looked = kernels::region_cross_entropy(p, regions(13), regions(14), weights, 1e-4);
            let y = kernels::add(y.reshape([5, 12, 12, 64]), kernels::concat(skip.clone(), skip));
            let error = kernels::mean_square_error(y.clone(), numbers(y.dims(), 16).autodiff());
            let gradients = (y.clone().square().sum() + looked + error).backward();
            let mut all = vec![bits(y)];
            all.extend([x, strided, square].map(|x| bits(x.grad(&gradients).unwrap())));
            all.extend([shift, row, weight].map(|x| bits(x.grad(&gradients).unwrap())));
            let vectors = [bias, gamma, beta, scale, offset, of_linear];
            all.extend(vectors.map(|x| bits(x.grad(&gradients).unwrap())));
            all
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(7));
}
