"""Sentences to vectors by an embedding model's folder, as `src/ai/sentences.rs` does it: normalised text, the first TOKENS_MAX pieces,
the mean over them, length one."""

import hashlib
import pathlib

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from features import normalise

TOKENS_MAX = 32


class Embedding:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        # What heads are bound to: the manifest names the hashes of the other two files.
        self.hash = hashlib.sha256((folder / "manifest.toml").read_bytes()).hexdigest()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(TOKENS_MAX)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])

    def of(self, texts):
        """One row a text."""
        return np.array([self.vector(text) for text in texts])

    def vector(self, text):
        ids = np.array([self.tokenizer.encode(normalise(text)).ids], np.int64)
        mean = self.session.run(["last_hidden_state"], {"input_ids": ids})[0][0].mean(axis=0)
        return mean / np.linalg.norm(mean)
