"""Fetching weight sets, against a server on this machine that also truncates, corrupts, stalls and refuses."""

import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nst_spec import fetch, weights
from nst_spec.errors import NstError

FILE = "published.npz"
NARROW = (1, 1, 1, 1, 1)


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` in the way that the last part of the path names, and counts what it is asked for."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.heads = self.gets = 0
        self.over = threading.Event()

    def url(self, manner):
        return f"http://127.0.0.1:{self.server_port}/{manner}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.server.heads += 1
        if self.path.endswith("silent"):
            self.server.over.wait(30)
        self.send_response(405)  # some servers refuse HEAD; they are reachable all the same
        self.end_headers()

    def do_GET(self):
        self.server.gets += 1
        content, manner = self.server.content, self.path.rpartition("/")[2]
        if manner in ("404", "500"):
            self.send_error(int(manner))
            return
        self.send_response(200)
        if manner != "short":  # "short" sends too little and never says how much it should have been
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if manner == "corrupt":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if manner in ("truncated", "stalling", "short"):
            content = content[: len(content) // 2]
        self.wfile.write(content)
        self.wfile.flush()
        if manner == "stalling":
            self.server.over.wait(30)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / FILE
    np.savez(path, **weights.random_weights(NARROW, seed=3).arrays)
    return path.read_bytes()


@pytest.fixture
def server(content):
    with Server(content) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield running
        running.over.set()
        running.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "NST_OFFLINE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("NST_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def publish(content, monkeypatch):
    """Publish `caffe` at a url, and nothing else but the sets that are not fetched."""

    def publish(url, published=None):
        published = published or f"md5:{hashlib.md5(content).hexdigest()}"
        caffe = weights.SetInfo("caffe", "", len(content), "CC0", "us", "caffe", url, FILE, published)
        others = {name: info for name, info in weights.SETS.items() if not info.url}
        monkeypatch.setattr(weights, "SETS", {"caffe": caffe, **others})

    return publish


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(folder):
    return sorted(path.name for path in folder.rglob("*"))


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_pin_that_cannot_be_read_is_said_in_a_line(server, publish, cache):
    publish(server.url("good"))
    path = weights.fetch("caffe", say=lambda _: None)
    (cache / (FILE + ".sha256")).unlink()
    (cache / (FILE + ".sha256")).mkdir()
    with pytest.raises(NstError, match=r"\.sha256: cannot be read"):
        fetch.check(path, f"sha256:{sha256(path)}")


def test_no_folder_of_the_cache_need_be_there(server, publish, cache, monkeypatch):
    monkeypatch.setenv("NST_CACHE_DIR", str(cache / "a" / "b"))
    publish(server.url("good"))
    assert weights.fetch("caffe", say=lambda _: None) == cache / "a" / "b" / FILE


@pytest.mark.parametrize(
    ("said", "meant"), [("", False), ("False", False), ("no", False), ("off", False), ("yes", True), ("true", True)]
)
def test_offline_in_the_usual_words(said, meant, monkeypatch):
    monkeypatch.setenv("NST_OFFLINE", said)
    assert fetch.is_offline() is meant


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_hash_is_compared_to_its_end(kind, tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    digest = hashlib.new(kind, b"x").hexdigest()
    assert fetch.matches(tmp_path / "f", f"{kind}:{digest}")
    assert not fetch.matches(tmp_path / "f", f"{kind}:{digest[:-1]}{'0' if digest[-1] != '0' else '1'}")


def test_a_fetched_file_is_whole_and_pinned(server, publish, cache, content):
    publish(server.url("good"))
    said = []
    path = weights.fetch("caffe", say=lambda message: said.append((message, server.gets)))
    assert path == cache / FILE
    assert path.read_bytes() == content
    assert files(cache) == [FILE, FILE + ".sha256"]
    assert (cache / (FILE + ".sha256")).read_text() == f"{hashlib.sha256(content).hexdigest()}  {FILE}\n"
    [(message, gets)] = said
    assert gets == 0  # said before it started
    assert "0 MB" in message
    assert server.url("good") in message
    assert weights.path("caffe") == path
    assert weights.verify("caffe") == hashlib.sha256(content).hexdigest()


def test_a_program_without_a_terminal_fetches_too(server, publish, cache, content, monkeypatch):
    publish(server.url("good"))
    monkeypatch.setattr(sys, "stderr", None)
    assert weights.fetch("caffe").read_bytes() == content


def test_what_is_cached_is_not_fetched_again_unless_forced(server, publish):
    publish(server.url("good"))
    said = []
    loaded = weights.load("caffe", say=said.append)
    assert (loaded.name, loaded.preprocessing) == ("caffe", "caffe")
    assert loaded.sha256 == weights.random_weights(NARROW, seed=3).sha256
    weights.load("caffe", say=said.append)
    weights.fetch("caffe", say=said.append)
    assert (server.gets, len(said)) == (1, 1)
    weights.fetch("caffe", force=True, say=said.append)
    assert (server.gets, len(said)) == (2, 2)


def test_a_hash_prefix_is_enough_and_the_whole_is_pinned(server, publish, cache, content):
    whole = hashlib.sha256(content).hexdigest()
    publish(server.url("good"), f"sha256-prefix:{whole[:8]}")
    weights.fetch("caffe", say=lambda _: None)
    assert (cache / (FILE + ".sha256")).read_text().split()[0] == whole
    publish(server.url("good"), "sha256-prefix:00000000")
    with pytest.raises(NstError, match="sha256-prefix:00000000"):
        weights.fetch("caffe", force=True, say=lambda _: None)


def test_the_size_is_said_in_megabytes(server, publish, cache):
    publish(server.url("500"))
    info = weights.SETS["caffe"]
    said = []
    with pytest.raises(NstError):
        fetch.download(info.url, cache / FILE, 80_134_624, info.hash, said.append)
    assert "80 MB" in said[0]
    assert files(cache) == []


FAILURES = {
    "truncated": "bytes",
    "short": "bytes, expected",
    "corrupt": "its hash is not the publisher's, md5:",
    "stalling": "timed out",
    "404": "the server answered 404 Not Found",
    "500": "the server answered 500 Internal Server Error",
}


@pytest.mark.parametrize("manner", FAILURES)
@pytest.mark.parametrize("before", ["nothing", "an older file"])
def test_a_failed_download_leaves_the_cache_as_it_was(manner, before, server, publish, cache, monkeypatch):
    if before == "an older file":
        publish(server.url("good"))
        weights.fetch("caffe", say=lambda _: None)
    had = {name: (cache / name).read_bytes() for name in files(cache)} if cache.exists() else {}
    publish(server.url(manner))
    if manner == "stalling":  # for 30 seconds, and then the server ends it: another message
        monkeypatch.setattr(fetch, "READ_TIMEOUT", 0.4)
    with pytest.raises(NstError) as caught:
        weights.fetch("caffe", force=True, say=lambda _: None)
    assert {name: (cache / name).read_bytes() for name in files(cache)} == had
    message = str(caught.value)
    for part in (FILE, server.url(manner), FAILURES[manner], str(cache / FILE), "--weights FILE", "--weights embedded"):
        assert part in message
    assert "\n" not in message


def test_a_host_that_refuses_is_named_at_once(publish, cache):
    publish(f"http://127.0.0.1:{closed_port()}/{FILE}")
    with pytest.raises(NstError, match=r"cannot be reached: .*refused.*--weights FILE`, or `--weights embedded`"):
        weights.load("caffe")
    assert not cache.exists()


