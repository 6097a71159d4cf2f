"""Files of `torch.save` in every layout since 2017, for the reader in crates/calotype/src/files/pickle.

    oracle/bin/python tools/oracle/pickles.py crates/calotype/tests/golden/pickles

Number i of every tensor, counted in the order of its rows, is i / 4 - 1. Nothing is random. The classes of
pytorch_lightning are stand-ins of the same names: pickles have names alone.
"""

import io
import pathlib
import pickle
import struct
import sys
import tarfile
import types

import torch


def ramp(*shape, dtype=torch.float32):
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float64) / 4 - 1).reshape(shape).to(dtype)


def stand_in(module, name, base=object):
    """A class that pickle finds under `module`."""
    parts = module.split(".")
    for i in range(1, len(parts) + 1):
        path = ".".join(parts[:i])
        sys.modules.setdefault(path, types.ModuleType(path))
    made = type(name, (base,), {"__module__": module})
    setattr(sys.modules[module], name, made)
    return made


def lightning():
    """What pytorch_lightning 1.4 leaves: callbacks under their classes, tensors beside the weights."""
    checkpoint = stand_in("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    logger = stand_in("main", "ImageLogger")
    attributes = stand_in("pytorch_lightning.utilities.parsing", "AttributeDict", dict)
    settings = attributes(lr=0.1)
    settings["nested"] = attributes(steps=3)
    return {
        "epoch": 3,
        "state_dict": {"a.weight": ramp(2, 3), "b.weight": ramp(4, dtype=torch.float16)},
        "callbacks": {checkpoint: {"monitor": "loss", "best": ramp(1)}, logger: {"a.weight": ramp(9)}, None: 1},
        "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": ramp(2, 3)}}, "param_groups": []}],
        "hyper_parameters": settings,
    }


def stream():
    """Views of one storage, other orders of the axes, other numbers."""
    whole = ramp(24)
    return {
        "model": {
            "columns": ramp(3, 2).t().contiguous().t(),
            "whole": whole,
            "part": whole[4:10].reshape(2, 3),
            "steps": whole[::5],
            "repeated": ramp(1).expand(3),
            "channels": ramp(1, 2, 2, 2).to(memory_format=torch.channels_last),
            "f64": ramp(2, dtype=torch.float64),
            "bf16": ramp(2, dtype=torch.bfloat16),
            "i64": torch.tensor([-1, 7]),
            "u8": torch.tensor([0, 200], dtype=torch.uint8),
            "bool": torch.tensor([True, False]),
            "number": torch.tensor(0.5),
            "empty": torch.zeros(0, 3),
        },
        "step": 7,
    }


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(2, 2)
        self.first.weight = torch.nn.Parameter(ramp(2, 2))
        self.first.bias = None
        self.register_buffer("mean", ramp(3))
        self.register_buffer("scratch", ramp(5), persistent=False)
        self.plain = ramp(7)


def old(tensors):
    """The layout before PyTorch 0.1.10, after its `torch/serialization.py`; torch writes it no more."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return str(id(value)) if torch.is_tensor(value) else None

    def member(*parts):
        return b"".join(part if isinstance(part, bytes) else pickle.dumps(part, protocol=2) for part in parts)

    values = list(tensors.values())
    # A storage for each but the last, which is a part of the first one's.
    storages = [len(values) - 1]
    for i, tensor in enumerate(values[:-1]):
        storages += [(str(i), "cpu", torch.FloatStorage), struct.pack("<q", tensor.numel()), tensor.numpy().tobytes()]
    storages.append([("part", "0", 2, values[-1].numel())])
    described = [len(values)]
    for i, tensor in enumerate(values):
        key = "part" if i == len(values) - 1 else str(i)
        stride = tensor.stride()
        described += [
            (str(id(tensor)), key, torch.FloatTensor),
            struct.pack("<ii", tensor.dim(), 0) + struct.pack(f"<{2 * tensor.dim()}q", *tensor.shape, *stride),
            struct.pack("<q", 0),
        ]
    pickled = io.BytesIO()
    Pickler(pickled, protocol=2).dump(tensors)
    machine = {"protocol_version": 1000, "little_endian": True, "type_sizes": {"int": 4}}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in [
            ("sys_info", member(machine)),
            ("pickle", pickled.getvalue()),
            ("tensors", member(*described)),
            ("storages", member(*storages)),
        ]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(lightning(), folder / "lightning.ckpt")
    torch.save(stream(), folder / "stream.pt", _use_new_zipfile_serialization=False)
    torch.save(stream(), folder / "zip.pt")
    torch.save(Net(), folder / "module.pth")
    part = ramp(8)[2:6].clone()
    (folder / "old.pth").write_bytes(old({"whole": ramp(2, 4), "other": ramp(3), "part": part}))


if __name__ == "__main__":
    main()
