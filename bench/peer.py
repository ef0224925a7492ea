"""The reference's side of `make bench`: the same work with the Python libraries people use, on request.

    python peer.py prepare DIR    writes full-size checkpoints with random weights, and picture pairs
    python peer.py serve DIR      reads jobs line by line, name and arguments, answers each with a line of JSON:
                                  {"seconds": of the work alone, "items": how many, "answers": [...]}"""

import json
import pathlib
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "services/lib/models/tests/fixtures"))
PAIRS = 32
ROUND = 0.25  # seconds that a short job is repeated for, as in kernels.rs
PROMPT = "a photo of a happy face"
LABELS = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"]


def prepare(root):
    import transformers
    from make import picture, tokenizer

    torch.manual_seed(22)
    root.mkdir(parents=True, exist_ok=True)
    names = dict(id2label=dict(enumerate(LABELS)), label2id={label: id for id, label in enumerate(LABELS)})
    vit = transformers.ViTForImageClassification(transformers.ViTConfig(**names))
    vit.save_pretrained(root / "vit")
    transformers.ViTImageProcessor().save_pretrained(root / "vit")
    (root / "clip").mkdir(exist_ok=True)
    tokens, bos, eos = tokenizer(root / "clip", [PROMPT, "a face"])
    text = dict(vocab_size=len(tokens), bos_token_id=bos, eos_token_id=eos)
    transformers.CLIPModel(transformers.CLIPConfig(text_config=text)).save_pretrained(root / "clip")
    transformers.CLIPImageProcessor().save_pretrained(root / "clip")
    for index in range(PAIRS):
        source = picture(512, 512, index)
        noise = np.random.default_rng(index).normal(0, 12, (512, 512, 3))
        candidate = Image.fromarray(np.clip(np.asarray(source) + noise, 0, 255).astype(np.uint8))
        source.save(root / f"{index:02}-source.jpg", quality=90)
        candidate.save(root / f"{index:02}-candidate.jpg", quality=90)
        # Half the bits of the noisy ones: about 2.4 a pixel, as photographs have.
        source.filter(ImageFilter.GaussianBlur(1)).save(root / f"{index:02}-photograph.jpg", quality=90)


def repeat(inputs, work, answer):
    """`work` on each of the inputs for a round; `answer` is told of what came out last, and is not timed."""
    items, started = 0, time.perf_counter()
    while True:
        outputs = [work(each) for each in inputs]
        items, seconds = items + len(outputs), time.perf_counter() - started
        if seconds >= ROUND:
            return seconds, items, [[answer(output)] for output in outputs]


