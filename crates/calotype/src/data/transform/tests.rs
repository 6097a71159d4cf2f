use super::*;
use crate::rng::Purpose;

fn rng(picture: u64) -> Philox {
    Philox::new(7, Purpose::Evaluation, picture)
}

/// Deterministic, with detail in every direction.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb(std::array::from_fn(|c| {
            let c = c as u32;
            (7 * x * x + 13 * y * (x + 1) + 29 * c * (x + y) + 3 * x * y * c) as u8
        }))
    })
}

fn draws(picture: u64) -> TransformDraws {
    Transform::draws(&mut rng(picture))
}

fn apply(transform: Transform, picture: RgbImage, target: (u32, u32)) -> RgbImage {
    transform.apply(picture, target, draws(0), "test").unwrap()
}

/// Pillow 11.3 and 13.0: `resize((8, 6), LANCZOS).crop((1, 0, 6, 6))` of 13 x 10 pixels.
#[test]
fn shorter_side_and_center_is_pillows_lanczos() {
    let got = apply(Transform::default(), picture(13, 10), (5, 6));
    #[rustfmt::skip]
    let expected = [
        [35, 122, 175, 117, 186, 186, 209, 120, 116, 153, 103, 162, 119, 133, 102],
        [106, 176, 185, 195, 116, 141, 129, 114, 107, 92, 153, 140, 113, 203, 45],
        [160, 123, 148, 96, 156, 124, 135, 108, 112, 139, 164, 73, 117, 98, 28],
        [118, 99, 98, 139, 174, 146, 136, 131, 126, 129, 124, 214, 98, 186, 226],
        [104, 107, 141, 145, 81, 173, 130, 124, 92, 118, 167, 115, 159, 97, 203],
        [147, 195, 145, 119, 127, 170, 95, 113, 117, 183, 183, 70, 166, 167, 143],
    ];
    assert_eq!(got.as_raw(), expected.as_flattened());
    assert_eq!(Transform::default().corner((8, 6), (5, 6), draws(0)), (1, 0));
    assert!(!Transform::default().mirrors(draws(0)));
}

/// Pillow 11.3 and 13.0: `resize((6, 5), LANCZOS)`; one row is left over, and it is below.
#[test]
fn longer_side_is_padded_with_the_background() {
    let transform =
        Transform { resize: ResizePolicy::LongerSide, background: [1, 2, 3], ..Transform::default() };
    let got = apply(transform, picture(13, 10), (6, 6));
    #[rustfmt::skip]
    let expected = [
        [11, 54, 97, 86, 166, 192, 192, 133, 129, 137, 110, 155, 123, 179, 62, 167, 107, 193],
        [58, 137, 173, 156, 142, 156, 134, 106, 115, 100, 173, 86, 136, 121, 14, 139, 43, 128],
        [111, 123, 78, 124, 151, 133, 134, 138, 117, 130, 136, 143, 127, 132, 81, 151, 202, 48],
        [112, 145, 138, 125, 93, 145, 139, 128, 122, 122, 150, 188, 121, 126, 160, 144, 167, 115],
        [160, 133, 102, 130, 154, 171, 108, 111, 114, 173, 185, 85, 150, 119, 135, 128, 110, 81],
        [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3],
    ];
    assert_eq!(got.as_raw(), expected.as_flattened());
    let narrow = apply(transform, RgbImage::from_pixel(1, 8, Rgb([9; 3])), (4, 4));
    assert_eq!(narrow.rows().next().unwrap().map(|p| p.0[0]).collect::<Vec<_>>(), [1, 9, 1, 1]);
}

