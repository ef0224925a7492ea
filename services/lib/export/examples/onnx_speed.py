"""Milliseconds an image of ONNX files in onnxruntime:  onnx_speed.py THREADS FILE.onnx..."""

import os
import sys
import time

import numpy as np
import onnxruntime

BATCHES, ROUNDS = (1, 16), 5

threads, *files = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
options.log_severity_level = 3
for file in files:
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (port,) = session.get_inputs()
    precision = session.get_modelmeta().custom_metadata_map["precision"]
    for batch in BATCHES:
        pixels = np.random.default_rng(0).random((batch, *port.shape[1:]), np.float32)
        times = []
        for _ in range(ROUNDS + 1):
            start = time.perf_counter()
            session.run(None, {port.name: pixels})
            times.append(time.perf_counter() - start)
        best = min(times[1:]) * 1e3 / batch
        print(f"onnxruntime {precision}, {os.path.getsize(file) / 1e6:.1f} MB, batch {batch}: {best:.2f} ms an image")
