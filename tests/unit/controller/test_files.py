"""Files and folders to a world; what was good stays."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from headgate.compiler.conditions import STAYS
from headgate.compiler.resources.metadata import Name
from headgate.controller.sources.files import Loaded, find_files, load
from support import manifests


def backend(name: str, host: str = "example.com") -> str:
    return (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\n"
        f"metadata: {{name: {name}}}\nspec:\n  endpoints:\n  - fqdn: {{hostname: {host}, port: 443}}\n"
    )


def secret(value: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{key: '{value}'}}\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def read(*paths: Path, environment: Mapping[str, str] | None = None, previous: Loaded | None = None) -> Loaded:
    return load(paths, environment=environment or {}, previous=previous)


def names(loaded: Loaded) -> list[str]:
    return [name.name for name in loaded.world.backends]


def hosts(loaded: Loaded) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, each in loaded.world.backends.items():
        assert each.spec.endpoints[0].fqdn is not None
        found[name.name] = each.spec.endpoints[0].fqdn.hostname
    return found


def said(loaded: Loaded) -> list[str]:
    return [f"{Path(each.file).name}:{each.line}: {each.message}" for each in loaded.diagnostics]


def test_a_folder_is_read_with_its_folders(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.yaml").write_text(backend("a"))
    (tmp_path / "deep" / "b.yml").write_text(backend("b"))
    (tmp_path / "deep" / "er" / "c.json").write_text(
        '{"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "Backend", "metadata": {"name": "c"},'
        ' "spec": {"endpoints": [{"fqdn": {"hostname": "c.example.com", "port": 443}}]}}'
    )
    (tmp_path / "notes.txt").write_text("not YAML: [")
    (tmp_path / ".hidden.yaml").write_text("not YAML: [")
    (tmp_path / ".git" / "x.yaml").write_text("not YAML: [")
    loaded = read(tmp_path)
    assert (names(loaded), said(loaded)) == (["a", "b", "c"], [])


def test_a_file_that_is_named_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "config.txt"
    path.write_text(backend("a"))
    assert names(read(path)) == ["a"]


def test_links_are_followed_and_read_once(tmp_path: Path) -> None:
    # As a mounted ConfigMap looks: files are links through a hidden, replaced folder.
    data = tmp_path / "..2026_01"
    data.mkdir()
    (data / "a.yaml").write_text(backend("a"))
    (tmp_path / "..data").symlink_to(data)
    (tmp_path / "a.yaml").symlink_to(Path("..data") / "a.yaml")
    (tmp_path / "b.yaml").symlink_to(Path("..data") / "a.yaml")
    (tmp_path / "loop").symlink_to(tmp_path)
    loaded = read(tmp_path, tmp_path / "a.yaml")
    assert (names(loaded), said(loaded)) == (["a"], [])


def test_lists_and_documents(tmp_path: Path) -> None:
    items = "".join("- " + backend(name).replace("\n", "\n  ").rstrip() + "\n" for name in ("b", "c"))
    write(tmp_path, all=f"{backend('a')}---\napiVersion: v1\nkind: List\nitems:\n{items}")
    loaded = read(tmp_path)
    assert names(loaded) == ["a", "b", "c"]
    assert [each.source.line for each in loaded.world.backends.values()] == [1, 11, 17]


def test_a_mistake_in_a_list_has_its_line(tmp_path: Path) -> None:
    bad = "- " + backend("b", "B!").replace("\n", "\n  ").rstrip() + "\n"
    write(tmp_path, all=f"apiVersion: v1\nkind: List\nitems:\n{bad}")
    (diagnostic,) = read(tmp_path).diagnostics
    assert (diagnostic.line, diagnostic.field) == (9, "items[0].spec.endpoints[0].fqdn.hostname")


def test_a_syntax_error_costs_its_document_only(tmp_path: Path) -> None:
    write(tmp_path, all=f"{backend('a')}---\nx: [\n---\n{backend('b')}")
    loaded = read(tmp_path)
    assert names(loaded) == ["a", "b"]
    assert len(loaded.errors) == 1


def test_the_first_of_two_is_used(tmp_path: Path) -> None:
    write(tmp_path, a=backend("x", "first.example.com"), b=backend("x", "second.example.com"))
    loaded = read(tmp_path)
    assert hosts(loaded) == {"x": "first.example.com"}
    assert said(loaded) == [f"b.yaml:1: declared otherwise at {tmp_path / 'a.yaml'}:1; that one is used"]


def test_of_two_that_say_the_same_nothing_is_said(tmp_path: Path) -> None:
    """Files may each bring the Gateway that they share, as `kubectl apply` takes them; until one of them changes."""
    paths = write(tmp_path, a=backend("x") + "---\n" + secret("k"), b=f"{secret('k')}---\n# x\n{backend('x')}")
    loaded = read(paths)
    assert (names(loaded), said(loaded)) == (["x"], [])
    write(tmp_path, b=secret("k") + "---\n" + backend("x", "other.com"))
    changed = read(paths, previous=loaded)
    assert hosts(changed) == {"x": "example.com"}
    assert said(changed) == [f"b.yaml:6: declared otherwise at {tmp_path / 'a.yaml'}:1; that one is used"]
    write(tmp_path, a=secret("k"))
    assert (hosts(read(paths, previous=changed)), said(read(paths, previous=changed))) == ({"x": "other.com"}, [])


def test_the_examples_go_together() -> None:
    """But for two that say differently who may call."""
    loaded = read(*sorted(manifests.EXAMPLES.glob("*.yaml")))
    otherwise = [each for each in loaded.diagnostics if "declared otherwise" in each.message]
    assert [(Path(each.file).name, each.key and each.key.kind) for each in otherwise] == [
        ("token-limit.yaml", "SecurityPolicy")
    ]


def test_what_the_second_of_two_policies_was_to_guard_is_known(tmp_path: Path) -> None:
    def policy(target: str) -> str:
        return (
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: p}\nspec:\n"
            f"  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {target}}}]\n"
        )

    write(tmp_path, a=policy("first"), b=policy("second"))
    ((key, rejected),) = read(tmp_path).world.rejected.items()
    assert (key.kind, [target.name for target in rejected.targets]) == ("SecurityPolicy", ["second"])


def test_what_is_missing_or_unreadable_is_said(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    os.mkfifo(tmp_path / "pipe.txt")
    loaded = read(tmp_path, tmp_path / "none")
    assert said(loaded) == ["latin.yaml:2: is not UTF-8", "none:0: no such file or folder"]


def test_a_folder_without_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "README").touch()
    assert said(read(tmp_path)) == [f"{tmp_path.name}:0: holds no file that is read: *.yaml, *.yml, *.json"]
    (tmp_path / "a.yaml").touch()
    assert said(read(tmp_path)) == []


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    assert said(read(pipe)) == ["pipe.yaml:0: is not a regular file"]


def test_windows_line_ends_and_a_mark_at_the_start(tmp_path: Path) -> None:
    text = f"{backend('a')}---\n{backend('b')}".replace("\n", "\r\n")
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert names(read(tmp_path)) == ["a", "b"]


def test_the_result_does_not_depend_on_the_order_of_paths(tmp_path: Path) -> None:
    write(tmp_path, a=backend("a"), b=backend("b"))
    assert read(tmp_path / "a.yaml", tmp_path / "b.yaml").world == read(tmp_path / "b.yaml", tmp_path / "a.yaml").world


# --- the environment


def test_a_secret_may_come_from_the_environment(tmp_path: Path) -> None:
    write(tmp_path, s=secret("${OPENAI_API_KEY}"))
    loaded = read(tmp_path, environment={"OPENAI_API_KEY": "sk-1"})
    value = loaded.world.secrets[Name("default", "s")].value("key")
    assert value is not None
    assert value.reveal() == "sk-1"
    assert loaded.diagnostics == ()


def test_a_variable_that_is_not_set_is_said(tmp_path: Path) -> None:
    write(tmp_path, s=secret("${NOPE}"))
    loaded = read(tmp_path)
    assert said(loaded) == ["s.yaml:4: the environment has no variable NOPE, so the value is missing"]
    assert loaded.world.secrets[Name("default", "s")].keys == ()


@pytest.mark.parametrize("text", ["x${HOME}", "${HOME}x", "$HOME", "$${HOME}", "${}"])
def test_nothing_else_is_replaced(tmp_path: Path, text: str) -> None:
    write(tmp_path, s=secret(text))
    loaded = read(tmp_path, environment={"HOME": "/root"})
    value = loaded.world.secrets[Name("default", "s")].value("key")
    assert value is not None
    assert value.reveal() == text


# --- loading again


def test_what_did_not_change_is_the_same_object(tmp_path: Path) -> None:
    write(tmp_path, a=f"{backend('a')}---\n{backend('b')}", c=backend("c"))
    before = read(tmp_path)
    write(tmp_path, a=f"{backend('a')}---\n{backend('b', 'new.example.com')}")
    after = read(tmp_path, previous=before)
    same = [name.name for name, each in after.world.backends.items() if before.world.backends[name] is each]
    assert (same, hosts(after)["b"]) == (["a", "c"], "new.example.com")


def test_an_object_that_only_moved_is_equal_and_has_its_new_line(tmp_path: Path) -> None:
    write(tmp_path, a=backend("a"))
    before = read(tmp_path)
    write(tmp_path, a=f"# a comment\n{backend('a')}")
    after = read(tmp_path, previous=before)
    assert after.world == before.world
    assert after.world.backends[Name("default", "a")].source.line == 2


def test_a_broken_object_keeps_its_last_good_version(tmp_path: Path) -> None:
    write(tmp_path, a=f"{backend('a')}---\n{backend('b')}")
    before = read(tmp_path)
    write(tmp_path, a=f"{backend('a', 'new.example.com')}---\n{backend('b', 'B!')}")
    after = read(tmp_path, previous=before)
    assert hosts(after) == {"a": "new.example.com", "b": "example.com"}
    assert [each.message.endswith(STAYS) for each in after.diagnostics] == [True]
    assert after.world.rejected == {}
    again = read(tmp_path, previous=after)
    assert hosts(again) == hosts(after)
    assert again.diagnostics == after.diagnostics


def test_a_broken_object_that_never_was_good_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, a=backend("a", "B!"))
    loaded = read(tmp_path)
    assert names(loaded) == []
    assert [key.name for key in loaded.world.rejected] == ["a"]
    assert not loaded.diagnostics[0].message.endswith(STAYS)


def test_a_syntax_error_keeps_what_the_file_held(tmp_path: Path) -> None:
    write(tmp_path, a=f"{backend('a')}---\n{backend('b')}", c=backend("c"))
    before = read(tmp_path)
    write(tmp_path, a=f"{backend('a', 'new.example.com')}---\n{backend('b')}  [", c=backend("d"))
    after = read(tmp_path, previous=before)
    assert hosts(after) == {"a": "new.example.com", "b": "example.com", "d": "example.com"}
    assert after.diagnostics[0].message.endswith(STAYS)


def test_a_file_that_was_emptied_keeps_what_it_held_until_it_is_written(tmp_path: Path) -> None:
    before = read(write(tmp_path, a=backend("a"), b=""))
    emptied = read(write(tmp_path, a=""), previous=before)
    again = read(tmp_path, previous=emptied)
    assert hosts(again) == hosts(before)
    assert said(again) == [f"a.yaml:0: is empty now, as if it were about to be written{STAYS}"]
    assert names(read(write(tmp_path, a="# nothing\n"), previous=again)) == []


def test_a_file_that_is_gone_takes_its_objects_along(tmp_path: Path) -> None:
    write(tmp_path, a=backend("a"), b=backend("b"))
    before = read(tmp_path)
    (tmp_path / "b.yaml").unlink()
    assert names(read(tmp_path, previous=before)) == ["a"]


@pytest.mark.parametrize("named", ["a.yaml", ""])
def test_a_named_path_that_is_gone_may_come_back(tmp_path: Path, named: str) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    path = write(folder, a=backend("a")) / named
    before = read(path)
    folder.rename(tmp_path / "elsewhere")
    after = read(path, previous=read(path, previous=before))
    assert (hosts(after), said(after)) == ({"a": "example.com"}, [f"{path.name}:0: no such file or folder{STAYS}"])
    (tmp_path / "elsewhere").rename(folder)
    write(folder, a=backend("a", "new.example.com"))
    assert hosts(read(path, previous=after)) == {"a": "new.example.com"}


def test_folders_in_which_nothing_is_left_are_about_to_be_written(tmp_path: Path) -> None:
    """`rm -r config`, and `git clone` or `cp -r` that takes its time: what they held stays in force until then."""
    folder = tmp_path / "config"
    folder.mkdir()
    before = read(write(folder, a=backend("a"), b=backend("b")))
    for name in "ab":
        (folder / f"{name}.yaml").unlink()
    after = read(folder, previous=read(folder, previous=before))
    assert hosts(after) == hosts(before)
    assert said(after) == [f"config:0: holds no file any more, as if it were about to be written{STAYS}"]
    assert names(read(write(folder, c=backend("c")), previous=after)) == ["c"]


def test_an_object_that_moved_to_another_file_is_followed(tmp_path: Path) -> None:
    write(tmp_path, a=backend("a"))
    before = read(tmp_path)
    write(tmp_path, a="", b=backend("a", "moved.example.com"))
    after = read(tmp_path, previous=before)
    assert (hosts(after), said(after)) == ({"a": "moved.example.com"}, [])


def test_a_mistake_that_is_mended_is_forgotten(tmp_path: Path) -> None:
    write(tmp_path, a=backend("a"))
    first = read(tmp_path)
    write(tmp_path, a="x: [")
    broken = read(tmp_path, previous=first)
    write(tmp_path, a=backend("a", "mended.example.com"))
    mended = read(tmp_path, previous=broken)
    assert (hosts(mended), said(mended)) == ({"a": "mended.example.com"}, [])


def test_too_many_files_are_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.controller.sources.files.FILES_MAX", 2)
    write(tmp_path, a=backend("a"), b=backend("b"), c=backend("c"))
    loaded = read(tmp_path)
    assert names(loaded) == ["a", "b"]
    assert said(loaded) == [f"{tmp_path.name}:0: more than 2 files"]


def test_files_are_found_in_order(tmp_path: Path) -> None:
    write(tmp_path, b=backend("b"), a=backend("a"))
    assert [path.name for path in find_files([tmp_path], [])] == ["a.yaml", "b.yaml"]


def test_files_for_beside_envoy_gateway_may_hold_what_it_serves(tmp_path: Path) -> None:
    """Of its own kinds: what is wrong with ours is told all the same."""
    guard = (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: guard}\n"
        "spec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]\n  oidc: {provider: {}}\n"
    )
    wrong = backend("wrong").replace("port: 443", "port: 70000")
    folder = write(tmp_path, guard=guard, wrong=wrong)
    alone, beside = load((folder,), environment={}), load((folder,), environment={}, beside=True)
    assert {each.field for each in alone.diagnostics} == {"spec.oidc", "spec.endpoints[0].fqdn.port"}
    assert {each.field for each in beside.diagnostics} == {"spec.endpoints[0].fqdn.port"}
    assert (len(alone.world.security_policies), len(beside.world.security_policies)) == (0, 1)