def test_a_host_whose_name_is_looked_up_for_ever_is_given_up_in_time(publish, cache, monkeypatch):
    assert fetch.REACHABLE_WITHIN < 5
    monkeypatch.setattr(fetch, "REACHABLE_WITHIN", 0.5)
    over = threading.Event()

    def slow(*_, **__):
        over.wait(60)
        raise socket.gaierror("the test is over")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    publish(f"http://weights.invalid/{FILE}")
    start = time.monotonic()
    with pytest.raises(NstError, match=r"weights\.invalid.*no answer within"):
        weights.load("caffe")
    assert 0.4 < time.monotonic() - start < 30, "it waits for the look-up to end, or not at all"
    over.set()
    assert not cache.exists()


def test_a_host_that_accepts_and_says_nothing_is_given_up(server, publish, cache, monkeypatch):
    monkeypatch.setattr(fetch, "REACHABLE_WITHIN", 0.3)
    publish(server.url("silent"))
    with pytest.raises(NstError, match="cannot be reached"):
        weights.load("caffe")
    assert server.gets == 0
    assert not cache.exists()


def test_a_proxy_is_honoured(server, publish, cache, monkeypatch):
    """Only the proxy knows the way to this name, so the file arrives only if both requests go through it."""
    monkeypatch.setenv("http_proxy", server.url("").rstrip("/"))
    publish("http://weights.invalid/good")
    assert weights.fetch("caffe", say=lambda _: None) == cache / FILE
    assert (server.heads, server.gets) == (1, 1)


