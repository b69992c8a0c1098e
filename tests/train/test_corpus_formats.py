"""Each reader on a small file of its format: the prose comes out whole, the markup doesn't."""

import gzip

import pytest

from fulmen.train.corpus_formats import READERS


@pytest.fixture
def read(tmp_path):
    def read_text(format, text, name="file", **beside):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith((".gz", ".dz")) else text.encode())
        for suffix, content in beside.items():
            (tmp_path / f"{name.split('.')[0]}.{suffix}").write_text(content)
        return list(READERS[format](path))

    return read_text


def test_rst(read):
    source = """
.. _label:

:mod:`json` --- Encoding
========================

.. index::
   single: hidden

   also hidden

:func:`open` reads a *whole* file, see :ref:`the
tutorial <tut-files>` and `PEP 8 <https://x.org>`_.
It takes ``mode``::

   >>> f(*args)

.. function:: dumps(obj, *, skipkeys=False)
   :noindex:

   Serialise.

   .. versionadded:: 3.4
      Hidden.

+-----+-----+
| a   | b   |
+-----+-----+

Last.
"""
    assert read("rst", source) == [
        "json --- Encoding\n\nopen reads a whole file, see the tutorial and PEP 8. It takes `mode`:\n\n"
        "   >>> f(*args)\n\ndumps(obj, *, skipkeys=False)\n\n   Serialise.\n\nLast."
    ]


def test_wordnet(read):
    source = (
        "  1 This software\n"
        "00002684 03 n 02 object 0 physical_object 0 001 @ 00001930 n 0000 | a visible entity; "
        '"it was full of objects"; "a big object"  \n'
        "00001740 00 a 01 able(p) 0 000 | having the means  \n"
    )
    assert read("wordnet", source) == [
        'object, physical object: a visible entity. "It was full of objects." "A big object."\nable: having the means.'
    ]


def test_dictd(read):
    first = "00-database-info\nWho made it\n"
    second = "blue wire\n n.\n\n    [IBM] A wire that\n    is {added} later.\n\n    (1994-10-21)\n"
    third = "LISP\nLisp\n\n   <language> A language of lists.\n\n   x = 1; y = {2}; z = 3\n"
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def number(value):
        return (digits[value // 64] if value >= 64 else "") + digits[value % 64]

    start, index = 0, ""
    for text, words in ((first, ["00-database-info"]), (second, ["blue wire"]), (third, ["LISP", "Lisp"])):
        index += "".join(f"{word}\t{number(start)}\t{number(len(text))}\n" for word in words)
        start += len(text)
    assert read("dictd", first + second + third, "small.dict.dz", index=index) == [
        "blue wire: A wire that is added later.",
        "LISP: A language of lists.",
    ]


def test_html(read):
    source = (
        "<html><head><title>Hidden</title></head><body><div id='banner'>Hidden</div><ul class='docnav top'><li>Next"
        "</li></ul><h2>Users &amp; groups</h2><p>One\n  <em>long</em> line.</p>"
        "<table><tr><td>a<table></table></td></tr></table>"
        "<pre>  $ ls\n  $ cd</pre><ul><li>An item</li></ul></body></html>"
    )
    assert read("html", source) == ["Users & groups\n\nOne long line.\n\n  $ ls\n  $ cd\n\nAn item"]


def test_pod(read):
    source = (
        "=encoding utf8\n\n=head1 NAME\n\nperlfaq - C<< a >> and L<perlre|the B<manual>>, L<perlnumber>\n\n"
        "=head2 How?\n\nWith I<care>\nalways.\n\n=over 4\n\n=item * first\n\n=back\n\n    print 1;\n\n=cut\n"
    )
    assert read("pod", source)[1] == "How?\n\nWith care always.\n\nfirst\n\n    print 1;"
    assert read("pod", source)[0].startswith("NAME\n\nperlfaq - a and ")


def test_man(read):
    source = (
        '.\\" comment\n.TH LS 1\n.SH NAME\nls \\- list \\fBfiles\\fR\n.PP\nSee\n.BR dir (1),\n.B now\n.TP\n\\-a\nAll.\n'
    )
    assert read("man", source, "ls.1.gz") == ["Name\n\nls - list files\n\nSee dir(1), now\n\n-a All."]
    assert read("man", ".so man1/ls.1\n", "dir.1") == []


def test_generated_python_is_left_out(read):
    assert read("python", "x = 1\n") == ["x = 1\n"]
    assert read("python", "x = 1\n" * 50_000) == []
