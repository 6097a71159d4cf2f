//! The processor that this runs on, and what is known of its model that no flag says.

/// Maker, family, model and name, as the instruction `cpuid` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processor {
    /// `GenuineIntel`, `AuthenticAMD`.
    pub vendor: String,
    /// The family, with the extended one added.
    pub family: u32,
    /// The model, with the extended one before it.
    pub model: u32,
    /// What the maker calls it.
    pub name: String,
}

/// Models of Intel's family 6 whose AVX512-BF16 is slow: Sapphire, Emerald and Granite Rapids (two numbers). On the second
/// it was measured to do half the arithmetic of f32 (89 and 178 GFLOP/s a core); the others have nearly the same cores.
const SLOW_PAIRS: [u32; 4] = [0x8F, 0xCF, 0xAD, 0xAE];

impl Processor {
    /// This one, where it is an x86-64.
    #[cfg(target_arch = "x86_64")]
    pub fn this() -> Option<Self> {
        use std::arch::x86_64::{__cpuid as cpuid, CpuidResult};

        let text = |words: &[u32]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
        };
        let CpuidResult { ebx, ecx, edx, .. } = cpuid(0);
        let vendor = text(&[ebx, edx, ecx]);
        let (family, model) = family_and_model(cpuid(1).eax);
        const NAME: [u32; 3] = [0x8000_0002, 0x8000_0003, 0x8000_0004];
        let words = |leaf| {
            let CpuidResult { eax, ebx, ecx, edx } = cpuid(leaf);
            [eax, ebx, ecx, edx]
        };
        let has_name = cpuid(0x8000_0000).eax >= NAME[2];
        let name = if has_name { text(&NAME.map(words).concat()) } else { vendor.clone() };
        Some(Self { vendor, family, model, name })
    }

    /// This one, where it is an x86-64.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn this() -> Option<Self> {
        None
    }

    /// Whether the instruction that multiplies pairs of bf16 numbers, where there is one, does more arithmetic than that
    /// of f32.
    pub(crate) fn pairs_are_fast(&self) -> bool {
        !(self.vendor == "GenuineIntel" && self.family == 6 && SLOW_PAIRS.contains(&self.model))
    }
}

/// Family and model of `cpuid(1).eax`: Intel's manual, volume 2, `CPUID`; AMD's has the same.
#[cfg(target_arch = "x86_64")]
fn family_and_model(signature: u32) -> (u32, u32) {
    let bits = |first: u32, count: u32| signature >> first & ((1 << count) - 1);
    let (family, model) = (bits(8, 4), bits(4, 4));
    let extended = if family == 6 || family == 15 { bits(16, 4) << 4 } else { 0 };
    (if family == 15 { family + bits(20, 8) } else { family }, extended + model)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn of(vendor: &str, signature: u32) -> Processor {
        let (family, model) = family_and_model(signature);
        Processor { vendor: vendor.into(), family, model, name: String::new() }
    }

    #[test]
    fn pairs_are_slow_on_intels_processors_with_amx_alone() {
        for signature in [0x806F8, 0xC06F2, 0xA06D1] {
            assert!(!of("GenuineIntel", signature).pairs_are_fast(), "{signature:x}");
        }
        // Cooper Lake, Ice Lake, and AMD's Zen 4 and 5.
        for signature in [0x5065B, 0x606A6] {
            assert!(of("GenuineIntel", signature).pairs_are_fast(), "{signature:x}");
        }
        for (signature, expected) in [(0xA10F11, (25, 17)), (0xB00F21, (26, 2))] {
            let processor = of("AuthenticAMD", signature);
            assert_eq!((processor.family, processor.model), expected);
            assert!(processor.pairs_are_fast());
        }
    }

    #[test]
    fn this_one_has_a_maker_and_a_name() {
        let this = Processor::this().unwrap();
        assert!(this.vendor.len() >= 8 && !this.name.is_empty() && this.family > 0, "{this:?}");
    }
}