class Peer:
    def __init__(self, root):
        torch.set_grad_enabled(False)
        self.root, self.loaded = root, {}

    def once(self, name, make):
        if name not in self.loaded:
            self.loaded[name] = make()
        return self.loaded[name]

    def pairs(self):
        return [tuple(self.root / f"{i:02}-{side}.jpg" for side in ("source", "candidate")) for i in range(PAIRS)]

    def models(self, kind):
        import transformers

        def make():
            vit = transformers.ViTForImageClassification.from_pretrained(self.root / "vit").eval().to(kind)
            clip = transformers.CLIPModel.from_pretrained(self.root / "clip").eval().to(kind)
            tokens = transformers.CLIPTokenizerFast.from_pretrained(self.root / "clip")
            ids = tokens([PROMPT], return_tensors="pt")
            text = F.normalize(clip.get_text_features(**ids).float(), dim=-1)
            return (vit, transformers.ViTImageProcessor.from_pretrained(self.root / "vit"), clip,
                    transformers.CLIPImageProcessor.from_pretrained(self.root / "clip"), text)

        return self.once(("models", kind), make)

    def guard(self, kind, batch):
        """The seed's cascade: SSIM, CLIP, ViT for each candidate; nothing is rejected, so that all the work is done."""
        from skimage.metrics import structural_similarity

        vit, vit_processor, clip, clip_processor, text = self.models(kind)
        answers, started = [], time.perf_counter()
        pairs = self.pairs()
        for first in range(0, len(pairs), batch):
            candidates, ssims = [], []
            for source, candidate in pairs[first:first + batch]:
                source, candidate = Image.open(source).convert("RGB"), Image.open(candidate).convert("RGB")
                grey = [np.asarray(image.convert("L")) for image in (source, candidate)]
                ssims.append(structural_similarity(*grey, data_range=255))
                candidates.append(candidate)
            pixels = clip_processor(candidates, return_tensors="pt")["pixel_values"].to(kind)
            image = F.normalize(clip.get_image_features(pixel_values=pixels).float(), dim=-1)
            cosines = (image @ text.T)[:, 0].tolist()
            pixels = vit_processor(candidates, return_tensors="pt")["pixel_values"].to(kind)
            happy = vit(pixels).logits.float().softmax(-1)[:, LABELS.index("happy")].tolist()
            answers += zip(ssims, cosines, happy)
        return time.perf_counter() - started, PAIRS, [list(map(float, answer)) for answer in answers]

    def guard_one_f32(self):
        return self.guard(torch.float32, 1)

    def guard_batch_bf16(self):
        return self.guard(torch.bfloat16, 32)

    def vit_pixels(self):
        return np.sin(np.arange(16 * 3 * 224 * 224, dtype=np.float32) * 0.37).reshape(16, 3, 224, 224)

    def vit_openvino(self):
        """OpenVINO in bf16, in the mode that was fastest here: throughput, batches of eight, all its streams busy."""
        import openvino

        def make():
            vit = self.models(torch.float32)[0]

            class Logits(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.vit = vit

                def forward(self, x):
                    return self.vit(pixel_values=x).logits

            model = openvino.convert_model(Logits(), example_input=torch.rand(8, 3, 224, 224), input=[(8, 3, 224, 224)])
            hints = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "THROUGHPUT"}
            return openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", hints), 0)

        queue = self.once("openvino", make)
        pixels, logits = self.vit_pixels(), {}
        queue.set_callback(lambda request, first: logits.__setitem__(first, request.get_output_tensor().data.copy()))
        rounds, started = 2, time.perf_counter()
        for _ in range(rounds):
            for first in (0, 8):
                queue.start_async([pixels[first:first + 8]], first)
        queue.wait_all()
        seconds = time.perf_counter() - started
        return seconds, 16 * rounds, np.concatenate([logits[0], logits[8]]).tolist()

    def ssim_skimage(self):
        from skimage.metrics import structural_similarity

        pairs = self.once("grey", lambda: [[np.asarray(Image.open(path).convert("L").resize((224, 224), Image.BICUBIC))
                                            for path in pair] for pair in self.pairs()])
        return repeat(pairs, lambda pair: structural_similarity(*pair, data_range=255), float)

    def decode_pillow(self, kind):
        import io

        files = self.once(kind, lambda: [(self.root / f"{i:02}-{kind}.jpg").read_bytes() for i in range(PAIRS)])

        def small(file):
            return np.asarray(Image.open(io.BytesIO(file)).convert("RGB").resize((224, 224), Image.BICUBIC))

        return repeat(files, small, lambda image: float(image.mean()))

    def decode_candidate(self):
        return self.decode_pillow("candidate")

    def decode_photograph(self):
        return self.decode_pillow("photograph")

    def stable_diffusion_weights(self):
        """Writes a Stable Diffusion 1.5 with random weights where there is none."""
        import diffusers
        import transformers
        from make import tokenizer

        root = self.root / "stable-diffusion"
        if not (root / "vae").exists():
            torch.manual_seed(15)
            root.mkdir(parents=True, exist_ok=True)
            tokenizer(root / "tokenizer", [PROMPT, "a face"])
            text = transformers.CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
            transformers.CLIPTextModel(text).half().save_pretrained(root / "text_encoder")
            unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
            unet.half().save_pretrained(root / "unet")
            widths = (128, 256, 512, 512)
            down, up = (("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4)
            diffusers.AutoencoderKL(down_block_types=down, up_block_types=up, block_out_channels=widths, layers_per_block=2,
                                    sample_size=512).half().save_pretrained(root / "vae")
        return 0.0, 0, []

    def stable_diffusion(self, part, precision, side):
        """A part once, with the inputs of diffusion.rs; its first figures are the answer."""
        import diffusers
        import transformers

        root = self.root / "stable-diffusion"
        kind = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[precision]
        device, side = "cuda" if torch.cuda.is_available() else "cpu", int(side)
        folder = "vae" if part.startswith("vae") else part
        classes = {"text_encoder": transformers.CLIPTextModel, "unet": diffusers.UNet2DConditionModel, "vae": diffusers.AutoencoderKL}
        self.loaded = {key: model for key, model in self.loaded.items() if key == (folder, kind)}
        model = self.once((folder, kind), lambda: classes[folder].from_pretrained(root / folder, torch_dtype=kind).eval().to(device))

        def wave(*shape):
            return (torch.arange(torch.Size(shape).numel(), dtype=torch.float32) * 0.37).sin().reshape(shape).to(device, kind)

        if part == "text_encoder":
            tokens = transformers.CLIPTokenizerFast.from_pretrained(root / "tokenizer")
            ids = tokens([PROMPT, ""], padding="max_length", max_length=77, return_tensors="pt").input_ids.to(device)
            work = lambda: model(ids).last_hidden_state
        elif part == "unet":
            latents, context = wave(2, 4, side, side), wave(2, 77, 768)
            work = lambda: model(latents, 321, context).sample
        elif part == "vae_encoder":
            image = wave(1, 3, 8 * side, 8 * side)
            work = lambda: model.encode(image).latent_dist.mean
        else:
            latents = wave(1, 4, side, side)
            work = lambda: model.decode(latents).sample
        started = time.perf_counter()
        output = work().float().cpu()
        return time.perf_counter() - started, 1, [output.flatten()[:64].tolist()]

    def faiss_build(self):
        import faiss

        hashes = np.fromfile(self.root / "hashes", np.uint8).reshape(-1, 8)
        started = time.perf_counter()
        self.loaded["faiss"] = faiss.IndexBinaryFlat(64)
        self.loaded["faiss"].add(hashes)
        return time.perf_counter() - started, len(hashes), []

    def faiss_search(self):
        """An answer is how many hashes lie within four bits, and the seconds of that search."""
        queries, answers = np.fromfile(self.root / "queries", np.uint8).reshape(-1, 1, 8), []
        started = time.perf_counter()
        for query in queries:
            asked = time.perf_counter()
            limits, _, _ = self.loaded["faiss"].range_search(query, 5)
            answers.append([float(limits[1]), time.perf_counter() - asked])
        return time.perf_counter() - started, len(queries), answers


def serve(root):
    peer = Peer(root)
    for line in sys.stdin:
        job, *arguments = line.split()
        seconds, items, answers = getattr(peer, job)(*arguments)
        print(json.dumps({"seconds": seconds, "items": items, "answers": answers}), flush=True)


if __name__ == "__main__":
    {"prepare": prepare, "serve": serve}[sys.argv[1]](pathlib.Path(sys.argv[2]))
