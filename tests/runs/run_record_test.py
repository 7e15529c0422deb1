# SPDX-License-Identifier: Apache-2.0
"""The record of what ran: its parts, its comparisons, and damaged ones."""

import importlib
import importlib.metadata
import json
import sys

import pytest
from absl import flags as absl_flags

from kbert.runs import run_record
from kbert.runs.run_record import Command, RunRecord


def _record(path, command="pretrain", inputs=None, **settings):
    return RunRecord(
        path,
        Command(
            command,
            settings={"steps": 9, "seed": 0, "init": "/secret", **settings},
            flags=f"--steps={settings}\n",
        ),
        inputs or {},
    )


def _save(path, step):
    (path / "checkpoints" / f"step-{step:08}").mkdir(parents=True)


def _ran(path):
    """First and last step and seed of each part."""
    return [
        (x["first_step"], x["last_step"], x["settings"]["save_every"])
        for x in run_record.read(path)["parts"]
    ]


def test_a_part_is_of_the_steps_that_are_not_lost(tmp_path):
    """Killed, resumed from an earlier step with another setting, and again."""
    said = []
    _record(tmp_path, save_every=1).on_train_begin(0)
    assert _ran(tmp_path) == [(1, None, 1)]  # under way, or killed
    (part,) = run_record.read(tmp_path)["parts"]
    names = {"kbert": "kbert-keras", "tensorflow": "tensorflow"}
    for name, distribution in {**names, "keras": "keras"}.items():
        version = importlib.metadata.version(distribution)
        assert part["versions"][name] == version
    _save(tmp_path, 4)
    record = _record(tmp_path, save_every=2)
    record.check(said.append)
    record.on_train_begin(4)
    assert _ran(tmp_path) == [(1, 4, 1), (5, None, 2)]
    _save(tmp_path, 6)
    record.on_train_end(6)
    assert _ran(tmp_path) == [(1, 4, 1), (5, 6, 2)]
    _record(tmp_path, save_every=2).on_train_begin(
        6
    )  # as before: no separate part
    assert _ran(tmp_path) == [(1, 4, 1), (5, None, 2)]
    # The newer checkpoints were damaged.
    _record(tmp_path, save_every=3).on_train_begin(4)
    assert _ran(tmp_path) == [(1, 4, 1), (5, None, 3)]
    _record(tmp_path, save_every=3).on_train_begin(2)
    assert _ran(tmp_path) == [(1, 2, 1), (3, None, 3)]
    assert said == [
        f"{tmp_path}: --save_every=2 (1 before), which is no change of the "
        "steps."
    ]
    assert "secret" not in (tmp_path / "run.json").read_text()


@pytest.mark.parametrize("command", ["finetune", "pretrain"])
def test_all_flags_but_a_few_make_another_run(tmp_path, command):
    """A new flag does, until somebody says that it does not."""
    values = _values(command)
    _record(tmp_path, **values).on_train_begin(0)
    _save(tmp_path, 1)
    kinds = {}
    for name, value in values.items():
        said = []
        try:
            _record(tmp_path, **{**values, name: _other(value)}).check(
                said.append
            )
        except ValueError as error:
            assert f" with --{name}=" in str(error)
            kinds.setdefault("refused", set()).add(name)
        else:
            kind = "longer" if "schedule now ext" in str(said) else len(said)
            kinds.setdefault(kind, set()).add(name)
    assert len(kinds["refused"]) >= 15
    assert kinds["longer"] <= {"steps", "epochs"}
    paths = {"init", "train", "dev", "input", "eval_input", "vocab"}
    assert kinds[0] <= paths | {"output_dir", "model_config"}
    how = {"strategy", "start_timeout", "accumulate_steps", "remat", "xla"}
    what = {"log_every", "save_every", "keep_checkpoints", "peak_tflops"}
    scores = {"eval_every", "patience", "metric", "keep", "worst"}
    assert kinds[1] <= how | what | scores


def _values(command):
    """All flags of a command, with their defaults."""
    module = importlib.import_module(f"kbert.bin.{command}")
    own = absl_flags.FLAGS.get_key_flags_for_module(module.__name__)
    values = {flag.name: flag.default for flag in own}
    del sys.modules[module.__name__]
    for name in values:
        delattr(absl_flags.FLAGS, name)
    return values


