# SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes with all combinations of given settings and compares the scores.

    kbert-tune --output_dir=out/tune --learning_rate=5e-5,3e-5,2e-5 \
        --batch_size=16,32 --epochs=2,3,4 --seed=0,1,2 -- \
        --init=DIR --train=train.tsv --dev=dev.tsv --text_columns=sentence

The flags after -- are passed to kbert-finetune. Each trial is a separate run
in its own folder; its checkpoints are removed when it is done. search.md has a
row for each setting: mean, standard deviation and best score over the seeds;
search.json has all results. The best trial of the setting with the best mean is
copied to model/.

SIGTERM or Ctrl-C saves the current trial and exits with 75; a second Ctrl-C
does not wait for it. Started again, the search resumes: it runs unfinished and
failed trials.
Without lists it prints the table of a folder, also of a running search.
"""

import sys

from absl import app, flags

from kbert import atomic_files
from kbert.bin import check_flagfiles, run

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder of the search.", required=True
)
# The settings that the paper varies (Devlin et al. 2019, Appendix A.3).
_LISTS = {
    name: (flags.DEFINE_list(name, None, text), number)
    for name, number, text in (
        ("learning_rate", float, "Rates to try, such as 5e-5,3e-5,2e-5."),
        ("batch_size", int, "Batch sizes to try, such as 16,32."),
        ("epochs", int, "Numbers of epochs to try, such as 2,3,4."),
        ("seed", int, "Seeds for each setting, such as 0,1,2."),
    )
}


def main(argv):
    """Runs the trials and prints the table."""
    from kbert.runs import stop_signals
    from kbert.runs.tune import FAILED, Search

    command, grid = argv[1:], _grid()
    if not grid:
        if command:
            raise app.UsageError("Give a list of values before the --.")
        print(Search(_OUTPUT_DIR.value).table(), end="")
        return
    _check(command, grid)
    with atomic_files.locked(_OUTPUT_DIR.value, "--output_dir"):
        search = Search(_OUTPUT_DIR.value, command, _inputs(command))
        program = [sys.executable, "-m", "kbert.bin.finetune"]
        if not search.run(grid, program, lambda line: print(line, flush=True)):
            print("Stopped; start it again to resume.", file=sys.stderr)
            sys.exit(stop_signals.EXIT_CODE)
        path = search.copy_best_model()
    print(f"\n{search.table()}", end="")
    if path:
        print(f"{path}: its model")
    failed = sum(trial.state == FAILED for trial in search.trials)
    if failed:
        raise ValueError(f"{failed} of {len(search.trials)} trials failed.")


def _check(command, grid):
    """Checks the flags of kbert-finetune.

    Raises: app.UsageError for flags that no trial can use.
    """
    given = {x.split("=")[0].lstrip("-") for x in command}
    for name in ("output_dir", *grid):
        if name in given:
            raise app.UsageError(f"--{name} is given before and after the --.")
    if not given & {"dev", "dev_share", "flagfile"}:  # a flagfile may have one
        raise app.UsageError(
            "Give --dev or --dev_share after the --: trials are compared on it."
        )


def _inputs(command):
    """Returns the paths of --init, --train and --dev; the last ones count."""
    check_flagfiles(command)
    expanded = flags.FlagValues().read_flags_from_files(command)
    found = {}
    for flag, after in zip(expanded, [*expanded[1:], ""], strict=True):
        name, equals, value = flag.lstrip("-").partition("=")
        if flag.startswith("-") and name in ("init", "train", "dev"):
            found[name] = value if equals else after
    return {name: path for name, path in found.items() if path}


def _grid():
    """Returns the distinct values of each list that was given."""
    grid = {}
    for name, (holder, number) in _LISTS.items():
        if not holder.value:
            continue
        try:
            values = list(dict.fromkeys(map(number, holder.value)))
        except ValueError:
            values = [-1]
        if min(values) < 0 or (name != "seed" and not min(values)):
            raise ValueError(
                f"--{name}={','.join(holder.value)}: needs comma-separated "
                "numbers."
            )
        grid[name] = values
    return grid


def cli():
    """The console script."""
    run(main, __file__, resumes=True)


if __name__ == "__main__":
    cli()
