//! Where in a picture an object is: its box, or the pixels that it covers.

use image::{GrayImage, Luma};
use serde::Serialize;

/// A box in pixels; what of it lies outside the picture counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Region {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Region {
    fn contains(&self, x: usize, y: usize) -> bool {
        let within = |value: usize, start: u32, length: u32| {
            value.checked_sub(start as usize).is_some_and(|offset| offset < length as usize)
        };
        within(x, self.x, self.width) && within(y, self.y, self.height)
    }
}

/// The pixels of a picture that an object covers, or the cells of a latent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    height: usize,
    /// Row by row.
    covered: Vec<bool>,
}

impl Mask {
    /// Of a picture of `width` × `height`, what `covers` says of (x, y).
    pub fn new(width: usize, height: usize, covers: impl Fn(usize, usize) -> bool) -> Self {
        let pixel = |i: usize| covers(i % width, i / width);
        Self { width, height, covered: (0..width * height).map(pixel).collect() }
    }

    /// What of the box lies in a picture of `width` × `height`.
    pub fn of_region(region: Region, width: usize, height: usize) -> Self {
        Self::new(width, height, |x, y| region.contains(x, y))
    }

    /// Width and height of the picture.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Whether each pixel is covered, row by row.
    pub fn pixels(&self) -> impl Iterator<Item = bool> {
        self.covered.iter().copied()
    }

    /// Whether it covers nothing.
    pub fn is_empty(&self) -> bool {
        !self.covered.contains(&true)
    }

    /// What one or both of two masks of one size cover.
    pub fn or(&self, other: &Self) -> Self {
        debug_assert_eq!(self.size(), other.size());
        let covered = self.pixels().zip(other.pixels()).map(|(own, other)| own || other);
        Self { covered: covered.collect(), ..*self }
    }

    /// A picture of it, of this size: white where it covers, black elsewhere.
    pub fn picture(&self, width: u32, height: u32) -> GrayImage {
        let cell = |at: u32, of: u32, cells: usize| at as usize * cells / of as usize;
        GrayImage::from_fn(width, height, |x, y| {
            let (row, column) = (cell(y, height, self.height), cell(x, width, self.width));
            Luma([if self.covered[row * self.width + column] { 255 } else { 0 }])
        })
    }

    /// What it does not cover.
    pub fn complement(&self) -> Self {
        Self { covered: self.pixels().map(|covered| !covered).collect(), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_joined_and_turned_around() {
        let (left, top) = (Mask::new(3, 2, |x, _| x == 0), Mask::new(3, 2, |_, y| y == 0));
        let both: Vec<bool> = left.or(&top).pixels().collect();
        assert_eq!(both, [true, true, true, true, false, false]);
        assert_eq!(left.complement(), Mask::new(3, 2, |x, _| x > 0));
        assert_eq!(left.or(&left.complement()), Mask::new(3, 2, |_, _| true));
        assert!(Mask::new(3, 2, |_, _| false).is_empty() && !left.is_empty());
    }

    #[test]
    fn a_cell_is_a_square_of_the_picture() {
        let picture = Mask::new(2, 1, |x, _| x == 1).picture(4, 2);
        assert_eq!(picture.into_raw(), [0, 0, 255, 255, 0, 0, 255, 255]);
    }

    #[test]
    fn a_box_covers_what_lies_in_the_picture() {
        let beyond = Region { x: 2, y: 1, width: 99, height: u32::MAX };
        assert_eq!(Mask::of_region(beyond, 3, 3), Mask::new(3, 3, |x, y| x == 2 && y > 0));
        let far = Region { x: u32::MAX, y: 0, width: u32::MAX, height: 1 };
        assert!(Mask::of_region(far, 3, 3).is_empty());
        assert!(Mask::of_region(Region { x: 0, y: 0, width: 0, height: 3 }, 3, 3).is_empty());
    }
}
