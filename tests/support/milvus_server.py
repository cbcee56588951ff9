"""A real Milvus server on 127.0.0.1: `python -m tests.support.milvus_server FOLDER`.

Prints `{"url": "http://127.0.0.1:PORT"}` as soon as it answers, and ends at SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from producer.local.services import free_ports

PARTS = ("rootCoord", "proxy", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode")


def main(folder: str) -> None:
    from milvus import MilvusServer, MilvusServerConfig

    Path(folder).mkdir(exist_ok=True)
    config = MilvusServerConfig(data_dir=folder)
    names = [name for name in config.configurable_items if name.endswith("_port")]
    *listened, peers, web = free_ports(len(names) + 2)
    ports = dict(zip(names, listened, strict=True))
    config.update(**ports)
    os.environ["ETCD_CONFIG_PATH"] = str(_etcd(Path(folder), ports["etcd_port"], peers))
    for part in PARTS:
        config.set(f"{part}.ip", "127.0.0.1")
    server = MilvusServer(config)
    server.webservice_port = web
    ends = {signal.SIGTERM, signal.SIGINT}
    # The server's own processes would inherit a blocked mask: they are started first.
    server.start()
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{server.listen_port}"}) + "\n")
    sys.stdout.flush()
    signal.sigwait(ends)
    server.stop()


def _etcd(folder: Path, port: int, peers: int) -> Path:
    """Its store of metadata listens at fixed ports unless a file of its own says otherwise."""
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    settings = {
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
    }
    path = folder / "etcd.yaml"
    path.write_text(json.dumps(settings))
    return path


if __name__ == "__main__":
    main(sys.argv[1])
