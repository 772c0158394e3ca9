"""Kernels forked from a warm server: fast, alone, and the same in what they compute."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
import zmq
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from nbclient.exceptions import DeadKernelError
from waiting import eventually

from ballbook import html_book, rehearsal, run, small_book, warm, warm_kernels, warm_server
from ballbook.forked import Forked, receive
from ballbook.prompt_client import PromptClient

SLUG = "immunotherapy-risk"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(warm.VARIABLE, raising=False)
        with warm.server() as path:
            assert path is not None
            yield path


@pytest.fixture(autouse=True)
def of_the_server(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(warm.VARIABLE, str(server))
    factory = KernelProvisionerFactory.instance()
    monkeypatch.setattr(factory, "default_provisioner_name", warm_kernels.NAME)


def outputs(*cells: str) -> list[Any]:
    """Run cells in one kernel and return what each gave."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = spec
    done = papermill.execute_notebook(notebook, None, kernel_name="python3", progress_bar=False)
    return [cell.outputs for cell in done.cells]


def printed(*cells: str) -> list[str]:
    return ["".join(o.get("text", "") for o in found) for found in outputs(*cells)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_everything_preloaded_is_there_without_an_import() -> None:
    (text,) = printed(
        "import sys, json\n"
        f"print(json.dumps([m for m in {list(warm_server.PRELOAD)} if m not in sys.modules]))"
    )
    assert json.loads(text) == []


def test_a_misspelt_name_stops_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_server, "PRELOAD", ("numpy", "numpyy"))
    with pytest.raises(ImportError, match="numpyy"):
        warm_server.preload()


def test_a_forked_kernel_has_no_debugger_and_notebooks_may_import_it() -> None:
    (text,) = printed(
        "import ipykernel.debugger\nprint(ipykernel.debugger._is_debugpy_available)\n"
        "import debugpy\nprint(debugpy.__name__)"
    )
    assert text.split() == ["False", "debugpy"]


def test_a_page_imports_nothing_heavy_once_the_driver_is_ready(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (slug,) = small_book.write(home, 1, patients=50)
    code = (
        "import sys\nfrom ballbook import html_book, rehearsal, run\n"
        "rehearsal.pages()\nbefore = set(sys.modules)\n"
        f"run.run({slug!r})\nprint(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"BALLBOOK_HOME": str(home)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    late = {name.split(".")[0] for name in done.stdout.split()}
    assert late <= {"ipykernel", "pygments"}
    assert (home / "build" / "runs" / slug / "results.json").is_file()


def test_the_book_is_rehearsed_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[list[str], int]] = []
    whole = html_book.jupyter_book
    monkeypatch.setattr(html_book, "jupyter_book", lambda *given: said.append(whole(*given)))
    rehearsal.book()
    ((lines, code),) = said
    assert (code, [x for x in lines if "WARNING" in x or "ERROR" in x]) == (0, [])


def test_a_rehearsal_changes_nothing_by_which_sphinx_renders_everything_anew(
    tmp_path: Path,
) -> None:
    # What a page would look like in another configuration, Sphinx keeps as one hash.
    code = (
        "import sys, pathlib\nfrom ballbook import html_book, rehearsal\n"
        "if len(sys.argv) > 2: rehearsal.book()\n"
        "source, work = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1] + '-work')\n"
        "html_book.jupyter_book(source, work)\n"
        "print((work / '_build/html/.buildinfo').read_text())"
    )
    source = tmp_path / "source"
    source.mkdir()
    (source / "_toc.yml").write_text("format: jb-book\nroot: index\n", encoding="utf8")
    (source / "index.md").write_text("# Title\n", encoding="utf8")
    (source / "_config.yml").write_text("title: Book\n", encoding="utf8")
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code, str(source), *more], capture_output=True, text=True,
            check=True, timeout=120,
        ).stdout
        for more in ((), ("rehearsed",))
    )  # fmt: skip
    assert "config:" in first and first == second


def test_nothing_of_one_notebook_reaches_another() -> None:
    outputs(
        "import numpy, os, sys, ballbook.survival, pandas\n"
        "left = 1\nnumpy.left = 1\nballbook.survival.kaplan_meier = None\n"
        "os.environ['LEFT'] = '1'\nsys.path.insert(0, '/left')\n"
        "pandas.set_option('display.precision', 2)\nos.chdir('/')"
    )
    (text,) = printed(
        "import numpy, os, sys, ballbook.survival, pandas\n"
        "print('left' in globals(), hasattr(numpy, 'left'),\n"
        "      ballbook.survival.kaplan_meier is None,\n"
        "      'LEFT' in os.environ, '/left' in sys.path, pandas.get_option('display.precision'))"
    )
    assert text.split() == ["False", "False", "False", "False", "False", "6"]


def test_siblings_draw_different_numbers_and_seeds_still_hold() -> None:
    draw = "import random, numpy as np\nprint(np.random.random(), random.random())"
    a, b = printed(draw)[0].split(), printed(draw)[0].split()
    assert a[0] != b[0]
    assert a[1] != b[1]
    seeded = "import numpy as np\nprint(np.random.default_rng(7).random())"
    assert printed(seeded) == printed(seeded)


