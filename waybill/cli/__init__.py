"""The command line. Each command's module is imported when it is run, so that a client's command starts at once."""

import importlib
import signal
from typing import Any

import click

COMMANDS = {
    "dev": "waybill.cli.service",
    "serve": "waybill.cli.service",
    "worker": "waybill.cli.worker",
    "reap": "waybill.cli.reap",
    "migrate": "waybill.cli.service",
    "schema": "waybill.cli.service",
    "operator": "waybill.cli.operators",
    "tenant": "waybill.cli.people",
    "user": "waybill.cli.people",
    "key": "waybill.cli.keys",
    "token": "waybill.cli.keys",
    "source": "waybill.cli.sources",
    "sign": "waybill.cli.sign",
    "drift": "waybill.cli.drift",
    "sync-demo": "waybill.cli.sync_demo",
    "audit": "waybill.cli.audit",
    "import": "waybill.cli.transfer",
    "export": "waybill.cli.transfer",
    "manifest": "waybill.cli.manifest",
    "upload": "waybill.cli.upload",
    "download": "waybill.cli.download",
    "batches": "waybill.cli.lists",
    "objects": "waybill.cli.lists",
}


class _Commands(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module: Any = importlib.import_module(COMMANDS[name])
        name = name.replace("-", "_")
        command: click.Command = getattr(module, name, None) or getattr(module, f"{name}_")
        return command

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # pressed again, it ends at once and without a trace
            raise click.exceptions.Exit(130) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="waybill")
def main() -> None:
    """Waybill: batches of objects with filterable data, over GraphQL."""
