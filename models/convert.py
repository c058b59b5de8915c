"""What scikit-learn has trained, as an ONNX graph: double to double, so that both give the same scores.

    logistic_regression      x ─▶ (x - mean) / scale ─▶ Gemm ─────▶ sigmoid
    decision_tree            x ─▶ float32 ─▶ TreeEnsemble (sum)
    random_forest            x ─▶ float32 ─▶ TreeEnsemble (sum) ─▶ / trees
    hist_gradient_boosting   x ─▶ TreeEnsemble (sum) ─▶ + baseline ─▶ sigmoid

x is double[rows, inputs] and what comes out double[rows, 1], the probability of the second class. scikit-learn rounds
what its trees read to float32, all but those of the histograms, and so does the graph. NaN goes where the tree has
learnt to send it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from models.card import INPUT, OPSETS, OUTPUT

IR_VERSION = 10
"""Of ONNX's file format, the one that belongs to OPSETS."""

BRANCH_LEQ = 0
"""The mode of a node: x <= split goes to its `true` side."""


def to_onnx(trained: Any) -> bytes:
    """The graph of a classifier that `models.train.classifier` made, fitted to two classes."""
    if isinstance(trained, Pipeline):
        nodes = _logistic(trained)
        inputs = trained[0].n_features_in_
    else:
        nodes, inputs = _trees(trained), trained.n_features_in_
    graph = helper.make_graph(
        nodes.nodes,
        "score",
        [helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, [None, inputs])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.DOUBLE, [None, 1])],
        nodes.constants,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="stakeout")
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


@dataclass(slots=True)
class _Nodes:
    """A chain of operators, and the constants they read."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def then(self, operator: str, *constants: npt.ArrayLike, last: bool = False, **attributes: Any) -> None:
        """One more operator on what the one before gave."""
        number = len(self.nodes)
        names = [f"c{number}_{place}" for place in range(len(constants))]
        self.constants += [
            numpy_helper.from_array(np.asarray(value, np.float64), name)
            for name, value in zip(names, constants, strict=True)
        ]
        source = INPUT if number == 0 else f"n{number - 1}"
        target = OUTPUT if last else f"n{number}"
        self.nodes.append(helper.make_node(operator, [source, *names], [target], **attributes))


def _logistic(trained: Pipeline) -> _Nodes:
    scaler, regression = trained[0], trained[1]
    nodes = _Nodes()
    nodes.then("Sub", scaler.mean_)
    nodes.then("Div", scaler.scale_)
    nodes.then("Gemm", regression.coef_.T, regression.intercept_)
    nodes.then("Sigmoid", last=True)
    return nodes


def _trees(trained: Any) -> _Nodes:
    nodes = _Nodes()
    if isinstance(trained, HistGradientBoostingClassifier):
        _ensemble(nodes, [_boosted(stage[0].nodes) for stage in trained._predictors])
        nodes.then("Add", trained._baseline_prediction.reshape(1, 1))
        nodes.then("Sigmoid", last=True)
        return nodes
    assert isinstance(trained, DecisionTreeClassifier | RandomForestClassifier), "no classifier of ours"
    nodes.then("Cast", to=TensorProto.FLOAT)
    nodes.then("Cast", to=TensorProto.DOUBLE)
    members = [trained] if isinstance(trained, DecisionTreeClassifier) else trained.estimators_
    _ensemble(nodes, [_grown(member.tree_) for member in members])
    nodes.then("Div", [[float(len(members))]], last=True)
    return nodes


@dataclass(frozen=True, slots=True)
class _Tree:
    """A tree as arrays, node 0 its root; `left` is 0 at a leaf, whose `value` it adds."""

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    input: npt.NDArray[np.int64]
    split: npt.NDArray[np.float64]
    null_left: npt.NDArray[np.bool_]
    value: npt.NDArray[np.float64]


def _grown(tree: Any) -> _Tree:
    """Of a decision tree or a forest: the share of the second class at each leaf."""
    leaf = tree.children_left < 0
    left, right = np.where(leaf, 0, tree.children_left), np.where(leaf, 0, tree.children_right)
    shares = tree.value[:, 0, :] / tree.value[:, 0, :].sum(axis=1, keepdims=True)
    return _Tree(left, right, tree.feature, tree.threshold, tree.missing_go_to_left.astype(bool), shares[:, 1])


def _boosted(nodes: Any) -> _Tree:
    """Of a stage of gradient boosting."""
    leaf = nodes["is_leaf"].astype(bool)
    left, right = (np.where(leaf, 0, nodes[side]).astype(np.int64) for side in ("left", "right"))
    null_left = nodes["missing_go_to_left"].astype(bool)
    return _Tree(left, right, nodes["feature_idx"], nodes["num_threshold"], null_left, nodes["value"])


def _ensemble(chain: _Nodes, trees: Sequence[_Tree]) -> None:
    """The trees as one operator, whose nodes and leaves are numbered apart and through all trees.

    A tree that is a leaf alone becomes a node with that leaf on both sides: the operator begins at a node.
    """
    roots, inputs, splits, nulls = list[int](), list[int](), list[float](), list[int]()
    sides: tuple[list[int], list[int]] = ([], [])
    are_leaves: tuple[list[int], list[int]] = ([], [])
    weights: list[float] = []
    for tree in trees:
        inner, leaf = tree.left != 0, tree.left == 0
        place = np.where(inner, np.cumsum(inner) - 1 + len(inputs), np.cumsum(leaf) - 1 + len(weights))
        roots.append(len(inputs))
        branching = np.flatnonzero(inner) if inner.any() else np.array([0])
        inputs += np.maximum(tree.input[branching], 0).tolist()
        splits += np.where(inner, tree.split, 0.0)[branching].tolist()
        nulls += tree.null_left[branching].astype(int).tolist()
        for side, is_leaf, children in zip(sides, are_leaves, (tree.left, tree.right), strict=True):
            side += place[children[branching]].tolist()
            is_leaf += leaf[children[branching]].astype(int).tolist()
        weights += tree.value[leaf].tolist()
    chain.then(
        "TreeEnsemble",
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=1,  # the sum
        post_transform=0,
        tree_roots=roots,
        nodes_featureids=inputs,
        nodes_splits=numpy_helper.from_array(np.array(splits, np.float64)),
        nodes_modes=numpy_helper.from_array(np.full(len(inputs), BRANCH_LEQ, np.uint8)),
        nodes_truenodeids=sides[0],
        nodes_trueleafs=are_leaves[0],
        nodes_falsenodeids=sides[1],
        nodes_falseleafs=are_leaves[1],
        nodes_missing_value_tracks_true=nulls,
        leaf_targetids=[0] * len(weights),
        leaf_weights=numpy_helper.from_array(np.array(weights, np.float64)),
    )
