"""Clones that git makes: dates of files, what is left out, and clones that mean harm."""

import collections
import datetime
import os
import subprocess

import pytest

from jaxbpc.errors import InputError
from jaxbpc.prepare.readers import git

CODE = "".join(f"def area_{i}(width, height):\n    return width * {i} * height\n" for i in "1234")
CODE += "found = area_1(2, 3)\n"


def code(n):
    """Files without much in common."""
    return "".join(
        f"class A{n}{i}:\n    def method_{i * n}(self, k{n}):\n        self.v{i} = k{n} + {n * i}\n"
        for i in range(1, 9)
    )


class Repository:
    """A repository that is worked on at given days, by git itself."""

    def __init__(self, path, *options):
        self.path = path
        path.mkdir()
        self("init", "-q", "-b", "main", *options)

    def __call__(self, *arguments, day="2024-01-01", committed=None):
        dates = {"GIT_AUTHOR_DATE": f"{day}T12:00:00Z"}
        dates["GIT_COMMITTER_DATE"] = f"{committed or day}T12:00:00Z"
        who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
        who |= {"GIT_COMMITTER_NAME": "c", "GIT_COMMITTER_EMAIL": "c@d"}
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=os.environ | who | dates, capture_output=True
        )
        assert not done.returncode, done.stderr
        return done.stdout.decode().strip()

    def commit(self, day, files=None, committed=None):
        for name, text in (files or {}).items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        self("add", "-A")
        self("commit", "-q", "-m", "x", "--allow-empty", day=day, committed=committed)


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "project")


def dates(repository, after="2000-01-01"):
    """Path → date of what comes out."""
    rows, _ = collect(repository.path, after)
    return {row["meta"]["source"].partition(":")[2]: row["date"] for row in rows}


def collect(folder, after="2024-03-31"):
    counts = collections.Counter()
    cutoff = datetime.date.fromisoformat(after)
    (found,) = git.find(folder)
    return list(git.rows(found, lambda date: date > cutoff, 0, counts)), counts


def test_new_files(repository):
    repository.commit("2024-01-05", {"old.py": code(1), "a/also old.py": code(2)})
    repository.commit("2024-04-01", {"new.py": code(3), "notes.txt": "x = 1\n" * 9})
    repository.commit("2024-05-01", {"old.py": code(1) + code(4), "ünï\n\tcode.py": code(5)})
    rows, counts = collect(repository.path)
    head = repository("rev-parse", "HEAD")
    assert [(row["meta"]["source"], row["date"]) for row in rows] == [
        (f"project@{head}:new.py", "2024-04-01"),
        (f"project@{head}:ünï\n\tcode.py", "2024-05-01"),
    ]
    assert [row["content"] for row in rows] == [code(3), code(5)]
    assert rows[0]["subset"] == "python"
    assert counts == {"seen": 4, "out_of_dates": 2}
    # The text is that of the newest commit, the date that of the first.
    repository.commit("2024-08-01", {"new.py": code(3) + code(6)})
    assert collect(repository.path)[0][0]["content"] == code(3) + code(6)
    assert dates(repository)["new.py"] == "2024-04-01"


def test_age_is_kept(repository):
    """Moved, edited as it was moved, copied, brought back, vendored by merge: none is new."""
    repository.commit("2024-01-05", {"one.py": code(1), "two.py": code(2), "three.py": code(3)})
    repository("mv", "one.py", "moved.py")
    repository.commit("2024-04-01")
    repository("mv", "two.py", "moved_too.py")
    repository.commit("2024-04-02", {"moved_too.py": code(2) + "\nx = 1\n"})
    repository("mv", "moved.py", "moved_again.py")
    repository.commit("2024-04-03", {"copy.py": code(3)})
    (repository.path / "three.py").unlink()
    repository.commit("2024-04-04")
    repository.commit("2024-04-05", {"three.py": code(30)})
    assert dates(repository) == {
        "moved_again.py": "2024-01-05",
        "moved_too.py": "2024-01-05",
        "copy.py": "2024-01-05",
        "three.py": "2024-01-05",
    }


def test_branches(repository):
    repository.commit("2024-01-05", {"base.py": code(1)})
    repository("checkout", "-q", "-b", "side")
    repository.commit("2024-02-01", {"side.py": code(2)})
    repository("checkout", "-q", "main")
    repository.commit("2024-04-01", {"main.py": code(3)})
    repository("merge", "-q", "--no-ff", "-m", "m", "side", day="2024-05-01")
    # Another project's history under a prefix, as git subtree does.
    other = Repository(repository.path.parent / "other")
    other.commit("2023-05-05", {"lib.py": code(4)})
    repository("fetch", "-q", str(other.path), "main")
    repository(
        "merge", "-q", "-s", "ours", "--no-commit", "--allow-unrelated-histories", "FETCH_HEAD"
    )
    repository("read-tree", "--prefix=sub/", "-u", "FETCH_HEAD")
    (repository.path / "evil.py").write_text(code(5))
    repository.commit("2024-06-01")
    assert dates(repository) == {
        "base.py": "2024-01-05",
        "side.py": "2024-02-01",
        "main.py": "2024-04-01",
        "sub/lib.py": "2023-05-05",
        "evil.py": "2024-06-01",
    }


