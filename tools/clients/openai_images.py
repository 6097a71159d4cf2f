"""Python's `openai`, unchanged."""

import base64
import io

from serving import require, served

openai, image = require("openai", "PIL.Image")


def opened(item):
    return image.open(io.BytesIO(base64.b64decode(item.b64_json))).convert("RGB")


with served("--token", "a token of the script") as address:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="a token of the script")
    assert [model.id for model in client.models.list()] == ["emoji-scenes-64"]
    assert client.models.retrieve("emoji-scenes-64").owned_by == "calotype"

    settings = {"seed": 7, "steps": 4, "guidance": 4.0}
    made = client.images.generate(
        prompt="a cat sitting by the window", model="emoji-scenes-64", n=2, size="64x64", extra_body=settings
    )
    pictures = [opened(item) for item in made.data]
    assert [picture.size for picture in pictures] == [(64, 64)] * 2
    again = client.images.generate(prompt="a cat sitting by the window", size="64x64", extra_body=settings)
    assert opened(again.data[0]).tobytes() == pictures[0].tobytes(), "the same seed, the same picture"

    hollow = pictures[0].convert("RGBA")
    hollow.paste((0, 0, 0, 0), (0, 0, 32, 64))
    files = []
    for name, picture in [("picture.png", pictures[0]), ("mask.png", hollow)]:
        content = io.BytesIO()
        picture.save(content, "PNG")
        files.append((name, content.getvalue(), "image/png"))
    edited = client.images.edit(image=files[0], mask=files[1], prompt="a dog", extra_body={"steps": 4, "seed": 1})
    right = (40, 0, 64, 64)
    change = [
        abs(a - b) for a, b in zip(opened(edited.data[0]).crop(right).tobytes(), pictures[0].crop(right).tobytes())
    ]
    assert sum(change) / len(change) < 30, "what is opaque stays"

    try:
        client.images.generate(prompt="a cat", model="dall-e-3")
    except openai.NotFoundError as error:
        assert "emoji-scenes-64" in str(error)
    else:
        raise AssertionError("a model that there is not was not refused")
    try:
        client.images.generate(prompt="a cat", extra_body={"sampler": "magic"})
    except openai.UnprocessableEntityError as error:
        assert error.param == "sampler", error
    else:
        raise AssertionError("a sampler that there is not was not refused")
    try:
        openai.OpenAI(base_url=f"{address}/v1", api_key="wrong").models.list()
    except openai.AuthenticationError:
        pass
    else:
        raise AssertionError("a wrong token was taken")
print("openai: all well")
