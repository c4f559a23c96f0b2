"""Checks of the machine: processor, memory, disk, GPUs, network, ports, the data folder."""

from __future__ import annotations

import os
import platform
import socket
import tempfile
import tomllib
from pathlib import Path

from llm.config import config
from llm.diagnostics.checks import Check, Examiner
from llm.diagnostics.network import reach_all
from llm.machine.gpus import nvidia_card_present, read_gpus
from llm.machine.hardware import Disk, disk, hardware
from llm.paths import STREAMLIT_CONFIG
from llm.planning.out_of_memory import gigabytes
from llm.redaction import hide_home

LOW_RAM_BYTES = 2 * 10**9
LOW_DISK_BYTES = 5 * 10**9
NO_DISK_BYTES = 300 * 10**6
DEFAULT_PORT = 8501


def examiners() -> list[Examiner]:
    return [
        Examiner("gpu", gpu),
        Examiner("cpu", cpu),
        Examiner("ram", ram),
        Examiner("swap", swap),
        Examiner("disk_data", lambda: _disk("disk_data", disk(config().home))),
        Examiner("disk_models", lambda: _disk("disk_models", disk(hub_cache()))),
        Examiner("data_folder", data_folder),
        Examiner("port", port),
        Examiner("loopback", loopback),
        Examiner("network", network, slow=True),
    ]


def gpu() -> Check:
    reading = read_gpus()
    if reading.gpus:
        names = ", ".join(f"{g.name} ({gigabytes(g.memory_total_bytes)})" for g in reading.gpus)
        first = reading.gpus[0]
        return Check("gpu", "ok", "found", {"names": names, "driver": first.driver, "cuda": first.cuda_version})
    if nvidia_card_present():
        return Check("gpu", "warn", "unreadable", {"detail": reading.problem})
    if hardware().mps:
        return Check("gpu", "ok", "mps")
    return Check("gpu", "ok", "none")


def cpu() -> Check:
    machine = hardware()
    values = {
        "name": machine.cpu,
        "cores": machine.usable_cores,
        "physical": machine.physical_cores,
        "sets": ", ".join(machine.instruction_sets) or "-",
    }
    slow = platform.machine().lower() in ("x86_64", "amd64") and "avx2" not in machine.instruction_sets
    return Check("cpu", "warn" if slow else "ok", "slow" if slow else "good", values)


def ram() -> Check:
    machine = hardware()
    values = {"free": gigabytes(machine.ram_free_bytes), "total": gigabytes(machine.ram_total_bytes)}
    low = machine.ram_free_bytes < LOW_RAM_BYTES
    if machine.limit:
        return Check("ram", "warn" if low else "ok", "limited", {**values, "limit": machine.limit})
    return Check("ram", "warn" if low else "ok", "low" if low else "good", values)


def swap() -> Check:
    machine = hardware()
    if not machine.swap_total_bytes:
        return Check("swap", "ok", "none")
    used = machine.swap_total_bytes - machine.swap_free_bytes
    values = {"used": gigabytes(used), "total": gigabytes(machine.swap_total_bytes)}
    # Weights in swap are read from the disk for every token.
    busy = used > machine.swap_total_bytes / 2
    return Check("swap", "warn" if busy else "ok", "busy" if busy else "good", values)


def hub_cache() -> Path:
    """Where the Hugging Face hub's library keeps what it fetched."""
    from llm.catalogue.caches import huggingface_cache

    return huggingface_cache()


def _disk(name: str, found: Disk) -> Check:
    values = {"path": hide_home(str(found.path))}
    if found.free_bytes is None or found.total_bytes is None:
        return Check(name, "warn", "unreadable", values)
    values |= {"free": gigabytes(found.free_bytes), "total": gigabytes(found.total_bytes)}
    if found.free_bytes < NO_DISK_BYTES and name == "disk_data":
        return Check(name, "fail", "full", values)
    low = found.free_bytes < LOW_DISK_BYTES
    return Check(name, "warn" if low else "ok", "low" if low else "good", values)


def data_folder() -> Check:
    """Whether something can be written to the data folder."""
    home = config().home
    values = {"path": hide_home(str(home))}
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(b"hearth")
    except OSError as error:
        return Check("data_folder", "fail", "refused", {**values, "detail": error.strerror or str(error)})
    return Check("data_folder", "ok", "good", values)


def port() -> Check:
    """Whether the server's port is free, or who may have it."""
    number = server_port()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            if os.name != "nt":  # elsewhere a port in use could be bound a second time
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", number))
        except OSError:
            return Check("port", "ok", "used", {"port": number})
    return Check("port", "ok", "free", {"port": number})


def server_port() -> int:
    """The port that `streamlit run Home.py` takes: environment, then .streamlit/config.toml, then the default."""
    text = os.environ.get("STREAMLIT_SERVER_PORT", "")
    if text.isdigit():
        return int(text)
    try:
        settings = tomllib.loads(STREAMLIT_CONFIG.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return DEFAULT_PORT
    number = settings.get("server", {}).get("port", DEFAULT_PORT)
    return number if isinstance(number, int) else DEFAULT_PORT


def loopback() -> Check:
    """Whether this machine may talk to itself: the llama.cpp engine and the browser need it."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(2)
            with socket.create_connection(server.getsockname(), timeout=2) as client:
                taken, _ = server.accept()
                with taken:
                    client.sendall(b"1")
                    if taken.recv(1) != b"1":
                        return Check("loopback", "fail", "blocked", {"detail": "nothing came through"})
    except OSError as error:
        return Check("loopback", "fail", "blocked", {"detail": str(error)})
    return Check("loopback", "ok", "good")


def network() -> Check:
    found = reach_all()
    good = [f"{place.name} ({place.latency_s * 1000:.0f} ms)" for place in found if place.ok]
    bad = [f"{place.name} ({place.detail})" for place in found if not place.ok]
    values = {"reached": ", ".join(good) or "-", "unreached": ", ".join(bad) or "-"}
    if not good:
        return Check("network", "warn", "none", values)
    return Check("network", "warn" if bad else "ok", "some" if bad else "all", values)
