"""Pictures per second of torchvision's `ImageFolder` and of webdataset, through PyTorch's `DataLoader`.

    python benches/peers/data_loader.py FOLDER [--workers 0,1,2] [--size 64] [--batch 32] [--passes 3] [--limit N]

FOLDER holds one folder of pictures per class. Each picture is decoded, its shorter side resized to the size with
antialiasing, cropped at the centre, flipped or not, and normalised to [-1, 1]. webdataset, if installed, reads the
same files from tar files that are written to a temporary folder first. Workers live through all passes; one pass
before the first is not counted, so that files and workers are warm. Prints one JSON object with medians.
"""

import argparse
import importlib.metadata
import importlib.util
import io
import json
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

SHARD = 1000  # pictures per tar file


def transform(size):
    return transforms.Compose([
        transforms.Resize(size, antialias=True),
        transforms.CenterCrop(size),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ])  # fmt: skip


def image_folder(args, workers):
    """A loader that shuffles; with a limit, of pictures from everywhere in the folder."""
    data = ImageFolder(args.folder, transform(args.size))
    if args.limit:
        data = Subset(data, range(0, len(data), max(1, len(data) // args.limit)))
    return DataLoader(data, args.batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def write_shards(args, folder):
    """The same pictures as KEY.jpg and KEY.cls, in the shuffled order that shards usually have; the tars' names."""
    samples = ImageFolder(args.folder).samples
    samples = samples[:: max(1, len(samples) // args.limit)] if args.limit else samples
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0)).tolist()
    names = []
    for first in range(0, len(order), SHARD):
        names.append(str(Path(folder) / f"{first // SHARD:06}.tar"))
        with tarfile.open(names[-1], "w") as tar:
            for index in order[first : first + SHARD]:
                path, label = samples[index]
                for kind, data in (("jpg", Path(path).read_bytes()), ("cls", str(label).encode())):
                    entry = tarfile.TarInfo(f"{index:06}.{kind}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
    return names


def web_dataset(args, shards, workers):
    """webdataset's pipeline; a worker takes every n-th shard, so there is none for more workers than shards."""
    import webdataset

    data = webdataset.WebDataset(shards, shardshuffle=len(shards), empty_check=False).shuffle(SHARD)
    data = data.decode("pilrgb").to_tuple("jpg", "cls").map_tuple(transform(args.size), int).batched(args.batch)
    return webdataset.WebLoader(data, batch_size=None, num_workers=workers, persistent_workers=workers > 0)


def one_pass(loader):
    """Pictures, and pictures per second."""
    begin, count = time.perf_counter(), 0
    for pictures, _ in loader:
        count += len(pictures)
    return count, count / (time.perf_counter() - begin)


def measure(loader, passes):
    """Pictures of a pass, and the rate of each pass after the first with their median."""
    count, _ = one_pass(loader)
    rates = [round(one_pass(loader)[1], 1) for _ in range(passes)]
    return dict(images=count, images_per_second=round(statistics.median(rates), 1), passes=rates)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--workers", default="0,1,2")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--limit", type=int, help="about this many pictures only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    workers = [int(number) for number in args.workers.split(",")]
    packages = ["torch", "torchvision", "pillow"]
    report = dict(size=args.size, batch=args.batch)
    report["image_folder"] = {n: measure(image_folder(args, n), args.passes) for n in workers}
    if importlib.util.find_spec("webdataset"):
        packages.append("webdataset")
        with tempfile.TemporaryDirectory() as folder:
            shards = write_shards(args, folder)
            report["webdataset"] = {n: measure(web_dataset(args, shards, n), args.passes) for n in workers}
    report["versions"] = {name: importlib.metadata.version(name) for name in packages}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
