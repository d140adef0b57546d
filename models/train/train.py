"""Trains the heads of models/: `python3 train.py DATA [--embedding FOLDER] [--out OUT]`, where DATA holds clinc150/ and banking77/. Same
inputs, same bytes. Without an embedding (fetch_embedding.py) there are no heads on its vectors; the others are the same.

Nothing is drawn at random but by a fixed seed, and nothing is read that a threshold is judged by later.
"""

import argparse
import hashlib
import json
import pathlib

import numpy as np
from scipy.sparse import csr_matrix, vstack
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

import sets
from embedding import Embedding
from features import FEATURES, ROWS_LOG2, features
from onnx_file import Head, Refined

VERSION = "1"
SEED = 20261124
FOLDS = 5
OUTSIDE = "-"
# Mis-routing aimed at on calibration data. The promise is 2.3 %; a threshold that just keeps a promise where it was chosen
# misses it elsewhere about every other time.
AIM = 0.014
# Contacts out of scope to contacts in scope that thresholds are weighed for: CLINC150's own test set.
MIXTURE = 1000 / 4500
CLARIFY_FROM = 0.35
# Of classifiers of vectors: how much they are held back, and how much they count beside the words. Both chosen on calibration data.
RIDGE = 1.0
MEANING_SHARE = 2.0

CLINC = ("CLINC150 (clinc/oos-eval 828f8093), Larson et al. 2019", "CC BY 3.0")
BANKING = ("banking77 (PolyAI-LDN/task-specific-datasets 57ec275d), Casanueva et al. 2020", "CC BY 4.0")
OWN = ("seeds of this repository", "Apache-2.0")


def matrix(texts):
    data, rows, ends = [], [], [0]
    for text in texts:
        for row, weight in features(text):
            rows.append(row)
            data.append(weight)
        ends.append(len(rows))
    return csr_matrix((np.array(data, np.float32), np.array(rows, np.int32), ends), shape=(len(texts), 1 << ROWS_LOG2))


def fit(x, y, cost):
    df = np.bincount(x.indices, minlength=x.shape[1])
    idf = np.log((1 + x.shape[0]) / (1 + df)) + 1
    weighted = x.multiply(idf).tocsr()
    norm = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1))).ravel()
    norm[norm == 0] = 1.0
    unit = weighted.multiply(1.0 / norm[:, None]).tocsr()
    classifier = LinearSVC(C=cost, random_state=SEED).fit(unit, y)
    return Head(idf, classifier.coef_, classifier.intercept_), list(classifier.classes_)


def held_out(x, y, cost):
    """Scores of every row by a head that did not learn from it."""
    labels = sorted(set(y))
    scores = np.zeros((x.shape[0], len(labels)), np.float32)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(x, y):
        head, found = fit(x[train], y[train], cost)
        assert found == labels
        scores[test] = head.scores(x[test])
    return scores, labels


def fit_meaning(vectors, y):
    """Ridge regression of each label, 1 or 0, on vectors."""
    labels = sorted(set(y))
    targets = (np.array(y)[:, None] == np.array(labels)[None, :]).astype(np.float64)
    middle, share = vectors.mean(axis=0, dtype=np.float64), targets.mean(axis=0)
    centred = vectors - middle
    coefficients = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(vectors.shape[1]), centred.T @ (targets - share))
    return Refined(coefficients.T, share - middle @ coefficients, MEANING_SHARE), labels


def held_out_meaning(words, vectors, y):
    """As `held_out`, over the same folds, which gave `words`."""
    refined = np.zeros_like(words)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(words, y):
        head, _ = fit_meaning(vectors[train], y[train])
        refined[test] = head.scores(words[test], vectors[test])
    return refined


def signals(scores, labels):
    """Best label, its score, its lead, and the score of the label that stands for none."""
    within = scores.copy()
    outside = np.zeros(len(scores))
    if OUTSIDE in labels:
        at = labels.index(OUTSIDE)
        outside = scores[:, at]
        within[:, at] = -np.inf
    ordered = np.sort(within, axis=1)
    return within.argmax(axis=1), np.stack([ordered[:, -1], ordered[:, -1] - ordered[:, -2], outside], axis=1)


