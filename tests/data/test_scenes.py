"""The procedural scenes keep what their docstrings promise."""

from __future__ import annotations

import numpy as np
import pytest

from mindeye.data.scenes import (
    ATTRIBUTE_NAMES,
    CATEGORIES,
    COLOURS,
    SETTINGS,
    TEXTURES,
    Scene,
    attributes,
    caption,
    draw_scene,
    draw_scenes,
    make_scene,
    make_scenes,
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return make_scenes(400, seed=11)


def test_same_seed_gives_the_same_scenes_and_pixels() -> None:
    first, second = make_scenes(20, seed=3), make_scenes(20, seed=3)
    assert first == second
    np.testing.assert_array_equal(draw_scenes(first), draw_scenes(second))


def test_a_scene_does_not_depend_on_how_many_are_made() -> None:
    assert make_scenes(50, seed=3)[17] == make_scene(17, seed=3)
    assert make_scenes(5, seed=3, start=15)[2] == make_scene(17, seed=3)


def test_another_seed_gives_other_scenes() -> None:
    assert not set(make_scenes(100, seed=3)) & set(make_scenes(100, seed=4))


def test_scenes_of_one_data_set_are_distinct(scenes: list[Scene]) -> None:
    assert len({draw_scene(scene).tobytes() for scene in scenes}) == len(scenes)


def test_pictures_of_different_scenes_are_hardly_correlated(scenes: list[Scene]) -> None:
    pixels = draw_scenes(scenes[:200]).reshape(200, -1).astype(np.float64)
    correlation = np.corrcoef(pixels)[np.triu_indices(200, 1)]
    assert correlation.mean() < 0.25


def test_every_category_setting_colour_and_texture_occurs(scenes: list[Scene]) -> None:
    things = [thing for scene in scenes for thing in scene.objects]
    assert {thing.category for thing in things} == set(CATEGORIES)
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {thing.texture for thing in things} == set(TEXTURES)
    assert {scene.setting for scene in scenes} == set(SETTINGS)
    assert {len(scene.objects) for scene in scenes} == {1, 2, 3}


def test_objects_lie_inside_the_picture_and_differ_in_category(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert len({thing.category for thing in scene.objects}) == len(scene.objects)
        for thing in scene.objects:
            assert thing.size / 2 - 1e-9 <= thing.x <= 1 - thing.size / 2 + 1e-9
            assert thing.size / 2 - 1e-9 <= thing.y <= 1 - thing.size / 2 + 1e-9


@pytest.mark.parametrize("size", [32, 64, 100])
def test_a_picture_has_the_size_asked_for(size: int) -> None:
    picture = draw_scene(make_scene(0, seed=3), size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 5


def test_every_object_changes_the_picture(scenes: list[Scene]) -> None:
    for scene in scenes[:100]:
        for left_out in range(len(scene.objects)):
            kept = scene.objects[:left_out] + scene.objects[left_out + 1 :]
            emptier = Scene(**{**vars(scene), "objects": kept})
            assert (draw_scene(scene) != draw_scene(emptier)).any(-1).sum() > 20


def test_caption_names_every_object_and_the_setting(scenes: list[Scene]) -> None:
    for scene in scenes:
        words = caption(scene)
        assert scene.setting in words
        for thing in scene.objects:
            assert f"{thing.colour} {thing.texture} {thing.category}" in words


def test_caption_order_only_reorders_the_clauses(scenes: list[Scene]) -> None:
    scene = next(scene for scene in scenes if len(scene.objects) == 3)
    assert caption(scene, order=(2, 0, 1)) != caption(scene)
    assert sorted(caption(scene, order=(2, 0, 1)).replace(",", " and").split()) == sorted(
        caption(scene).replace(",", " and").split()
    )


def test_attributes_decode_back_to_the_scene(scenes: list[Scene]) -> None:
    for scene in scenes:
        values = dict(zip(ATTRIBUTE_NAMES, attributes(scene), strict=True))
        assert min(values.values()) >= 0
        assert max(values.values()) <= 1 + 1e-6
        present = {name for name in CATEGORIES if values[f"{name}:present"] > 0.5}
        assert present == {thing.category for thing in scene.objects}
        for thing in scene.objects:
            assert values[f"{thing.category}:x"] == pytest.approx(thing.x, abs=1e-6)
            assert values[f"{thing.category}:y"] == pytest.approx(thing.y, abs=1e-6)
        assert max(SETTINGS, key=lambda name: values[f"setting:{name}"]) == scene.setting
