# SPDX-License-Identifier: Apache-2.0
"""The layout holds: who imports whom, what is installed, the tree in docs."""

import ast
import configparser
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# One direction: what each part may import at most. BUILD says what it does.
ALLOWED = {
    "atomic_files": {"json_files"},
    "input_files": set(),
    "json_files": {"input_files"},
    "config": {"json_files"},
    "limits": {"config", "json_files"},
    "markdown": set(),
    "process": set(),
    "features": set(),
    "layers": set(),
    "models": {"config", "features", "layers"},
    "heads": {
        *("config", "features", "json_files", "layers", "limits"),
        *("models", "options", "window_sizes"),
    },
    "options": set(),
    "window_sizes": set(),
    "text": {
        *("atomic_files", "features", "input_files", "json_files"),
        "window_sizes",
    },
    "data": {
        *("atomic_files", "features", "input_files", "json_files", "limits"),
        *("process", "text", "window_sizes"),
    },
    "training": {
        *("atomic_files", "config", "features", "json_files", "limits"),
        "options",
    },
    "checkpoints": {
        *("atomic_files", "config", "features", "input_files", "json_files"),
        *("heads", "models", "text"),
    },
    "predictors": {"features", "heads", "layers", "models", "text"},
    "serving": {
        *("atomic_files", "config", "features", "heads", "layers"),
        *("markdown", "models", "predictors", "text"),
    },
    "tasks": {
        *("checkpoints", "config", "data", "features", "heads"),
        *("json_files", "models", "predictors", "serving", "text"),
        *("training", "window_sizes"),
    },
}
# A run joins all the others; only commands start it.
ALLOWED["runs"] = set(ALLOWED)
# The public names, the commands and the export scripts stand above the rest.
ALLOWED["kbert"] = set(ALLOWED)
ALLOWED["bin"] = set(ALLOWED)
ALLOWED["export"] = set(ALLOWED)

# These run on every Keras backend and where TensorFlow is missing.
NO_TENSORFLOW = (
    *("atomic_files", "input_files", "json_files", "limits", "markdown"),
    *("options", "window_sizes"),
    *("config", "features", "heads", "layers", "models"),
)
NO_TENSORFLOW_FILES = (
    *("training/config.py", "training/losses.py", "training/optimizer.py"),
)
TENSORFLOW = re.compile(r"(tensorflow|tf_keras|keras_nlp|keras_hub|official)\b")


# A task's folder has files of three parts: two of them by their names.
PARTS_OF_TASKS = {
    **dict.fromkeys(("__init__", "parts", "settings", "spec"), "heads"),
    **dict.fromkeys(("head", "heads", "metrics"), "heads"),
    **dict.fromkeys(("element_losses", "retrieval_scores"), "heads"),
    **dict.fromkeys(("long_texts", "search"), "heads"),
    **dict.fromkeys(("chunks", "predictor", "shared_blocks"), "predictors"),
}


def _part_of(file):
    folder, *rest = file.relative_to(ROOT).parts
    if folder == "export":
        return "export"
    if rest[0] == "tasks":
        return PARTS_OF_TASKS.get(file.stem, "tasks")
    return pathlib.Path(rest[0]).stem.replace("__init__", "kbert")


def _file_of(name):
    """The file of a module of kbert, or of the one that a name is in."""
    while name != "kbert":
        path = ROOT / name.replace(".", "/")
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.exists():
                return file
        name = name.rpartition(".")[0]
    return ROOT / "kbert" / "__init__.py"


FILES = sorted((*ROOT.glob("kbert/**/*.py"), *ROOT.glob("export/**/*.py")))
PARTS = sorted({_part_of(file) for file in FILES})


def _files(part):
    return [file for file in FILES if _part_of(file) == part]


def _imported(file):
    """Full names of the modules that a file imports, anywhere in it.

    A text that names a module of ours counts: it is there to be imported.
    """
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}:{node.lineno}: say the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"kbert(\.\w+)+", node.value):
                yield node.value


def _parts_imported(part):
    """The other parts that a part imports."""
    parts = set()
    for file in _files(part):
        for name in _imported(file):
            package, _, rest = f"{name}.".partition(".")
            if package == "export":
                parts.add("export")
            elif package == "kbert" and rest != "configs.":  # that is data
                parts.add(_part_of(_file_of(name)))
    return parts - {part}


def _build_targets():
    """{name: (source files, deps)} of the py_library calls in BUILD."""
    targets = {}
    tree = ast.parse((ROOT / "BUILD").read_text("utf-8"))
    for statement in tree.body:
        assert isinstance(statement, ast.Expr), ast.unparse(statement)
        call = statement.value
        assert isinstance(call, ast.Call), ast.unparse(statement)
        assert ast.unparse(call.func) == "py_library", ast.unparse(call)
        fields = {keyword.arg: keyword.value for keyword in call.keywords}
        assert set(fields) <= {"name", "srcs", "deps"}, set(fields)
        name = ast.literal_eval(fields["name"])
        assert name not in targets, f"BUILD has two targets {name}"
        deps = ast.literal_eval(fields.get("deps", ast.List([])))
        targets[name] = (_sources(fields["srcs"]), deps)
    return targets


def _sources(value):
    if isinstance(value, ast.BinOp):
        return _sources(value.left) | _sources(value.right)
    if isinstance(value, ast.Call):
        assert ast.unparse(value.func) == "glob", ast.unparse(value)
        lists = [value.args[0], *(x.value for x in value.keywords)]
        found, *excluded = (
            {file for pattern in patterns for file in ROOT.glob(pattern)}
            for patterns in map(ast.literal_eval, lists)
        )
        return found.difference(*excluded)
    return {ROOT / name for name in ast.literal_eval(value)}


