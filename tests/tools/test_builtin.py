"""Built-in tools by their words."""

import pytest

from fulmen.tools.builtin import builtin_tools


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("calculator", ["calculator"]),
        ("python", ["python"]),
        ("files:{}", ["list_files", "read_file", "search_files"]),
        ("edit:{}", ["list_files", "read_file", "search_files", "write_file", "edit_file"]),
        ("documents:{}", ["search_documents", "read_file"]),
    ],
)
def test_words(tmp_path, word, names):
    assert [tool.name for tool in builtin_tools(word.format(tmp_path))] == names


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("files", "files needs a folder, as in files:FOLDER"),
        ("files:", "needs a folder"),
        ("files:/no/such/folder", "is no folder"),
        ("calculator:x", "no built-in tools are called 'calculator:x'"),
        ("abacus", "there are calculator, python, files:FOLDER"),
    ],
)
def test_words_that_name_nothing(word, message):
    with pytest.raises(ValueError, match=message):
        builtin_tools(word)
