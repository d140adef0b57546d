"""Text to sparse features, byte for byte what `src/ai/text.rs` and `src/ai/features.rs` do. A change here is a change there, and
of FEATURES in both: the manifest names it, and a model of another one is refused."""

import math
import unicodedata

FEATURES = "hash-1"
ROWS_LOG2 = 14
CHARS_MAX = 2000
ENTRIES_MAX = 1024

ZERO_WIDTH = {0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF}


def normalise(text):
    """Lower case, half-width, no control or zero-width characters, single spaces, at most CHARS_MAX characters."""
    out = []
    for c in text:
        code = ord(c)
        if code in ZERO_WIDTH:
            continue
        if 0xFF01 <= code <= 0xFF5E:
            c = chr(code - 0xFEE0)
        elif unicodedata.category(c) == "Cc" or c.isspace():
            c = " "
        elif c == "\u2019":
            c = "'"
        if c == " " and (not out or out[-1] == " "):
            continue
        out.extend(c.lower())
        if len(out) >= CHARS_MAX:
            break
    return "".join(out[:CHARS_MAX]).rstrip(" ")


def is_han(c):
    code = ord(c)
    return 0x3400 <= code <= 0x4DBF or 0x4E00 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x2FA1F


def words(text):
    """Runs of letters, digits and apostrophes; a run ends where Han begins or ends."""
    run, han = [], False
    for c in text:
        if c.isalnum() or c == "'":
            if run and is_han(c) != han:
                yield "".join(run)
                run = []
            han = is_han(c)
            run.append(c)
        elif run:
            yield "".join(run)
            run = []
    if run:
        yield "".join(run)


def grams(text):
    """Named pieces of a normalised text: words, pairs of words, pieces of 2 to 5 characters inside a padded word; of Han also 1."""
    previous = None
    for word in words(text):
        if is_han(word[0]):
            for n in (1, 2, 3, 4):
                for i in range(len(word) - n + 1):
                    yield "h" + word[i : i + n]
        else:
            yield "w" + word
            if previous is not None:
                yield "b" + previous + " " + word
            padded = " " + word + " "
            for n in (2, 3, 4, 5):
                for i in range(len(padded) - n + 1):
                    yield "c" + padded[i : i + n]
        previous = word


_rows = {}


def row(gram):
    """FNV-1a of 64 bits over UTF-8, folded to ROWS_LOG2 bits."""
    found = _rows.get(gram)
    if found is None:
        h = 0xCBF29CE484222325
        for byte in gram.encode("utf-8"):
            h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        h ^= h >> 32
        h ^= h >> 16
        found = _rows[gram] = h & ((1 << ROWS_LOG2) - 1)
    return found


def features(text):
    """Rows and weights 1 + ln(count), by row, at most ENTRIES_MAX."""
    counts = {}
    for gram in grams(normalise(text)):
        r = row(gram)
        counts[r] = counts.get(r, 0) + 1
    return [(r, 1.0 + math.log(n)) for r, n in sorted(counts.items())[:ENTRIES_MAX]]
