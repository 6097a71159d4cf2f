"""Requests that nobody means: what a fuzzer of our own and schemathesis make up, against a server of its own.

    pip install schemathesis==4.32.5
    python tools/clients/fuzz.py target/release/calotype [--requests 2000] [--examples 20] [--seconds 240] [--seed 0]

The first sends broken HTTP, wrong types, cut forms, pictures that burst, numbers, depths and texts beyond measure; the
second what `/openapi.json` allows and what it does not. No answer may be a 5xx (but 503 with `Retry-After`), the server
may not panic, and its memory may not grow. Needs Linux for the memory. Prints one line of JSON; ends with 1 where
something was wrong. What happens to be a picture's request is cancelled after a moment.
"""

import argparse
import base64
import gzip
import http.client
import importlib.metadata
import json
import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from urllib.parse import urlparse

from serving import launch, memory_mib, require

SCHEMATHESIS = "4.32.5"


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, depth=8, color=0, pixels=None, interlaced=0, more=b""):
    """A PNG that says what it is told to say, whatever it holds."""
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    pixels = zlib.compress(b"\0" * 4096) if pixels is None else pixels
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zeros(size):
    """So many zeros, in a few bytes for each thousand."""
    packer, packed = zlib.compressobj(9), []
    for _ in range(size // (1 << 20)):
        packed.append(packer.compress(bytes(1 << 20)))
    return b"".join(packed) + packer.flush()


def whole(side=64):
    return png(side, side, 8, 2, zlib.compress((b"\0" + bytes(range(192)) * (side // 64)) * side))


def pictures():
    """By name; none is a picture that a person would send."""
    big, text = zeros(64 << 20), zeros(128 << 20)
    good = whole()
    return {
        "huge header": png(2**31 - 1, 2**31 - 1),
        "beyond": png(2**32 - 1, 1),
        "no pixels": png(0, 0),
        "bomb": png(30000, 30000, pixels=zeros(900 << 20)),
        "flat bomb": png(2**24, 1, pixels=big),
        "tall bomb": png(1, 2**24, pixels=big),
        "larger than it says": png(64, 64, pixels=big),
        "all that is allowed": png(4096, 4096, 16, 6, zeros(129 << 20)),
        "one bit": png(4096, 4096, 1, 0, zeros(3 << 20), interlaced=1),
        "wrong depth": png(64, 64, 3, 2),
        "wrong colour": png(64, 64, 8, 77),
        "no palette": png(64, 64, 8, 3),
        "text bomb": png(64, 64, 8, 0, zlib.compress(b"\0" * 65 * 64), more=chunk(b"zTXt", b"calotype\0\0" + text)),
        "iTXt bomb": png(
            64, 64, 8, 0, zlib.compress(b"\0" * 65 * 64), more=chunk(b"iTXt", b"parameters\0\1\0\0\0" + text)
        ),
        "profile bomb": png(64, 64, 8, 0, zlib.compress(b"\0" * 65 * 64), more=chunk(b"iCCP", b"x\0\0" + text)),
        "a thousand texts": png(
            64, 64, 8, 0, zlib.compress(b"\0" * 65 * 64), more=chunk(b"tEXt", b"parameters\0x") * 1000
        ),
        "record that is none": png(
            64,
            64,
            8,
            0,
            zlib.compress(b"\0" * 65 * 64),
            more=chunk(b"tEXt", b"calotype\0" + b"[" * 50000) + chunk(b"tEXt", b"parameters\0Steps: 9e999, Seed: -1"),
        ),
        "length without end": good[:8] + b"\xff\xff\xff\xffIHDR" + good[16:],
        "cut": good[: len(good) // 2],
        "wrong sum": good[:40] + b"\0\0\0\0" + good[44:],
        "header alone": good[:33],
        "gif": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0",
        "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**31 - 1, -(2**31), 1, 32, 0, 0, 0, 0, 0, 0),
        "jpeg": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xda",
        "webp": b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\xff\x2f\xff\xff\xff\xff",
        "tiff": b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 64,
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9999999'/>",
        "nothing": b"",
        "good": good,
    }


NONSENSE = [
    None,
    True,
    -1,
    0,
    2**63,
    2**64,
    -(2**63),
    10**400,
    1e308,
    -1e308,
    5e-324,
    0.5,
    65,
    100_000,
    "",
    " ",
    "\0",
    "\ufeff",
    "\U0001f980\u200d\U0001f525\u202e",
    "\u0301" * 500,
    "x" * 5000,
    "x " * 50_000,
    "(" * 5000,
    "((a:9e999))",
    "[a:b:0.5",
    "BREAK AND " * 300,
    "../../etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "run:..",
    "p-" + "0" * 16,
    "%s%n",
    [],
    [[]],
    {},
    {"a": {"b": [None]}},
    ["x"] * 3000,
    {"seed": -1},
    "NaN",
    "1e999",
    [None],
    "data:image/png;base64,",
    "====",
]
LITERALS = [
    b"1e999",
    b"-1e999",
    b"NaN",
    b"Infinity",
    b"9" * 5000,
    b"0x10",
    b"01",
    b"1.",
    b"-",
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\\x"',
    b'"\xc0\x80"',
    b'"\xed\xa0\x80"',
    b'"\xff"',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"tru",
    b"",
    b",",
    b"}",
]

QUICK = {"prompt": "a", "steps": 1, "seed": 1}
DOORS = {
    "/api/jobs": {
        "request": QUICK,
        "count": 1,
        "word_maps": True,
        "previews": True,
        "model": None,
        "init_image": None,
        "mask": None,
        "reference": None,
        "explain_image": None,
        "parent": None,
        "kind": "generate",
    },
    "/api/words": {"prompt": "a cat", "model": None},
    "/api/choices": {"left": "p-0000000000000000", "right": "p-0000000000000001", "chosen": "left"},
    "/api/session": {"token": "x"},
    "/api/recipes/check": {"recipe": "[model]\n"},
    "/api/data/inspect": {"data": "x"},
    "/api/trainings": {"run": "x", "recipe": "", "parts": ["vae"], "data": None, "resume": False},
    "/api/evaluations": {"prompts": 2, "seed": 0, "model": None},
    "/sdapi/v1/txt2img": QUICK
    | {
        "width": 64,
        "height": 64,
        "cfg_scale": 4,
        "sampler_name": "Euler a",
        "scheduler": None,
        "batch_size": 1,
        "n_iter": 1,
        "override_settings": {},
        "alwayson_scripts": {},
        "styles": [],
        "eta": None,
    },
    "/sdapi/v1/img2img": QUICK
    | {"init_images": [], "mask": None, "denoising_strength": 0.5, "width": 64, "height": 64, "resize_mode": 0},
    "/sdapi/v1/options": {"sd_model_checkpoint": "x", "CLIP_stop_at_last_layers": 1},
    "/sdapi/v1/png-info": {"image": ""},
    "/sdapi/v1/interrupt": {},
    "/v1/images/generations": QUICK
    | {
        "n": 1,
        "size": "64x64",
        "model": None,
        "response_format": "b64_json",
        "output_format": "png",
        "guidance": 4,
        "negative_prompt": None,
        "sampler": None,
        "output_compression": 50,
    },
}
PICTURE_FIELDS = [
    ("/api/jobs", "init_image"),
    ("/api/jobs", "mask"),
    ("/api/jobs", "reference"),
    ("/api/jobs", "explain_image"),
    ("/sdapi/v1/img2img", "init_images"),
    ("/sdapi/v1/img2img", "mask"),
    ("/sdapi/v1/png-info", "image"),
]
PATHS = [
    "/",
    "/api",
    "/api/",
    "//",
    "/api/jobs/%00",
    "/api/jobs/j-1/events",
    "/api/jobs/j-1/previews/99999999999999999999",
    "/api/jobs/j-1/previews/0?step=-1",
    "/api/pictures/..%2f..%2fetc%2fpasswd",
    "/api/pictures/%2e%2e/lock.png",
    "/api/pictures/p-0.png",
    "/api/pictures?limit=99999999999999999999",
    "/api/pictures?limit=0&limit=1",
    "/api/pictures?prompt=%ff%fe",
    "/api/pictures?prompt='%20OR%201=1--",
    "/api/pictures?before=%F0%9F%A6%80",
    "/api/runs/..",
    "/api/runs/%2e%2e/report",
    "/api/runs/x/series?since=1e999",
    "/api/runs/x/samples/a/..%2f..%2fx.png",
    "/api/evaluations/0/pictures/unseen/99999999999999999999.png",
    "/api/trainings/%",
    "/v1/models/%00",
    "/v1/models/" + "a" * 5000,
    "/sdapi/v1/nothing",
    "/metrics?x",
    "/health/",
    "/openapi.json?" + "a=b&" * 2000,
    "/studio/../../Cargo.toml",
    "/%e2%28%a1",
    "*",
    "/\\..\\",
]
HEADERS = [
    {"Host": "evil.example"},
    {"Host": ""},
    {"Host": "127.0.0.1:1:2"},
    {"Origin": "null"},
    {"Origin": "\xff"},
    {"Range": "bytes=9-1"},
    {"Last-Event-ID": "-1"},
    {"Last-Event-ID": "9" * 500},
    {"Authorization": "Bearer " + "\xff" * 100},
    {"Cookie": "a=b; " * 9000},
    {"X-Calotype-Client": "x" * 10_000},
    {"X-Calotype-Client": "\xe9\xff"},
    {"Accept": "a" * 60_000},
    {"If-None-Match": '"' * 3000},
    {"Content-Encoding": "gzip"},
    {"Expect": "200-maybe"},
    {"Upgrade": "websocket", "Connection": "Upgrade"},
    {"Transfer-Encoding": "gzip"},
    {"Content-Length": "99999999999999999999"},
    {"Content-Length": "-1"},
    {"Sec-Fetch-Site": "cross-site"},
] + [{f"X-{i}": "y" for i in range(300)}]
TYPES = [
    "text/html",
    "application/xml",
    "application/x-www-form-urlencoded",
    "",
    "application/json; charset=utf-16",
    "application/jsonp",
    "\xff/\xfe",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "x" * 300,
    "image/png",
    "application/json, text/plain",
]
CHUNKED = (
    b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
RAW = [
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\r\n" * 5000,
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\nHost: 127.0.0.1\n\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n folded\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA\0: b\r\n\r\n",
    b"GET " + b"/a" * 50_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"BREW / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n{}",
    b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
    CHUNKED + b"fffffffffffffffff\r\n{}",
    CHUNKED + b"2;" + b"x" * 40_000 + b"\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
]


class Fuzz:
    """What was sent, and what came back."""

    def __init__(self, place, seed):
        self.place, self.chance = place, random.Random(seed)
        self.statuses, self.wrong, self.sent = Counter(), [], 0
        self.pictures = pictures()
        self.names = list(self.pictures)

    def judge(self, status, headers, content, what):
        """What is left without an answer has status 0."""
        self.sent += 1
        self.statuses[status] += 1
        fault = status >= 500 and not (status == 503 and "retry-after" in headers)
        if fault or (status == 0 and not what.startswith("raw")):
            self.wrong.append(f"{what}: {status} {content[:300]}")

    def send(self, method, path, body=None, headers=(), what=""):
        """Each from one of many addresses of this machine: what is tried is not how often one may ask."""
        source = (f"127.0.{self.chance.randrange(1, 255)}.{self.chance.randrange(1, 255)}", 0)
        connection = http.client.HTTPConnection(self.place, timeout=60, source_address=source)
        told = {name.lower() for name in dict(headers)}
        status, found, content = 0, {}, b""
        try:
            connection.putrequest(
                method,
                path.encode("latin-1", "replace").decode("latin-1").replace(" ", "%20"),
                skip_host="host" in told,
                skip_accept_encoding=True,
            )
            for name, value in dict(headers).items():
                connection.putheader(name, value.encode("latin-1"))
            if body is not None and not told & {"content-length", "transfer-encoding"}:
                connection.putheader("Content-Length", str(len(body)))
            try:
                connection.endheaders(body)
            except OSError:
                pass  # Refused before all was sent: the answer may be there.
            answer = connection.getresponse()
            status, found = answer.status, {name.lower() for name in answer.headers}
            content = answer.read() if "text/event-stream" not in answer.headers.get("Content-Type", "") else b""
        except (OSError, http.client.HTTPException, ValueError) as error:
            content = repr(error).encode()
            # Who announces more than he sends, or too much, may find the door closed.
            what = "raw " + what if not isinstance(error, TimeoutError) else what
        finally:
            connection.close()
        self.judge(status, found, content, f"{what} {method} {path[:80]}")

    def raw(self, content):
        host, port = self.place.split(":")
        status, found = 0, b""
        with socket.create_connection(
            (host, int(port)), timeout=20, source_address=(f"127.1.1.{self.chance.randrange(1, 255)}", 0)
        ) as line:
            try:
                line.sendall(content)
                line.shutdown(socket.SHUT_WR)
                while more := line.recv(65536):
                    found += more
            except OSError as error:
                found = found or repr(error).encode()
        if match := re.match(rb"HTTP/1\.[01] (\d{3})", found):
            status = int(match[1])
        self.judge(status, {"retry-after"} if b"retry-after" in found.lower() else set(), found, f"raw {content[:60]}")

    def json(self, path, body, what="", headers=()):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send("POST", path, content, {"Content-Type": "application/json"} | dict(headers), what)

    def mutated(self):
        """A body of a door with one or more things that do not belong there."""
        path = self.chance.choice(list(DOORS))
        body = json.loads(json.dumps(DOORS[path]))
        for _ in range(self.chance.choice([1, 1, 2, 4])):
            at = body["request"] if isinstance(body.get("request"), dict) and self.chance.random() < 0.5 else body
            name = self.chance.choice(
                [
                    *at,
                    "extra",
                    "\0",
                    "__proto__",
                    "lora",
                    "sampler",
                    "guidance_interval",
                    "eta",
                    "rng",
                    "strength",
                    "first",
                    "clip_skip",
                ]
            )
            at[name] = self.chance.choice(NONSENSE)
        self.json(path, body, f"mutated {json.dumps(body)[:200]}")

    def literal(self):
        """A text that is hardly JSON."""
        path = self.chance.choice(list(DOORS))
        text = json.dumps(DOORS[path]).encode()
        kind = self.chance.randrange(5)
        if kind == 0:
            keys = [name.encode() for name in DOORS[path]] or [b"x"]
            text = b'{"' + self.chance.choice(keys) + b'": ' + self.chance.choice(LITERALS) + b"}"
        elif kind == 1:
            text = self.chance.choice(LITERALS)
        elif kind == 2:
            text = text[: self.chance.randrange(len(text))]
        elif kind == 3:
            text = bytearray(text)
            for _ in range(self.chance.choice([1, 3, 20])):
                text[self.chance.randrange(len(text))] = self.chance.randrange(256)
            text = bytes(text)
        else:
            text = self.chance.choice(
                [
                    text.decode().encode("utf-16"),
                    text.decode().encode("utf-32"),
                    gzip.compress(text),
                    text * 2,
                    b"\xef\xbb\xbf" + text,
                ]
            )
        self.json(path, text, f"literal {text[:100]}")

    def picture(self, name=None):
        """Something else where a picture belongs."""
        name = name or self.chance.choice(self.names)
        content = bytearray(self.pictures[name])
        if self.chance.random() < 0.3 and content:
            for _ in range(self.chance.choice([1, 5])):
                content[self.chance.randrange(min(len(content), 4096))] = self.chance.randrange(256)
        content = bytes(content)
        door = self.chance.randrange(len(PICTURE_FIELDS) + 2)
        if door == len(PICTURE_FIELDS):
            return self.send("POST", "/api/records", content, {"Content-Type": "image/png"}, name)
        if door > len(PICTURE_FIELDS):
            return self.form(
                {"image": content, "mask": content if self.chance.random() < 0.5 else self.pictures["good"]}, name
            )
        path, field = PICTURE_FIELDS[door]
        text = base64.b64encode(content).decode()
        text = self.chance.choice(
            [
                str,
                str,
                lambda t: "data:image/png;base64," + t,
                lambda t: t[:-1],
                lambda t: t.replace("A", "_", 3),
                lambda t: " " + t + "\n",
                lambda t: "data:;base64;;," + t,
                lambda t: t[:5] + "\u00e9" + t[5:],
                lambda t: "http://127.0.0.1:1/x.png",
                lambda t: t + "====",
            ]
        )(text)
        body = json.loads(json.dumps(DOORS[path]))
        body[field] = [text] if field == "init_images" else text
        if field == "mask":
            good = base64.b64encode(self.pictures["good"]).decode()
            body |= {"init_images": [good]} if "sdapi" in path else {"init_image": good}
        self.json(path, body, f"{name} as {field}")

    def form(self, files, what):
        mark = b"mark"
        parts = [
            b'--mark\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\n'
            b'--mark\r\nContent-Disposition: form-data; name="steps"\r\n\r\n1\r\n'
        ]
        for name, content in files.items():
            parts.append(
                f'--mark\r\nContent-Disposition: form-data; name="{name}"; filename="../x.png"\r\n\r\n'.encode()
                + content
                + b"\r\n"
            )
        text, kind = b"".join(parts) + b"--mark--\r\n", self.chance.randrange(8)
        if kind == 0:
            text = text[: self.chance.randrange(len(text))]
        elif kind == 1:
            text = bytearray(text)
            for _ in range(10):
                text[self.chance.randrange(min(len(text), 400))] = self.chance.randrange(256)
            text = bytes(text)
        elif kind == 2:
            text = parts[0] * self.chance.choice([2, 500])
        elif kind == 3:
            text = text.replace(
                b'name="prompt"',
                self.chance.choice(
                    [b"", b'name="' + b"x" * 9000 + b'"', b'name="\xff"', b"name*=utf-8''%ff", b'name="seed"']
                ),
            )
        elif kind == 4:
            mark = b"another"
        self.send(
            "POST",
            "/v1/images/edits",
            text,
            {"Content-Type": f"multipart/form-data; boundary={mark.decode()}"},
            f"form {kind} {what}",
        )

    def any(self):
        kind = self.chance.randrange(20)
        if kind < 6:
            self.mutated()
        elif kind < 10:
            self.literal()
        elif kind < 13:
            self.picture()
        elif kind < 14:
            self.form({"image": self.pictures["good"]}, "good")
        elif kind < 16:
            content = bytearray(self.chance.choice(RAW))
            for _ in range(self.chance.choice([0, 0, 1, 8])):
                content[self.chance.randrange(min(len(content), 300))] = self.chance.randrange(256)
            self.raw(bytes(content) if self.chance.random() < 0.9 else self.chance.randbytes(500))
        elif kind < 18:
            method = self.chance.choice(
                ["GET", "GET", "GET", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "POST", "TRACE", "QUERY"]
            )
            self.send(method, self.chance.choice(PATHS), headers=self.chance.choice([{}, {}, *HEADERS]))
        elif kind < 19:
            path = self.chance.choice(list(DOORS))
            self.send(
                "POST",
                path,
                b'{"prompt": "a", "steps": 1}',
                {"Content-Type": "application/json"} | self.chance.choice(HEADERS),
                "header",
            )
        else:
            path = self.chance.choice([*DOORS, "/v1/images/edits", "/api/records"])
            self.send(
                "POST",
                path,
                self.chance.choice([b"a=b", b"<a/>", b"{}", b"", b"\0" * 100]),
                {"Content-Type": self.chance.choice(TYPES)},
                "type",
            )

    def large(self):
        """More than a body may have: announced, and sent without being announced."""
        self.send("POST", "/api/jobs", b" " * (33 << 20), {"Content-Type": "application/json"}, "large")
        text = b"".join(b"100000\r\n" + b" " * (1 << 20) + b"\r\n" for _ in range(34)) + b"0\r\n\r\n"
        self.send(
            "POST", "/api/jobs", text, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}, "large"
        )


class Janitor(threading.Thread):
    """Cancels what would take long, and remembers what failed."""

    def __init__(self, place):
        super().__init__(daemon=True)
        self.place, self.failed, self.over = place, {}, threading.Event()

    def ask(self, method, path):
        connection = http.client.HTTPConnection(self.place, timeout=60, source_address=("127.2.2.2", 0))
        try:
            connection.request(method, path)
            return json.loads(connection.getresponse().read() or b"null")
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def run(self):
        while not self.over.wait(0.3):
            self.tidy()

    def tidy(self):
        """How many have not ended."""
        going = 0
        for kind in ["jobs", "evaluations", "trainings"]:
            for one in (self.ask("GET", f"/api/{kind}") or {}).get(kind, []):
                if one.get("state") in ("waiting", "running"):
                    going += 1
                    self.ask("DELETE", f"/api/{kind}/{one['id']}")
                elif one.get("state") == "failed":
                    self.failed[one["id"]] = str(one.get("error"))[:200]
        return going

    def calm(self):
        end = time.monotonic() + 120
        while self.tidy() and time.monotonic() < end:
            time.sleep(0.2)


def answered(janitor):
    """How many requests the server has answered, and with how many 5xx."""
    connection = http.client.HTTPConnection(janitor.place, timeout=60, source_address=("127.2.2.3", 0))
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    counts = {
        match[1]: int(match[2]) for match in re.finditer(r'calotype_requests_total\{status="(\dxx)"\} (\d+)', text)
    }
    return sum(counts.values()), counts["5xx"]


def schemathesis(address, document, folder, args, seed):
    """The server's own document, with what makes a valid request long held small; what it says of faults."""

    def small(node):
        if isinstance(node, dict):
            for name, least in [
                ("steps", {"maximum": 2}),
                ("width", {"enum": [64]}),
                ("height", {"enum": [64]}),
                ("count", {"maximum": 2}),
                ("batch_size", {"maximum": 2}),
                ("n_iter", {"maximum": 1}),
                ("prompts", {"maximum": 3}),
            ]:
                if isinstance(node.get("properties", {}).get(name), dict):
                    node["properties"][name] |= least
            for value in node.values():
                small(value)
        elif isinstance(node, list):
            for value in node:
                small(value)

    small(document)
    path = os.path.join(folder, "openapi.json")
    with open(path, "w") as file:
        json.dump(document, file)
    command = [
        os.path.join(os.path.dirname(sys.executable), "schemathesis"),
        "run",
        path,
        "--url",
        address,
        "--checks",
        args.checks,
        "--max-examples",
        str(args.examples),
        "--seed",
        str(seed),
        "--rate-limit",
        "90/s",
        "--request-timeout",
        "30",
        "--max-time",
        str(args.seconds // 2),
        "--continue-on-failure",
        "--no-shrink",
        "--warnings",
        "off",
    ]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if args.verbose:
        print(done.stdout, file=sys.stderr)
    return done.returncode, done.stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checks", default="not_a_server_error")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    require("schemathesis")
    if importlib.metadata.version("schemathesis") != SCHEMATHESIS:
        print(f"schemathesis is not {SCHEMATHESIS}: what it sends differs", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        said = open(os.path.join(folder, "stderr"), "w+")
        for name in ["runs", "data/set"]:
            os.makedirs(os.path.join(folder, name))
        with open(os.path.join(folder, "data/set/a.png"), "wb") as file:
            file.write(whole())
        process, address = launch(
            os.path.abspath(args.binary),
            os.path.join(folder, "history"),
            "--runs-dir",
            os.path.join(folder, "runs"),
            "--data-dir",
            os.path.join(folder, "data"),
            cwd=folder,
            stderr=said,
        )
        try:
            place = urlparse(address).netloc
            fuzz, janitor = Fuzz(place, args.seed), Janitor(place)
            janitor.start()
            document = janitor.ask("GET", "/openapi.json")
            memory, quarter = {}, args.requests // 4
            while fuzz.sent < args.requests:
                if fuzz.sent < len(fuzz.names):
                    fuzz.picture(fuzz.names[fuzz.sent])
                elif fuzz.sent % quarter == 100:
                    fuzz.large()
                else:
                    fuzz.any()
                if fuzz.sent % quarter == 0:
                    janitor.calm()
                    memory[fuzz.sent] = round(memory_mib(process), 1)
            before, failures, generated = answered(janitor), [], []
            # Twice: what is read or made ready once is no growth.
            for number in range(2):
                code, text = schemathesis(address, document, folder, args, args.seed + number)
                # What it cannot make up (it says "Runtime Error") is no fault of the server.
                count = re.search(r"(\d+) generated, (\d+) passed", text)
                failures += [text[-3000:]] if code and not (count and count[1] == count[2]) else []
                generated += [int(count[1])] if count else []
                janitor.calm()
                memory[f"schemathesis {number + 1}"] = round(memory_mib(process), 1)
            janitor.over.set()
            janitor.join()
            after = answered(janitor)
            memory["peak"] = round(memory_mib(process, "VmHWM"), 1)
            alive = process.poll() is None and janitor.ask("GET", "/health") is not None
        finally:
            process.terminate()
            process.wait(timeout=60)
        said.seek(0)
        said = said.read()
    wrong = fuzz.wrong[:20]
    if not alive or "panicked" in said:
        wrong.append(f"the server's last words: {said[-2000:]}")
    wrong += [f"schemathesis: {text}" for text in failures]
    if after[1] > fuzz.statuses[503]:
        wrong.append(f"{after[1]} answers were 5xx")
    # A picture of the largest size takes hundreds of MiB while it is read, so single marks go up and down; what is lost for
    # good does not come down again.
    half = [memory[quarter], memory[2 * quarter]]
    if memory["schemathesis 2"] > 1.1 * max(half) or memory["schemathesis 2"] > 1.1 * memory["schemathesis 1"]:
        wrong.append("memory grows")
    print(
        json.dumps(
            {
                "sent": fuzz.sent,
                "statuses": {str(key): fuzz.statuses[key] for key in sorted(fuzz.statuses)},
                "schemathesis": generated,
                "answered_meanwhile": after[0] - before[0],
                "5xx": after[1],
                "failed_jobs": sorted(set(janitor.failed.values())),
                "memory_mib": memory,
                "wrong": wrong,
            }
        )
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
