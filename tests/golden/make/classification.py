"""Makes tests/golden/classification.json: python3 tests/golden/make/classification.py

Accuracy, top-k accuracy, confusion and ROC-AUC by scikit-learn of random scores. Scores of the first do not tie (scikit-learn breaks ties of top-k
another way than ours); those of the second come in few values, so that many tie.
"""
import json
import os

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score, top_k_accuracy_score

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
rng = np.random.default_rng(7)

rankings = []
for classes, samples in [(3, 20), (10, 60), (40, 50)]:
    labels = rng.integers(0, classes, samples)
    scores = np.round(rng.normal(size=(samples, classes)), 6)
    scores[np.arange(samples), labels] += 0.8
    assert all(len(set(row)) == classes for row in scores.tolist())
    predicted = scores.argmax(axis=1)
    rankings.append({
        "labels": labels.tolist(), "scores": scores.tolist(),
        "accuracy": accuracy_score(labels, predicted),
        "top": {str(k): top_k_accuracy_score(labels, scores, k=k, labels=range(classes)) for k in (1, 2, 5) if k < classes},
        "confusion": confusion_matrix(labels, predicted, labels=range(classes)).tolist()})

curves = []
for samples, values in [(10, 3), (57, 8), (200, 20), (200, 0), (31, 1)]:
    positive = rng.integers(0, 2, samples)
    positive[:2] = [0, 1]
    scores = 0.3 * positive + rng.random(samples)
    scores = np.round(scores * values) / values if values > 1 else np.round(scores, 9) if values == 0 else np.full(samples, 0.5)
    curves.append({"positive": positive.tolist(), "scores": scores.tolist(), "roc_auc": float(roc_auc_score(positive, scores))})

with open(os.path.join(ROOT, "tests", "golden", "classification.json"), "w", encoding="utf-8") as f:
    json.dump({"rankings": rankings, "curves": curves}, f, separators=(",", ":"))
    f.write("\n")
