"""Many clients at all doors at once, twice; then the server is killed among them and must have lost nothing.

    python tools/clients/load.py target/release/calotype [--requests 200] [--clients 20] [--kills 3]

Needs Pillow, and Linux for the server's memory. Ends with 1 and what was wrong, or prints one line of JSON.
"""

import argparse
import base64
import http.client
import io
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from urllib.parse import urlparse

from serving import launch, memory_mib, require

(image,) = require("PIL.Image")

SUBJECTS = ["cat", "dog", "zebra", "fish", "owl", "frog", "snail", "rocket", "apple", "tree"]
ENDS = {"done", "failed", "cancelled"}


class Killed(Exception):
    """The server is gone, as it should be."""


class Load:
    """What all clients saw."""

    def __init__(self, place):
        self.place = place
        self.lock = threading.Lock()
        self.statuses, self.ends, self.wrong = Counter(), Counter(), []
        # Pictures that a client was told of and has not asked to delete; jobs that nobody watched.
        self.pictures, self.unwatched = set(), set()
        self.busy = 0
        self.killed = threading.Event()

    def must(self, holds, what):
        if not holds:
            with self.lock:
                self.wrong.append(str(what)[:300])

    def told(self, pictures):
        with self.lock:
            self.pictures.update(pictures)

    def ended(self, name):
        with self.lock:
            self.ends[name] += 1


class Client:
    """One program that talks to the server."""

    def __init__(self, load, name=""):
        self.load, self.name = load, name
        self.connection, self.used = http.client.HTTPConnection(load.place, timeout=300), time.monotonic()

    def ask(self, method, path, body=None, expect=(200,), content="application/json"):
        """The answer's bytes; who is told to come again does so."""
        headers = {"X-Calotype-Client": self.name} if self.name else {}
        if body is not None:
            headers["Content-Type"] = content
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        while True:
            # The server closes what was quiet for 15 s, which this client would not see.
            if time.monotonic() > self.used + 5:
                self.connection.close()
            try:
                try:
                    self.connection.request(method, path, body, headers)
                except BrokenPipeError:
                    pass  # Refused before all was sent: as urllib3 does, read why.
                answer = self.connection.getresponse()
                found, self.used = answer.read(), time.monotonic()
            except (OSError, http.client.HTTPException) as error:
                self.connection.close()
                if self.load.killed.is_set():
                    raise Killed from error
                self.load.must(False, f"{method} {path}: {error!r}")
                raise
            with self.load.lock:
                self.load.statuses[answer.status] += 1
            if answer.status not in (429, 503):
                break
            wait = answer.getheader("Retry-After")
            self.load.must(wait, f"{method} {path}: {answer.status} without Retry-After")
            time.sleep(float(wait or 1))
        self.load.must(answer.status in expect, f"{method} {path}: {answer.status} {found[:200]}")
        return found

    def json(self, *args, **more):
        return json.loads(self.ask(*args, **more) or b"null")

    def job(self, body):
        return self.json("POST", "/api/jobs", body, expect=(202,))["id"]

    def events(self, job, until=ENDS):
        """What happens to a job, until something does."""
        connection = http.client.HTTPConnection(self.load.place, timeout=300)
        try:
            connection.request("GET", f"/api/jobs/{job}/events")
            answer, name, last = connection.getresponse(), "", None
            with self.load.lock:
                self.load.statuses[answer.status] += 1
            if answer.status == 429:
                answer.read()
                time.sleep(float(answer.getheader("Retry-After", "1")))
                return self.events(job, until)
            while line := answer.readline().decode().rstrip("\n"):
                while line:
                    if line.startswith("event: "):
                        name = line[7:]
                    elif line.startswith("data: "):
                        last = (name, json.loads(line[6:]))
                    line = answer.readline().decode().rstrip("\n")
                if last and last[0] == "picture":
                    self.load.told([last[1]["picture"]])
                if last and last[0] in until:
                    return last
        except (OSError, http.client.HTTPException) as error:
            if not self.load.killed.is_set():
                self.load.must(False, f"events of {job}: {error!r}")
        finally:
            connection.close()
        if self.load.killed.is_set():
            raise Killed
        self.load.must(False, f"events of {job} end without an end")
        return "lost", {}

    def watch(self, job):
        name, data = self.events(job)
        self.load.ended(name)
        if name == "failed":
            self.load.must(False, f"{job} failed: {data}")
        return name, data


