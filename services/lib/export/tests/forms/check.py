"""Asks the unmodified transformers and torch about what was exported:  check.py CASES.json

A case names a Hugging Face directory, a .pth of the same model, and a safetensors file of inputs and `expected`; printed is, as
JSON, how far the outputs of both are from `expected`, and what either loading found wrong."""

import json
import sys

import torch
import transformers
from safetensors.torch import load_file

torch.set_grad_enabled(False)
transformers.logging.set_verbosity_error()


def outputs(model, inputs):
    output = model(**inputs)
    return output.image_embeds if "input_ids" in inputs else output.logits


def check(case):
    inputs = load_file(case["tensors"])
    expected = inputs.pop("expected")
    architecture = json.load(open(f"{case['directory']}/config.json"))["architectures"][0]
    kind = getattr(transformers, architecture)
    model, problems = kind.from_pretrained(case["directory"], output_loading_info=True)
    processor = transformers.AutoImageProcessor.from_pretrained(case["directory"], use_fast=False)
    bare = kind(transformers.AutoConfig.from_pretrained(case["directory"])).eval()
    state = torch.load(case["pth"], weights_only=True)
    result = bare.load_state_dict(state, strict=False)
    difference = lambda model: float((outputs(model.eval(), inputs) - expected).abs().max())
    return {
        "loaded": [list(problems[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")],
        "state": [list(result.missing_keys), list(result.unexpected_keys)],
        "difference": difference(model),
        "state_difference": difference(bare),
        "processor": type(processor).__name__,
        "labels": model.config.id2label if architecture != "CLIPModel" else {},
    }


with open(sys.argv[1]) as cases:
    json.dump([check(case) for case in json.load(cases)], sys.stdout)