def test_a_cache_that_cannot_be_made_is_an_error(server, publish, tmp_path, monkeypatch):
    (tmp_path / "a file").write_bytes(b"")
    monkeypatch.setenv("NST_CACHE_DIR", str(tmp_path / "a file" / "cache"))
    publish(server.url("good"))
    with pytest.raises(NstError, match="a file"):
        weights.fetch("caffe", say=lambda _: None)


def test_an_interrupted_download_leaves_nothing(server, publish, cache, monkeypatch):
    def interrupted(_, __, output_file, ___):
        Path(output_file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch.pooch.HTTPDownloader, "__call__", interrupted)
    publish(server.url("good"))
    with pytest.raises(KeyboardInterrupt):
        weights.fetch("caffe", say=lambda _: None)
    assert files(cache) == []


def test_offline_never_tries(server, publish, monkeypatch):
    publish(server.url("good"))
    with pytest.raises(NstError, match=r"--offline says not to try.*--weights FILE"):
        weights.load("caffe", offline=True)
    monkeypatch.setenv("NST_OFFLINE", "1")
    for use in (weights.load, weights.fetch):
        with pytest.raises(NstError, match="NST_OFFLINE says not to try"):
            use("caffe")
    assert (server.heads, server.gets) == (0, 0)
    monkeypatch.setenv("NST_OFFLINE", "0")
    weights.fetch("caffe", say=lambda _: None)
    monkeypatch.setenv("NST_OFFLINE", "1")
    assert weights.load("caffe").name == "caffe"


def test_a_file_that_changed_since_its_first_use_is_refused(server, publish, cache):
    publish(server.url("good"))
    weights.fetch("caffe", say=lambda _: None)
    (cache / FILE).write_bytes((cache / FILE).read_bytes() + b"x")
    for use in (weights.load, weights.fetch):
        with pytest.raises(NstError, match=r"has changed: SHA-256 .* is pinned"):
            use("caffe")
    with pytest.raises(NstError, match="publisher's hash"):
        weights.verify("caffe")
    assert server.gets == 1
    weights.fetch("caffe", force=True, say=lambda _: None)
    assert weights.verify("caffe") == sha256(cache / FILE)


def test_the_pin_alone_is_enough_to_refuse(server, publish, cache):
    publish(server.url("good"))
    weights.fetch("caffe", say=lambda _: None)
    (cache / (FILE + ".sha256")).write_text("")
    with pytest.raises(NstError, match="pinned"):
        weights.verify("caffe")


def test_a_damaged_pin_is_named(server, publish, cache):
    publish(server.url("good"))
    weights.fetch("caffe", say=lambda _: None)
    (cache / (FILE + ".sha256")).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NstError, match=r"is pinned in .*\.sha256; delete it and fetch it again"):
        weights.load("caffe")


def test_what_comes_along_has_no_pin(monkeypatch, tmp_path):
    carried = tmp_path / "embedded.safetensors"
    carried.write_bytes((weights.CARRIED / carried.name).read_bytes())
    monkeypatch.setattr(weights, "CARRIED", tmp_path)
    assert weights.verify("embedded") == sha256(carried)
    assert files(tmp_path) == [carried.name]