def test_the_earlier_of_two_dates(repository):
    repository.commit("2024-01-05", {"rebased.py": code(1)}, committed="2024-06-01")
    repository.commit("2030-01-05", {"clock.py": code(2)}, committed="2024-07-01")
    assert dates(repository) == {"rebased.py": "2024-01-05", "clock.py": "2024-07-01"}


def test_what_is_left_out(repository):
    plain = "value = 1\nwidth = 2\nheight = 3\nlength = 4\ndepth = 5\n"
    files = {
        "vendor/a.py": code(11),
        "lib/site-packages/b.py": code(12),
        "proto_pb2.py": code(13),
        "made.py": "# This file was AUTOMATICALLY GENERATED.\n" + code(14),
        "long.py": code(15) + "x = '" + "a" * 1000 + "'\n",
        "wide.py": f"x = {'abc + ' * 20}1\n" * 9,
        "symbols.py": code(2) + "# =+*/ =+*/ =+*/\n" * 999,
        "empty.py": " \n\n",
        "few.py": "def f():\n    return 1\n" * 9,
        "latin.py": code(16).encode() + b"# \xe9\n",
        "large.py": (code(17) * 4000).encode()[: (1 << 20) + 1],
        "good.py": code(18),
    }
    repository.commit("2024-05-01", files | {"setup.cfg": plain})
    os.symlink("good.py", repository.path / "link.py")
    repository.commit("2024-05-02")
    rows, counts = collect(repository.path)
    assert [row["content"] for row in rows] == [code(18)]
    assert counts == {
        "seen": 12,
        "vendored_or_generated": 4,
        "long_lines": 2,
        "few_letters": 1,
        "empty": 1,
        "few_assignments": 1,
        "undecodable": 1,
        "too_large_or_damaged": 1,
    }


def test_a_share_of_tests_is_left_out():
    tests = [f"import pytest\ndef test_{i}():\n    a = b = c = d = e = {i}\n" for i in range(1000)]
    plain = [f"a = 1\nb = 2\nc = 3\nd = {i}\ne = 5\n" for i in range(1000)]
    for texts, reason in ((tests, "test_or_configuration"), (plain, "no_keyword")):
        found = [git.unwanted(text, 0) for text in texts]
        assert set(found) == {None, reason}
        # 700 of 1000, give or take four standard deviations.
        assert abs(found.count(reason) - 700) < 4 * (1000 * 0.7 * 0.3) ** 0.5
        assert found == [git.unwanted(text, 0) for text in texts]
        assert found != [git.unwanted(text, 1) for text in texts]


def test_the_same_but_for_the_licence():
    with_licence = f"#!/usr/bin/env python\n# Licence A\n#\n\n{CODE}"
    assert git.essence(with_licence) == git.essence(f"# Licence B\n{CODE}\n\n")
    assert git.essence(CODE) == git.essence(CODE.replace("    ", "\t"))
    assert git.essence(CODE) != git.essence(CODE.replace("width", "w"))
    assert git.essence("# a\n# b\n") != git.essence("# a\n# c\n")


def test_clones_of_every_kind(repository, tmp_path):
    repository.commit("2024-01-05", {"old.py": code(1)})
    repository.commit("2024-05-01", {"new.py": code(2)})
    repository("gc", "-q")
    want = [row["content"] for row in collect(repository.path)[0]]
    source = f"file://{repository.path}"
    for name, options in (("bare.git", ["--bare"]), ("shared", ["--shared"]), ("plain", [])):
        where = str(repository.path) if name == "shared" else source
        repository("clone", "-q", *options, where, str(tmp_path / "clones" / "owner" / name))
        rows, _ = collect(tmp_path / "clones" / "owner" / name)
        assert [row["content"] for row in rows] == want
        assert rows[0]["meta"]["source"].startswith(name.removesuffix(".git") + "@")
    for folder in (tmp_path / "clones", tmp_path / "clones" / "owner"):
        found = [path.name for path in git.find(folder)]
        assert found == ["bare.git", ".git", ".git"]
    assert git.find(tmp_path / "clones" / "owner" / "bare.git" / "refs") == []


def test_a_clone_of_sha256(tmp_path):
    repository = Repository(tmp_path / "sha256", "--object-format=sha256")
    repository.commit("2024-01-05", {"old.py": code(1)})
    repository.commit("2024-05-01", {"new.py": code(2)})
    assert [row["content"] for row in collect(repository.path)[0]] == [code(2)]


