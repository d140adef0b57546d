"""Writes what features.py makes of some texts; the product's tests hold Rust to it: `python3 golden.py > ../../src/ai/tests/golden.tsv`."""

import json

from features import features, normalise

TEXTS = [
    "",
    "My card hasn't arrived, again!",
    "I’m  stuck\tat the AIRPORT\r\nplease   help",
    "请帮我转人工，谢谢！",
    "ＡＢＣ１２３　全角",
    "我的iPhone15 SIM卡坏了",
    "¿Dónde está mi tarjeta? ÑANDÚ",
    "zero\u200bwidth\ufeff and \u0000 control\u001f\u0085",
    "İstanbul ΣΑΣ ß",
    "余额" * 3 + " " + "a" * 50,
    "x" * 2100,
    "the card " * 300,
    "\ufffd\ufffd!?",
]

for text in TEXTS:
    found = features(text)
    rows = ",".join(str(row) for row, _ in found)
    print(json.dumps(text), json.dumps(normalise(text)), rows, f"{sum(weight for _, weight in found):.3f}", sep="\t")