def test_a_file_put_there_by_hand_is_checked_and_pinned(server, publish, cache, content):
    publish(server.url("500"))
    cache.mkdir()
    (cache / FILE).write_bytes(content[:-1])
    with pytest.raises(NstError, match="publisher's hash"):
        weights.load("caffe")
    assert files(cache) == [FILE]
    (cache / FILE).write_bytes(content)
    weights.load("caffe")
    assert (cache / (FILE + ".sha256")).read_text().split() == [hashlib.sha256(content).hexdigest(), FILE]
    assert server.heads == 0


def test_verify_needs_the_file_and_checks_copies_by_their_name(server, publish, cache, content, tmp_path):
    publish(server.url("good"))
    with pytest.raises(NstError, match="nst weights fetch caffe"):
        weights.verify("caffe")
    assert weights.path("caffe") is None
    (tmp_path / FILE).write_bytes(content)
    assert weights.verify(str(tmp_path / FILE)) == hashlib.sha256(content).hexdigest()
    np.savez(tmp_path / FILE, **weights.random_weights(NARROW, seed=4).arrays)
    with pytest.raises(NstError, match="publisher's hash"):
        weights.verify(str(tmp_path / FILE))


def test_auto_takes_the_pretrained_set_when_it_can(server, publish):
    publish(server.url("good"))
    said = []
    assert weights.load("auto", say=said.append).name == "caffe"
    assert len(said) == 1
    assert "WARNING" not in said[0]
    assert weights.load("auto", offline=True, say=said.append).name == "caffe"
    assert len(said) == 1


@pytest.mark.parametrize("why", ["unreachable", "offline"])
def test_auto_falls_back_loudly(why, server, publish):
    url = f"http://127.0.0.1:{closed_port()}/{FILE}" if why == "unreachable" else server.url("good")
    publish(url)
    said = []
    loaded = weights.load("auto", offline=why == "offline", warn=said.append)
    assert loaded.name == "embedded"
    [message] = said
    assert message.startswith("WARNING: using the weights 'embedded' instead of 'caffe'")
    for part in ("refused" if why == "unreachable" else "offline", "`nst weights fetch caffe`"):
        assert part in message
    assert weights.preprocessing_for(None, "auto", loaded) == "imagenet"


def test_auto_does_not_hide_a_damaged_cache(server, publish, cache):
    publish(server.url("good"))
    cache.mkdir()
    (cache / FILE).write_bytes(b"damaged")
    with pytest.raises(NstError, match="publisher's hash"):
        weights.load("auto")


def test_only_a_set_with_a_url_is_fetched(server, publish):
    publish(server.url("good"))
    for name in ("random", "cafe"):
        with pytest.raises(NstError, match=f"received '{name}'; accepted: caffe$"):
            weights.fetch(name)
    assert weights.path("random") is None
    with pytest.raises(NstError, match="accepted: caffe, embedded, random"):
        weights.path("cafe")


def test_processes_that_fetch_at_once_do_not_disturb_each_other(server, cache, content):
    script = """
import sys
from nst_spec import fetch, weights
url, file, size, published = sys.argv[1:]
weights.SETS = {"caffe": weights.SetInfo("caffe", "", int(size), "", "", "caffe", url, file, published)}
print(weights.fetch("caffe", force=True))
"""
    arguments = [server.url("good"), FILE, str(len(content)), f"md5:{hashlib.md5(content).hexdigest()}"]
    command = [sys.executable, "-c", script, *arguments]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [process.communicate(timeout=30)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert printed == [str(cache / FILE)] * 3
    assert (cache / FILE).read_bytes() == content
    assert files(cache) == [FILE, FILE + ".sha256"]
    assert server.gets == 3


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is Linux's")
def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch, tmp_path):
    assert fetch.cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("NST_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch.cache_directory() == tmp_path / "xdg" / "nst"
    monkeypatch.setenv("NST_CACHE_DIR", "~/nst-cache")
    assert fetch.cache_directory() == Path.home() / "nst-cache"