def test_damaged_files_are_left_out(repository):
    repository.commit("2024-05-01", {f"{name}.py": code(ord(name)) for name in "abcde"})
    for name, damage in (("b", b""), ("c", None), ("d", b"no zlib stream")):
        blob = repository("rev-parse", f"HEAD:{name}.py")
        path = repository.path / ".git" / "objects" / blob[:2] / blob[2:]
        data = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(data[: len(data) // 2] if damage is None else damage)
    rows, counts = collect(repository.path)
    assert [row["content"] for row in rows] == [code(ord("a")), code(ord("e"))]
    assert counts == {"seen": 5, "too_large_or_damaged": 3}


def test_clones_without_their_history(repository, tmp_path):
    repository.commit("2024-01-05", {"old.py": code(1)})
    repository("mv", "old.py", "moved.py")
    repository.commit("2024-05-01", {"new.py": code(2), "moved.py": code(1) + code(3)})
    repository("config", "uploadpack.allowFilter", "true")
    source = f"file://{repository.path}"
    repository("clone", "-q", "--depth=1", source, str(tmp_path / "shallow"))
    with pytest.raises(InputError, match=r"whole history.*--unshallow"):
        collect(tmp_path / "shallow")
    repository("clone", "-q", "--filter=blob:none", source, str(tmp_path / "partial"))
    with pytest.raises(InputError, match="without --filter"):
        collect(tmp_path / "partial")  # without the old versions no rename can be seen
    Repository(tmp_path / "none")
    with pytest.raises(InputError, match="no commit"):
        collect(tmp_path / "none")
    (tmp_path / "damaged" / "objects").mkdir(parents=True)
    (tmp_path / "damaged" / "HEAD").write_text("a" * 40)
    with pytest.raises(InputError, match=r"damaged|no commit"):
        collect(tmp_path / "damaged")


def test_a_clone_that_means_harm(repository, tmp_path):
    """Whatever its configuration, hooks and attributes say, nothing is run and nothing fetched."""
    repository.commit("2024-01-05", {"old.py": code(1), ".gitattributes": "*.py diff=x filter=x\n"})
    repository.commit("2024-05-01", {"new.py": code(2)})
    mark = tmp_path / "mark"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    for name in ("diff.external", "diff.x.textconv", "diff.x.command", "filter.x.smudge"):
        repository("config", name, str(program))
    for name in ("core.pager", "pager.log", "core.fsmonitor", "core.sshCommand", "gpg.program"):
        repository("config", name, str(program))
    for name in ("core.alternateRefsCommand", "filter.x.clean", "filter.x.process", "core.editor"):
        repository("config", name, str(program))
    repository("config", "log.showSignature", "true")
    repository("config", "core.hooksPath", str(tmp_path / "hooks"))
    repository("config", "remote.origin.url", f"ext::{program}")
    repository("config", "remote.origin.promisor", "true")
    repository("config", "extensions.partialClone", "origin")
    repository("config", "core.repositoryformatversion", "1")
    (tmp_path / "hooks").mkdir()
    for hook in ("post-index-change", "reference-transaction", "post-checkout"):
        os.link(program, tmp_path / "hooks" / hook)
    (repository.path / ".git" / "info").mkdir(exist_ok=True)
    (repository.path / ".git" / "info" / "attributes").write_text("*.py diff=x filter=x\n")
    # One file's content is missing: it is left out, not fetched.
    blob = repository("rev-parse", "HEAD:old.py")
    os.remove(repository.path / ".git" / "objects" / blob[:2] / blob[2:])
    rows, _ = collect(repository.path)
    assert [row["content"] for row in rows] == [code(2)]
    assert not mark.exists()
    subprocess.run(["git", "log", "-p", "-1"], cwd=repository.path, capture_output=True)
    assert mark.exists()  # a command that obeys the clone does what it says


@pytest.mark.long
def test_a_tree_that_explodes(repository, monkeypatch):
    """Ten names for a tree of ten names for a tree …: 10^10 files."""
    monkeypatch.setattr(git, "MAX_FILES", 9999)
    repository.commit("2024-01-01", {"0.py": code(1)})
    bomb, entry = "", "100644 blob " + repository("rev-parse", "HEAD:0.py")
    for _ in range(10):
        lines = "".join(f"{entry}\t{i}.py\n" for i in range(10))
        done = subprocess.run(
            ["git", "mktree"], cwd=repository.path, input=lines.encode(), capture_output=True
        )
        bomb = done.stdout.decode().strip()
        entry = f"040000 tree {bomb}"
    commit = repository("commit-tree", bomb, "-p", "HEAD", "-m", "x")
    repository("update-ref", "HEAD", commit)
    with pytest.raises(InputError, match="more than 9,999 files"):
        collect(repository.path)
    # In history alone; git keeps what a commit changes in its memory.
    monkeypatch.setattr(git, "MAX_GIT_BYTES", 50 << 20)
    back = repository("commit-tree", "HEAD~1^{tree}", "-p", "HEAD", "-m", "x")
    repository("update-ref", "HEAD", back)
    with pytest.raises(InputError, match="too many files"):
        collect(repository.path)


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_EXTERNAL_DIFF", "GIT_CONFIG_PARAMETERS"])
def test_the_environment_does_not_matter(repository, monkeypatch, name):
    repository.commit("2024-05-01", {"new.py": code(2)})
    monkeypatch.setenv(name, "/nowhere")
    assert len(collect(repository.path)[0]) == 1