def _other(value):
    return value + 1 if isinstance(value, int | float) else f"{value}_other"


def test_another_commands_run_is_refused(tmp_path):
    _record(tmp_path).on_train_begin(0)
    _save(tmp_path, 1)
    with pytest.raises(ValueError, match="checkpoints of a kbert-pretrain run"):
        _record(tmp_path, "finetune").check(print)


def test_checkpoints_without_a_record_are_refused(tmp_path):
    _save(tmp_path, 1)
    with pytest.raises(ValueError, match="has checkpoints but no run.json"):
        _record(tmp_path).check(print)


def _only_keras(version):
    """Of the installed packages' versions only Keras's is known."""

    def version_of(distribution):
        if distribution == "keras":
            return version
        raise importlib.metadata.PackageNotFoundError(distribution)

    return version_of


def test_other_versions_are_named(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(importlib.metadata, "version", _only_keras("3.0"))
        _record(tmp_path).on_train_begin(0)
    _save(tmp_path, 1)
    monkeypatch.setattr(importlib.metadata, "version", _only_keras("3.1"))
    said = []
    record = _record(tmp_path)
    record.check(said.append)
    record.on_train_begin(1)
    assert said == [f"{tmp_path}: keras 3.1 (3.0 before)."]
    versions = [x["versions"] for x in run_record.read(tmp_path)["parts"]]
    assert versions == [{"keras": "3.0"}, {"keras": "3.1"}]


@pytest.mark.parametrize("flag", ["input", "init", "vocab", "model_config"])
def test_inputs_are_known_by_their_content(tmp_path, flag):
    def given(name, fingerprint):
        inputs = {flag: {"name": name, "fingerprint": fingerprint}}
        return _record(tmp_path, inputs=inputs)

    given("a", "1").on_train_begin(0)
    _save(tmp_path, 1)
    given("moved", "1").check(_never)
    with pytest.raises(ValueError, match=rf"--{flag}=b \(a before\): that"):
        given("b", "2").check(_never)
    message = rf"--{flag}=a \(with another content before\): that"
    with pytest.raises(ValueError, match=message):
        given("a", "2").check(_never)
    with pytest.raises(ValueError, match=rf"--{flag}=none \(a before\): that"):
        _record(tmp_path).check(_never)


def _never(line):
    raise AssertionError(line)


def test_record_files_are_distinguished_by_both_ends(tmp_path):
    """Of a size, they differ in the first byte, the last, or none."""
    files = {
        "a": b"1" + bytes(200_000),
        "b": bytes(200_000) + b"1",
        "c": bytes(200_001),
        "d": bytes(200_002),
        "same": bytes(200_001),
    }
    found = {}
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        found[name] = run_record.named_records(f"/x/{name}", [str(path)])
        assert found[name]["name"] == name
    prints = {name: x["fingerprint"] for name, x in found.items()}
    assert prints["c"] == prints.pop("same")
    assert len(set(prints.values())) == 4


def test_a_model_of_a_run_is_named_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(run_record.formats, "fingerprint", lambda _: "1")
    model = tmp_path / "films" / "model"
    model.mkdir(parents=True)
    assert run_record.named_model(model)["name"] == "model"
    _record(model.parent).on_train_begin(0)
    named = {"name": "films/model", "fingerprint": "1"}
    assert run_record.named_model(model) == named


def test_settings_read_as_flags():
    settings = {"xla": False, "remat": True, "metric": None, "rate": 0.1}
    assert run_record.flag_lines({**settings, "columns": ["a", "b"]}) == [
        *("--columns=a,b", "--rate=0.1", "--remat", "--noxla")
    ]


PART = {
    "first_step": 1,
    "last_step": None,
    "date": "",
    "versions": {},
    "inputs": {},
    "settings": {},
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"command": 1, "parts": []}',
        '{"command": "pretrain", "parts": [1]}',
        *(
            json.dumps({"command": "pretrain", "parts": [{**PART, **x}]})
            for x in (
                {"first_step": "1"},
                {"last_step": 1.5},
                {"date": None},
                {"inputs": []},
                {"inputs": {"init": {"name": "a"}}},
                {"settings": None},
            )
        ),
        "[" * 100_000,
    ],
)
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match="run.json:"):
        _record(tmp_path)
