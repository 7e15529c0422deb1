# SPDX-License-Identifier: Apache-2.0
"""The commands: each module defines flags, makes objects and makes one call.

A command's module ends with

    def cli():
        run(main, __file__)


    if __name__ == "__main__":
        cli()

and imports TensorFlow, Keras and the rest of kbert only inside `main`, so that
`--help` is quick and libraries print nothing before the environment is set.
"""

import functools
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

from absl import app
from absl import flags as absl_flags  # kbert.bin.flags is another module
from absl import logging as absl_logging

from kbert import process
from kbert.bin import flag_errors, number_ranges, quiet, standard_streams
from kbert.input_files import check_regular
from kbert.runs import stop_signals

# Not in `run`: the processes that a command starts only import this module.
sys.meta_path.insert(0, quiet.TensorFlowFinder())


def run(
    main: Callable[[list[str]], object],
    module_file: str,
    *,
    resumes: bool = False,
) -> None:
    """Runs one command and exits.

    The exit status is 0 for success or help, 1 for bad input, 130 for Ctrl-C,
    141 if stdout is a pipe that its reader closed, and 75 if SIGTERM ended a
    command that can resume. Output is UTF-8, whatever the locale.

    ValueError, OSError and invalid flags become one line on stderr, such as
    `kbert-pretrain: error: vocab.txt: no [MASK].`; any other exception is a
    bug and keeps its traceback.

    Args:
        main: a function of the arguments that are not flags.
        module_file: `__file__` of the command, which determines its name.
        resumes: whether the command resumes when it is started again.
    """
    if resumes:
        stop_signals.exit_to_be_resumed()
    command = "kbert-" + pathlib.Path(module_file).stem.replace("_", "-")
    quiet.quieten_libraries()
    process.use_onednn()
    # The commands need TensorFlow, whatever ~/.keras/keras.json has.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    _name_module_for_help(main, command)

    def guarded_main(argv):
        try:
            number_ranges.check()
            return main(argv)
        except (ValueError, OSError, app.UsageError, absl_flags.Error) as error:
            _end(command, error)
        except KeyboardInterrupt:
            print(f"\n{command}: interrupted", file=sys.stderr)
            sys.exit(130)

    with standard_streams.utf8_until_closed():
        app.run(guarded_main, flags_parser=functools.partial(_parse, command))


def _parse(command, argv):
    """Parses flags; returns the other arguments."""
    try:
        check_flagfiles(argv[1:])
        remaining = absl_flags.FLAGS(argv)
    except absl_flags.Error as error:
        _end(command, ValueError(flag_errors.describe(error)))
    except (ValueError, OSError) as error:  # a --flagfile that is not text
        _end(command, error)
    except SystemExit:  # absl has printed help, but exits with 1
        sys.exit(0)
    if absl_flags.FLAGS["verbosity"].using_default_value:
        # By default absl shows the libraries' messages from "info" upwards.
        absl_flags.FLAGS.verbosity = absl_logging.WARNING
    return remaining


def check_flagfiles(
    arguments: Sequence[str], within: Sequence[str] = ()
) -> None:
    """Checks that flag files, also nested ones, are regular files.

    absl would wait for the end of a pipe.

    Args:
        arguments: the arguments of a command; those after "--" are ignored.
        within: the flag files that contain these arguments.
    Raises: ValueError; OSError.
    """
    for index, argument in enumerate(arguments):
        if argument == "--":
            return
        name, is_given, path = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or name != "flagfile":
            continue
        path = path if is_given else "".join(arguments[index + 1 : index + 2])
        path = os.path.expanduser(path.strip())
        if path and path not in within:  # else absl reports the error
            check_regular(path)
            lines = pathlib.Path(path).read_text().splitlines()
            named = [x for x in lines if x.lstrip("-").startswith("flagfile=")]
            check_flagfiles(named, (*within, path))


def _end(command, error):
    """Exits with the error as one line, or silently if stderr is closed."""
    if standard_streams.is_closed_pipe(error):
        raise BrokenPipeError from None
    message = " ".join(str(error).split()) or type(error).__name__
    sys.exit(f"{command}: error: {message}")


def _name_module_for_help(main, command):
    """Makes absl find the flags and the docstring that `--help` prints.

    absl uses the flags of the module named by argv[0] and the docstring of
    `__main__`. With a console script both would be the script's.
    """
    module = sys.modules[main.__module__]
    if module.__name__ != "__main__":
        sys.argv[0] = module.__name__
    usage = f"usage: {command} [--flag=value ...]"
    sys.modules["__main__"].__doc__ = f"{usage}\n\n{module.__doc__}"
