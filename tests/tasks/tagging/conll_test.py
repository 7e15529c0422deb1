# SPDX-License-Identifier: Apache-2.0
"""Column files: what is read, in which scheme, and what is refused."""

import gzip

import pytest

from kbert.tasks.tagging import conll


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "a.conll"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.fixture
def read(write):
    return lambda text, **options: conll.read(write(text), **options)


@pytest.fixture
def read_texts(write):
    """What a tagger is given: lists of words, or texts."""
    return lambda text: conll.read_texts(write(text)).texts[0]


def test_words_and_tags(read):
    sentences = read(
        "-DOCSTART- -X- O\n"
        "\n"
        "The DT O\n"
        "New  NNP  B-LOC\n"
        "York NNP I-LOC\r\n"
        " \t \n"
        "\n"
        "New York\tNN\tB-LOC\n"
        "-DOCSTART-\n"
        "\u00a0\tO\n"
        "#\tO"
    )
    assert sentences.words == [
        ["The", "New", "York"],
        ["New York"],
        ["\u00a0", "#"],
    ]
    assert sentences.tags == [["O", "B-LOC", "I-LOC"], ["B-LOC"], ["O", "O"]]
    assert sentences.lines == [3, 8, 10]
    assert sentences.texts == (sentences.words,)
    assert len(sentences) == 3 and sentences.scheme == "IOB2"


BOTH = [["New", "York"], ["is"]]
COLUMNS = [
    # CoNLL with tags, between blanks or tabs, and without
    ("New NNP B-LOC\nYork NNP I-LOC\n\nis VBZ O\n", BOTH),
    ("New\tB-LOC\nYork\tI-LOC\n\nis\tO\n", BOTH),
    ("New\nYork\n\nis\n", BOTH),
    ("New\r\nYork\r\n\r\nis\r\n", BOTH),
    ("\ufeffNew\nYork\n\nis", BOTH),
    ("New NNP\nYork NNP\n\nis VBZ\n", BOTH),
    ("New n\nYork n\n\nis v\nis v\n", [["New", "York"], ["is", "is"]]),
    # comments and documents
    ("-DOCSTART- -X- O\n\n# a = b\nNew O\nYork O\n\n#\nis O\n", BOTH),
    ("# text\nNew\tO\nYork\tO\n\n# text\nis\tO\n-DOCSTART-\n", BOTH),
    ("# id 1 O\nNew\nYork\n\n# id 2 O\nis\n", BOTH),
    # CoNLL-U with a range, an empty word, comments; GermEval
    (
        "# text = New York is\n"
        "1-2\tNewYork" + 8 * "\t_" + "\n"
        "1\tNew" + 8 * "\tX" + "\n1.1\tof" + 8 * "\t_" + "\n"
        "2\tYork" + 8 * "\tX" + "\n\n# text\n1\tis" + 8 * "\tX" + "\n\n",
        BOTH,
    ),
    ("# u\n1\tNew\tB-LOC\tO\n2\tYork\tI-LOC\tO\n\n1\tis\tO\tO\n", BOTH),
    # numbers that are words
    ("1 O\n2 O\n", [["1", "2"]]),
    ("#\tO\n#a\tO\n", [["#", "#a"]]),
    ("#\tO\nfilm\tB-x\n# O\n", [["#", "film", "#"]]),
]


@pytest.mark.parametrize(("text", "want"), COLUMNS)
def test_columns_are_distinguished_from_texts(read_texts, text, want):
    assert read_texts(text) == want


