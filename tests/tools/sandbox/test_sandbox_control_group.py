"""Which control group a job gets, on machines of both versions: the files that it must write, in a made-up tree."""

import os
from pathlib import Path

import pytest

from fulmen.tools.sandbox.control_group import EXTRA_BYTES, EXTRA_PROCESSES, PREFIX, ControlGroup, create_control_group
from fulmen.tools.sandbox.limits import SandboxLimits

LIMITS = SandboxLimits(memory_bytes=1000, disk_bytes=100, processes=7)
MOUNT = "33 24 0:30 {root} /sys/fs/cgroup{path} rw,nosuid shared:9 - {kind} {kind} {options}\n"


def system(tmp_path: Path, own: str, mounts: list[dict[str, str]]) -> Path:
    """A root folder with /proc/self as a kernel would write it."""
    folder = tmp_path / "proc/self"
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(own)
    other = "24 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
    (folder / "mountinfo").write_text(other + "".join(MOUNT.format(**mount) for mount in mounts))
    return tmp_path


def unified(tmp_path: Path, own: str, *, root: str = "/") -> Path:
    """A machine with version 2 only, whose process is in the group `own`."""
    mount = {"root": root, "path": "", "kind": "cgroup2", "options": "rw,nsdelegate"}
    return system(tmp_path, f"0::{own}\n", [mount])


def group_folder(root: Path, path: str, switches: str | None = "") -> Path:
    """A group in the tree, with its controllers for children switched on."""
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.procs").write_text("")
    if switches is not None:
        (folder / "cgroup.subtree_control").write_text(switches)
    return folder


def read(file: Path) -> str:
    """Contents of a file of a group."""
    return file.read_text(encoding="utf-8")


class TestVersion2:
    """One tree; groups with processes have no limited children."""

    def test_the_job_is_put_beside_the_own_group(self, tmp_path: Path) -> None:
        root = unified(tmp_path, "/user.slice/session.scope")
        group_folder(root, "")
        beside = group_folder(root, "user.slice", "cpu memory pids")
        group_folder(root, "user.slice/session.scope")
        group = create_control_group(LIMITS, system=root)
        assert group is not None
        assert group.memory.parent == beside
        assert group.entries == [group.memory / "cgroup.procs"]
        assert read(group.memory / "memory.max") == str(1100 + EXTRA_BYTES)
        assert read(group.memory / "memory.oom.group") == "1"
        assert read(group.memory / "pids.max") == str(7 + EXTRA_PROCESSES)

    def test_no_controllers_no_group(self, tmp_path: Path) -> None:
        root = unified(tmp_path, "/")
        folder = group_folder(root, "", "cpu")
        assert create_control_group(LIMITS, system=root) is None
        assert [path for path in folder.iterdir() if path.is_dir()] == []

    def test_a_container_that_sees_its_part_of_the_tree(self, tmp_path: Path) -> None:
        root = unified(tmp_path, "/docker/abc/inner", root="/docker/abc")
        group_folder(root, "", "memory pids")
        group_folder(root, "inner")
        group = create_control_group(LIMITS, system=root)
        assert group is not None
        assert group.memory.parent == root / "sys/fs/cgroup"

    def test_measures(self, tmp_path: Path) -> None:
        (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
        (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 0\n")
        group = ControlGroup(memory=tmp_path, pids=tmp_path, cpu=tmp_path, version=2)
        assert group.cpu_seconds() == 2.5
        assert not group.ran_out_of_memory()
        (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 2\n")
        assert group.ran_out_of_memory()


class TestVersion1:
    """A tree for each controller."""

    OWN = "9:memory:/app\n8:pids:/\n3:cpu,cpuacct:/\n0::/\n"

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        mounts = [
            {"root": "/", "path": "/memory", "kind": "cgroup", "options": "rw,memory"},
            {"root": "/", "path": "/pids", "kind": "cgroup", "options": "rw,pids"},
            {"root": "/", "path": "/cpu", "kind": "cgroup", "options": "rw,cpu,cpuacct"},
            {"root": "/", "path": "/unified", "kind": "cgroup2", "options": "rw"},
        ]
        for path in ("memory/app", "pids", "cpu"):
            group_folder(tmp_path, path, None)
        return system(tmp_path, self.OWN, mounts)

    def test_a_folder_in_each_tree(self, root: Path) -> None:
        group = create_control_group(LIMITS, system=root)
        assert group is not None
        tree = root / "sys/fs/cgroup"
        assert [entry.parent.parent for entry in group.entries] == [tree / "memory/app", tree / "pids", tree / "cpu"]
        assert read(group.memory / "memory.limit_in_bytes") == str(1100 + EXTRA_BYTES)
        assert read(group.pids / "pids.max") == str(7 + EXTRA_PROCESSES)

    def test_groups_of_killed_processes_are_removed(self, root: Path) -> None:
        dead, alive = f"{PREFIX}{(1 << 22) + 1}-ab", f"{PREFIX}{os.getpid()}-ab"  # no process id is above 2^22
        for name in (dead, alive):
            (root / "sys/fs/cgroup/pids" / name).mkdir()
        group = create_control_group(LIMITS, system=root)
        assert group is not None
        there = {path.name for path in (root / "sys/fs/cgroup/pids").iterdir() if path.is_dir()}
        assert there == {alive, group.pids.name}

    def test_measures(self, tmp_path: Path) -> None:
        (tmp_path / "cpuacct.usage").write_text("1500000000\n")
        (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
        group = ControlGroup(memory=tmp_path, pids=tmp_path, cpu=tmp_path, version=1)
        assert group.cpu_seconds() == 1.5
        assert group.ran_out_of_memory()


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert create_control_group(LIMITS, system=tmp_path) is None
