"""The store of weights, and downloads from a server of the test's own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from file_server import Behaviour, serving

from NASAM3DLib.progress import Cancelled
from NASAM3DLib.weights import catalogue
from NASAM3DLib.weights.catalogue import SAM_MED3D_TURBO, PublicWeights, public_weights
from NASAM3DLib.weights.download import download
from NASAM3DLib.weights.store import WeightStore, default_folder, sha256_of

CONTENT = np.random.default_rng(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def store(tmp_path):
    return WeightStore(tmp_path / "weights")


@pytest.fixture
def behaviour():
    return Behaviour(CONTENT)


@pytest.fixture
def address(behaviour):
    with serving(behaviour) as address:
        yield address


def entry(url: str, **changes) -> PublicWeights:
    known = PublicWeights("net", "A net", url, (), len(CONTENT), DIGEST, "Free for all.")
    return dataclasses.replace(known, **changes)


@pytest.fixture
def weights(address):
    return entry(f"{address}/models/file.pth")


def names(store) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir()) if store.folder.is_dir() else []


def test_the_catalogue_holds_what_the_authors_publish():
    assert SAM_MED3D_TURBO.url.startswith("https://huggingface.co/blueyo0/SAM-Med3D/resolve/")
    assert len(SAM_MED3D_TURBO.sha256) == 64
    assert "Apache" in SAM_MED3D_TURBO.licence
    assert public_weights("sam-med3d-turbo") is SAM_MED3D_TURBO
    with pytest.raises(ValueError, match=r"no public weights 'sam': choose one of sam-med3d-turbo"):
        public_weights("sam")


@pytest.mark.parametrize(
    ("mirror", "url"),
    [
        (None, "https://a.org/x/y.pth"),
        ("https://mirror.org", "https://mirror.org/x/y.pth"),
        ("http://mirror.org:8080/hf/", "http://mirror.org:8080/hf/x/y.pth"),
    ],
)
def test_a_mirror_replaces_the_place(mirror, url):
    assert entry("https://a.org/x/y.pth").url_at(mirror) == url


@pytest.mark.parametrize("mirror", ["ftp://a.org", "file:///etc", "a.org", ""])
def test_only_web_addresses_are_mirrors(mirror):
    with pytest.raises(ValueError, match=r"must be a web address"):
        SAM_MED3D_TURBO.url_at(mirror)


def test_a_download_ends_in_the_store(store, weights):
    fractions = []
    record = download(weights, store, progress=lambda stage, f: fractions.append(f))
    assert store.find("net").read_bytes() == CONTENT
    assert record == store.stored()[0]
    assert (record.name, record.sha256, record.size_bytes) == ("net", DIGEST, len(CONTENT))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert names(store) == ["net.json", "net.pth"]
    assert store.verify("net") == record


def test_a_broken_connection_is_continued(store, weights, behaviour):
    behaviour.break_after = 1_200_000
    with pytest.raises(OSError, match=r"cannot be downloaded.*the same command continues"):
        download(weights, store)
    assert store.stored() == []
    kept = store.partial_path("net").stat().st_size
    assert 0 < kept <= 1_200_000
    download(weights, store)
    assert store.find("net").read_bytes() == CONTENT
    assert behaviour.requests[-1] == ("/models/file.pth", f"bytes={kept}-")


def test_a_server_that_cannot_continue_sends_all_again(store, weights, behaviour):
    behaviour.break_after, behaviour.ranges = 100_000, False
    with pytest.raises(OSError, match="cannot be downloaded"):
        download(weights, store)
    download(weights, store)
    assert store.find("net").read_bytes() == CONTENT


def test_a_cancelled_download_is_continued(store, weights):
    def cancel(stage: str, fraction: float) -> None:
        if fraction > 0.4:
            raise Cancelled

    with pytest.raises(Cancelled):
        download(weights, store, progress=cancel)
    assert store.stored() == []
    download(weights, store)
    assert store.find("net").read_bytes() == CONTENT


def test_a_download_that_was_complete_needs_no_byte_more(store, weights, behaviour):
    store.folder.mkdir()
    store.partial_path("net").write_bytes(CONTENT)
    download(weights, store)
    assert store.find("net").read_bytes() == CONTENT
    assert len(behaviour.requests) == 1


def test_a_wrong_beginning_is_fetched_anew(store, weights, behaviour):
    store.folder.mkdir()
    store.partial_path("net").write_bytes(b"something else" * 1000)
    download(weights, store)
    assert store.find("net").read_bytes() == CONTENT
    assert [wanted for _, wanted in behaviour.requests] == ["bytes=14000-", None]


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-1], CONTENT[:-1] + b"?", b"", b"<html>sign in</html>"],
    ids=["short", "changed", "empty", "page"],
)
def test_a_wrong_file_never_enters_the_store(store, weights, behaviour, content):
    behaviour.content = content
    with pytest.raises(ValueError, match=rf"instead of {DIGEST}.*Nothing was installed"):
        download(weights, store)
    assert names(store) == []
    assert store.stored() == []


def test_a_flood_is_cut_off(store, weights, behaviour):
    behaviour.content, behaviour.length = CONTENT * 3, False
    with pytest.raises(ValueError, match="sends more than 3 MB"):
        download(weights, store)
    assert names(store) == []


def test_a_redirection_is_followed_and_continued(store, address, behaviour):
    moved = entry(f"{address}/moved/file.pth")
    behaviour.break_after = 500_000
    with pytest.raises(OSError, match="cannot be downloaded"):
        download(moved, store)
    download(moved, store)
    assert store.find("net").read_bytes() == CONTENT
    assert behaviour.requests[-1][1] is not None


@pytest.mark.parametrize("status", [404, 403, 500])
def test_refusals_are_told(store, weights, behaviour, status):
    behaviour.status = status
    with pytest.raises(OSError, match=r"cannot be downloaded.*check the network"):
        download(weights, store)
    assert names(store) == []


def test_an_unreachable_server_is_told(store):
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9/file\.pth cannot be downloaded"):
        download(entry("http://127.0.0.1:9/file.pth"), store)


def test_a_mirror_is_used(store, address):
    download(entry("https://unreachable.invalid/models/file.pth"), store, mirror=address)
    assert store.stored()[0].source == f"{address}/models/file.pth"


def test_a_proxy_is_asked(store, address, behaviour, monkeypatch):
    monkeypatch.setenv("http_proxy", address)
    download(entry("http://unreachable.invalid/models/file.pth"), store)
    assert behaviour.requests == [("http://unreachable.invalid/models/file.pth", None)]


def test_a_full_disk_is_noticed_first(store, weights, behaviour, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match=r"has 0 MB left and 3 MB are needed"):
        download(weights, store)
    assert behaviour.requests == []


@pytest.fixture
def public(monkeypatch, weights):
    monkeypatch.setattr("NASAM3DLib.weights.store.CATALOGUE", {"net": weights})
    return weights


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "given.pth"
    path.write_bytes(CONTENT)
    return path


def refuse(path: Path) -> None:
    raise ValueError(f"{path.name} is no network.")


def accept(path: Path) -> None:
    assert path.read_bytes()


def test_a_public_file_is_known_by_its_digest(store, public, file):
    record = store.install(file, check=refuse)
    assert record.name == "net"
    assert store.find() == store.path_of("net")
    with pytest.raises(FileExistsError, match="exists already"):
        store.install(file, check=refuse)


def test_another_file_needs_a_name_and_passes_the_check(store, public, file):
    file.write_bytes(CONTENT[:1000])
    with pytest.raises(ValueError, match=r"which is no public file's.*--name"):
        store.install(file, check=accept)
    with pytest.raises(ValueError, match=r"is not net: its SHA-256 is [0-9a-f]{64} instead of"):
        store.install(file, name="net", check=accept)
    with pytest.raises(ValueError, match="is no network"):
        store.install(file, name="mine", check=refuse)
    assert names(store) == []
    store.install(file, name="mine", check=accept)
    assert [record.name for record in store.stored()] == ["mine"]
    file.write_bytes(CONTENT[:2000])
    store.install(file, name="mine", check=accept, force=True)
    assert store.verify("mine").size_bytes == 2000


@pytest.mark.parametrize("name", ["../up", "A", "", "a b", ".x", "x" * 65])
def test_names_are_names_of_files(store, file, name):
    with pytest.raises(ValueError, match="Weights cannot be called"):
        store.path_of(name)


def test_the_preferred_weights_are_used(store, public, file):
    with pytest.raises(FileNotFoundError, match=r"'net' are not installed.*weights download net"):
        store.find()
    store.install(file, check=refuse)
    store.install(file, name="mine", check=accept)
    assert store.preferred() == "net"
    store.prefer("mine")
    assert store.find() == store.path_of("mine")
    store.remove("mine")
    assert store.preferred() == "net"
    with pytest.raises(FileNotFoundError, match="not installed"):
        store.prefer("mine")


def test_damage_in_the_store_is_found(store, public, file):
    store.install(file, check=refuse)
    path = store.path_of("net")
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(ValueError, match=r"it is damaged.*weights remove net"):
        store.verify("net")
    path.write_bytes(CONTENT[:-1])
    assert store.stored() == []
    path.write_bytes(CONTENT)
    (store.folder / "net.json").write_text("{}", "utf-8")
    assert store.stored() == []


def test_removing_frees_the_space(store, public, file):
    store.install(file, check=refuse)
    store.partial_path("net").write_bytes(b"rest")
    assert store.remove("net") > len(CONTENT)
    assert names(store) == []
    with pytest.raises(FileNotFoundError, match="There is nothing called 'net'"):
        store.remove("net")


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("NASAM3D_WEIGHTS", str(tmp_path / "here"))
    assert default_folder() == tmp_path / "here"
    assert WeightStore().stored() == []
    monkeypatch.delenv("NASAM3D_WEIGHTS")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "NASAM3D" / "weights"
    monkeypatch.setattr("sys.platform", "darwin")
    assert default_folder().parts[-4:] == ("Library", "Application Support", "NASAM3D", "weights")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert default_folder() == tmp_path / "NASAM3D" / "weights"


def test_records_are_readable(store, public, file):
    store.install(file, check=refuse)
    record = json.loads((store.folder / "net.json").read_text("utf-8"))
    assert record == {
        "name": "net",
        "sha256": DIGEST,
        "size_bytes": len(CONTENT),
        "source": str(file),
    }
    assert sha256_of(store.path_of("net")) == DIGEST
    assert catalogue.SCHEMES == ("https", "http")
