"""Asks the unmodified onnx and onnxruntime about exported models:  check.py CASES.json

A case names a model and a safetensors file with its input and `expected`; printed is, as JSON, what the checker says, how far the
output is from `expected`, how often the largest column is the same, and what the file says of itself."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file


def check(case):
    onnx.checker.check_model(case["model"], full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(case["model"], options, providers=["CPUExecutionProvider"])
    tensors = load_file(case["tensors"])
    expected = tensors.pop("expected")
    # As a service would: sixteen at a time.
    rows = [session.run(None, {name: value[at:at + 16] for name, value in tensors.items()})[0] for at in range(0, len(expected), 16)]
    found = np.concatenate(rows)
    alone = session.run(None, {name: value[:1] for name, value in tensors.items()})[0]
    model = onnx.load(case["model"], load_external_data=False)
    weights = [weight.name for weight in model.graph.initializer]
    operators = {node.op_type for node in model.graph.node}
    return {
        "difference": float(np.abs(found - expected).max()),
        "alone": float(np.abs(alone - found[:1]).max()),
        "agreeing": int((found.argmax(-1) == expected.argmax(-1)).sum()),
        "of": len(expected),
        "inputs": [value.name for value in session.get_inputs()],
        "outputs": [value.name for value in session.get_outputs()],
        "dtype": str(found.dtype),
        "opset": [[opset.domain, opset.version] for opset in model.opset_import],
        "metadata": session.get_modelmeta().custom_metadata_map,
        "weights": sorted(weights),
        "operators": sorted(operators),
        "external": any(weight.external_data for weight in model.graph.initializer),
    }


with open(sys.argv[1]) as cases:
    json.dump([check(case) for case in json.load(cases)], sys.stdout)
