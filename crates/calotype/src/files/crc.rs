//! Cyclic redundancy checks of 32 bits, reflected, as PNG and TensorBoard use them with two polynomials.

/// The remainder of each byte under a reversed polynomial.
pub(super) const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (polynomial * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The checksum of `data` by a polynomial's [`table`].
pub(super) fn checksum(table: &[u32; 256], data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| (crc >> 8) ^ table[usize::from(crc as u8 ^ byte)])
}
