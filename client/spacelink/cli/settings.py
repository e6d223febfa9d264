"""Settings of commands: a flag, a SPACELINK_* variable and a YAML key of one name.

That is also their order of precedence.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.decorators import FC


def setting(flag: str, *declarations: str, **attributes: Any) -> Callable[[FC], FC]:
    """Declare a setting; takes what click.option takes.

    "--data-dir" is also the variable SPACELINK_DATA_DIR and the key data_dir.
    """
    name = flag.partition("/")[0].removeprefix("--").replace("-", "_")
    attributes.setdefault("envvar", f"SPACELINK_{name.upper()}")
    attributes.setdefault("show_envvar", True)
    return click.option(flag, *declarations, **attributes)


def config_file(*, shared: bool = False) -> Callable[[FC], FC]:
    """Declare --config FILE, a YAML file with the command's settings.

    Args:
        shared: it is another command's file; settings that only that one knows
            are left alone.
    """
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        envvar="SPACELINK_CONFIG",
        show_envvar=True,
        is_eager=True,
        expose_value=False,
        callback=partial(_load, shared),
        help="YAML file with settings; keys are the long flags with _ for -.",
    )


def _load(shared: bool, ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is not YAML: {error}", ctx, param) from None
    if not isinstance(values, dict):
        raise click.BadParameter(f"{path}: expected a mapping of settings", ctx, param)
    known = {p.name: p for p in ctx.command.params if p.name and p is not param and p.name != "help"}
    unknown = [str(key) for key in values if key not in known]
    if unknown and not shared:
        raise click.BadParameter(
            f"{path}: unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}", ctx, param
        )
    given = {
        key: _as_given(ctx, known[key], value, f"{path}: {key}")
        for key, value in values.items()
        if value is not None and key in known
    }
    ctx.default_map = {**(ctx.default_map or {}), **given}


def _as_given(ctx: click.Context, param: click.Parameter, value: Any, place: str) -> Any:
    """Give a YAML value as texts, which the parameter reads as those of the command line."""
    items = value if isinstance(value, list) and param.multiple else [value]
    if any(isinstance(item, dict | list) for item in items):
        raise click.BadParameter(f"{place}: expected one value{' or a list' * param.multiple}", ctx, param)
    texts = [str(item) for item in items]
    return texts if param.multiple else texts[0]