@pytest.mark.parametrize(
    "texts",
    [
        ["Mary was born in London.", "She died."],
        ["Mary Ann Nichols"],
        ["Mary lives here.", "", "Anna lives there."],
        ["#films are good", "so good"],
        ["A fine film .", "Two dull hours .", "Not so bad ."],
        ["#a b c"],
        (["Nur in Berlin", "Nie in Wien", ""] * 40)[:-1],
        ["日本語の文です。 これ", "次の文"],
        ["- DOCSTART is a word here", "-DOCSTART- as well is one"],
    ],
)
def test_a_text_a_line(read_texts, texts):
    assert read_texts("\n".join(texts) + "\n") == texts
    assert read_texts(b"\xef\xbb\xbf" + "\r\n".join(texts).encode()) == texts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb B-x\nc\nd O\n", r":3: one field, 'c'; expected a word and"),
        ("a O\nb B-x\nc LOC\n", r":3: tag 'LOC'; expected O, or B-, I-,"),
        ("a\tNN\nb\tVB\nc\n", r":3: no tab, but other lines have tabs; exp"),
        ("a b\nso\tgood\nc d\n", r":2: a tab, but other lines have none"),
        ("a\tNN\nb\tVB\tx\nc\tX\n", r":2: 3 fields, but 2 in most lines"),
        ("a\n" * 12 + "b c\nd\n", r":13: 2 fields, but 1 in most lines"),
        ("A film\t1\nTwo hours\t0\n", r":1: 'A film' in a column: more than"),
        ('{"data": []}\n', r":1: '{\"data\": \[\]}': JSON or XML; expected a"),
        ("[\n  1,\n  2, 3]", r":1: '\[': JSON or XML"),
        ("a\n\0b\n", r":2: a NUL"),
        ("#begin document (x); part 000\nx 0 0 A\n", r":1: a file of CoNLL 20"),
        (
            "1" + 9 * "\ta" + "\n3" + 9 * "\ta" + "\n",
            r":2: '3\\ta.*; expected ten columns of CoNLL-U, the words",
        ),
        (
            "1" + 9 * "\ta" + "\n2" + 9 * "\ta" + "\nb\n",
            r":3: 'b'; expected ten columns of CoNLL-U",
        ),
        ("", ": no sentences"),
        ("\n \n", ": no sentences"),
    ],
)
def test_files_of_no_kind_are_refused(read_texts, text, message):
    with pytest.raises(ValueError, match=r"a\.conll" + message):
        read_texts(text)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "see NYC\nsee LAX\n", ":1: 'see NYC' may be a text or of a"),
        ("a.TXT.gz", "\nso\nno\n", ":2: 'so' may be a text or of a word; nam"),
        ("a.txt", "id,text\n1,A film.\n", ":1: 'id,text' looks like the head"),
        ("a.txt", "a O\nb B-x\nc\n", ":3: one field, 'c'"),
        ("a.tsv", "id\tfilm\n1\tgood\n", r":1: 'id\\tfilm' may be of a table"),
        ("a.tsv", "film\nA film.\n", ":1: 'film' may be of a table or of w"),
        ("a.tsv", "The\tDT\nfilm\tNN\n", r":1: .*, or the file .conll if it"),
    ],
)
def test_a_name_settles_what_may_be_both(name, text, message, tmp_path):
    content = text.encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if "gz" in name else content)
    with pytest.raises(ValueError, match=f"{name}{message}"):
        conll.read_texts(str(path))
    path = path.rename(tmp_path / "a.conll")
    if "or of" in message and "gz" not in name:
        assert conll.read_texts(str(path)).texts