def test_build_has_one_target_for_each_part():
    targets = _build_targets()
    assert sorted(targets) == PARTS
    for part in PARTS:
        assert targets[part][0] == set(_files(part)), f"srcs of {part} in BUILD"


@pytest.mark.parametrize("part", PARTS)
def test_deps_in_build_are_the_imports(part):
    deps = _build_targets()[part][1]
    imports = sorted(f":{name}" for name in _parts_imported(part))
    assert sorted(deps) == imports, f"BUILD: deps of {part}: {imports}"


@pytest.mark.parametrize("part", PARTS)
def test_imports_go_one_way(part):
    assert part in ALLOWED, f"say in {__file__} what {part} may import"
    excess = _parts_imported(part) - ALLOWED[part]
    if part == "export":
        excess -= {"bin"}  # its scripts are the commands, to be started there
    assert not excess, f"{part} may not import {sorted(excess)}"


def test_only_commands_see_flags():
    seen = {
        _part_of(file)
        for file in FILES
        for name in _imported(file)
        if re.match(r"absl\.(app|flags)\b|argparse\b", name)
    }
    assert "bin" in seen
    assert seen <= {"bin", "export"}


def test_one_module_writes_atomically():
    """One more renames: a checkpoint that is damaged."""
    renames = re.compile(r"\bos\.(rename|replace)\b|\.rename\(|\bmk[ds]temp\b")
    found = {
        str(file.relative_to(ROOT / "kbert"))
        for file in ROOT.glob("kbert/**/*.py")
        if renames.search(file.read_text("utf-8"))
    }
    assert found == {"atomic_files.py", "training/checkpoints.py"}


def _files_without_tensorflow():
    files = [file for part in NO_TENSORFLOW for file in _files(part)]
    return files + [ROOT / "kbert" / name for name in NO_TENSORFLOW_FILES]


@pytest.mark.parametrize(
    "file",
    _files_without_tensorflow(),
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_file_does_not_name_tensorflow(file):
    assert file.exists()
    assert not [name for name in _imported(file) if TENSORFLOW.match(name)]


BLOCK_TENSORFLOW = """
import sys
for name in ("tensorflow", "tensorflow_text", "tf_keras"):
    sys.modules[name] = None  # importing it is an ImportError
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_imports_where_tensorflow_is_missing(monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    files = [file.relative_to(ROOT) for file in _files_without_tensorflow()]
    names = [".".join(file.with_suffix("").parts) for file in files]
    names = [name.removesuffix(".__init__") for name in names]
    command = [sys.executable, "-c", BLOCK_TENSORFLOW, *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def _setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_every_package_is_installed():
    listed = _setup_cfg()["options"]["packages"].split()
    packages = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in ROOT.glob("kbert/**/*.py")
    }
    assert sorted(listed) == sorted({"kbert.configs"} | packages)


def test_every_command_is_installed():
    scripts = _setup_cfg()["options.entry_points"]["console_scripts"]
    commands = [
        file.stem
        for file in _files("bin")
        if re.search(r"^def cli\(", file.read_text("utf-8"), re.M)
    ]
    assert sorted(scripts.strip().splitlines()) == sorted(
        f"kbert-{name.replace('_', '-')} = kbert.bin.{name}:cli"
        for name in commands
    )


def test_every_file_names_its_license():
    folders = ("kbert", "configs", "docs", "tests", "export", "examples")
    folders += ("benchmarks",)
    files = [file for name in folders for file in (ROOT / name).rglob("*.py")]
    line = "# SPDX-License-Identifier: Apache-2.0\n"
    assert not [f for f in files if not f.read_text("utf-8").startswith(line)]


def _paths_in_tree(text):
    """Paths named by the fenced tree in a text: names, indented, described.

    A line holds a name, or several with commas, then two spaces or a colon and
    a description, whose further lines are indented by more than 12.
    """
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    trees = [block for block in blocks if re.search(r"^kbert/", block, re.M)]
    assert len(trees) == 1, "one fenced block has a line that starts kbert/"
    line = re.compile(
        r"^( {0,12})([\w.*/-]+(?:, [\w.*/-]+)*)(?::| {2}|$)", re.M
    )
    folders = []  # (indent, path) from the top to the folder we are in
    for indent, names in line.findall(trees[0]):
        while folders and folders[-1][0] >= len(indent):
            folders.pop()
        above = folders[-1][1] if folders else ""
        yield from (above + name for name in names.split(", "))
        if names.endswith("/"):
            folders.append((len(indent), above + names))


def test_the_tree_parser():
    text = """
```
make demo
```
```
setup.cfg       what is installed: metadata,
                continued here
configs/a/*.json  models
kbert/          all code
  layers/         one a file
    one.py          first
    two.py, three.py: in this order
  config.py
tests/
```
"""
    assert list(_paths_in_tree(text)) == [
        *("setup.cfg", "configs/a/*.json", "kbert/", "kbert/layers/"),
        *("kbert/layers/one.py", "kbert/layers/two.py"),
        *("kbert/layers/three.py", "kbert/config.py", "tests/"),
    ]


def test_the_tree_in_docs_is_true():
    page = ROOT / "docs/architecture.md"
    paths = list(_paths_in_tree(page.read_text("utf-8")))
    missing = [path for path in paths if not list(ROOT.glob(path))]
    assert not missing, f"{page}'s tree names what is not there"
    packages = {
        f"kbert/{file.parent.name}/"
        for file in ROOT.glob("kbert/*/__init__.py")
    }
    assert not packages - set(paths), f"{page}'s tree lacks parts of kbert/"
