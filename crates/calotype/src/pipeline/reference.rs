//! The size at which a network is shown another picture.

use image::RgbImage;

use crate::model::{Beside, Model};

/// (width, height) of the pictures that Kontext was trained on. Batifol et al. 2025, arXiv:2506.15742; diffusers'
/// `FluxKontextPipeline`.
const KONTEXT_SIZES: [(usize, usize); 17] = [
    (672, 1568),
    (688, 1504),
    (720, 1456),
    (752, 1392),
    (800, 1328),
    (832, 1248),
    (880, 1184),
    (944, 1104),
    (1024, 1024),
    (1104, 944),
    (1184, 880),
    (1248, 832),
    (1328, 800),
    (1392, 752),
    (1456, 720),
    (1504, 688),
    (1568, 672),
];

/// What sides of pictures are multiples of in Flux.1.
const KONTEXT_MULTIPLE: usize = 16;

impl Model {
    /// (width, height) of a reference picture: that of the picture that is made, where the network takes both side by side;
    /// else, of Kontext's own, the one whose sides are most alike in proportion. Networks of another kind read it as large as
    /// it is.
    pub(super) fn reference_size(&self, reference: &RgbImage, made: (usize, usize)) -> (usize, usize) {
        let multiple = self.side_multiple();
        let whole = |side: u32| (side as usize / multiple * multiple).max(multiple);
        let (width, height) = (whole(reference.width()), whole(reference.height()));
        match self.input_beside() {
            Beside::Reference => made,
            _ if multiple == KONTEXT_MULTIPLE => kontext_size(width as f64 / height as f64),
            _ => (width, height),
        }
    }
}

fn kontext_size(proportion: f64) -> (usize, usize) {
    let distance = |&(width, height): &(usize, usize)| (width as f64 / height as f64 - proportion).abs();
    let nearest = KONTEXT_SIZES.into_iter().min_by(|one, other| distance(one).total_cmp(&distance(other)));
    nearest.unwrap_or(KONTEXT_SIZES[8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_keeps_its_proportions() {
        for (proportion, size) in [
            (1.0, (1024, 1024)),
            (1.02, (1024, 1024)),
            (16.0 / 9.0, (1392, 752)),
            (9.0 / 16.0, (752, 1392)),
            (10.0, (1568, 672)),
            (0.01, (672, 1568)),
        ] {
            assert_eq!(kontext_size(proportion), size, "{proportion}");
        }
        for (width, height) in KONTEXT_SIZES {
            assert!(width % 16 == 0 && height % 16 == 0);
        }
    }
}
