"""What a user of tritonclient does with SAGA's model services; prints what came back as JSON.

    python client.py CLASSIFIER CLIP IMAGE"""

import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

classifier, clip, image = sys.argv[1:]


def tensor(name, values, datatype):
    found = triton.InferInput(name, list(values.shape), datatype)
    found.set_data_from_numpy(values)
    return found


def refused(ask):
    try:
        ask()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


vit, embedder = triton.InferenceServerClient(classifier), triton.InferenceServerClient(clip)
file = np.array([open(image, "rb").read()], dtype=np.object_)
metadata = vit.get_model_metadata("vit-classifier", as_json=True)
side = int(next(given for given in metadata["inputs"] if given["name"] == "pixel_values")["shape"][-1])
pixels = np.sin(np.arange(2 * 3 * side * side, dtype=np.float32)).reshape(2, 3, side, side)

by_pixels = vit.infer("vit-classifier", [tensor("pixel_values", pixels, "FP32")])
one = vit.infer("vit-classifier", [tensor("pixel_values", pixels[1:], "FP32")], request_id="second",
                outputs=[triton.InferRequestedOutput("logits")])
by_file = vit.infer("vit-classifier", [tensor("image", np.repeat(file, 3), "BYTES")])
answers = queue.Queue()
vit.async_infer("vit-classifier", [tensor("image", file, "BYTES")],
                callback=lambda result, error: answers.put(error or result))
asynchronous = answers.get(timeout=30)

image_embeds = embedder.infer("clip-image", [tensor("image", file, "BYTES")]).as_numpy("image_embeds")
texts = np.array([b"a photo of a happy face", "un visage étonné".encode()], dtype=np.object_)
text_embeds = embedder.infer("clip-text", [tensor("text", texts, "BYTES")]).as_numpy("text_embeds")

probabilities = by_pixels.as_numpy("probabilities")
assert probabilities.shape == by_pixels.as_numpy("logits").shape and np.allclose(probabilities.sum(-1), 1, atol=1e-5)
assert np.allclose(one.as_numpy("logits"), by_pixels.as_numpy("logits")[1:], atol=1e-5)
assert np.allclose(asynchronous.as_numpy("logits"), by_file.as_numpy("logits")[:1], atol=1e-5)
assert one.get_response().id == "second" and one.as_numpy("probabilities") is None
assert np.allclose(np.linalg.norm(image_embeds, axis=-1), 1, atol=1e-5)

print(json.dumps({
    "live": vit.is_server_live() and embedder.is_server_live(),
    "ready": vit.is_server_ready() and vit.is_model_ready("vit-classifier") and embedder.is_model_ready("clip-text"),
    "unknown_ready": vit.is_model_ready("nothing"),
    "server": vit.get_server_metadata(as_json=True)["name"],
    "outputs": [given["name"] for given in metadata["outputs"]],
    "file_probabilities": by_file.as_numpy("probabilities").tolist(),
    "cosines": (image_embeds @ text_embeds.T)[0].tolist(),
    "unknown_model": refused(lambda: vit.infer("nothing", [tensor("image", file, "BYTES")])),
    "wrong_shape": refused(lambda: vit.infer("vit-classifier", [tensor("pixel_values", pixels[:, :, 1:], "FP32")])),
    "not_a_number": refused(lambda: vit.infer("vit-classifier", [tensor("pixel_values", pixels * np.nan, "FP32")])),
}))