def test_a_txt_may_have_words_and_their_tags(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("New B-x\nYork I-x\n")
    assert conll.read_texts(str(path)).words == [["New", "York"]]
    path.write_text("A film\n")
    assert conll.read_texts(str(path)).texts == (["A film"],)


def test_conll_u_has_parts_of_speech(read):
    rows = [
        "# sent_id = 1",
        "1-2\tdel" + 8 * "\t_",
        "1\tde\tde\tADP" + 6 * "\t_",
        "2\tel\tel\tDET" + 6 * "\t_",
        "2.1\tx\tx\tX" + 6 * "\t_",
        "3\tmar\tmar\tNOUN" + 6 * "\t_",
    ]
    found = read("\n".join(rows) + "\n\n")
    assert found.words == [["de", "el", "mar"]]
    assert found.tags == [["ADP", "DET", "NOUN"]]
    assert found.word_lines == [[3, 4, 6]] and found.scheme is None
    with pytest.raises(ValueError, match=r"conll:6: tag 'NOUN' is not one of"):
        conll.tag_ids(found, ["ADP", "DET"])
    with pytest.raises(ValueError, match=r"a\.conll:3: tag '_', which is none"):
        read("\n".join(rows).replace("\tADP", "\t_"))


def test_germeval_has_numbers_and_its_tag_last(read):
    found = read("#\thttp\n1\tNew\tB-LOC\n2\tYork\tI-LOC\n\n1\tist\tO\n")
    assert found.words == [["New", "York"], ["ist"]]
    assert found.tags == [["B-LOC", "I-LOC"], ["O"]] and found.lines == [2, 5]


def test_tags_without_prefix_are_classes(read):
    text = "The DT\nfilm NN\n\nwas VBD\ngood JJ\n. .\n"
    found = read(text)
    assert found.tags == [["DT", "NN"], ["VBD", "JJ", "."]]
    assert found.scheme is None and found == read(text, lenient=True)
    assert read("the det\nfilm noun\n").tags == [["det", "noun"]]
    assert read("the x det\nfilm y noun\n" * 2).scheme is None
    assert read("a O\nb PER\n").tags == [["O", "PER"]]  # such as these


def test_stray_tags_where_they_are_allowed(read):
    text = "a O\nb I-x\nc I-y\n\nd B-x\ne E-x\nf L-x\n"
    with pytest.raises(ValueError, match="; --tag_scheme=lenient reads it as"):
        read(text)
    found = read(text, lenient=True)
    assert found.tags == [["O", "B-x", "B-y"], ["B-x", "I-x", "B-x"]]
    assert found.scheme == "lenient"
    with pytest.raises(ValueError, match=":2: tag 'LOC'; expected O, or B-"):
        read("a B-x\nb LOC\n", lenient=True)


@pytest.mark.parametrize(
    ("tags", "scheme", "iob2"),
    [
        ("O I-x I-x I-y", "IOB1", "O B-x I-x B-y"),
        ("I-x B-x I-x", "IOB1", "B-x B-x I-x"),
        ("B-x B-x O", "IOB2", "B-x B-x O"),
        ("S-x O", "BIOES", "B-x O"),
        ("B-x I-x E-x S-x", "BIOES", "B-x I-x I-x B-x"),
        ("U-x O", "BILOU", "B-x O"),
        ("B-x I-x L-x U-x", "BILOU", "B-x I-x I-x B-x"),
        ("B-x M-x E-x S-x", "BMES", "B-x I-x I-x B-x"),
        ("O O", "IOB2", "O O"),
    ],
)
def test_tags_tell_their_scheme(read, tags, scheme, iob2):
    found = read("".join(f"a {tag}\n" for tag in tags.split()))
    assert (found.scheme, found.tags) == (scheme, [iob2.split()])


def test_encodings(read):
    assert read("\ufeffé O\n").words == [["é"]]
    assert read("é O\n".encode("latin-1"), encoding="latin-1").words == [["é"]]
    with pytest.raises(ValueError, match=r"a\.conll:2: not UTF-8"):
        read("a O\né O\n".encode("latin-1"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb\n", r":2: one field, 'b', but 2 in most lines; expected a"),
        ("a B-x\n\tO\n", r":2: one field"),
        ("a B-x\n\nb LOC\n", r":3: tag 'LOC'; expected O, or B-"),
        ("a\nb\n", r":1: one field, 'a'; expected a word and its tag"),
        ("Mary was here\nShe died\n", r":1: 'Mary was here' looks like a te"),
        ("a NN\nb VB\nc NN x\n", r":3: 3 fields, but 2 in most lines; exp"),
        (
            "a NN b\nb VB b\n" * 2 + "c\n",
            r":5: one field, 'c', but 3 in most lines",
        ),
        ("1\tA man sings.\tA\n2\tA man\tB\n", r":1: 'A man sings.' in a colu"),
        (
            "Mary was born here\nAnna was not there\n",
            r":1: 'Mary was born here' looks like a text; expected a word",
        ),
        ("A film\t1\nTwo hours\t0\n", r":1: 'A film' in a column"),
        ('{"data": [1, 2]}\n{}\n', r":1: '{.*' looks like a text; expected"),
        ("", r": no sentences"),
        ("\n-DOCSTART- O\n\n", r": no sentences"),
        (
            "a B-x\nb O\n\nc O\nd I-x\n",
            r":5: tag 'I-x' after 'O', which is not IOB2 \(nor IOB1 in line "
            r"1: tag 'B-x' after the sentence's start\)",
        ),
        (
            "a O\n\nb B-x\nc E-x\nd B-x\n\n",
            r":5: 'B-x' before the sentence's end, which is not BIOES;",
        ),
        # IOB2, but for one: what keeps BIOES's rules least is not blamed.
        (
            "a B-x\nb I-x\nc O\n\nd B-x\ne S-x\nf O\n",
            r":6: tag 'S-x' after 'B-x', which is not IOB2;",
        ),
        ("a O\nb B-\n", r":2: tag 'B-'; expected O, or B-, I-, .* and a type"),
        ("a NN\nb I-\n", r":1: tag 'NN'; expected O"),
        ("1\ta\tB-x\n2\tb\tLOC\n", r":2: tag 'LOC'; expected O, or B-, I"),
        ("a S-x\nb E-x\n", r":2: tag 'E-x' after 'S-x', which is not BIOES"),
    ],
)
def test_what_is_refused(read, text, message):
    with pytest.raises(ValueError, match=r"a\.conll" + message):
        read(text)


def test_tags_that_a_model_does_not_know(read):
    sentences = read("a O\nb B-x\n\nc O\nd B-y\n")
    labels = ["O", "B-x", "I-x", "B-y"]
    assert conll.tag_ids(sentences, labels) == [[0, 1], [0, 3]]
    with pytest.raises(ValueError, match=r"a\.conll:5: tag 'B-y' is not one"):
        conll.tag_ids(sentences, labels[:3])
