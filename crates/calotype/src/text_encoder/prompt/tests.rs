use super::*;
use crate::testing::assert_refuses;

/// Texts and weights; a break is `SLASH`.
fn parsed(prompt: &str) -> Vec<(String, f64)> {
    let piece = |piece| match piece {
        Piece::Text(text) => (text.text, text.weight),
        Piece::Break => ("/".into(), f64::INFINITY),
    };
    parse(prompt).into_iter().map(piece).collect()
}

fn assert_parsed(prompt: &str, expected: &[(&str, f64)]) {
    let expected: Vec<_> = expected.iter().map(|(text, weight)| (text.to_string(), *weight)).collect();
    assert_eq!(parsed(prompt), expected, "{prompt:?}");
}

const SLASH: (&str, f64) = ("/", f64::INFINITY);

// The weights are those of stable-diffusion-webui's `parse_prompt_attention` to the last bit.
#[test]
fn brackets_and_numbers_multiply() {
    assert_parsed("normal text", &[("normal text", 1.0)]);
    assert_parsed("an (important) word", &[("an ", 1.0), ("important", 1.1), (" word", 1.0)]);
    assert_parsed("(unnecessary)(parens)", &[("unnecessaryparens", 1.1)]);
    assert_parsed("[less]", &[("less", 1.0 / 1.1)]);
    assert_parsed("((a))(b:1.3)(c: +0.5 )", &[("a", 1.1 * 1.1), ("b", 1.3), ("c", 0.5)]);
    let nested = [
        ("a ", 1.0),
        ("house", 1.5730000000000004),
        (" ", 1.1),
        ("on", 1.0),
        (" a ", 1.1),
        ("hill", 0.55),
        (", sun, ", 1.1),
        ("sky", 1.4641000000000006),
        (".", 1.1),
    ];
    assert_parsed("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).", &nested);
}

#[test]
fn what_is_no_emphasis_is_text() {
    assert_parsed("", &[]);
    assert_parsed("\\", &[]);
    assert_parsed("(unbalanced", &[("unbalanced", 1.1)]);
    assert_parsed("un)balanced]", &[("un)balanced]", 1.0)]);
    assert_parsed("a:1.3) 12:30", &[("a:1.3) 12:30", 1.0)]);
    assert_parsed("(a:1.2.3)(:)", &[("a:1.2.3:", 1.1)]);
    assert_parsed(r"\(literal\] \\ \n", &[(r"(literal] \ n", 1.0)]);
}

#[test]
fn break_is_a_word_in_upper_case() {
    assert_parsed("a BREAK b", &[("a", 1.0), SLASH, ("b", 1.0)]);
    assert_parsed("BREAKBREAK break BREAK_", &[("BREAKBREAK break BREAK_", 1.0)]);
    assert_parsed("BREAK  BREAK, b", &[SLASH, SLASH, (", b", 1.0)]);
    assert_parsed("(a BREAK b:2)", &[("a", 2.0), SLASH, ("b", 2.0)]);
}

#[test]
fn plain_prompts_have_one_weight() {
    let is_plain =
        |prompt| parse(prompt).iter().all(|piece| matches!(piece, Piece::Text(text) if text.weight == 1.0));
    assert!(is_plain("") && is_plain(r"a \(b\), c") && is_plain("(a:1)"));
    assert!(!is_plain("a (b)") && !is_plain("a BREAK b"));
}

const FRAMING: Framing = Framing { length: 8, start: 90, end: 91, pad: 92, comma: None };

fn cut(pieces: &[TokenPiece], framing: &Framing) -> Vec<Vec<u32>> {
    chunks(pieces, framing).unwrap().into_iter().map(|chunk| chunk.ids).collect()
}

#[test]
fn chunks_are_framed_and_padded() {
    let empty = vec![vec![90, 91, 92, 92, 92, 92, 92, 92]];
    assert_eq!(cut(&[], &FRAMING), empty);
    let full = TokenPiece::Text((1..=6).collect(), 2.0);
    let last = TokenPiece::Text(vec![7], 0.5);
    let two = chunks(&[full.clone(), last], &FRAMING).unwrap();
    assert_eq!(two[0].ids, [90, 1, 2, 3, 4, 5, 6, 91]);
    assert_eq!(two[0].weights, [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0]);
    assert_eq!(two[1].ids, [90, 7, 91, 92, 92, 92, 92, 92]);
    assert_eq!(two[1].weights, [1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(cut(&[full.clone(), TokenPiece::Break], &FRAMING).len(), 1);
    assert_eq!(cut(&[TokenPiece::Break, full], &FRAMING)[0], empty[0]);
    assert_refuses(chunks(&[], &Framing { length: 2, ..FRAMING }), "tokens of a chunk: expected at least 3");
}

#[test]
fn a_full_chunk_ends_after_a_near_comma() {
    let ids =
        |n: u32, comma: u32| TokenPiece::Text((0..n).map(|i| if i == comma { 99 } else { 1 }).collect(), 1.0);
    let framing = Framing { length: 77, comma: Some(99), ..FRAMING };
    let first = |comma| cut(&[ids(76, comma)], &framing)[0].iter().position(|&id| id == 91).unwrap() - 1;
    assert_eq!(first(54), 75, "21 tokens before the end");
    assert_eq!(first(55), 56, "20 tokens before the end");
    assert_eq!(first(74), 75);
    assert_eq!(first(75), 75, "a comma that opens the next chunk");
}

#[test]
fn a_learned_word_moves_whole_to_the_next_chunk() {
    let text = |n: u32| TokenPiece::Text((1..=n).collect(), 1.0);
    let word = |n: u32| TokenPiece::Word((101..=100 + n).collect(), 1.5);
    let room = FRAMING.length - 2;
    let fits = cut(&[text(room as u32 - 2), word(2)], &FRAMING);
    assert_eq!(fits.len(), 1);
    for free in [0, 1] {
        let chunks = chunks(&[text((room - free) as u32), word(2), text(1)], &FRAMING).unwrap();
        assert_eq!(chunks.len(), 2, "{free} free");
        assert_eq!(chunks[1].ids[1..4], [101, 102, 1]);
        assert_eq!(chunks[1].weights[1..4], [1.5, 1.5, 1.0]);
        let first = room - free;
        assert_eq!(chunks[1].tokens[1..4], [Some(first), Some(first + 1), Some(first + 2)]);
        assert!(chunks[0].ids.iter().all(|id| !(101..=102).contains(id)));
    }
    let refused = chunks(&[word(room as u32 + 1)], &FRAMING);
    assert!(matches!(refused, Err(Error::Argument { name, .. }) if name == "tokens of a learned word"));
}
