//! Pictures to tensors and back.

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

use crate::error::{Error, Result};

/// 8-bit pictures of one size to `[B, 3, H, W]` in [−1, 1].
///
/// # Errors
/// `Error::Shape` for no pictures or different sizes.
pub fn to_tensor(images: &[RgbImage], device: &Device) -> Result<Tensor<4>> {
    let size = images.first().map_or((0, 0), RgbImage::dimensions);
    if let Some(other) = images.iter().find(|image| image.dimensions() != size) {
        return Err(Error::shape(
            "batch of pictures",
            format!("{size:?}"),
            format!("{:?}", other.dimensions()),
        ));
    }
    let (width, height) = (size.0 as usize, size.1 as usize);
    if width * height == 0 {
        return Err(Error::shape("batch of pictures", "at least one pixel", "none"));
    }
    let mut values = vec![0.0f32; images.len() * 3 * height * width];
    for (image, out) in images.iter().zip(values.chunks_mut(3 * height * width)) {
        for (i, pixel) in image.pixels().enumerate() {
            for c in 0..3 {
                out[c * height * width + i] = f32::from(pixel[c]) / 127.5 - 1.0;
            }
        }
    }
    Ok(Tensor::from_data(TensorData::new(values, [images.len(), 3, height, width]), device))
}

/// `[B, 3, H, W]`, about [−1, 1], to 8 bits: clamped, rounded half to even.
///
/// # Errors
/// `Error::Shape` unless there are three channels; `Error::Overflow` for a NaN.
pub fn to_images(tensor: Tensor<4>) -> Result<Vec<RgbImage>> {
    let [b, c, height, width] = tensor.dims();
    if c != 3 {
        return Err(Error::shape("picture", "3 channels", c));
    }
    let values = tensor
        .into_data()
        .convert::<f32>()
        .try_into_vec::<f32>()
        .map_err(|e| Error::shape("picture", "numbers of 32 bits", format!("{e:?}")))?;
    if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
        return Err(Error::Overflow { what: "picture".into(), got: bad.to_string() });
    }
    let level = |x: f32| ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    let plane = height * width;
    Ok((0..b)
        .map(|i| {
            RgbImage::from_fn(width as u32, height as u32, |x, y| {
                let at = y as usize * width + x as usize;
                image::Rgb(std::array::from_fn(|c| level(values[(i * 3 + c) * plane + at])))
            })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_survives_the_round_trip() {
        let image =
            RgbImage::from_fn(16, 16, |x, y| image::Rgb([(16 * y + x) as u8, 255 - (16 * y + x) as u8, 7]));
        let back = to_images(to_tensor(std::slice::from_ref(&image), &Device::flex()).unwrap()).unwrap();
        assert_eq!(back, [image]);
    }

    #[test]
    fn refuses_nan_and_mixed_sizes() {
        let nan = Tensor::<4>::full([1, 3, 2, 2], f32::NAN, &Device::flex());
        assert!(matches!(to_images(nan), Err(Error::Overflow { .. })));
        let mixed = [RgbImage::new(2, 2), RgbImage::new(4, 4)];
        assert!(matches!(to_tensor(&mixed, &Device::flex()), Err(Error::Shape { .. })));
    }
}
