//! Bilinear resizing of maps, half-pixel centres, edges repeated.

/// Height and width.
pub(super) type Size = [usize; 2];

/// Bilinear resize of `[height, width]`.
pub(super) fn resize(map: &[f64], from: Size, to: Size) -> Vec<f64> {
    let mut resized = vec![0.0; to[0] * to[1]];
    add_resized(map, from, &mut resized, to);
    resized
}

/// Adds some maps that lie interleaved, `[height, width, maps]`, to others, `[height, width, maps]` of the size `to`.
pub(super) fn add_resized(maps: &[f64], from: Size, sums: &mut [f64], to: Size) {
    if from == to {
        sums.iter_mut().zip(maps).for_each(|(sum, value)| *sum += value);
        return;
    }
    let each = maps.len() / (from[0] * from[1]);
    let cell = |row: usize, column: usize| &maps[(row * from[1] + column) * each..][..each];
    let columns = taps(from[1], to[1]);
    let mut sums = sums.chunks_exact_mut(each);
    for (above, below, v) in taps(from[0], to[0]) {
        for (&(left, right, u), sums) in columns.iter().zip(&mut sums) {
            let above = cell(above, left).iter().zip(cell(above, right));
            let below = cell(below, left).iter().zip(cell(below, right));
            for (sum, (above, below)) in sums.iter_mut().zip(above.zip(below)) {
                let upper = above.0 * (1.0 - u) + above.1 * u;
                let lower = below.0 * (1.0 - u) + below.1 * u;
                *sum += upper * (1.0 - v) + lower * v;
            }
        }
    }
}

/// For each of `to` samples: its two neighbours among `from`, and the weight of the second.
fn taps(from: usize, to: usize) -> Vec<(usize, usize, f64)> {
    let tap = |index: usize| {
        let centre = (index as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let centre = centre.clamp(0.0, (from - 1) as f64);
        let first = centre.floor() as usize;
        (first, (first + 1).min(from - 1), centre - first as f64)
    };
    (0..to).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upsampling_by_two_has_the_weights_of_half_pixel_centres() {
        assert_eq!(resize(&[0.0, 4.0], [1, 2], [1, 4]), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(resize(&[1.0, 2.0, 3.0, 4.0], [2, 2], [2, 2]), [1.0, 2.0, 3.0, 4.0]);
        // A whole factor keeps the mean, edges included.
        let doubled = resize(&[7.0, 0.0, 0.0, 1.0, 0.0, 0.0], [2, 3], [4, 6]);
        assert!((doubled.iter().sum::<f64>() - 4.0 * 8.0).abs() < 1e-12);
    }

    #[test]
    fn interleaved_maps_are_resized_as_each_alone() {
        let maps = [[7.0, 1.0, 0.5, 2.0, 0.0, 3.0], [0.0, 0.25, 1.0, 1.0, 5.0, 4.0]]; // [2, 3] each
        let interleaved: Vec<f64> = (0..6).flat_map(|cell| maps.map(|map| map[cell])).collect();
        for to in [[2, 3], [5, 4], [1, 2]] {
            let mut sums = vec![0.5; 2 * to[0] * to[1]];
            add_resized(&interleaved, [2, 3], &mut sums, to);
            for (i, map) in maps.iter().enumerate() {
                let own: Vec<f64> = sums.iter().skip(i).step_by(2).copied().collect();
                let expected: Vec<f64> = resize(map, [2, 3], to).iter().map(|value| 0.5 + value).collect();
                assert_eq!(own, expected, "map {i} to {to:?}");
            }
        }
    }
}
