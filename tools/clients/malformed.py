"""What a fuzzer of the server puts into its requests: pictures, values, forms, paths, headers and bytes that nobody means."""

import struct
import zlib


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
