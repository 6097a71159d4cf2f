//! Floats of 8 bits. Micikevicius et al. 2022, arXiv:2209.05433.

/// How the bits of a byte are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fp8 {
    /// 4 bits of exponent, 3 of mantissa: PyTorch's `float8_e4m3fn`. No infinity; the largest number is 448.
    E4m3,
    /// 5 and 2: the upper half of an f16.
    E5m2,
}

impl Fp8 {
    /// The number that a code stands for, exactly.
    pub fn value(self, code: u8) -> f32 {
        match self {
            Self::E4m3 => e4m3(code),
            Self::E5m2 => half::f16::from_bits(u16::from(code) << 8).to_f32(),
        }
    }

    /// The numbers of all 256 codes.
    pub(super) fn values(self) -> [f32; 256] {
        std::array::from_fn(|code| self.value(code as u8))
    }
}

fn e4m3(code: u8) -> f32 {
    const MANTISSA: u32 = 3;
    const BIAS: i32 = 7;
    let (exponent, mantissa) = (i32::from(code >> MANTISSA & 0xF), f32::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (0xF, 7) => f32::NAN,
        (0, _) => mantissa / 8.0 * 2_f32.powi(1 - BIAS),
        _ => (1.0 + mantissa / 8.0) * 2_f32.powi(exponent - BIAS),
    };
    if code < 0x80 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::safetensors;
    use crate::testing::test_data;

    #[test]
    fn codes_stand_for_the_numbers_of_the_paper() {
        for (code, value) in [
            (0x00, 0.0),
            (0x01, 2_f32.powi(-9)),
            (0x07, 0.875 * 2_f32.powi(-6)),
            (0x08, 2_f32.powi(-6)),
            (0x38, 1.0),
            (0xB9, -1.125),
            (0x7E, 448.0),
            (0xFE, -448.0),
        ] {
            assert_eq!(Fp8::E4m3.value(code), value, "{code:#x}");
        }
        assert!(Fp8::E4m3.value(0x7F).is_nan() && Fp8::E4m3.value(0xFF).is_nan());
        assert!(Fp8::E4m3.value(0x80).is_sign_negative());
        for (code, value) in
            [(0x01, 2_f32.powi(-16)), (0x3C, 1.0), (0x7B, 57344.0), (0xFC, f32::NEG_INFINITY)]
        {
            assert_eq!(Fp8::E5m2.value(code), value, "{code:#x}");
        }
        assert!(Fp8::E5m2.value(0x7D).is_nan());
    }

    #[test]
    #[ignore = "needs CALOTYPE_TEST_DATA"]
    fn codes_stand_for_the_numbers_of_pytorch() {
        let golden = safetensors::read(&test_data().join("golden-flux/gguf/fp8_e4m3fn.safetensors")).unwrap();
        let (codes, values) = (&golden["codes"].values, &golden["values"].values);
        assert_eq!((codes.len(), values.len()), (256, 256));
        for (&code, &expected) in codes.iter().zip(values) {
            let got = Fp8::E4m3.value(code as u8);
            let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
            assert!(same, "{code}: {got}, expected {expected}");
        }
    }
}
