import hashlib
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server import Home, serve

from lowrank_da import fetch
from lowrank_da.backbone import DISTILROBERTA, refuse_other_hash
from lowrank_da.corpus import CACHE_VARIABLE
from lowrank_da.errors import UserError
from lowrank_da.fetch import Source, UnpinnedError

CONTENT = bytes(range(256)) * 64
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with serve() as home:
        home.files["file.bin"] = CONTENT
        monkeypatch.setitem(fetch.HOMES, "github", home.url)
        monkeypatch.setitem(fetch.HOMES, "huggingface", home.url)
        yield home


@pytest.fixture
def source() -> Source:
    return Source("below/file.bin", "github:file.bin", len(CONTENT), SHA256)


def one_line(caught: pytest.ExceptionInfo[UserError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_right_file_is_fetched_once(home: Home, source: Source, tmp_path: Path) -> None:
    path = fetch.fetch(source, tmp_path)
    assert path == tmp_path / "below/file.bin"
    assert path.read_bytes() == CONTENT
    fetch.fetch(source, tmp_path)
    assert len(home.requests) == 1
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_a_file_that_is_there_but_wrong_is_replaced(
    home: Home, source: Source, tmp_path: Path
) -> None:
    path = tmp_path / source.path
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    fetch.fetch(source, tmp_path)
    assert path.read_bytes() == CONTENT


def test_the_git_blob_id_is_git_s_own(home: Home, tmp_path: Path) -> None:
    assert shutil.which("git"), "this project is a git checkout"
    reference = tmp_path / "reference"
    reference.write_bytes(CONTENT)
    blob = subprocess.check_output(["git", "hash-object", "--no-filters", reference], text=True)
    path = fetch.fetch(Source("f", "github:file.bin", git_blob=blob.strip()), tmp_path)
    assert path.read_bytes() == CONTENT
    with pytest.raises(UserError, match="git blob id"):
        fetch.fetch(Source("g", "github:file.bin", git_blob="0" * 40), tmp_path)


@pytest.mark.parametrize("fault", ["truncate", "reset"])
def test_a_download_that_breaks_off_is_resumed(
    home: Home, source: Source, tmp_path: Path, fault: str
) -> None:
    home.faults = [fault]
    with pytest.raises(UserError, match="broke off after") as caught:
        fetch.fetch(source, tmp_path)
    assert "run again to resume" in one_line(caught)
    part = tmp_path / "below/file.bin.part"
    kept = part.stat().st_size if part.exists() else 0
    assert CONTENT.startswith(part.read_bytes() if kept else b"")
    assert not (tmp_path / source.path).exists()
    if fault == "truncate":
        assert kept == len(CONTENT) // 2
    fetch.fetch(source, tmp_path)
    assert home.requests[1] == ("file.bin", f"bytes={kept}-" if kept else None)
    assert (tmp_path / source.path).read_bytes() == CONTENT
    assert not part.exists()


@pytest.mark.parametrize("fault", ["no range", "wrong range"])
def test_a_server_that_cannot_resume_starts_over(
    home: Home, source: Source, tmp_path: Path, fault: str
) -> None:
    home.faults = ["truncate", fault]
    with pytest.raises(UserError, match="broke off"):
        fetch.fetch(source, tmp_path)
    fetch.fetch(source, tmp_path)
    assert (tmp_path / source.path).read_bytes() == CONTENT


def test_a_complete_part_only_needs_its_name(home: Home, source: Source, tmp_path: Path) -> None:
    part = tmp_path / "below/file.bin.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    fetch.fetch(source, tmp_path)
    assert (tmp_path / source.path).read_bytes() == CONTENT


def test_a_server_that_tells_no_length_is_checked_by_the_hash(
    home: Home, source: Source, tmp_path: Path
) -> None:
    home.faults = ["no length"]
    assert fetch.fetch(source, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("pin", "said"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"bytes": 7, "sha256": SHA256}, "bytes 16384, pinned 7"),
    ],
)
def test_another_content_is_not_kept(
    home: Home, tmp_path: Path, pin: dict[str, object], said: str
) -> None:
    source = Source("file.bin", "github:file.bin", **pin)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=said) as caught:
        fetch.fetch(source, tmp_path)
    assert home.url in one_line(caught)
    assert list(tmp_path.iterdir()) == []


