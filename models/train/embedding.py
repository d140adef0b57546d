"""Sentences to vectors by an embedding model's folder, as `src/ai/sentences.rs` does it: normalised text, the first TOKENS_MAX pieces,
the mean over them, length one."""

import hashlib
import pathlib

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from features import normalise

TOKENS_MAX = 64
BATCH = 32


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
        self.inputs = [given.name for given in self.session.get_inputs()]

    def of(self, texts):
        """One row a text. Texts of as many pieces go together, so that none is padded."""
        pieces = [self.tokenizer.encode(normalise(text)).ids for text in texts]
        order = sorted(range(len(texts)), key=lambda at: len(pieces[at]))
        rows = None
        while order:
            size = len(pieces[order[0]])
            batch = [at for at in order[:BATCH] if len(pieces[at]) == size]
            order = order[len(batch) :]
            ids = np.array([pieces[at] for at in batch], np.int64)
            given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            states = self.session.run(None, {name: given[name] for name in self.inputs})[0]
            mean = states.mean(axis=1)
            if rows is None:
                rows = np.zeros((len(texts), mean.shape[1]), np.float32)
            rows[batch] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return rows
