# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens plan`: cost of a training run, without running it."""

from __future__ import annotations

from typing import Annotated

import typer

from twinlens.cli.options import Init, Json, Settings


def plan(
    *,
    recipe: Annotated[str, typer.Option(help="A recipe, such as openai-vit-b-32.")],
    init: Init = "",
    settings: Settings = None,
    devices: Annotated[
        str, typer.Option(metavar="NxNAME,...", help="As 64xA100-80,8xH100.")
    ] = "auto",
    mfu: Annotated[float, typer.Option(help="Share of the peak that is reached.")] = 0.4,
    price_per_hour: Annotated[float | None, typer.Option(help="Of one device, in dollars.")] = None,
    caption_tokens: Annotated[
        float, typer.Option(help="Mean length of a caption, start and end counted.")
    ] = 16.0,
    sample_kb: Annotated[float, typer.Option(help="Mean size of a sample, in 1,000 bytes.")] = 40.0,
    as_json: Json = False,
) -> None:
    """Print what a run would take: operations, memory, time, cost. Nothing is run."""
    from twinlens.cli.plan_tables import print_plan
    from twinlens.config_io import apply_overrides
    from twinlens.train.planning.devices import parse_device_groups
    from twinlens.train.planning.plan import PlanAssumptions, plan_training
    from twinlens.train.recipes.builtin import find_recipe

    chosen = apply_overrides(find_recipe(recipe, init), settings or [])
    assumptions = PlanAssumptions(
        caption_tokens=caption_tokens, mfu=mfu, price=price_per_hour, sample_kb=sample_kb
    )
    print_plan(plan_training(chosen, parse_device_groups(devices), assumptions), as_json=as_json)
