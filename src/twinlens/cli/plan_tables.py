"""A training plan as tables: parameters and FLOPs, memory, time and cost, storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from twinlens.cli.output import print_json, print_table
from twinlens.formatting import format_gigabytes, format_si, format_three_digits

if TYPE_CHECKING:
    from twinlens.train.planning.plan import DeviceGroupPlan, TrainingPlan

_TIME_UNITS = ((365.25 * 86_400, "years"), (86_400, "days"), (3600, "hours"), (60, "minutes"))
"""Seconds of each unit, and its name."""


def print_plan(plan: TrainingPlan, *, as_json: bool) -> None:
    """Print a plan as tables, or as JSON."""
    if as_json:
        print_json(plan.to_dict())
        return
    typer.echo(_headline(plan))
    typer.echo()
    _print_model(plan)
    typer.echo()
    _print_memory(plan)
    typer.echo()
    _print_time(plan)
    for note in plan.notes:
        typer.echo(f"\nnote: {note}", nl=False)
    if plan.notes:
        typer.echo()


def _headline(plan: TrainingPlan) -> str:
    assumed = plan.assumed
    return (
        f"{plan.recipe}: {plan.steps:,} steps of {plan.batch_size:,}, {plan.pairs:,} pairs, "
        f"{format_si(plan.operations.run)}FLOP in all\n"
        f"assumed: captions of {assumed.caption_tokens:g} tokens with start and end, "
        f"{assumed.mfu:.0%} of the peak, samples of {assumed.sample_kb:g} kB, "
        f"{assumed.shard_samples:,} in a shard"
    )


def _print_model(plan: TrainingPlan) -> None:
    flops, count, tokens = plan.operations, plan.parameters, plan.assumed.caption_tokens
    full_context = flops.text == flops.text_full_context
    text = "text tower" if full_context else f"text tower, {tokens:g} tokens"
    parts = [
        ("image tower", count["image_tower"], flops.image, flops.image_training),
        (text, count["text_tower"], flops.text, flops.text_training),
        ("  at full context", None, flops.text_full_context, flops.text_full_context_training),
        ("similarities", count["other"], flops.similarities, flops.similarities_training),
        ("a pair", count["total"], flops.pair, flops.pair_training),
        ("  of it trained", count["trained"], None, None),
        ("  with what is computed twice", None, None, flops.pair_executed),
    ]
    if count["trained"] == count["total"]:
        del parts[5]
    rows = [
        [name, "" if number is None else f"{number:,}", format_flop(forward), format_flop(training)]
        for name, number, forward, training in parts
    ]
    print_table(["", "parameters", "forward", "forward and backward"], rows)


def _print_memory(plan: TrainingPlan) -> None:
    """Print the memory in GB, with a column for each group of devices."""
    groups = plan.groups
    parts = [part for part in groups[0].parts if any(group.parts[part] for group in groups)]
    rows = [
        ["pairs at a time", *(f"{group.micro_batch:,.0f}" for group in groups)],
        ["computed in", *(group.precision for group in groups)],
        *([part, *(format_gigabytes(group.parts[part]) for group in groups)] for part in parts),
        ["needed", *(format_gigabytes(group.needed) for group in groups)],
        ["on the device", *(format_gigabytes(group.available) for group in groups)],
        ["fits with a tenth free", *("yes" if group.fits else "no" for group in groups)],
        ["" for _ in (None, *groups)],
    ]
    rows += [
        [name, *(format_gigabytes(getattr(group.memory, part)) for group in groups)]
        for name, part in _ALTERNATIVES
    ]
    print_table(["GB a device", *(group.devices for group in groups)], rows)


_ALTERNATIVES = (
    ("activations, all kept", "activations_whole"),
    ("activations, checkpointed", "activations_checkpointed"),
    ("similarities, dense", "similarities_dense"),
    ("similarities, in tiles", "similarities_tiled"),
)


def _print_time(plan: TrainingPlan) -> None:
    columns = ["devices", "pairs/s", "time", "device hours", "$/h", "cost"]
    columns += ["images/s to read", "MB/s", "shards/s"]
    print_table(columns, [_time_row(group) for group in plan.groups])


def _time_row(group: DeviceGroupPlan) -> list[str]:
    return [
        group.devices,
        format_three_digits(group.pairs_per_second),
        format_duration(group.seconds),
        f"{group.device_hours:,.1f}",
        f"{group.price:g}",
        f"{group.cost:,.0f}",
        format_three_digits(group.images_per_second),
        format_three_digits(group.megabytes_per_second),
        format_three_digits(group.shards_per_second),
    ]


def format_flop(value: float | None) -> str:
    """Format a number of operations; None is an empty cell."""
    return "" if value is None else f"{format_si(value)}FLOP"


def format_duration(seconds: float) -> str:
    """Format a duration in the largest unit that it fills.

    Example:
        >>> format_duration(90), format_duration(3 * 86400), format_duration(1e9)
        ('1.5 minutes', '3.0 days', '31.7 years')
    """
    for unit, name in _TIME_UNITS:
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} seconds"
