//! Pictures side by side in one.

use image::{Rgb, RgbImage, imageops};

/// Pixels between two pictures.
const GAP: u32 = 2;

/// Rows of pictures, each at the left of the last; white where there is none.
pub fn grid(rows: &[Vec<RgbImage>]) -> RgbImage {
    let side = |of: fn(&RgbImage) -> u32| rows.iter().flatten().map(of).max().unwrap_or(1);
    let (width, height) = (side(RgbImage::width), side(RgbImage::height));
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0).max(1) as u32;
    let total = |count: u32, side: u32| count * side + (count - 1) * GAP;
    let (whole_width, whole_height) = (total(columns, width), total(rows.len().max(1) as u32, height));
    let mut whole = RgbImage::from_pixel(whole_width, whole_height, Rgb([255; 3]));
    for (y, row) in rows.iter().enumerate() {
        for (x, picture) in row.iter().enumerate() {
            let at = |place: usize, side: u32| i64::from(place as u32 * (side + GAP));
            imageops::replace(&mut whole, picture, at(x, width), at(y, height));
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_lie_where_they_belong() {
        let of = |level: u8| RgbImage::from_pixel(3, 2, Rgb([level; 3]));
        let whole = grid(&[vec![of(10), of(20)], vec![of(30)]]);
        assert_eq!(whole.dimensions(), (8, 6));
        let levels = [(0, 0), (2, 1), (5, 0), (7, 1), (0, 4), (3, 0), (0, 2), (5, 4)];
        assert_eq!(levels.map(|(x, y)| whole.get_pixel(x, y)[0]), [10, 10, 20, 20, 30, 255, 255, 255]);
    }
}
