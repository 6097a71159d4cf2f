//! Positions of tokens, as angles by which attention turns queries and keys.

use burn::tensor::{Device, Tensor, TensorData};

/// The base of the frequencies; no config changes it.
const THETA: f64 = 10_000.0;

/// Where a token stands: (picture, row, column). A text's tokens all stand at the origin.
pub type Position = [f64; 3];

/// Positions of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Positions {
    /// Of the text's tokens, L of them.
    pub text: Vec<Position>,
    /// Of the picture's, S of them.
    pub picture: Vec<Position>,
}

impl Positions {
    /// A text of so many tokens beside a picture of `rows` × `columns` tokens, row by row.
    pub fn new(text: usize, rows: usize, columns: usize) -> Self {
        let picture =
            (0..rows).flat_map(|row| (0..columns).map(move |column| [0.0, row as f64, column as f64]));
        Self { text: vec![[0.0; 3]; text], picture: picture.collect() }
    }

    /// The same with a second picture of `rows` × `columns` tokens behind the first: it stands elsewhere, from its own
    /// origin on.
    pub fn with_reference(mut self, rows: usize, columns: usize) -> Self {
        let of_second = |[_, row, column]: Position| [1.0, row, column];
        self.picture.extend(Self::new(0, rows, columns).picture.into_iter().map(of_second));
        self
    }

    /// (cos, sin) of every pair of a head's channels for every token, text first: `[L + S, d]`. Component j of a
    /// position turns `axes[j]` of the channels, pair i of them by p·θ^(−2i/axes\[j\]).
    ///
    /// The angles are in f64: in f32 those of far rows would be off.
    pub fn rotations(&self, axes: [usize; 3], device: &Device) -> Tensor<2> {
        let d = axes.iter().sum();
        let tokens = self.text.len() + self.picture.len();
        let frequency = |i: usize, axis: usize| THETA.powf(-2.0 * i as f64 / axis as f64);
        let frequencies = axes.map(|axis| (0..axis / 2).map(|i| frequency(i, axis)).collect::<Vec<f64>>());
        let mut values = Vec::with_capacity(tokens * d);
        for position in self.text.iter().chain(&self.picture) {
            for (p, frequencies) in position.iter().zip(&frequencies) {
                for frequency in frequencies {
                    let (sin, cos) = (p * frequency).sin_cos();
                    values.extend([cos as f32, sin as f32]);
                }
            }
        }
        Tensor::from_data(TensorData::new(values, [tokens, d]), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_turned_by_its_row_and_column() {
        let positions = Positions::new(2, 2, 3);
        assert_eq!(positions.picture[4], [0.0, 1.0, 1.0]);
        let rotations = positions.rotations([2, 4, 2], &Device::flex());
        assert_eq!(rotations.dims(), [8, 8]);
        let rows: Vec<f32> = rotations.into_data().iter().collect();
        assert_eq!(rows[..8], [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0], "a text's token is not turned");
        // Row 1, column 2: the picture's number turns nothing, the row one pair by 1 and one by 1/100.
        let expected = [0.0, 1.0, 0.01, 2.0].map(|angle: f64| [angle.cos() as f32, angle.sin() as f32]);
        assert_eq!(rows[7 * 8..], *expected.as_flattened());
    }
}
