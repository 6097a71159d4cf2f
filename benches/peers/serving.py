"""Pictures over HTTP: `calotype serve` beside diffusers behind a minimal FastAPI server, in turn, medians.

    python benches/peers/serving.py target/release/calotype [--model models/emoji-scenes-64] [--requests 200]
                                    [--clients 20] [--rounds 3] [--threads N]

Both servers run from the beginning to the end and take the same requests, one side at a time: one or two pictures,
prompts and seeds that differ, from as many threads of one client. The peer is what people write first: one process, a
pipeline, a lock round it, pictures as PNG in base64; Euler a, 20 steps, guidance 4, the model's own size. Ours also
keeps its history on the disk. Both compute in f32. OpenMP's threads of the peer wait without spinning: where anything
else runs on the same cores, spinning makes it several times slower. Needs torch, diffusers, transformers, fastapi and
uvicorn. Prints one JSON object.
"""

import argparse
import base64
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlparse

DOOR = "/sdapi/v1/txt2img"
PNG = b"\x89PNG\r\n\x1a\n"
STEPS, GUIDANCE, SIZE = 20, 4.0, 64
SUBJECTS = ["cat", "dog", "zebra", "fish", "owl", "frog", "snail", "rocket", "apple", "tree", "crab", "penguin"]
PLACES = ["at night", "by the window", "on a red background", "beside a blue boat", "under a rainbow", "in the snow"]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--model", default="models/emoji-scenes-64")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def peer(args):
    """The minimal server; says its address as ours does."""
    import io
    import socket

    import diffusers
    import fastapi
    import pydantic
    import torch
    import uvicorn

    torch.set_num_threads(args.threads)
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(args.model, safety_checker=None, dtype=torch.float32)
    pipe.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    app, lock = fastapi.FastAPI(), threading.Lock()

    class Request(pydantic.BaseModel):
        prompt: str
        seed: int
        batch_size: int = 1
        steps: int = STEPS
        cfg_scale: float = GUIDANCE
        width: int = SIZE
        height: int = SIZE

    @app.post(DOOR)
    def made(request: Request):
        generators = [torch.Generator().manual_seed(request.seed + i) for i in range(request.batch_size)]
        with lock:
            pictures = pipe(
                request.prompt,
                num_images_per_prompt=request.batch_size,
                generator=generators,
                num_inference_steps=request.steps,
                guidance_scale=request.cfg_scale,
                width=request.width,
                height=request.height,
            ).images
        texts = []
        for picture in pictures:
            content = io.BytesIO()
            picture.save(content, "PNG")
            texts.append(base64.b64encode(content.getvalue()).decode())
        return {"images": texts}

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


@contextmanager
def started(command):
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        address = process.stdout.readline().strip()
        if not address.startswith("http"):
            raise SystemExit(f"{command} does not serve")
        yield process.pid, urlparse(address).netloc
    finally:
        process.terminate()
        process.wait(timeout=60)


def peak_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) // 1024


def mixed(count, seed):
    """Requests that are the same for both sides."""
    chance = random.Random(seed)
    return [
        {
            "prompt": f"a {chance.choice(SUBJECTS)} and a {chance.choice(SUBJECTS)} {chance.choice(PLACES)}",
            "seed": chance.randrange(2**31),
            "batch_size": chance.randint(1, 2),
            "steps": STEPS,
            "cfg_scale": GUIDANCE,
            "width": SIZE,
            "height": SIZE,
            "sampler_name": "Euler a",
        }
        for _ in range(count)
    ]


def load(place, requests, clients):
    """All requests from so many threads; each takes the next."""
    waiting, lock = iter(requests), threading.Lock()
    latencies, errors, pictures = [], [], []

    def client():
        connection = http.client.HTTPConnection(place, timeout=600)
        while True:
            with lock:
                request = next(waiting, None)
            if request is None:
                return connection.close()
            start = time.perf_counter()
            try:
                connection.request("POST", DOOR, json.dumps(request), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                print(place, repr(error), file=sys.stderr)
                connection.close()
                errors.append(request)
                continue
            seconds = time.perf_counter() - start
            made = json.loads(content)["images"] if answer.status == 200 else []
            with lock:
                latencies.append(seconds)
                if len(made) == request["batch_size"] and all(base64.b64decode(one).startswith(PNG) for one in made):
                    pictures.extend(made)
                else:
                    errors.append(request)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    latencies.sort()
    return {
        "p50": statistics.median(latencies),
        "p99": latencies[int(0.99 * (len(latencies) - 1))],
        "pictures_per_minute": 60 * len(pictures) / seconds,
        "errors": len(errors),
    }


def main():
    args = arguments()
    if args.peer:
        return peer(args)
    with tempfile.TemporaryDirectory() as history:
        ours = [
            args.binary,
            "serve",
            "--model",
            args.model,
            "--port",
            "0",
            "--history",
            history,
            "--threads",
            str(args.threads),
        ]
        theirs = [
            sys.executable,
            __file__,
            args.binary,
            "--peer",
            "--model",
            args.model,
            "--threads",
            str(args.threads),
        ]
        found = {"calotype": [], "diffusers": []}
        with started(ours) as our, started(theirs) as their:
            places = {"calotype": our, "diffusers": their}
            for name, (_, place) in places.items():
                load(place, mixed(4, 0), 2)
            for number in range(args.rounds):
                # Who begins changes with the round.
                for name in sorted(places, reverse=number % 2 == 1):
                    one = load(places[name][1], mixed(args.requests, number + 1), args.clients)
                    found[name].append(one)
                    print(name, one, "load", os.getloadavg()[0], file=sys.stderr)
            peaks = {name: peak_mib(pid) for name, (pid, _) in places.items()}
    report = {"requests": args.requests, "clients": args.clients, "rounds": args.rounds, "threads": args.threads}
    for name, rounds in found.items():
        report[name] = {
            key: round(statistics.median(one[key] for one in rounds), 3)
            for key in ["p50", "p99", "pictures_per_minute"]
        }
        report[name] |= {"errors": sum(one["errors"] for one in rounds), "peak_mib": peaks[name]}
    rates = [a["pictures_per_minute"] / b["pictures_per_minute"] for a, b in zip(found["calotype"], found["diffusers"])]
    report["ratio"] = round(statistics.median(rates), 3)
    report["ratios"] = [round(rate, 3) for rate in rates]
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
