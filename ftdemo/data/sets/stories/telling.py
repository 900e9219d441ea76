"""A script told once: roles are cast, a case is chosen, and every beat says one of its lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ftdemo.data.sets.stories.grammar import Nodes, Scene, Text, finish
from ftdemo.data.sets.stories.kinds import Entity, Kind
from ftdemo.data.sets.stories.scripts import Script


@dataclass(frozen=True, slots=True)
class Telling:
    """A text, and the scene it tells of."""

    text: str
    script: Script
    scene: Scene

    def say(self, nodes: Nodes) -> str:
        """Another line about the same scene."""
        out: list[str] = []
        for node in nodes:
            node.write(out, self.scene)
        return finish("".join(out))


def tell(script: Script, random: Callable[[], float], *, lazy: bool = False) -> Telling:
    """Tell a script, with a new cast."""
    return tell_scene(script, set_scene(script, random, lazy=lazy))


def set_scene(script: Script, random: Callable[[], float], *, lazy: bool = False) -> Scene:
    """A cast and a case for a script. A lazy cast has only people at first, and everything else when it is named."""
    scene = Scene(random, _LazyCast(script, random) if lazy else _cast(script, random))
    if script.cases:
        scene.case = script.cases[int(random() * len(script.cases))]
    return scene


def tell_scene(script: Script, scene: Scene) -> Telling:
    """Say one line of every beat about a scene."""
    out: list[str] = []
    for beat in script.beats:
        if beat.chance == 1.0 or scene.random() < beat.chance:
            out.append(beat.join)
            for node in beat.lines[int(scene.random() * len(beat.lines))]:
                if isinstance(node, Text):  # most nodes are, and a call for each would take longest
                    out.append(node.text)
                else:
                    node.write(out, scene)
    return Telling(finish("".join(out[1:])), script, scene)


def _cast(script: Script, random: Callable[[], float]) -> dict[str, Entity]:
    """An entity for every role. No two share a name, and the second person is of the other sex than the first, so that
    *he* and *she* are plain."""
    cast: dict[str, Entity] = {}
    taken: set[str] = set()
    for role, kind in script.roles.items():
        while True:
            entity = kind.pick(random)
            record = entity[0]
            name = next(iter(record.values()))
            if name not in taken and record.get("he") not in taken:
                break
        taken.add(name)
        if kind.name == "person":
            taken.symmetric_difference_update(_sex_to_avoid(entity, taken))
        cast[role] = entity
    return cast


class _LazyCast(dict[str, Entity]):
    """The people of a script, if there are several, and any other role from the moment that it is asked for."""

    def __init__(self, script: Script, random: Callable[[], float]) -> None:
        self._roles, self._random = script.roles, random
        self._taken: set[str] = set()
        sex = ""
        if len(script.people) > 1:  # one person alone is of either sex, so need not be known before
            for role in script.people:
                kind = script.roles[role]
                entity = self[role] = self._fresh(kind, avoid=sex)
                sex = "" if sex else entity[0]["he"]

    def __missing__(self, role: str) -> Entity:
        entity = self[role] = self._fresh(self._roles[role])
        return entity

    def _fresh(self, kind: Kind, avoid: str = "") -> Entity:
        while True:
            entity = kind.pick(self._random)
            record = entity[0]
            name = next(iter(record.values()))
            if name not in self._taken and not (avoid and record["he"] == avoid):
                self._taken.add(name)
                return entity


def _sex_to_avoid(entity: Entity, taken: set[str]) -> set[str]:
    """Marks *he* or *she* as taken after the first person and lifts the mark after the second."""
    return taken & {"he", "she"} or {entity[0]["he"]}