def calibrate(scores, labels, truth, weights):
    """The curve from signals to the probability of being right."""
    best, x = signals(scores, labels)
    right = np.array([labels[b] == t for b, t in zip(best, truth)])
    curve = LogisticRegression(C=10.0, max_iter=1000).fit(x, right, sample_weight=weights)
    probability = np.floor(1000 * np.clip(curve.predict_proba(x)[:, 1], 0, 1)).astype(int)
    return curve, probability, right


def threshold(probability, right, weights):
    """Least confidence from which on the share of wrong ones stays within the aim."""
    for least in range(300, 1001):
        taken = probability >= least
        total = weights[taken].sum()
        if total == 0 or weights[taken & ~right].sum() / total <= AIM:
            return least, taken
    raise AssertionError("nothing taken is nothing wrong")


class Models:
    def __init__(self, out, embedding):
        self.out = out
        self.embedding = embedding
        self.text = [f'name = "triage"\nversion = "{VERSION}"\nfeatures = "{FEATURES}"\nrows_log2 = {ROWS_LOG2}\n']
        # In the manifest behind all others.
        self.refined_text = []

    def add(self, name, task, pack, head, labels, curve, route_from, clarify_from, source, embedding=None):
        file = f"{name}.onnx"
        head.write(self.out / file, name)
        digest = hashlib.sha256((self.out / file).read_bytes()).hexdigest()
        top, lead, outside = (float(c) for c in curve.coef_[0])
        rows = [
            "\n[[refined]]" if embedding else "\n[[head]]",
            f'name = "{name}"',
            f'task = "{task}"',
            *([f'pack = "{pack}"'] if pack else []),
            *([f'embedding = "{embedding}"'] if embedding else []),
            f'file = "{file}"',
            f'sha256 = "{digest}"',
            f"labels = {json.dumps(labels)}",
            *([f'outside = "{OUTSIDE}"'] if OUTSIDE in labels else []),
            f"calibration = {{ bias = {curve.intercept_[0]:.6f}, top = {top:.6f}, lead = {lead:.6f}, outside = {outside:.6f} }}",
            f"route_from = {route_from}",
            f"clarify_from = {clarify_from}",
            f'data = "{source[0]}"',
            f'licence = "{source[1]}"',
        ]
        (self.refined_text if embedding else self.text).append("\n".join(rows) + "\n")

    def intent(self, pack, head, labels, scores, truth, source):
        self.judge_intent(f"intent-{pack}", pack, head, labels, scores, truth, source)

    def refined(self, pack, head, labels, scores, truth, source):
        self.judge_intent(f"meaning-{pack}", pack, head, labels, scores, truth, source, self.embedding.hash)

    def judge_intent(self, name, pack, head, labels, scores, truth, source, embedding=None):
        inside = np.array([t != OUTSIDE for t in truth])
        weights = np.where(inside, 1.0, MIXTURE * inside.sum() / max((~inside).sum(), 1))
        curve, probability, right = calibrate(scores, labels, truth, weights)
        least, taken = threshold(probability, right, weights)
        wrong = weights[taken & ~right].sum() / weights[taken].sum()
        print(
            f"{name}: calibrated on {inside.sum()} in scope and {(~inside).sum()} outside; from {least} thousandths routed "
            f"{taken[inside].mean():.1%} of those in scope, {weights[taken].sum() / weights.sum():.1%} of the mixture, "
            f"{wrong:.2%} of them wrongly; {1 - taken[~inside].mean():.1%} outside rejected"
        )
        self.add(name, "intent", pack, head, labels, curve, least, min(int(1000 * CLARIFY_FROM), least), source, embedding)

    def small(self, task, texts, labels, source, route_from, cost=1.0):
        """A head of few labels, calibrated on folds of what it learns from: there is no other data."""
        x, y = matrix(texts), np.array(labels)
        scores, names = held_out(x, y, cost)
        curve, _, right = calibrate(scores, names, y, np.ones(len(y)))
        print(f"{task}: {right.mean():.1%} right in folds, n {len(y)}")
        head, _ = fit(x, y, cost)
        self.add(task, task, "", head, names, curve, route_from, 0, source)

    def finish(self):
        (self.out / "manifest.toml").write_text("".join(self.text + self.refined_text), encoding="utf-8")