def whole(load, content, what, size=None):
    """Whether it is a picture, to its last byte."""
    try:
        picture = image.open(io.BytesIO(content))
        picture.load()
        load.must(size is None or picture.size == size, f"{what}: {picture.size}")
    except Exception as error:  # Whatever a decoder says of what is no picture.
        load.must(False, f"{what}: {error!r}")


def all_of(client, row):
    """Everything that a listed picture has, looked at."""
    load, at = client.load, f"/api/pictures/{row['id']}"

    # Another client may delete it in the middle.
    def read(path):
        found = client.ask("GET", path, expect=(200, 404))
        return None if found.startswith(b'{"error') else found

    parts = [(row["image"], (row["width"], row["height"])), (row["thumbnail"], None)]
    if row["steps_kept"]:
        parts.append((f"{at}/strip.png", None))
    for path, size in parts:
        content = read(path)
        if content is None:
            return False
        whole(load, content, path, size)
    if row["word_maps"]:
        told, content = read(f"{at}/maps"), read(f"{at}/maps.bin")
        if told is None or content is None:
            return False
        told = json.loads(told)
        cells = told["grid"]["width"] * told["grid"]["height"]
        expected = len(told["words"]) * cells * (1 + told["steps"])
        load.must(len(content) == expected, f"{at}/maps.bin: {len(content)} bytes, {expected} expected")
    return True


def form(fields, files):
    """`multipart/form-data`."""
    mark = "a-mark-that-no-picture-has"
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, content in files.items():
        head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.png"\r\n'
        parts.append(f"{head}Content-Type: image/png\r\n\r\n".encode() + content + b"\r\n")
    return b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


def drawn(seed):
    """A picture to begin with."""
    chance, content = random.Random(seed), io.BytesIO()
    picture = image.new("RGB", (64, 64), tuple(chance.randrange(256) for _ in range(3)))
    picture.paste(tuple(chance.randrange(256) for _ in range(3)), (16, 16, 48, 48))
    picture.save(content, "PNG")
    return content.getvalue()


def one(client, kind, seed):
    """One of the mixed requests."""
    load, chance = client.load, random.Random(seed)
    prompt = f"a {chance.choice(SUBJECTS)} and a {chance.choice(SUBJECTS)}"
    steps = chance.choice([4, 8, 20])
    request = {"prompt": prompt, "seed": seed, "steps": steps}
    webui = request | {"width": 64, "height": 64, "cfg_scale": 4, "sampler_name": "Euler a"}
    begin = base64.b64encode(drawn(seed)).decode()
    if kind == 0:
        job = client.job({"request": request, "count": 2, "word_maps": True, "previews": True})
        client.events(job, ENDS | {"step"})
        preview = client.ask("GET", f"/api/jobs/{job}/previews/0", expect=(200, 404))
        if preview.startswith(b"\x89PNG"):
            whole(load, preview, "preview")
        name, data = client.watch(job)
        for picture in data.get("pictures", []):
            all_of(client, client.json("GET", f"/api/pictures/{picture}"))
    elif kind == 1:
        found = client.json("POST", "/sdapi/v1/txt2img", webui | {"batch_size": 2, "negative_prompt": "a dog"})
        load.must(len(found["images"]) == 2, "txt2img: not two pictures")
        for picture in found["images"]:
            whole(load, base64.b64decode(picture), "txt2img", (64, 64))
    elif kind == 2:
        body = webui | {"init_images": ["data:image/png;base64," + begin], "denoising_strength": 0.6}
        found = client.json("POST", "/sdapi/v1/img2img", body)
        whole(load, base64.b64decode(found["images"][0]), "img2img", (64, 64))
    elif kind == 3:
        form_of = chance.choice(["png", "jpeg", "webp"])
        body = request | {"n": 2, "size": "64x64", "output_format": form_of, "response_format": "b64_json"}
        found = client.json("POST", "/v1/images/generations", body)
        for picture in found["data"]:
            whole(load, base64.b64decode(picture["b64_json"]), f"generations {form_of}", (64, 64))
    elif kind == 4:
        body, content = form(request | {"strength": 0.7}, {"image": drawn(seed)})
        found = client.json("POST", "/v1/images/edits", body, content=content)
        whole(load, base64.b64decode(found["data"][0]["b64_json"]), "edits")
    elif kind == 5:
        for path in [
            "/api/status",
            "/api/models",
            "/api/jobs",
            "/api/samplers",
            "/sdapi/v1/samplers",
            "/v1/models",
            "/sdapi/v1/options",
            "/sdapi/v1/progress",
            "/openapi.json",
            "/health",
            "/metrics",
            "/",
        ]:
            client.ask("GET", path)
        for row in client.json("GET", "/api/pictures?limit=3")["pictures"]:
            all_of(client, row)
    elif kind == 6:
        job = client.job({"request": request | {"steps": 60}, "previews": True})
        if chance.random() < 0.5:
            client.events(job, ENDS | {"step"})
        client.ask("DELETE", f"/api/jobs/{job}", expect=(204,))
        client.watch(job)
    elif kind == 7:
        _, data = client.watch(client.job({"request": request, "word_maps": True}))
        for picture in data.get("pictures", []):
            with load.lock:
                load.pictures.discard(picture)
            client.ask("DELETE", f"/api/pictures/{picture}", expect=(204,))
            client.ask("GET", f"/api/pictures/{picture}.png", expect=(404,))
    elif kind == 8:
        client.watch(client.job({"explain_image": begin, "request": {"prompt": prompt}}))
    else:
        job = client.job({"request": request, "count": chance.randint(1, 3)})
        with load.lock:
            load.unwatched.add(job)


