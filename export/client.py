# SPDX-License-Identifier: Apache-2.0
"""Asks a served model over REST and prints its answers. Needs only Python.

    python export/client.py --text="A fine film." --text="Two dull hours."

For a model of sentence pairs give --text_b as often as --text.
"""

import argparse
import http.client
import json
import sys
import urllib.error
import urllib.request

URL = "http://localhost:8501/v1/models/kbert"


def request_body(texts: list[str], texts_b: list[str]) -> dict:
    """The row format of TensorFlow Serving's REST interface."""
    if texts_b:
        rows = [
            {"text_a": a, "text_b": b}
            for a, b in zip(texts, texts_b, strict=True)
        ]
    else:
        rows = [{"text": text} for text in texts]
    return {"signature_name": "serving_default", "instances": rows}


def ask(url: str, body: dict) -> list[dict]:
    """Sends a request and returns a {"label", "probabilities"} for each row.

    Raises: OSError, with what the server says; ValueError if that is not
        what TensorFlow Serving says; http.client.HTTPException.
    """
    request = urllib.request.Request(
        f"{url}:predict",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        said = error.read().decode("utf-8", "replace")
        raise OSError(f"{error.code} {error.reason}: {said}") from None
    if "predictions" not in answer:
        raise ValueError(f"wanted predictions, got {answer}")
    return answer["predictions"]


def main(arguments: list[str]) -> str | None:
    """Prints a line for each text; returns what went wrong, if anything."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--url", default=URL, help="the model's address (default: %(default)s)"
    )
    parser.add_argument(
        "--text", action="append", required=True, help="give it once for each"
    )
    parser.add_argument("--text_b", action="append", default=[])
    given = parser.parse_args(arguments)
    if given.text_b and len(given.text_b) != len(given.text):
        parser.error("--text_b: wanted as many as --text")
    try:
        answers = ask(given.url, request_body(given.text, given.text_b))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{given.url}: {error}"
    for answer in answers:
        share = max(answer["probabilities"])
        print(f"{share:.4f}  {answer['label']}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
