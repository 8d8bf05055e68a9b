"""Options that several commands take, written down once: a command names all of them as one parameter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import get_type_hints


def bundled(command: Callable[..., int]) -> Callable[..., int]:
    """The command as typer reads it: each parameter that is a dataclass is its fields instead, in its place.

    The fields are annotated as a command's options are, and have their defaults.
    """
    hints = get_type_hints(command, include_extras=True)
    bundles = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}
    options: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name not in bundles:
            options.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        bundle = bundles[parameter.name]
        inner = get_type_hints(bundle, include_extras=True)
        options += [
            parameter.replace(name=field.name, default=field.default, annotation=inner[field.name])
            for field in fields(bundle)
        ]

    @functools.wraps(command)
    def run(**given: object) -> int:
        for name, bundle in bundles.items():
            given[name] = bundle(**{field.name: given.pop(field.name) for field in fields(bundle)})
        return command(**given)

    vars(run)["__signature__"] = inspect.Signature(options, return_annotation=int)
    return run
