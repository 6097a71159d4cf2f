//! Pools over channels-last pictures, `[B, H, W, C]`.

use burn::tensor::{Slice, Tensor, s};

/// The largest of `kernel` × `kernel` places, of which `padding` lie outside of the picture on each side and
/// never win: H' = (H + 2·padding − kernel)/stride + 1, rounded down.
pub fn max(x: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    let along = |x, axis| fold(x, axis, [kernel, stride, padding], f32::NEG_INFINITY, Tensor::max_pair);
    along(along(x, 1), 2)
}

/// The mean of the places among 3 × 3 that lie inside of the picture, at every pixel.
pub fn average_3x3(x: Tensor<4>) -> Tensor<4> {
    let [_, h, w, _] = x.dims();
    let (device, dtype) = (x.device(), x.dtype());
    let add = |a: Tensor<4>, b: Tensor<4>| a + b;
    let sum = fold(fold(x, 1, [3, 1, 1], 0.0, add), 2, [3, 1, 1], 0.0, add);
    let inside = |i: usize, n: usize| 3.0 - f64::from(i == 0) - f64::from(i + 1 == n);
    let shares = (0..h * w).map(|at| 1.0 / (inside(at / w, h) * inside(at % w, w))).collect::<Vec<f64>>();
    let shares = burn::tensor::TensorData::new(shares, [1, h, w, 1]);
    sum * Tensor::from_data(shares, (&device, dtype))
}

/// The mean of all pixels: `[B, C]`.
pub fn mean_of_picture(x: Tensor<4>) -> Tensor<2> {
    let [b, h, w, c] = x.dims();
    x.reshape([b, h * w, c]).mean_dim(1).reshape([b, c])
}

/// Combines each `kernel` neighbours along an axis; `outside` stands where there is no pixel.
fn fold(
    x: Tensor<4>,
    axis: usize,
    [kernel, stride, padding]: [usize; 3],
    outside: f32,
    combine: fn(Tensor<4>, Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    let mut border = x.dims();
    border[axis] = padding;
    let x = match padding {
        0 => x,
        _ => {
            let edge = Tensor::full(border, outside, (&x.device(), x.dtype()));
            Tensor::cat(vec![edge.clone(), x, edge], axis)
        }
    };
    let n = x.dims()[axis];
    let out = (n - kernel) / stride + 1;
    let part = |first: usize| {
        let mut ranges: [Slice; 4] = [s![..]; 4];
        let end = first + (out - 1) * stride + 1;
        ranges[axis] = Slice::new(first as isize, Some(end as isize), stride as isize);
        x.clone().slice(ranges)
    };
    (1..kernel).map(&part).fold(part(0), combine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{shaped, values};

    #[test]
    fn places_outside_of_the_picture_do_not_count() {
        let x = shaped::<4>(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 2, 3, 1]);
        assert_eq!(values(average_3x3(x.clone())), [3.0, 3.5, 4.0, 3.0, 3.5, 4.0]);
        assert_eq!(values(max(x.clone() - 10.0, 3, 1, 1)), [-5.0, -4.0, -4.0, -5.0, -4.0, -4.0]);
        assert_eq!(values(mean_of_picture(x)), [3.5]);
    }

    #[test]
    fn a_stride_of_two_skips() {
        let numbers: Vec<f64> = (0..25).map(f64::from).collect();
        let x = shaped::<4>(&numbers, [1, 5, 5, 1]);
        assert_eq!(values(max(x.clone(), 3, 2, 0)), [12.0, 14.0, 22.0, 24.0]);
        // The fifth row and column are left over.
        assert_eq!(values(max(x, 2, 2, 0)), [6.0, 8.0, 16.0, 18.0]);
    }
}
