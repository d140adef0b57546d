"""Linear heads as ONNX files, one score a label out, weights of 8 bits. `Head`: rows and weights in. `Refined`: such a head's scores and
a vector in."""

import numpy as np
from onnx import TensorProto as T
from onnx import checker, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

node = helper.make_node


class Head:
    """Weights as they are shipped, so that thresholds are taken from the very numbers that will decide."""

    def __init__(self, idf, coefficients, intercept):
        # A binary classifier has one row: the other label's score is its opposite.
        if coefficients.shape[0] == 1:
            coefficients = np.vstack([-coefficients, coefficients])
            intercept = np.array([-intercept[0], intercept[0]])
        self.idf = idf.astype(np.float32)
        peak = np.abs(coefficients).max(axis=1)
        self.scale = (np.where(peak > 0, peak, 1.0) / 127.0).astype(np.float32)
        self.table = np.rint(coefficients / self.scale[:, None]).astype(np.int8).T.copy()
        self.bias = intercept.astype(np.float32)

    def scores(self, matrix):
        """Of a matrix of raw weights: the arithmetic of the graph below."""
        weighted = matrix.multiply(self.idf).tocsr()
        norm = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1))).ravel()
        norm[norm == 0] = 1.0
        return (weighted @ self.table.astype(np.float32)) / norm[:, None] * self.scale + self.bias

    def write(self, path, name):
        axes = np.array([0], dtype=np.int64)
        nodes = [
            node("Gather", ["idf", "rows"], ["rarity"], axis=0),
            node("Mul", ["weights", "rarity"], ["weighted"]),
            node("Mul", ["weighted", "weighted"], ["squares"]),
            node("ReduceSum", ["squares", "axes"], ["square"], keepdims=1),
            node("Sqrt", ["square"], ["norm"]),
            node("Div", ["weighted", "norm"], ["unit"]),
            node("Unsqueeze", ["unit", "axes"], ["row"]),
            node("Gather", ["table", "rows"], ["packed"], axis=0),
            node("Cast", ["packed"], ["unpacked"], to=T.FLOAT),
            node("MatMul", ["row", "unpacked"], ["sums"]),
            node("Squeeze", ["sums", "axes"], ["sum"]),
            node("Mul", ["sum", "scale"], ["scaled"]),
            node("Add", ["scaled", "bias"], ["scores"]),
        ]
        inputs = [value("rows", T.INT64, "n"), value("weights", T.FLOAT, "n")]
        constants = {"idf": self.idf, "table": self.table, "scale": self.scale, "bias": self.bias, "axes": axes}
        save(path, name, nodes, inputs, constants)


class Refined:
    """What a head says, and what a linear classifier of vectors says, added. `share` is how much the second counts."""

    def __init__(self, coefficients, intercept, share):
        coefficients, intercept = coefficients * share, intercept * share
        self.scale = (np.abs(coefficients).max(axis=1) / 127.0).astype(np.float32)
        self.table = np.rint(coefficients / self.scale[:, None]).astype(np.int8).T.copy()
        self.bias = intercept.astype(np.float32)

    def scores(self, words, vectors):
        """The arithmetic of the graph below."""
        return words + (vectors @ self.table.astype(np.float32)) * self.scale + self.bias

    def write(self, path, name):
        axes = np.array([0], dtype=np.int64)
        nodes = [
            node("Unsqueeze", ["vector", "axes"], ["row"]),
            node("Cast", ["table"], ["unpacked"], to=T.FLOAT),
            node("MatMul", ["row", "unpacked"], ["sums"]),
            node("Squeeze", ["sums", "axes"], ["sum"]),
            node("Mul", ["sum", "scale"], ["scaled"]),
            node("Add", ["scaled", "bias"], ["meaning"]),
            node("Add", ["words", "meaning"], ["scores"]),
        ]
        inputs = [value("words", T.FLOAT, len(self.bias)), value("vector", T.FLOAT, self.table.shape[0])]
        save(path, name, nodes, inputs, {"table": self.table, "scale": self.scale, "bias": self.bias, "axes": axes})


def value(name, kind, size):
    return helper.make_tensor_value_info(name, kind, [size])


def save(path, name, nodes, inputs, constants):
    labels = len(constants["bias"])
    initialisers = [numpy_helper.from_array(array, constant) for constant, array in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, [value("scores", T.FLOAT, labels)], initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="tandem")
    checker.check_model(model)
    with open(path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))
