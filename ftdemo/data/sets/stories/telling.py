"""A script told once: roles are cast, a case is chosen, and every beat says one of its lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ftdemo.data.sets.stories.grammar import Nodes, Scene, finish
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


def tell(script: Script, random: Callable[[], float]) -> Telling:
    """Tell a script, with a new cast."""
    return tell_scene(script, set_scene(script, random))


def set_scene(script: Script, random: Callable[[], float]) -> Scene:
    """A cast and a case for a script."""
    scene = Scene(random, _cast(script, random))
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
                node.write(out, scene)
    return Telling(finish("".join(out[1:])), script, scene)


def _cast(script: Script, random: Callable[[], float]) -> dict[str, Entity]:
    """An entity for every role. No two share a name, and the second person is of the other sex than the first, so that
    *he* and *she* are plain."""
    cast: dict[str, Entity] = {}
    taken: set[str] = set()
    for role, kind in script.roles.items():
        entity = _fresh(kind, taken, random)
        taken.add(_name(entity))
        if kind.name == "person":
            taken.symmetric_difference_update(_sex_to_avoid(entity, taken))
        cast[role] = entity
    return cast


def _fresh(kind: Kind, taken: set[str], random: Callable[[], float]) -> Entity:
    while True:
        entity = kind.pick(random)
        if _name(entity) not in taken and entity[0].get("he") not in taken:
            return entity


def _name(entity: Entity) -> str:
    return next(iter(entity[0].values()))


def _sex_to_avoid(entity: Entity, taken: set[str]) -> set[str]:
    """Marks *he* or *she* as taken after the first person and lifts the mark after the second."""
    return taken & {"he", "she"} or {entity[0]["he"]}
