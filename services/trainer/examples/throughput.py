"""Images a second of SAGA's training loop next to the same loop in PyTorch, in turns.

    cargo build -p trainer --example throughput
    python throughput.py PATH/TO/examples/throughput [resnet|small|base] [STEPS] [ROUNDS]

Both train the same model on noise from memory: views (mirror, rotation, scale, shift, brightness, contrast), bf16 autocast where
the processor has it, AdamW, gradient clipping, a moving average of the weights. PyTorch's side is transformers' ViT or ResNet
(channels last), on a GPU through torch.compile, a DataLoader with one worker for every second core as here, torchvision's
transforms on tensors. Figures are of the second of two epochs, after compilation; medians over the rounds. Needs torch,
torchvision, transformers."""

import json
import statistics
import subprocess
import sys
import time

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

CLASSES = 8
RESNET = dict(embedding_size=16, hidden_sizes=[16, 32, 64, 128], depths=[2, 2, 2, 2], layer_type="basic")
SMALL = dict(image_size=64, patch_size=8, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=512)
# Images of a batch, side in pixels, and the model.
MODELS = {
    "resnet": (64, 64, lambda: ResNetForImageClassification(ResNetConfig(num_labels=CLASSES, **RESNET))),
    "small": (64, 64, lambda: ViTForImageClassification(ViTConfig(num_labels=CLASSES, **SMALL))),
    "base": (32, 224, lambda: ViTForImageClassification(ViTConfig(num_labels=CLASSES, image_size=224, patch_size=16))),
}


class Noise(Dataset):
    def __init__(self, count, side):
        self.images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
        self.views = v2.Compose([
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(3.4, translate=(0.03, 0.03), scale=(0.94, 1.06), interpolation=InterpolationMode.BILINEAR),
            v2.ColorJitter(brightness=0.25, contrast=0.25),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.views(self.images[index]), index % CLASSES


def pytorch(name, steps):
    batch, side, make = MODELS[name]
    layout = torch.channels_last if name == "resnet" else torch.contiguous_format
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flags = open("/proc/cpuinfo").read()
    bf16 = device == "cuda" or "amx_bf16" in flags or "avx512_bf16" in flags
    torch.manual_seed(1)
    model = make().to(device, memory_format=layout).train()
    forward = torch.compile(model) if device == "cuda" else model
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.98))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.05)
    workers = max(1, torch.get_num_threads() // 2)
    data = DataLoader(Noise(steps * batch, side), batch, shuffle=True, num_workers=workers, pin_memory=device == "cuda")
    for _ in range(2):
        begun, waited, before = time.time(), 0.0, time.time()
        for images, labels in data:
            waited += time.time() - before
            images = images.to(device, non_blocking=True, memory_format=layout)
            labels = labels.to(device, non_blocking=True)
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                logits = forward(pixel_values=images).logits
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            average.update_parameters(model)
            loss.item()
            before = time.time()
        seconds = time.time() - begun
    return {"images_per_second": steps * batch / seconds, "utilisation": 1 - waited / seconds}


def main():
    binary, name, steps, rounds = sys.argv[1], *(sys.argv[2:] + ["resnet", "20", "3"][len(sys.argv) - 2 :])
    ours, theirs = [], []
    for turn in range(int(rounds)):
        printed = subprocess.run([binary, name, steps], check=True, capture_output=True, text=True).stdout
        ours.append(json.loads(printed))
        theirs.append(pytorch(name, int(steps)))
        print(f"round {turn + 1}: SAGA {ours[-1]}, PyTorch {theirs[-1]}", flush=True)
    median = lambda of: statistics.median(each["images_per_second"] for each in of)
    print(f"{name}: SAGA {median(ours):.1f} images/s, PyTorch {median(theirs):.1f}, ratio {median(ours) / median(theirs):.2f}")


if __name__ == "__main__":
    main()
