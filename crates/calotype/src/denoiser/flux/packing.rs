//! Latents as a sequence of tokens: 2×2 pixels each.

use burn::tensor::Tensor;

use super::config::PATCH;
use crate::error::{Error, Result};

/// `[B, C, h, w]` to `[B, (h/2)·(w/2), 4·C]`, token by token along the rows. Channel c of pixel (y, x) of a token's four
/// is its number 4·c + 2·y + x.
///
/// # Errors
/// `Error::Shape` where h or w is odd or 0.
pub fn pack(latents: Tensor<4>) -> Result<Tensor<3>> {
    let [b, c, h, w] = latents.dims();
    if h == 0 || w == 0 || !h.is_multiple_of(2) || !w.is_multiple_of(2) {
        let expected = "even height and width of the latent: a token is 2×2 of its pixels";
        return Err(Error::shape("Flux sample", expected, format!("{:?}", [b, c, h, w])));
    }
    let split = latents.reshape([b, c, h / 2, 2, w / 2, 2]);
    Ok(split.permute([0, 2, 4, 1, 3, 5]).reshape([b, (h / 2) * (w / 2), PATCH * c]))
}

/// `[B, (h/2)·(w/2), 4·C]` to `[B, C, h, w]`: [`pack`] undone.
///
/// # Errors
/// `Error::Shape` where there are not as many tokens as a latent of `h` × `w` has.
pub fn unpack(tokens: Tensor<3>, h: usize, w: usize) -> Result<Tensor<4>> {
    let [b, count, channels] = tokens.dims();
    let halved = h.is_multiple_of(2) && w.is_multiple_of(2);
    if !halved || count != (h / 2) * (w / 2) || !channels.is_multiple_of(PATCH) {
        let expected = format!("[B, {}, {PATCH}·C] of a latent of {h}×{w}", (h / 2) * (w / 2));
        return Err(Error::shape("Flux tokens", expected, format!("{:?}", [b, count, channels])));
    }
    let c = channels / PATCH;
    let split = tokens.reshape([b, h / 2, w / 2, c, 2, 2]);
    Ok(split.permute([0, 3, 1, 4, 2, 5]).reshape([b, c, h, w]))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::testing::assert_refuses;

    /// Each number says where it lies.
    #[test]
    fn a_token_is_a_square_of_the_latent() {
        let [b, c, h, w] = [2, 3, 4, 6];
        let values: Vec<f32> = (0..b * c * h * w).map(|i| i as f32).collect();
        let latents = Tensor::<4>::from_data(TensorData::new(values.clone(), [b, c, h, w]), &Device::flex());
        let tokens = pack(latents.clone()).unwrap();
        assert_eq!(tokens.dims(), [b, 6, 12]);
        let packed: Vec<f32> = tokens.to_data().iter().collect();
        for (i, &number) in packed.iter().enumerate() {
            let (sample, token, place) = (i / 72, i / 12 % 6, i % 12);
            let (y, x) = (token / 3 * 2 + place % 4 / 2, token % 3 * 2 + place % 2);
            assert_eq!(number, values[((sample * c + place / 4) * h + y) * w + x], "number {i}");
        }
        assert_eq!(unpack(tokens.clone(), h, w).unwrap().into_data(), latents.into_data());
        assert_refuses(unpack(tokens, 4, 4), "Flux tokens: expected [B, 4, 4·C]");
    }

    #[test]
    fn a_latent_of_odd_size_is_refused() {
        for shape in [[1, 16, 3, 4], [1, 16, 4, 5], [1, 16, 0, 2]] {
            let latents = Tensor::<4>::zeros(shape, &Device::flex());
            assert_refuses(pack(latents), "Flux sample: expected even height and width");
        }
    }
}
