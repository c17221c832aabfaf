"""`cloud-bridge`: serve, enroll and revoke devices, verify the audit."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_bridge import crash_dumps
from cloud_bridge.audit import AuditLog
from cloud_bridge.database import BridgeDatabase, own_home
from cloud_bridge.devices import Device, DeviceRegistry
from cloud_bridge.logs import log_uncaught, start_log
from cloud_bridge.protocol.problems import Problem, Unavailable
from cloud_bridge.settings import BridgeSettings, home_from

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SHUTDOWN_S = 10

app = typer.Typer(
    name="cloud-bridge",
    help="Answers devices' masked conversations through cloud providers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
devices = typer.Typer(no_args_is_help=True)
audit = typer.Typer(no_args_is_help=True)
app.add_typer(devices, name="devices", help="Which devices may call.")
app.add_typer(audit, name="audit", help="Who sent how much to whom.")


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),  # noqa: FBT003 typer's way
) -> None:
    """Options that every command takes."""
    start_log(level=logging.INFO, debug=debug)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of the configured one.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Serve devices until stopped. Prints the address once it listens."""
    crash_dumps.forbid()
    log_uncaught()
    home = home_from(os.environ)
    settings = BridgeSettings.load(home)
    with closing(own_home(home)), closing(_database(home)) as database:
        listener = _listen(
            settings.server.host if host is None else host, settings.server.port if port is None else port
        )
        bound, bound_port = listener.getsockname()[:2]
        url = f"http://[{bound}]:{bound_port}" if ":" in bound else f"http://{bound}:{bound_port}"
        found = {"url": url, "home": str(home), "providers": len(settings.providers)}
        _print(found if as_json else None, f"cloud-bridge listens on {url} (home: {home})")
        asyncio.run(_serve(settings, database, listener))


async def _serve(settings: BridgeSettings, database: BridgeDatabase, listener: socket.socket) -> None:
    # Here, not above: `devices list` needs no web server.
    import uvicorn  # noqa: PLC0415

    from cloud_bridge.http import build_app  # noqa: PLC0415
    from cloud_bridge.service import running  # noqa: PLC0415

    config = uvicorn.Config(
        build_app(lambda: running(settings, database)),
        log_config=None,
        lifespan="on",
        ws="none",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    await uvicorn.Server(config).serve(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise Unavailable(
            f"Cannot listen on {host} port {port}: {error.strerror}.",
            code="cannot_listen",
            hint="Choose another with --host and --port.",
        ) from error


@devices.command("enroll")
def enroll(
    name: Annotated[str, typer.Argument(help="What to call the device.")],
    public_key: Annotated[str, typer.Option(help="The device's bridge key, 43 characters.")],
    as_json: JsonFlag = False,
) -> None:
    """Let a device call."""
    with _registry() as registry:
        device = registry.enroll(name, public_key)
    _print(device.to_json() if as_json else None, f"{device.name} may call now.")


@devices.command("list")
def list_devices(as_json: JsonFlag = False) -> None:
    """All devices, revoked ones too."""
    with _registry() as registry:
        found = registry.list()
    lines = "\n".join(_line(device) for device in found)
    _print({"devices": [device.to_json() for device in found]} if as_json else None, lines or "No devices yet.")


@devices.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="The device's name.")],
    as_json: JsonFlag = False,
) -> None:
    """Never let a device call again, from this moment on."""
    with _registry() as registry:
        device = registry.revoke(name)
    _print(device.to_json() if as_json else None, f"{device.name} may not call any more.")


@audit.command("verify")
def verify(as_json: JsonFlag = False) -> None:
    """Check that no record was altered, removed or cut off."""
    with closing(_database(home_from(os.environ))) as database:
        verified = AuditLog(database).verify()
    found = {"ok": True, "entries": verified.entries, "head": verified.head}
    _print(found if as_json else None, f"{verified.entries} records, whole. Head: {verified.head}")


def _line(device: Device) -> str:
    if device.revoked_at is None:
        return f"{device.name}  {device.public_key}  enrolled {_date(device.enrolled_at)}"
    return f"{device.name}  {device.public_key}  revoked {_date(device.revoked_at)}"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _database(home: Path) -> BridgeDatabase:
    return BridgeDatabase(home / "bridge.db")


@contextmanager
def _registry() -> Iterator[DeviceRegistry]:
    with closing(_database(home_from(os.environ))) as database:
        yield DeviceRegistry(database)


def _print(document: Any | None, text: str) -> None:
    """JSON for programs where there is a document, else a line for people."""
    sys.stdout.write((text if document is None else json.dumps(document, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the command line; the process ends with its exit status."""
    debug = "--debug" in sys.argv
    # Typed after a subcommand, too: everyone tries that first.
    sys.argv = [sys.argv[0], *(["--debug"] if debug else []), *(a for a in sys.argv[1:] if a != "--debug")]
    try:
        app()
    except Problem as problem:
        if debug:
            raise
        sys.stderr.write(f"error: {problem}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
