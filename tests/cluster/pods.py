"""A stand-in for Kubernetes: enough of its API for Snakemake's executor, on this machine.

It takes the objects that the executor sends, refuses what is not an object of Kubernetes' API by
the official client's models, and runs each container's command in a file system of its own: this
machine's, read only, under a layer that is thrown away, with an empty working directory, the
checkout where the image has it, and the volumes that the pod names. It schedules nothing, isolates
no network, and knows no nodes: what only a cluster can show is not shown by it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# A process in a chroot of an overlay; arguments: scratch, checkout, then name=path of volumes.
INSIDE = """\
set -eu
scratch=$1 checkout=$2 shell=$3
shift 3
mount --make-rprivate /
mkdir -p "$scratch/upper" "$scratch/aside" "$scratch/jail"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/aside" \
  "$scratch/jail"
for path in /proc /dev; do mount --rbind "$path" "$scratch/jail$path"; done
mkdir -p "$scratch/jail/ballbook" "$scratch/jail/workdir" "$scratch/empty"
mount --bind "$checkout" "$scratch/jail/ballbook"
mount --bind "$scratch/empty" "$scratch/jail/workdir"
for volume; do
  mkdir -p "$scratch/jail${volume#*=}"
  mount --bind "${volume%%=*}" "$scratch/jail${volume#*=}"
done
exec /usr/sbin/chroot "$scratch/jail" /bin/sh -c "cd /workdir; $shell"
"""


@dataclass
class Job:
    """A job that was sent, and what became of it."""

    name: str
    body: dict[str, Any]
    log: Path
    code: int | None = None


@dataclass
class StandIn:
    """The API, its jobs, and where they run.

    Attributes
    ----------
    folder : Path
        For the layers, logs and the client's configuration.
    checkout : Path
        What the image has at ``/ballbook``.
    volumes : dict
        Name of each persistent volume claim to its folder here.
    env : dict
        Environment of the image.
    most : int
        Containers at once.
    lose_first : bool
        Whether the next pod is lost before it begins.
    """

    folder: Path
    checkout: Path
    volumes: dict[str, Path]
    env: dict[str, str]
    most: int = 2
    jobs: dict[str, Job] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    lose_first: bool = False

    def __post_init__(self) -> None:
        self.slots = threading.Semaphore(self.most)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def config(self) -> Path:
        """A client's configuration that leads here."""
        host, port = self.server.server_address[:2]
        file = self.folder / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": f"http://{host!s}:{port}"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "users": [{"name": "me", "user": {"token": "none"}}],
        }
        file.write_text(json.dumps(content), encoding="utf8")
        return file

    def create(self, body: dict[str, Any]) -> None:
        """Start a job.

        Raises
        ------
        ValueError
            If it is no object of Kubernetes' API.
        """
        checked(body, "V1Job")
        name = body["metadata"]["name"]
        job = Job(name, body, self.folder / f"{name}.log")
        self.jobs[name] = job
        threading.Thread(target=self._run, args=(job,), daemon=True).start()

    def _run(self, job: Job) -> None:
        pod = job.body["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        claims = {
            v["name"]: self.volumes[v["persistentVolumeClaim"]["claimName"]]
            for v in pod["volumes"]
            if v.get("persistentVolumeClaim")
        }
        mounted = [
            f"{claims[m['name']]}={m['mountPath']}"
            for m in container["volumeMounts"]
            if m["name"] in claims
        ]
        shell, *arguments = [*container["command"], *container["args"]]
        assert (shell, arguments[0]) == ("/bin/sh", "-c"), "the executor's way to start a shell"
        with self.slots, job.log.open("w", encoding="utf8") as log:
            if self.lose_first:
                self.lose_first, job.code = False, 137
                return
            scratch = self.folder / job.name
            scratch.mkdir()
            job.code = subprocess.run(
                ["unshare", "--mount", "sh", "-c", INSIDE, "sh", str(scratch), str(self.checkout),
                 arguments[1], *mounted],
                env=self.env, stdout=log, stderr=log, check=False,
            ).returncode  # fmt: skip
            shutil.rmtree(scratch, ignore_errors=True)

    def status(self, name: str) -> dict[str, Any]:
        """Return a job with its status, as the API does."""
        job = self.jobs[name]
        done = {} if job.code is None else {"failed" if job.code else "succeeded": 1}
        return job.body | {"status": done or {"active": 1}}

    def pods(self, name: str) -> dict[str, Any]:
        """Return the list of a job's pods."""
        job = self.jobs[name]
        state = {"running": {}} if job.code is None else {"terminated": {"exitCode": job.code}}
        container = {
            "name": "snakemake", "image": "ballbook", "imageID": "", "ready": job.code is None,
            "restartCount": 0, "state": state,
        }  # fmt: skip
        pod = {
            "metadata": {"name": f"{name}-pod", "labels": {"job-name": name}},
            "status": {"containerStatuses": [container]},
        }
        return {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [pod]}


def checked(body: dict[str, Any], kind: str) -> None:
    """Refuse an object that the official client's models do not hold.

    Raises
    ------
    ValueError
        For fields that are missing, of a wrong type, or unknown.
    """
    from kubernetes.client import ApiClient

    client = ApiClient()

    class Response:
        data = json.dumps(body)

    again = client.sanitize_for_serialization(client.deserialize(Response, kind))
    if again != body:
        raise ValueError(f"not a {kind}: {json.dumps(body)[:300]} is read as {again}")


def handler(api: StandIn) -> type[BaseHTTPRequestHandler]:
    """Return the class that answers for `api`."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def _answer(self, content: Any, code: int = 200) -> None:
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(code)
            kind = "text/plain" if isinstance(content, str) else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _missing(self) -> None:
            self._answer({"kind": "Status", "status": "Failure", "code": 404}, 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                if self.path.endswith("/secrets"):
                    checked(body, "V1Secret")
                    api.secrets.add(body["metadata"]["name"])
                else:
                    api.create(body)
                self._answer(body, 201)
            except ValueError as error:
                api.refused.append(str(error))
                self._answer({"kind": "Status", "message": str(error), "code": 422}, 422)

        def do_GET(self) -> None:
            if found := re.search(r"/jobs/([\w-]+)/status$", self.path):
                known = found[1] in api.jobs
                self._answer(api.status(found[1])) if known else self._missing()
            elif found := re.search(r"/pods\?labelSelector=job-name%3D([\w-]+)", self.path):
                self._answer(api.pods(found[1]))
            elif found := re.search(r"/pods/([\w-]+)-pod/log", self.path):
                self._answer(api.jobs[found[1]].log.read_text(encoding="utf8"))
            else:
                self._missing()

        def do_DELETE(self) -> None:
            api.secrets.discard(self.path.rsplit("/", 1)[-1])
            self._answer({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    return Handler
