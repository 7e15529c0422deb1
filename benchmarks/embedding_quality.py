# SPDX-License-Identifier: Apache-2.0
r"""Scores of trained vectors and rerankers, and of sentence-transformers'.

    pip install --no-deps sentence-transformers==6.2.0
    python -m benchmarks.embedding_quality --data_dir=DIR --model=FOLDER \
        --pretrained=FOLDER --output_dir=OUT

--model is a sentence-transformers folder, --pretrained the run of a model that
has only masked-LM training (configs/runs/pretrain_tiny.flags).

sick        from --model: SICK's pairs by CoSENT; Spearman on its trial pairs
matryoshka  the same at four widths; Spearman of all 384 numbers and of 64
retrieval   from --pretrained: questions and paragraphs of SQuAD articles, by
            "ranking"; MRR@10 of XQuAD's questions among its paragraphs
reranking   from --model: a cross-encoder of questions and paragraphs that
            "retrieval" mines; MRR@10 of its order of the first 10

Both sides have the same settings, dropout 0.1 and the same recipe. Finished
runs are kept in --output_dir, and not made again.
"""

import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys
from typing import Any

import numpy as np
from absl import app, flags

_DATA = flags.DEFINE_string("data_dir", None, "Data sets.", required=True)
_MODEL = flags.DEFINE_string("model", None, "The folder.", required=True)
_PRETRAINED = flags.DEFINE_string("pretrained", None, "A run's folder.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Runs.", required=True)
_SEEDS = flags.DEFINE_list("seeds", ["1", "2", "3"], "Seeds of a side.")
_ONLY = flags.DEFINE_list("only", [], "Names of trainings; by default all.")
_SIDES = flags.DEFINE_list(
    "sides", ["kbert", "sentence_transformers"], "Who trains."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What both sides are asked for.

    Attributes:
        init: the folder of the model to start from.
        train: the table, of text columns and "label" where the loss has them.
        texts: the names of its text columns.
        loss: of `kbert-finetune`.
        epochs: over the table.
        rate: the highest learning rate.
        batch_size: rows of a step.
        max_seq_length: tokens of a row.
        matryoshka: widths.
        test: texts to embed, or queries with candidates, a JSON file.
        seed: of order and dropout.
    """

    init: str
    train: str
    texts: tuple[str, ...]
    loss: str
    epochs: int
    rate: float
    batch_size: int = 32
    max_seq_length: int = 64
    matryoshka: tuple[int, ...] = ()
    test: str
    seed: int

    @property
    def reranks(self) -> bool:
        """Whether it is a cross-encoder."""
        return self.loss == "binary_crossentropy"

    def rows(self) -> list[dict[str, Any]]:
        """Those of the table."""
        lines = pathlib.Path(self.train).read_text("utf-8").split("\n")
        return [json.loads(line) for line in lines if line]


def main(argv):
    """Prints a line for each training and side."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    out = pathlib.Path(_OUTPUT_DIR.value)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("sick", "matryoshka", "retrieval", "reranking"):
        if _ONLY.value and name not in _ONLY.value:
            continue
        for side in ("start", *_SIDES.value):
            seeds = ["0"] if side == "start" else _SEEDS.value
            scores = [_scores(name, side, int(seed)) for seed in seeds]
            print(f"{name}, {side}: {_summary(scores)}", flush=True)


def _summary(scores) -> str:
    """The mean and the standard error of each score."""
    parts = []
    for key in scores[0]:
        values = [row[key] for row in scores]
        error = ""
        if len(values) > 1:
            spread = statistics.stdev(values) / len(values) ** 0.5
            error = f" (standard error {spread:.4f})"
        parts.append(f"{key} {statistics.mean(values):.4f}{error}")
    return ", ".join(parts)


def _scores(name: str, side: str, seed: int) -> dict[str, float]:
    """Of one run, from its file if there is one."""
    file = pathlib.Path(_OUTPUT_DIR.value) / f"{name}_{side}_{seed}.json"
    if not file.exists():
        made = {
            "sick": _sick,
            "matryoshka": _matryoshka,
            "retrieval": _retrieval,
            "reranking": _reranking,
        }[name](side, seed)
        file.write_text(json.dumps(made), "utf-8")
    return json.loads(file.read_text("utf-8"))


def _run(training: Training, side: str, name: str) -> np.ndarray:
    """The vectors of the test's texts, or the scores of its candidates."""
    folder = pathlib.Path(_OUTPUT_DIR.value).absolute()
    found = folder / f"{name}_{side}_{training.seed}.npy"
    work = {
        "training": dataclasses.asdict(training),
        "output_dir": str(found.with_suffix("")),
        "found": str(found),
    }
    module = "benchmarks.embedding_quality"
    subprocess.run(
        [sys.executable, "-m", module, "--side", side, json.dumps(work)],
        check=True,
    )
    return np.load(found)


def _write(name: str, rows: Any) -> str:
    """A file of a list: one row a line, or as one."""
    file = pathlib.Path(_OUTPUT_DIR.value).absolute() / name
    if name.endswith(".jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        text = json.dumps(rows)
    file.write_text(text, "utf-8")
    return str(file)


def _sick(side, seed, name="sick", **more) -> dict[str, float]:
    training, labels = _of_sick(seed, **more)
    vectors = _run(training, side, name)
    return {"spearman": _spearman(vectors, labels)}


def _matryoshka(side, seed) -> dict[str, float]:
    training, labels = _of_sick(seed, matryoshka=(384, 192, 128, 64))
    vectors = _run(training, side, "matryoshka")
    return {
        "spearman": _spearman(vectors, labels),
        "spearman of 64": _spearman(vectors[:, :64], labels),
    }


def _of_sick(seed, **more) -> tuple[Training, list[float]]:
    tables = {}
    for part in ("train", "dev"):
        path = pathlib.Path(_DATA.value) / "sick" / f"{part}.tsv"
        lines = [line.split("\t") for line in path.read_text().split("\n")]
        tables[part] = [
            {"a": row[1], "b": row[2], "label": float(row[3])}
            for row in lines[1:]
            if len(row) > 3
        ]
    dev = tables["dev"]
    training = Training(
        init=_MODEL.value,
        train=_write("sick.jsonl", tables["train"]),
        texts=("a", "b"),
        loss="cosent",
        epochs=3,
        rate=5e-5,
        test=_write(
            "sick_test.json", [row[x] for x in ("a", "b") for row in dev]
        ),
        seed=seed,
        **more,
    )
    return training, [row["label"] for row in dev]


def _spearman(vectors, labels) -> float:
    from scipy import stats

    first, second = np.split(_unit(vectors), 2)
    return float(stats.spearmanr((first * second).sum(1), labels).statistic)


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _squad(name) -> list[tuple[str, str]]:
    """Questions, each with its paragraph."""
    path = pathlib.Path(_DATA.value) / "squad" / name
    articles = json.loads(path.read_text("utf-8"))["data"]
    paragraphs = [p for article in articles for p in article["paragraphs"]]
    return [(q["question"], p["context"]) for p in paragraphs for q in p["qas"]]


def _of_squad(seed) -> tuple[Training, list[tuple[str, str]]]:
    rows = _squad("train-v1.1-17articles.json")
    test = _squad("xquad.en-v1.1.json")
    paragraphs = [*dict.fromkeys(p for _, p in test)]
    training = Training(
        init=_converted(_PRETRAINED.value),
        train=_write("squad.jsonl", [{"a": q, "b": p} for q, p in rows]),
        texts=("a", "b"),
        loss="ranking",
        epochs=10,
        rate=5e-4,
        batch_size=64,
        max_seq_length=192,
        test=_write("xquad.json", [*[q for q, _ in test], *paragraphs]),
        seed=seed,
    )
    return training, test


def _converted(model: str) -> str:
    """The same in Hugging Face's format, which both sides read."""
    folder = pathlib.Path(_OUTPUT_DIR.value).absolute() / "pretrained"
    if not folder.exists():
        subprocess.run(
            [
                *(sys.executable, "-m", "kbert.bin.convert"),
                *(f"--input={model}", f"--output={folder}"),
                "--to=huggingface",
            ],
            check=True,
        )
    return str(folder)


def _retrieval(side, seed) -> dict[str, float]:
    training, test = _of_squad(seed)
    vectors = _unit(_run(training, side, "retrieval"))
    order = np.argsort(-_cosines(vectors, test), axis=1)
    return {"mrr@10": _mrr(order, test)}


def _cosines(vectors, test):
    return vectors[: len(test)] @ vectors[len(test) :].T


def _mrr(order, test) -> float:
    paragraphs = [*dict.fromkeys(p for _, p in test)]
    ranks = [
        [*row].index(paragraphs.index(p)) + 1
        if paragraphs.index(p) in row
        else 11
        for row, (_, p) in zip(order[:, :10], test, strict=True)
    ]
    return float(np.mean([1 / rank if rank < 11 else 0.0 for rank in ranks]))


def _reranking(side, seed) -> dict[str, float]:
    """Of the first 10 of kbert's vectors of that seed."""
    _, test = _of_squad(seed)
    out = pathlib.Path(_OUTPUT_DIR.value).absolute()
    seed_of_vectors = seed or 1
    _scores("retrieval", "kbert", seed_of_vectors)
    vectors = _unit(np.load(out / f"retrieval_kbert_{seed_of_vectors}.npy"))
    first = np.argsort(-_cosines(vectors, test), axis=1)[:, :10]
    if side == "start":
        return {"mrr@10": _mrr(first, test)}
    paragraphs = [*dict.fromkeys(p for _, p in test)]
    training = Training(
        init=_MODEL.value,
        train=_mined(seed),
        texts=("anchor", "positive", "negative_1", "negative_2"),
        loss="binary_crossentropy",
        epochs=1,
        rate=1e-4,
        batch_size=16,
        max_seq_length=192,
        test=_write(
            f"candidates_{seed}.json",
            [
                [q, [paragraphs[i] for i in row]]
                for (q, _), row in zip(test, first, strict=True)
            ],
        ),
        seed=seed,
    )
    found = _run(training, side, "reranking")
    order = np.take_along_axis(first, np.argsort(-found, axis=1), 1)
    reranked = _mrr(order, test)
    return {"mrr@10": reranked, "gain": reranked - _mrr(first, test)}


def _mined(seed) -> str:
    """A thousand questions with negatives, of the vectors of that seed."""
    out = pathlib.Path(_OUTPUT_DIR.value).absolute()
    mined = out / f"mined_{seed}.jsonl"
    if not mined.exists():
        model = out / f"retrieval_kbert_{seed}" / "model"
        subprocess.run(
            [
                *(sys.executable, "-m", "kbert.bin.mine_negatives"),
                f"--model={model}",
                f"--input={out / 'squad.jsonl'}",
                "--text_columns=a,b",
                "--num_negatives=2",
                f"--output_file={mined}",
            ],
            check=True,
        )
        lines = mined.read_text("utf-8").splitlines(keepends=True)
        chosen = np.random.default_rng(seed).permutation(len(lines))[:1000]
        mined.write_text("".join(lines[i] for i in chosen), "utf-8")
    return str(mined)


def _serve(side: str, work: str) -> None:
    """Trains in this process and writes what the test asks for."""
    given = json.loads(work)
    training = Training(**given["training"])
    test = json.loads(pathlib.Path(training.test).read_text("utf-8"))
    if side == "sentence_transformers":
        from benchmarks.embedding_sides import torch_training

        found = torch_training.run(training, test)
    else:
        found = _kbert(training, test, side, given["output_dir"])
    np.save(given["found"], np.asarray(found, np.float32))


def _kbert(training: Training, test, side: str, output_dir: str) -> Any:
    import kbert

    path, widths = training.init, ",".join(map(str, training.matryoshka))
    if side != "start":
        path = f"{output_dir}/model"
        subprocess.run(
            [
                *(sys.executable, "-m", "kbert.bin.finetune"),
                f"--task={'reranking' if training.reranks else 'embedding'}",
                f"--init={training.init}",
                f"--train={training.train}",
                f"--text_columns={','.join(training.texts)}",
                *(["--label_column=label"] * (training.loss == "cosent")),
                f"--loss={training.loss}",
                *[f"--matryoshka={widths}"] * bool(widths),
                f"--epochs={training.epochs}",
                f"--learning_rate={training.rate}",
                f"--batch_size={training.batch_size}",
                f"--max_seq_length={training.max_seq_length}",
                f"--seed={training.seed}",
                f"--output_dir={output_dir}",
            ],
            check=True,
        )
    if training.reranks:
        rows = kbert.load(path).predict(tuple(zip(*test, strict=True)))
        return [row["scores"] for row in rows]
    length = training.max_seq_length
    embedder = kbert.Embedder.from_pretrained(path, max_seq_length=length)
    return embedder.predict(test)


if __name__ == "__main__":
    if sys.argv[1] == "--side":
        _serve(*sys.argv[2:])
    else:
        app.run(main)