def test_404(home: Home, tmp_path: Path) -> None:
    source = Source("file.bin", "github:gone.bin", sha256=SHA256)
    with pytest.raises(UserError, match="404 Not Found") as caught:
        fetch.fetch(source, tmp_path)
    assert f"{home.url}/gone.bin" in one_line(caught)
    assert list(tmp_path.iterdir()) == []


def test_no_network(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as gone:
        monkeypatch.setitem(fetch.HOMES, "github", gone.url)
    with pytest.raises(UserError, match=r"cannot reach 127\.0\.0\.1:\d+ .*refused") as caught:
        fetch.fetch(source, tmp_path)
    assert "check the network" in one_line(caught)


def test_a_disk_that_is_too_small_gets_nothing(
    home: Home, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"no space left on the disk .* 100 free") as caught:
        fetch.fetch(source, tmp_path)
    one_line(caught)
    assert list((tmp_path / "below").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_is_told(home: Home, source: Source, tmp_path: Path) -> None:
    part = tmp_path / "below/file.bin.part"
    part.parent.mkdir()
    part.symlink_to("/dev/full")
    with pytest.raises(UserError, match="no space left on the disk"):
        fetch.fetch(source, tmp_path)
    assert not (tmp_path / source.path).exists()


def test_a_place_that_cannot_be_written_is_told(home: Home, source: Source, tmp_path: Path) -> None:
    (tmp_path / "below").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot make the folder"):
        fetch.fetch(source, tmp_path)
    (tmp_path / "below").unlink()
    (tmp_path / "below/file.bin.part").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot write .*Is a directory"):
        fetch.fetch(source, tmp_path)


def test_an_unknown_pin_stops_until_its_hash_is_accepted(home: Home, tmp_path: Path) -> None:
    source = Source("file.bin", "github:file.bin", reported_sha256="f" * 64)
    for accepted in (None, "", "0" * 64):
        with pytest.raises(
            UnpinnedError, match=f"{len(CONTENT)} bytes, SHA-256 {SHA256}"
        ) as caught:
            fetch.fetch(source, tmp_path, accept_sha256=accepted)
        assert "--accept-sha256" in one_line(caught)
        assert "f" * 64 in one_line(caught)
        assert not (tmp_path / "file.bin").exists()
    path = fetch.fetch(source, tmp_path, accept_sha256=SHA256.upper())
    assert path.read_bytes() == CONTENT
    served = sum(asked is None for _, asked in home.requests)
    assert served == 1, "what is there is not downloaded again"
    assert fetch.fetch(source, tmp_path) == path


def test_a_pin_cannot_be_overruled(home: Home, tmp_path: Path) -> None:
    source = Source("file.bin", "github:file.bin", sha256="0" * 64)
    with pytest.raises(UserError, match="pinned 0000"):
        fetch.fetch(source, tmp_path, accept_sha256=SHA256)


def test_a_backbone_lists_all_its_hashes_at_once(
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    sources = fetch.BACKBONES["distilroberta"]
    for source in sources:
        assert source.url.startswith("huggingface:distilbert/distilroberta-base/resolve/fb53ab88")
        home.files[source.address.removeprefix(f"{home.url}/")] = source.path.encode()
    with pytest.raises(UserError, match="--accept-sha256 ") as caught:
        fetch.fetch_backbone("distilroberta")
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == [source.path for source in sources]
    hashes = one_line(caught).rpartition(" ")[2]
    assert hashes.split(",") == [hashlib.sha256(s.path.encode()).hexdigest() for s in sources]
    folder = fetch.fetch_backbone("distilroberta", accept_sha256=hashes)
    assert folder == tmp_path / "backbones/distilroberta"
    weights = hashlib.sha256(b"model.safetensors").hexdigest()
    assert f"{weights}  model.safetensors" in (folder / fetch.ACCEPTED).read_text().splitlines()
    assert {p.name for p in folder.iterdir()} == {s.path for s in sources} | {fetch.ACCEPTED}
    with pytest.raises(UserError, match="did you mean 'distilroberta'"):
        fetch.fetch_backbone("distilrobert")


@pytest.fixture
def distilroberta(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """The backbone's folder after all its files were accepted; each file holds its own name."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    sources = fetch.BACKBONES["distilroberta"]
    for source in sources:
        home.files[source.address.removeprefix(f"{home.url}/")] = source.path.encode()
    hashes = ",".join(hashlib.sha256(source.path.encode()).hexdigest() for source in sources)
    folder = fetch.fetch_backbone("distilroberta", accept_sha256=hashes)
    home.requests.clear()
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_an_accepted_file_that_is_damaged_is_fetched_anew(
    name: str, home: Home, distilroberta: Path
) -> None:
    (distilroberta / name).write_bytes(b"damaged")
    with pytest.raises(UserError, match="is not the pinned file"):
        refuse_other_hash(distilroberta / name, fetch.accepted_hashes(distilroberta)[name])
    fetch.fetch_backbone("distilroberta")
    assert [path.rpartition("/")[2] for path, _ in home.requests] == [name]
    assert (distilroberta / name).read_bytes() == name.encode()
    assert DISTILROBERTA.pin() == hashlib.sha256(b"model.safetensors").hexdigest()


def test_what_was_accepted_once_is_the_pin(home: Home, distilroberta: Path) -> None:
    other = b"other weights, though the address is the same"
    (address,) = (path for path in home.files if path.endswith("model.safetensors"))
    home.files[address] = other
    (distilroberta / "model.safetensors").unlink()
    before = (distilroberta / fetch.ACCEPTED).read_bytes()
    with pytest.raises(UserError, match=r"SHA-256 .*, pinned"):
        fetch.fetch_backbone("distilroberta", accept_sha256=hashlib.sha256(other).hexdigest())
    assert not (distilroberta / "model.safetensors").exists()
    assert (distilroberta / fetch.ACCEPTED).read_bytes() == before


def test_the_accepted_hashes_are_those_of_sha256sum(distilroberta: Path) -> None:
    if not shutil.which("sha256sum"):
        pytest.skip("no sha256sum is there")
    command = ["sha256sum", "--strict", "--check", fetch.ACCEPTED]
    checked = subprocess.check_output(command, cwd=distilroberta, text=True)
    names = {source.path for source in fetch.BACKBONES["distilroberta"]}
    assert {line.partition(":")[0] for line in checked.splitlines()} == names


def test_a_file_put_there_by_hand_is_refused_until_it_is_accepted(
    home: Home, tmp_path: Path
) -> None:
    source = Source("file.bin", "github:file.bin")
    (tmp_path / "file.bin").write_bytes(CONTENT)
    with pytest.raises(UnpinnedError, match=f"delete {tmp_path / 'file.bin'}, or") as caught:
        fetch.fetch(source, tmp_path)
    assert SHA256 in one_line(caught)
    assert fetch.accepted_hashes(tmp_path) == {}
    fetch.fetch(source, tmp_path, accept_sha256=SHA256)
    assert fetch.accepted_hashes(tmp_path) == {"file.bin": SHA256}
    assert home.requests == []


@pytest.mark.parametrize("content", [b"no hash  file.bin\n", b"\xff\xfe"])
def test_a_damaged_list_of_accepted_hashes_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / fetch.ACCEPTED).write_bytes(content)
    with pytest.raises(UserError, match=r"SHA256SUMS.* delete it and fetch again") as caught:
        fetch.fetch(Source("file.bin", "github:file.bin"), tmp_path)
    one_line(caught)


def test_full_urls_are_taken_as_they_are(home: Home, tmp_path: Path) -> None:
    source = Source("file.bin", f"{home.url}/file.bin", sha256=SHA256)
    assert fetch.fetch(source, tmp_path).read_bytes() == CONTENT