def clinc(models, data):
    train, oos, val, oos_val = sets.clinc(data)
    x, x_oos = matrix([t for t, _ in train]), matrix([t for t, _ in oos])
    x = vstack([x, x_oos]).tocsr()
    y = np.array([i for _, i in train] + [OUTSIDE] * len(oos))
    head, labels = fit(x, y, 0.5)
    # What is outside is scarce: the sentences it was learnt from count as well, each scored by a head that did not see it.
    folded, _ = held_out(x, y, 0.5)
    scores = np.vstack([head.scores(matrix([t for t, _ in val + oos_val])), folded[len(train) :]])
    truth = [i for _, i in val] + [OUTSIDE] * (len(oos_val) + len(oos))
    models.intent("clinc150", head, labels, scores, truth, CLINC)
    if models.embedding:
        vectors = models.embedding.of([t for t, _ in train + oos])
        refined, _ = fit_meaning(vectors, y)
        unseen = refined.scores(scores[: len(val + oos_val)], models.embedding.of([t for t, _ in val + oos_val]))
        folded = held_out_meaning(folded, vectors, y)
        models.refined("clinc150", refined, labels, np.vstack([unseen, folded[len(train) :]]), truth, CLINC)


def banking(models, data):
    train = sets.banking(data)
    far = [[t, OUTSIDE] for t, i in sets.clinc(data)[0] if i not in sets.NEAR_BANKING][::7]
    oos = [[t, OUTSIDE] for t, _ in sets.clinc(data)[1]]
    rows = train + far + oos
    x, y = matrix([t for t, _ in rows]), np.array([i for _, i in rows])
    scores, labels = held_out(x, y, 0.5)
    head, _ = fit(x, y, 0.5)
    source = (f"{BANKING[0]}; outside of it {CLINC[0]}", f"{BANKING[1]}; {CLINC[1]}")
    models.intent("banking77", head, labels, scores, list(y), source)
    if models.embedding:
        vectors = models.embedding.of([t for t, _ in rows])
        refined, _ = fit_meaning(vectors, y)
        models.refined("banking77", refined, labels, held_out_meaning(scores, vectors, y), list(y), source)


def own(models, data):
    seeds = sets.seeds()
    texts = [s["text"] for s in seeds]
    oos = [t for t, _ in sets.clinc(data)[1]]
    x, y = matrix(texts + oos), np.array([s["intent"] for s in seeds] + [OUTSIDE] * len(oos))
    scores, labels = held_out(x, y, 1.0)
    head, _ = fit(x, y, 1.0)
    models.intent("service", head, labels, scores, list(y), (f"{OWN[0]}; outside of it {CLINC[0]}", f"{OWN[1]}; {CLINC[1]}"))
    models.small("urgency", texts, [s["urgency"] for s in seeds], OWN, 600)
    models.small("sentiment", texts, [s["sentiment"] for s in seeds], OWN, 600)
    # Everyday English that asks for nobody keeps the head from hearing a person in everything.
    plain = [t for t, _ in sets.clinc(data)[0]][::30]
    both = (f"{OWN[0]}; {CLINC[0]}", f"{OWN[1]}; {CLINC[1]}")
    models.small("person", texts + plain, [s["person"] for s in seeds] + ["no"] * len(plain), both, 600)
    models.small("language", texts + plain, [s["language"] for s in seeds] + ["en"] * len(plain), both, 700)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--embedding")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    models = Models(given.out, Embedding(given.embedding) if given.embedding else None)
    clinc(models, given.data)
    banking(models, given.data)
    own(models, given.data)
    models.finish()
    print("manifest", hashlib.sha256((given.out / "manifest.toml").read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
