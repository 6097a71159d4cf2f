//! SentencePiece's table of normalised characters, `precompiled_charsmap`, checked.
//!
//! The `tokenizers` crate looks up characters in it without looking whether a place is inside of the table: a damaged one
//! would end the program in the middle of a prompt.

/// Bytes of a table; that of nmt_nfkc has 240 thousand.
const LONGEST: usize = 1 << 22;

/// Whether no text leads out of the table: a length in bytes, a trie as a double array (Aoe 1989, as darts-clone packs
/// it) of that length, and the texts that its leaves point into. Text: what is wrong.
pub fn check(table: &[u8]) -> Result<(), String> {
    let wrong = |reason: &str| format!("`precompiled_charsmap`: {reason}");
    if table.len() > LONGEST {
        return Err(wrong(&format!("{} bytes, at most {LONGEST} are read", table.len())));
    }
    let (length, rest) = table.split_first_chunk::<4>().ok_or_else(|| wrong("too short"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let (trie, texts) = rest.split_at_checked(length).ok_or_else(|| wrong("its trie is cut off"))?;
    let (units, odd) = trie.as_chunks::<4>();
    let texts = std::str::from_utf8(texts).map_err(|_| wrong("its texts are no UTF-8"))?;
    if units.is_empty() || !odd.is_empty() {
        return Err(wrong("its trie has no whole number of places"));
    }
    let units: Vec<usize> = units.iter().map(|unit| u32::from_le_bytes(*unit) as usize).collect();
    let is_text = |place: usize| texts.is_char_boundary(place);
    if leads_out(&units, is_text) { Err(wrong("its trie leads out of it")) } else { Ok(()) }
}

/// Walks through all places that a text can reach.
fn leads_out(units: &[usize], is_text: impl Fn(usize) -> bool) -> bool {
    let mut seen = vec![false; units.len()];
    let mut open = vec![offset(units[0])];
    while let Some(base) = open.pop() {
        match seen.get_mut(base) {
            Some(seen) if *seen => continue,
            Some(seen) => *seen = true,
            // The next byte may lead back in, but need not.
            None => return true,
        }
        for byte in 1..=usize::from(u8::MAX) {
            let place = base ^ byte;
            let Some(&unit) = units.get(place) else { return true };
            if label(unit) != byte {
                continue;
            }
            let next = place ^ offset(unit);
            let leaf = has_leaf(unit).then(|| units.get(next).map(|unit| value(*unit)));
            if leaf.is_some_and(|value| !value.is_some_and(&is_text)) {
                return true;
            }
            open.push(next);
        }
    }
    false
}

fn has_leaf(unit: usize) -> bool {
    unit >> 8 & 1 == 1
}

fn value(unit: usize) -> usize {
    unit & ((1 << 31) - 1)
}

fn label(unit: usize) -> usize {
    unit & (1 << 31 | 0xFF)
}

fn offset(unit: usize) -> usize {
    (unit >> 10) << ((unit & 1 << 9) >> 6)
}
