"""Makes crates/calotype/tests/golden/tokenizer: token ids by transformers' CLIPTokenizer.

    python tools/oracle/tokenizer.py crates/calotype/tests/golden/tokenizer MODEL_CONFIGS

MODEL_CONFIGS holds `stable-diffusion-v1-5/tokenizer` (whole) and `stable-diffusion-2-1/tokenizer` (its two
config files; the vocabulary is the same). The small tokenizer is trained here, by the plainest BPE there is,
on captions.txt: an independent check of the training in Rust.
"""

import json
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import tokenizers
import transformers
from transformers import CLIPTokenizer

PROMPTS = [
    "",
    "   ",
    "a photo of a cat",
    "A Photo Of A CAT",
    "a  red   fire engine  beside\ta green tree\nand a blue house\r\n",
    "the cat's whiskers don't, they've, I'm, you'll, he'd, we're",
    "THE CAT'S WHISKERS DON'T",
    "rock 'n' roll ''quoted'' \"double\" ‘curly’ “curly”",
    "wow!!! really?! (yes), [no]; {maybe}: a/b\\c",
    "3 apples, 42 pears and 2024.5 plums",
    "½ of ² and Ⅷ and ٣٤ and 五",
    "café naïve ÅNGSTRÖM straße İstanbul ŒUVRE ΣΊΣΥΦΟΣ",
    "cafe\u0301 nai\u0308ve A\u030angstro\u0308m",
    "猫が好きです 一只红色的猫 고양이",
    "красная кошка и зелёный дом",
    "قطة حمراء חתול אדום बिल्ली แมว",
    "🔥🚒 a fire engine 😀👍🏽 👩‍👩‍👧 🇫🇷",
    "tab\tvertical\x0bform\x0cnbsp\u00a0em\u2003line\u2028ideographic\u3000end",
    "zero\u200bwidth\u200djoiner\ufeffbom soft\u00adhyphen",
    "control\x00\x01\x1c\x7f\x85characters",
    "ﬁne ligature Ｆｕｌｌ ｗｉｄｔｈ ㎏ ™",
    "under_score hyphen-ated e.g. a@b.com https://example.org/?q=1&r=2",
    "$100 €50 100% #1 50°C 4×4 x² ~5 <tag> &amp; &lt;",
    "<|startoftext|>a cat<|endoftext|> after",
    "<|StartOfText|> case <|EndOfText|>",
    "a photo of <|endoftext|>",
    "((masterpiece:1.2)), best quality, [[blurry]], trending on artstation",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "\ufffd replacement \U0010ffff last \ue000 private",
    "a " * 75 + "cat",
    "a very long prompt about a cat, a dog, a house and a tree, " * 6,
    "x" * 300,
]


def train(captions, vocab_size):
    """Merges the most frequent pair, among equals the one with the smallest ids, until none occurs twice."""
    reference = CLIPTokenizer(vocab={"<|startoftext|>": 0, "<|endoftext|>": 1}, merges=[]).backend_tokenizer
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = [chr(b) for b in printable] + [chr(0x100 + n) for n in range(256 - len(printable))]
    tokens = alphabet + [symbol + "</w>" for symbol in alphabet]
    ids = {token: i for i, token in enumerate(tokens)}
    words = Counter()
    for caption in captions:
        for word, _ in reference.pre_tokenizer.pre_tokenize_str(reference.normalizer.normalize_str(caption)):
            words[tuple(ids[s] for s in [*word[:-1], word[-1] + "</w>"])] += 1
    merges = []
    while len(tokens) < vocab_size - 2:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        pair, count = min(pairs.items(), key=lambda item: (-item[1], item[0]), default=(None, 0))
        if count < 2:
            break
        merged = tokens[pair[0]] + tokens[pair[1]]
        assert merged not in ids, "a merge made twice: the rule for it is not written here"
        merges.append(f"{tokens[pair[0]]} {tokens[pair[1]]}")
        ids[merged] = len(tokens)
        tokens.append(merged)
        old, words = words, Counter()
        for word, count in old.items():
            new, i = [], 0
            while i < len(word):
                joins = word[i : i + 2] == pair
                new.append(ids[merged] if joins else word[i])
                i += 2 if joins else 1
            words[tuple(new)] += count
    for special in ["<|startoftext|>", "<|endoftext|>"]:
        ids[special] = len(ids)
    return ids, merges


def encode(folder):
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    padded = lambda text: tokenizer(text, padding="max_length", truncation=True).input_ids
    return {
        "made_by": f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}",
        "cases": [{"text": t, "ids": tokenizer(t).input_ids, "padded": padded(t)} for t in PROMPTS],
    }


def save(path, value):
    lines = ",\n".join("  " + json.dumps(case) for case in value["cases"])
    path.write_text(f'{{"made_by": {json.dumps(value["made_by"])}, "cases": [\n{lines}\n]}}\n')


def main(golden, configs):
    ids, merges = train((golden / "captions.txt").read_text().splitlines(), vocab_size=700)
    small = golden / "small"
    small.mkdir(exist_ok=True)
    (small / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False, separators=(",", ":")))
    (small / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    (small / "tokenizer_config.json").write_text('{"model_max_length": 24, "tokenizer_class": "CLIPTokenizer"}\n')
    save(golden / "small.json", encode(small))
    sd1 = configs / "stable-diffusion-v1-5/tokenizer"
    save(golden / "stable_diffusion_1_5.json", encode(sd1))
    with tempfile.TemporaryDirectory() as sd2:
        for name in ["vocab.json", "merges.txt"]:
            shutil.copyfile(sd1 / name, f"{sd2}/{name}")
        for name in ["tokenizer_config.json", "special_tokens_map.json"]:
            shutil.copyfile(configs / "stable-diffusion-2-1/tokenizer" / name, f"{sd2}/{name}")
        save(golden / "stable_diffusion_2_1.json", encode(sd2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
