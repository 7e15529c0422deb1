# SPDX-License-Identifier: Apache-2.0
"""Standard streams of commands and scripts, in separate processes."""

import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

ROOT = pathlib.Path(__file__).parents[2]
COMMAND = """
import sys
import kbert.bin

def main(argv):
    "Prints."
    print("\\xe1 \\ud800")
    {more}

kbert.bin.run(main, __file__)
"""
# No locale of these has an "á"; the last two keep Python from leaving theirs.
LOCALES = (
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)
MANY_LINES = "\n    ".join(
    ["for i in range(99_999):", "    print(i, flush=bool({flush}))"]
)

WRAPPED = "\n    ".join(
    [
        "try:",
        "    print('x' * 99_999, flush=True)",
        "except OSError as error:",
        "    raise OSError('kept') from error",
    ]
)


def _command(tmp_path, more):
    file = tmp_path / "say.py"
    file.write_text(COMMAND.format(more=more))
    return [sys.executable, file]


def _start(command, **environment):
    names = {"PYTHONIOENCODING", "LC_ALL", "PYTHONUTF8"}
    kept = {k: v for k, v in os.environ.items() if k not in names}
    return subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
    )


@pytest.mark.parametrize("locale", LOCALES)
def test_stdout_and_stderr_are_utf8_in_any_locale(locale, tmp_path):
    command = _command(tmp_path, "raise ValueError('\\xe9')")
    out, err = _start(command, **locale).communicate()
    assert out == "á \\ud800\n".encode()
    assert err == "kbert-say: error: é\n".encode()


@pytest.mark.parametrize(
    ("more", "flags"),
    [
        ("pass", []),  # closed before the last buffer is written
        ("pass", ["--help"]),
        (MANY_LINES.format(flush=0), []),
        (MANY_LINES.format(flush=1), []),
        # As `partial_folder` does, in which answers are written.
        (WRAPPED, []),
    ],
)
def test_a_closed_pipe_ends_a_command_quietly(more, flags, tmp_path):
    process = _start([*_command(tmp_path, more), *flags])
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_another_pipe_that_breaks_is_an_error(tmp_path):
    more = "raise BrokenPipeError(32, 'the worker is gone')"
    process = _start(_command(tmp_path, more))
    _, err = process.communicate()
    line = b"kbert-say: error: [Errno 32] the worker is gone\n"
    assert (process.returncode, err) == (1, line)


@pytest.fixture
def url():
    """A server that answers "á" to each of many rows."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            rows = json.loads(
                self.rfile.read(int(self.headers["Content-Length"]))
            )["instances"]
            self.send_response(200)
            self.end_headers()
            answer = {"predictions": ["á" * 9999 for _ in rows]}
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("localhost", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}/v1/models/m"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_client_does_the_same(url):
    command = [sys.executable, ROOT / "export" / "client.py", f"--url={url}"]
    command += ["--text=x", "--text=y"]
    for locale in LOCALES:
        out, err = _start(command, **locale).communicate()
        assert (out.decode(), err) == (('"' + "á" * 9999 + '"\n') * 2, b"")
    process = _start(command)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