def test_figures_are_not_lost() -> None:
    """Preloading the inline backend would lose them without a word."""
    *_, found = outputs(
        "%matplotlib inline\nimport matplotlib.pyplot as plt",
        "plt.plot([0, 1])\nplt.show()",
    )
    assert any("image/png" in o.get("data", {}) for o in found)


def test_parallel_code_runs_in_a_fork() -> None:
    (text,) = printed(
        "import numba, numpy as np\n"
        "@numba.njit(parallel=True)\n"
        "def total(x):\n"
        "    s = 0.0\n"
        "    for i in numba.prange(len(x)):\n"
        "        s += x[i]\n"
        "    return s\n"
        "from sklearn.cluster import KMeans\n"
        "KMeans(2, n_init=1, random_state=0).fit(np.arange(20.0).reshape(-1, 1))\n"
        "print(total(np.ones(1000)))"
    )
    assert text.strip() == "1000.0"


def test_a_server_has_one_thread(server: Path) -> None:
    (text,) = printed(
        "import os\nprint(os.getppid(), os.environ['JPY_PARENT_PID'])",
    )
    parent, told = text.split()
    assert parent == told
    assert len(list(Path(f"/proc/{parent}/task").iterdir())) == 1


def test_environment_and_folder_are_the_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONLY_NOW", "yes")
    monkeypatch.chdir(tmp_path)
    (text,) = printed("import os\nprint(os.environ['ONLY_NOW'], os.getcwd())")
    assert text.split() == ["yes", str(tmp_path)]


def test_a_kernel_that_dies_is_noticed() -> None:
    with pytest.raises(DeadKernelError):
        outputs("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")


def test_a_kernel_ends_with_its_client(server: Path, tmp_path: Path) -> None:
    """Killed without a chance to tidy up, a client leaves no kernel behind."""
    file = tmp_path / "pid"
    script = tmp_path / "client.py"
    cell = f"import os, time\nopen({str(file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    script.write_text(
        "from test_warm_kernels import outputs, warm_kernels\n"
        "from jupyter_client.provisioning.factory import KernelProvisionerFactory\n"
        "KernelProvisionerFactory.instance().default_provisioner_name = warm_kernels.NAME\n"
        f"outputs({cell!r})\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    client = subprocess.Popen(
        [sys.executable, str(script)], env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert eventually(lambda: file.is_file() and file.read_text() != "", 60)
    kernel = int(file.read_text())
    assert alive(kernel)
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert eventually(lambda: not alive(kernel))


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="w") as folder:
        yield Path(folder)


def server_process(path: Path, *args: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ballbook.warm_server", str(path), *args],
        stdin=subprocess.PIPE, env=os.environ | warm_server.SURROUNDINGS, cwd=path.parent,
    )  # fmt: skip
    assert eventually(path.exists, 60)
    return process


def test_a_server_never_survives_its_owner(short: Path) -> None:
    process = server_process(short / "s")
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0
    assert not (short / "s").exists()


