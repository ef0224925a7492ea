"""diffusers' side of unet_steps.rs: `python unet_steps.py DIR PRECISION SIDE` answers each line that it reads with the seconds of one
step, and the first with some of its figures beside. Writes DIR/unet, of Stable Diffusion 1.5's size and random, where there is
none."""

import pathlib
import sys
import time

import diffusers
import torch

torch.set_grad_enabled(False)
root, precision, side = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
kind = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[precision]
device = "cuda" if torch.cuda.is_available() else "cpu"
if not (root / "unet").exists():
    torch.manual_seed(0)
    model = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    model.half().save_pretrained(root / "unet")
unet = diffusers.UNet2DConditionModel.from_pretrained(root / "unet", torch_dtype=kind).eval().to(device)


def wave(*shape):
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float32) * 0.37).sin().reshape(shape).to(device, kind)


latents, context = wave(2, 4, side, side), wave(2, 77, 768)
for _ in sys.stdin:
    started = time.perf_counter()
    output = unet(latents, 321, context).sample.float().cpu()
    print(time.perf_counter() - started, *output.flatten()[:64].tolist(), flush=True)
