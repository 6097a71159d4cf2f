//! `prompt`: any text is read; every chunk is as long as the text encoder wants it.
#![no_main]

use calotype::text_encoder::prompt::{Framing, Piece, TokenPiece, chunks, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let tokens = |piece| match piece {
        Piece::Text(text) => TokenPiece::Text(text.text.bytes().map(u32::from).collect(), text.weight),
        Piece::Break => TokenPiece::Break,
    };
    let pieces: Vec<TokenPiece> = parse(text).into_iter().map(tokens).collect();
    let framing = Framing { length: 77, start: 1, end: 2, pad: 0, comma: Some(b','.into()) };
    for chunk in chunks(&pieces, &framing).expect("77 leaves room") {
        assert_eq!((chunk.ids.len(), chunk.weights.len()), (77, 77));
    }
});