#[test]
fn without_resizing_the_size_must_fit() {
    let transform = Transform { resize: ResizePolicy::None, ..Transform::default() };
    assert_eq!(apply(transform, picture(5, 4), (5, 4)), picture(5, 4));
    let error = transform.apply(picture(5, 4), (4, 5), draws(0), "cats/7.png").unwrap_err();
    assert!(matches!(error, Error::Shape { .. }));
    let text = error.to_string();
    assert!(["`cats/7.png`", "4 x 5", "5 x 4"].iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn every_policy_gives_the_target_size() {
    for resize in [ResizePolicy::ShorterSide, ResizePolicy::LongerSide, ResizePolicy::Stretch] {
        for crop in [Crop::Center, Crop::Random] {
            for (original, target) in (1..8).flat_map(|w| (1..8).map(move |h| ((w, h), (9 - h, w + 3)))) {
                let transform = Transform { resize, crop, flip: true, background: [0; 3] };
                // An evenly coloured picture stays so, unless it is padded.
                let even = RgbImage::from_pixel(original.0, original.1, Rgb([77; 3]));
                let got = apply(transform, even, target);
                assert_eq!(got.dimensions(), target);
                assert!(got.pixels().all(|p| p.0 == [77; 3]) || resize == ResizePolicy::LongerSide);
            }
        }
    }
}

/// The crop is a window of the scaled picture, every place comes, and all are about equally frequent.
#[test]
fn random_crops_stay_inside_and_are_uniform() {
    let transform = Transform { crop: Crop::Random, ..Transform::default() };
    let scaled = picture(9, 4);
    let mut counts = [0; 6];
    for i in 0..6000 {
        let got = transform.apply(scaled.clone(), (4, 4), draws(i), "test").unwrap();
        let (left, top) = transform.corner((9, 4), (4, 4), draws(i));
        assert!(top == 0 && left <= 5);
        assert_eq!(got, crop_imm(&scaled, left, top, 4, 4).to_image());
        counts[left as usize] += 1;
    }
    // 1000 each; four standard deviations are 115.
    assert!(counts.iter().all(|count| (885..=1115).contains(count)), "{counts:?}");
    let got = apply(transform, picture(4, 9), (4, 4));
    let (left, top) = transform.corner((4, 9), (4, 4), draws(0));
    assert_eq!((left, got), (0, crop_imm(&picture(4, 9), 0, top, 4, 4).to_image()));
}

#[test]
fn flips_are_half_and_mirror_before_the_crop() {
    let transform = Transform { flip: true, ..Transform::default() };
    let original = picture(9, 4);
    let mut mirrored = original.clone();
    flip_horizontal_in_place(&mut mirrored);
    let mut flips = 0;
    for i in 0..4000 {
        let got = transform.apply(original.clone(), (4, 4), draws(i), "test").unwrap();
        let flipped = transform.mirrors(draws(i));
        let source = if flipped { &mirrored } else { &original };
        assert_eq!(got, crop_imm(source, 2, 0, 4, 4).to_image());
        flips += usize::from(flipped);
    }
    assert!((1874..=2126).contains(&flips), "{flips}"); // four standard deviations
}

#[test]
fn settings_do_not_shift_each_others_draws() {
    let policies =
        [ResizePolicy::None, ResizePolicy::ShorterSide, ResizePolicy::LongerSide, ResizePolicy::Stretch];
    for i in 0..50 {
        let mut expected = rng(i);
        let third = [(); 3].map(|()| expected.uniform())[2];
        for resize in policies {
            for (crop, flip) in [(Crop::Center, true), (Crop::Random, true), (Crop::Random, false)] {
                let transform = Transform { resize, crop, flip, ..Transform::default() };
                let mut rng = rng(i);
                let draws = Transform::draws(&mut rng);
                let got = transform.apply(picture(4, 4), (4, 4), draws, "test").unwrap();
                let mut mirrored = picture(4, 4);
                flip_horizontal_in_place(&mut mirrored);
                let flips = flip && third < 0.5;
                assert_eq!(got, if flips { mirrored } else { picture(4, 4) });
                assert_eq!((transform.mirrors(draws), rng.next_u32()), (flips, expected.clone().next_u32()));
            }
        }
    }
    // The same crop with and without flips.
    let place = |flip| {
        let transform = Transform { crop: Crop::Random, flip, ..Transform::default() };
        (0..20).map(|i| transform.corner((20, 4), (4, 4), draws(i))).collect::<Vec<_>>()
    };
    assert_eq!(place(true), place(false));
}

#[test]
fn order_of_the_pictures_changes_nothing() {
    let transform = Transform { crop: Crop::Random, flip: true, ..Transform::default() };
    let one = |i: u64| transform.apply(picture(9 + i as u32, 7), (4, 4), draws(i), "test").unwrap();
    let forward: Vec<_> = (0..20).map(one).collect();
    let mut backward: Vec<_> = (0..20).rev().map(one).collect();
    backward.reverse();
    assert_eq!(forward, backward);
}

#[test]
fn impossible_sizes_are_refused() {
    let transform = Transform::default();
    let apply = |picture, target| transform.apply(picture, target, draws(0), "thin.png").unwrap_err();
    assert!(matches!(apply(picture(2, 2), (0, 4)), Error::Argument { .. }));
    assert!(matches!(apply(RgbImage::new(0, 3), (4, 4)), Error::Shape { .. }));
    let error = apply(RgbImage::new(100_000, 1), (512, 512)).to_string();
    assert!(error.contains("`thin.png`") && error.contains("51200000 x 512"), "{error}");
    assert!(matches!(apply(picture(1, 1), (u32::MAX, u32::MAX)), Error::Shape { .. }));
}

#[test]
fn settings_as_text() {
    let text = r##"{"resize":"longer_side","crop":"random","flip":true,"background":"#0a1Bff"}"##;
    let transform: Transform = serde_json::from_str(text).unwrap();
    let expected = Transform {
        resize: ResizePolicy::LongerSide,
        crop: Crop::Random,
        flip: true,
        background: [10, 27, 255],
    };
    assert_eq!(transform, expected);
    assert_eq!(serde_json::to_string(&transform).unwrap(), text.replace('B', "b"));
    assert_eq!(serde_json::from_str::<Transform>("{}").unwrap(), Transform::default());
    for (wrong, named) in [
        (r##"{"background":"#12345"}"##, "#12345"),
        (r##"{"background":"123456"}"##, "123456"),
        (r##"{"background":"#+12345"}"##, "#+12345"),
        (r#"{"crop":"left"}"#, "left"),
        (r#"{"flips":true}"#, "flips"),
    ] {
        let error = serde_json::from_str::<Transform>(wrong).unwrap_err().to_string();
        assert!(error.contains(named), "{wrong}: {error}");
    }
}