def test_a_killed_server_takes_its_kernels_along(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = server_process(short / "s")
    monkeypatch.setenv(warm.VARIABLE, str(short / "s"))
    file = tmp_path / "pid"
    with pytest.raises(DeadKernelError):
        outputs(
            f"import os, signal, time\nopen({str(file)!r}, 'w').write(str(os.getpid()))\n"
            f"os.kill({process.pid}, signal.SIGKILL)\ntime.sleep(600)"
        )
    process.wait()
    assert eventually(lambda: not alive(int(file.read_text())))


def test_an_idle_server_leaves(short: Path) -> None:
    quickly = "w.preload = lambda **_: None; w.IDLE = 0.5; w.main()"
    code = f"from ballbook import warm_server as w; {quickly}"
    process = subprocess.Popen([sys.executable, "-c", code, str(short / "s"), "--idle"])
    assert eventually((short / "s").exists, 60)
    assert process.wait(30) == 0
    assert not (short / "s").exists()


def test_without_a_server_kernels_start_cold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(warm.VARIABLE, str(tmp_path / "none"))
    (text,) = printed("import os\nprint(os.getppid())")
    assert int(text) == os.getpid()


def test_long_paths_and_other_users_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert warm.reachable("/" + "x" * 120) is None
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv(warm.VARIABLE)
    folder = tmp_path / f"bb-warm-{os.getuid()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    assert warm.reach() is None
    for off in ("0", "off"):
        monkeypatch.setenv(warm.VARIABLE, off)
        assert warm.reach() is None


def test_a_server_that_is_coming_is_waited_for_and_not_started_twice(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(short))
    monkeypatch.delenv(warm.VARIABLE)
    monkeypatch.setattr(warm, "_start", lambda *_, **__: pytest.fail("started another"))
    assert warm.idle() is None
    path = short / f"bb-warm-{os.getuid()}" / warm.state()
    hidden, listener = warm_server.announce(path)
    assert (warm.coming(path), warm.reachable(str(path))) == (True, None)
    assert warm.reach(wait=False) is None
    ready = threading.Timer(0.3, lambda: hidden.rename(path))
    ready.start()
    assert warm.reach() == path
    ready.join()
    listener.close()
    # What is left of one that died is no server, and none that comes.
    path.rename(hidden)
    assert not warm.coming(path)
    assert warm.idle() is None


def test_a_server_leaves_no_sign_when_it_cannot_start(short: Path) -> None:
    code = "from ballbook import warm_server as w; w.PRELOAD = ('no.such',); w.main()"
    failed = subprocess.run([sys.executable, "-c", code, str(short / "s")], capture_output=True)
    assert (failed.returncode, b"no.such" in failed.stderr or b"'no'" in failed.stderr) == (1, True)
    assert list(short.iterdir()) == []


def test_a_kernel_that_is_late_is_tried_again_at_once(tmp_path: Path) -> None:
    client = PromptClient(transport="ipc", ip=str(tmp_path / "k"))
    client.load_connection_info(
        {
            f"{name}_port": i
            for i, name in enumerate(("shell", "iopub", "stdin", "hb", "control"), 1)
        }
    )
    client.start_channels(hb=False)
    milliseconds = client.shell_channel.socket.getsockopt(zmq.RECONNECT_IVL)
    client.stop_channels()
    assert milliseconds < 20


def test_edited_code_has_another_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = warm.state()
    assert warm.state() == before
    copy = tmp_path / "ballbook"
    copy.mkdir()
    for file in Path(warm.__file__).parent.glob("*.py"):
        (copy / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(warm, "__file__", str(copy / "warm.py"))
    assert warm.state() == before
    (copy / "cox.py").write_text("# edited\n")
    assert warm.state() != before


def test_warm_and_cold_runs_give_the_same_bytes(
    tmp_path: Path, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def results(name: str, value: str) -> str:
        monkeypatch.setenv(warm.VARIABLE, value)
        found = json.loads((run.run(SLUG, out=tmp_path / name) / "results.json").read_text("utf8"))
        for changes in ("started", "seconds"):
            del found["provenance"][changes]
        return json.dumps(found)

    assert results("warm", str(server)) == results("cold", "0")


def test_memory_in_large_pages_holds_what_it_held() -> None:
    code = (
        "import hashlib, os\nfrom ballbook import warm_server\n"
        "held = [os.urandom(2**20) for _ in range(40)]\n"
        "once = hashlib.sha256(b''.join(held)).digest()\n"
        "warm_server.use_large_pages()\n"
        "assert hashlib.sha256(b''.join(held)).digest() == once\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    held[0] = bytes(2**20)\n"
        "    os._exit(held[0] == held[1])\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert hashlib.sha256(b''.join(held)).digest() == once\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_kernel_that_nobody_takes_over_is_ended(tmp_path: Path) -> None:
    from traitlets.config import Config

    from ballbook import running_cell

    config = Config({"KernelManager": {"connection_file": str(tmp_path / "kernel.json")}})
    with running_cell.begun(config, tmp_path):
        (manager,) = running_cell._begun
        pid = manager.provisioner.pid
        assert alive(pid)
    assert running_cell._begun == []
    assert eventually(lambda: not alive(pid))


def test_packages_offer_what_they_offer() -> None:
    from importlib import metadata

    for wanted in ({"group": "sphinx.html_themes"}, {"group": "pybtex.backends", "name": "html"}):
        assert set(html_book.entry_points(**wanted)) == set(metadata.entry_points(**wanted))


@pytest.mark.parametrize("said", ["pid 77\nend 3\n", "end 3\npid 77\n", "end 3\npid 77\nend -9\n"])
@pytest.mark.parametrize("size", [1, 100])
def test_a_process_that_ends_before_it_is_announced_is_understood(
    short: Path, said: str, size: int
) -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            receive(connection)
            for i in range(0, len(said), size):
                connection.sendall(said[i : i + size].encode())

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(short / "s"))
        listener.listen()
        server = threading.Thread(target=answer)
        server.start()
        process = Forked(str(short / "s"), {"argv": []}, {}, "/")
        assert (process.pid, process.wait(10), process.poll()) == (77, 3, 3)
        server.join()


def test_a_server_remembers_nothing_of_a_checkout() -> None:
    code = (
        "import json, sys\nfrom ballbook import warm_server\n"
        "warm_server.preload(builds=True)\n"
        "ours = [m for n, m in sys.modules.items() if n.startswith('ballbook.')]\n"
        "kept = {f'{m.__name__}.{n}' for m in ours for n, v in vars(m).items()\n"
        "        if getattr(v, '__module__', '') == m.__name__ and hasattr(v, 'cache_info')\n"
        "        and v.cache_info().currsize}\n"
        "print(json.dumps(sorted(kept)))"
    )
    env = os.environ | warm_server.SURROUNDINGS
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [
        # The library's own sources, which a server belongs to.
        "ballbook.freshness._imports_in", "ballbook.freshness._read", "ballbook.freshness._tokens",
        # What is installed.
        "ballbook.html_book.installed", "ballbook.notebook.package_versions",
        "ballbook.report.reader",
    ]  # fmt: skip
