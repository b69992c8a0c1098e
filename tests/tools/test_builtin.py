"""Built-in tools by their words."""

import asyncio

import pytest

from fulmen.tools.builtin import builtin_tools, folder_names, tools_of_words


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


def test_tools_of_several_folders_have_names_and_descriptions_of_their_own(tmp_path):
    folders = [tmp_path / name for name in ("letters", "a/notes", "b/notes", "b_notes")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "here.md").write_text(str(folder))
    tools = tools_of_words(["calculator", "calculator", *(f"documents:{folder}" for folder in folders)])
    assert [tool.name for tool in tools] == [
        "calculator", "search_documents", "read_file", "a_notes_search_documents", "a_notes_read_file",
        "b_notes_search_documents", "b_notes_read_file", "b_notes_2_search_documents", "b_notes_2_read_file",
    ]  # fmt: skip
    assert [tool.description.endswith(f"the folder {name}.") for tool, name in zip(
        tools[1::2], ["letters", "a/notes", "b/notes", "b_notes"], strict=True
    )] == [True] * 4  # fmt: skip
    for tool, folder in zip(tools[2::2], folders, strict=True):
        assert asyncio.run(tool.run({"path": "here.md"})) == str(folder)


def test_one_folder_for_several_purposes_has_each_tool_once(tmp_path):
    tools = tools_of_words([f"files:{tmp_path}", f"edit:{tmp_path}/", f"documents:{tmp_path}"])
    names = ["list_files", "read_file", "search_files", "write_file", "edit_file", "search_documents"]
    assert [tool.name for tool in tools] == names
    assert "folder" not in tools[1].description.splitlines()[-1]


def test_folders_are_told_apart_by_as_few_parts_as_it_takes():
    assert folder_names(["python", "files:/a/notes", "files:/b/notes", "edit:/x", "files:/"]) == {
        "python": "", "files:/a/notes": "a/notes", "files:/b/notes": "b/notes", "edit:/x": "x", "files:/": "/",
    }  # fmt: skip
