"""Makes crates/calotype/tests/golden/parquet/: parquet files of captioned pictures, and what is in them.

    python tools/oracle/parquet_files.py crates/calotype/tests/golden/parquet

One file is written by Hugging Face's `datasets` as the hub has them, the others by pyarrow with the ways of
writing that `datasets` used at some time or that others use. `expected.json` says, for each file, every row:
the picture's bytes in hexadecimal (null: none) and its captions as they were given to the writer.
"""

import io
import json
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(number: int) -> bytes:
    """A PNG of 2 x 2 pixels, different for each number."""
    file = io.BytesIO()
    Image.new("RGB", (2, 2), (number * 40 % 256, number * 7 % 256, 255 - number)).save(file, "PNG")
    return file.getvalue()


def stored(number: int) -> dict:
    return {"bytes": picture(number), "path": f"{number}.png"}


def hub(path: Path) -> list:
    """As `push_to_hub` writes: snappy, page index, a class that is not the caption."""
    captions = ["a red square", "zwei Füße", "猫", "a red square"]
    features = datasets.Features({
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["square", "other"]),
    })
    rows = {"image": [stored(i) for i in range(4)], "text": captions, "label": [0, 1, 1, 0]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return [(picture(i), [captions[i]]) for i in range(4)]


def gaps(path: Path) -> list:
    """zstd, data pages v2, dictionaries, two rows in a group; pictures and captions that are not there."""
    pictures = [stored(0), None, {"bytes": None, "path": "2.png"}, stored(3), stored(4), stored(5), stored(3)]
    captions = ["one", "two", "three", "", "five", None, "  seven "]
    table = pa.table({"caption": captions, "picture": pa.array(pictures, IMAGE), "width": [2] * 7})
    pq.write_table(
        table, path, compression="zstd", data_page_version="2.0", row_group_size=2, store_schema=False
    )
    return [((row or {}).get("bytes"), [text]) for row, text in zip(pictures, captions)]


def lists(path: Path) -> list:
    """Not compressed, no dictionaries, a page for each row, offset index; several captions for a picture."""
    captions = [["a", "b"], [], ["c", None, ""], None, ["d"]]
    table = pa.table({
        "image": pa.array([stored(i) for i in range(5)], IMAGE),
        "captions": pa.array(captions, pa.list_(pa.string())),
    })
    pq.write_table(
        table, path, compression="none", use_dictionary=False, data_page_size=1, write_batch_size=1,
        write_page_index=True, store_schema=False,
    )
    return [(picture(i), captions[i] or []) for i in range(5)]


def classes(path: Path) -> list:
    """gzip; pictures without a struct, and a class whose name is the caption; -1 is no class."""
    names = ["tabby cat", "dog"]
    labels = [1, 0, -1, None, 1]
    features = {"jpg": {"dtype": "binary", "_type": "Value"}}
    features["label"] = {"names": names, "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"jpg": pa.array([picture(i) for i in range(5)]), "label": pa.array(labels, pa.int64())})
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="gzip")
    return [(picture(i), [names[c]] if c is not None and c >= 0 else []) for i, c in enumerate(labels)]


def unclear(path: Path) -> list:
    """Two columns of pictures, three of strings, one of them in a list of structs."""
    table = pa.table({
        "image": pa.array([stored(0)], IMAGE),
        "mask": pa.array([stored(1)], IMAGE),
        "text": ["short"],
        "prompt": ["long"],
        "sentences": [[{"raw": "first", "id": 1}, {"raw": "second", "id": 2}]],
        "broken": pa.array([b"\xff"], pa.binary()),
    })
    pq.write_table(table, path, store_schema=False)
    return [(picture(0), ["first", "second"])]


def odd_captions(path: Path) -> list:
    """A string that is Latin-1, which Arrow does not look at; none; only spaces; and a row without picture."""
    texts = [b"fine", "café".encode("latin-1"), None, b" ", b"no picture", b"two"]
    binary = pa.array(texts, pa.binary())
    strings = pa.Array.from_buffers(pa.string(), len(texts), binary.buffers(), binary.null_count)
    pictures = [None if text == b"no picture" else stored(i) for i, text in enumerate(texts)]
    pq.write_table(pa.table({"image": pa.array(pictures, IMAGE), "text": strings}), path, store_schema=False)
    return [(row and row["bytes"], ["fine"] if i == 0 else ["two"] if i == 5 else []) for i, row in enumerate(pictures)]


def odd_classes(path: Path) -> list:
    """Classes that have no name, or an empty one."""
    labels = [1, 7, -2, 0, 1]
    features = {"label": {"names": ["", "dog"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({
        "image": pa.array([stored(i) for i in range(5)], IMAGE),
        "label": pa.array(labels, pa.int64()),
    })
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return [(picture(i), ["dog"] if label == 1 else []) for i, label in enumerate(labels)]


def number_captions(path: Path) -> list:
    """A column called as captions are, and it has numbers."""
    table = pa.table({"image": pa.array([stored(i) for i in range(2)], IMAGE), "text": [1.5, 2.5]})
    pq.write_table(table, path, store_schema=False)
    return [(picture(i), []) for i in range(2)]


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    makers = (hub, gaps, lists, classes, unclear, odd_captions, odd_classes, number_captions)
    for make in makers:
        rows = make(folder / f"{make.__name__}.parquet")
        expected[make.__name__] = [
            {"picture": picture and picture.hex(), "captions": captions} for picture, captions in rows
        ]
    expected["versions"] = {"pyarrow": pa.__version__, "datasets": datasets.__version__}
    text = json.dumps(expected, ensure_ascii=False, indent=0)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