def apply(load, requests, clients, seed):
    """All requests from so many clients, each of which has some of every kind."""

    def client(number):
        # Half of them have names, the others are one client for each door.
        me = Client(load, f"client-{number}" if number % 2 else "")
        try:
            for i in range(number, requests, clients):
                one(me, (number + i // clients) % 10, seed * requests + i)
        except Killed:
            pass
        except Exception as error:
            load.must(False, f"client {number}: {error!r}")

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    return threads


def listed(client):
    """Every picture of the history."""
    rows, before = [], ""
    while True:
        page = client.json("GET", f"/api/pictures?limit=100{before}")
        rows += page["pictures"]
        if not page["more"]:
            return rows
        before = f"&before={rows[-1]['id']}"


def look_through(load, history):
    """The whole history, against what clients were told."""
    client = Client(load)
    rows = listed(client)
    known = {row["id"] for row in rows}
    load.must(load.pictures <= known, f"lost: {sorted(load.pictures - known)}")
    for row in rows:
        load.must(all_of(client, row), f"listed, and not there: {row['id']}")
    for name in os.listdir(os.path.join(history, "pictures")):
        load.must(name.split(".")[0] in known and not name.endswith(".tmp"), f"left over: {name}")
    for name in os.listdir(history):
        load.must(not name.endswith(".tmp"), f"left over: {name}")
    return len(rows)


def calm(load):
    """All that was accepted has ended."""
    client = Client(load)
    for job in sorted(load.unwatched):
        client.watch(job)
    load.unwatched.clear()
    for job in client.json("GET", "/api/jobs")["jobs"]:
        load.must(job["state"] in ENDS - {"failed"}, f"{job['id']} is {job['state']}: {job['error']}")
    queue = client.json("GET", "/api/status")["queue"]
    load.must(queue["waiting"] == queue["running"] == 0, f"still in the queue: {queue}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3)
    args = parser.parse_args()
    chance, report = random.Random(0), {"requests": args.requests, "clients": args.clients}
    with tempfile.TemporaryDirectory() as history:
        process, address = launch(args.binary, history)
        load = Load(urlparse(address).netloc)
        try:
            memory, seconds = [], []
            for number in range(2):
                start = time.perf_counter()
                for thread in apply(load, args.requests, args.clients, number):
                    thread.join()
                calm(load)
                seconds.append(time.perf_counter() - start)
                memory.append(memory_mib(process))
            load.must(memory[1] <= 1.1 * memory[0], f"memory grows: {memory}")
            report["pictures"] = look_through(load, history)
            report |= {"seconds": [round(one) for one in seconds], "memory_mib": [round(one) for one in memory]}
            report["kills"] = []
            for number in range(args.kills):
                threads = apply(load, args.requests, args.clients, 2 + number)
                time.sleep(chance.uniform(2, 6))
                load.killed.set()
                process.kill()
                process.wait()
                for thread in threads:
                    thread.join()
                files = os.listdir(os.path.join(history, "pictures"))
                left = sum(name.endswith(".tmp") for name in files)
                process, address = launch(args.binary, history)
                load.place = urlparse(address).netloc
                load.killed.clear()
                load.unwatched.clear()
                report["kills"].append(
                    {"files": len(files), "temporary": left, "pictures": look_through(load, history)}
                )
        finally:
            process.terminate()
            process.wait(timeout=30)
    report |= {"statuses": dict(sorted(load.statuses.items())), "jobs": dict(load.ends), "wrong": load.wrong[:20]}
    print(json.dumps(report))
    sys.exit(1 if load.wrong else 0)


if __name__ == "__main__":
    main()
