"""The client `webuiapi` of stable-diffusion-webui, unchanged."""

from urllib.parse import urlparse

from serving import require, served

webuiapi, image = require("webuiapi", "PIL.Image")


def pixels(picture):
    return picture.convert("RGB").tobytes()


with served() as address:
    url = urlparse(address)
    api = webuiapi.WebUIApi(host=url.hostname, port=url.port, sampler="Euler a", steps=4)
    small = {"width": 64, "height": 64, "cfg_scale": 4}

    made = api.txt2img(prompt="a cat sitting by the window", negative_prompt="a dog", seed=7, batch_size=2, **small)
    assert len(made.images) == 2 and made.image.size == (64, 64)
    assert made.info["all_seeds"] == [7, 8], made.info
    alone = api.txt2img(prompt="a cat sitting by the window", negative_prompt="a dog", seed=8, **small)
    assert pixels(alone.image) == pixels(made.images[1]), "a picture is the same in a batch and alone"
    anything = api.txt2img(prompt="a cat", **small)
    again = api.txt2img(prompt="a cat", seed=anything.info["seed"], **small)
    assert pixels(anything.image) == pixels(again.image), "the seed that is told makes it again"

    changed = api.img2img(images=[made.image], prompt="a dog", denoising_strength=0.6, seed=1, **small)
    assert changed.image.size == (64, 64) and pixels(changed.image) != pixels(made.image)
    mask = image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    api.img2img(images=[made.image], mask_image=mask, prompt="a dog", seed=1, **small)

    assert "Seed: 7" in api.png_info(made.image).info
    assert "Euler a" in [sampler["name"] for sampler in api.get_samplers()]
    assert api.util_get_model_names() == ["emoji-scenes-64"]
    api.util_set_model("emoji-scenes-64")
    assert api.util_get_current_model() == "emoji-scenes-64"
    assert api.get_progress()["progress"] == 0
    api.interrupt()
    for refused in [{"sampler_name": "Magic"}, {"alwayson_scripts": {"ADetailer": {"args": []}}}, {"enable_hr": True}]:
        try:
            api.txt2img(prompt="a cat", **small, **refused)
        except RuntimeError as error:
            assert list(refused)[0] in str(error), error
        else:
            raise AssertionError(f"{refused} was not refused")
print("webuiapi: all well")
