"""Small worlds with the class bank of their vocabulary, made once for all files here."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from regionspot_core.tiny.world import World, write_world

MakeWorld = Callable[[int], World]


@pytest.fixture(scope="session")
def world_of(bank: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeWorld:
    """Return a world with so many images to train on, and ``bank.h5`` beside its annotations.

    No test changes it; one that wants broken images has a copy of their folder.
    """

    @cache
    def make(scenes: int) -> World:
        folder = tmp_path_factory.mktemp("world")
        world = write_world(folder, train_scenes=scenes, val_scenes=1, seed=3)
        shutil.copy(bank, world.train_annotations.with_name("bank.h5"))
        return world

    return make
