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
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from urllib.parse import urlparse

from malformed import (
    DOORS,
    HEADERS,
    LITERALS,
    NONSENSE,
    PATHS,
    PICTURE_FIELDS,
    pictures,
    png,
    RAW,
    TYPES,
    whole,
)
from serving import launch, memory_mib, require

SCHEMATHESIS = "4.32.5"


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
