"""Probes of frozen features agree with scikit-learn and with common sense."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from ssl_registry import Backbone, Encoder, pretrain
from ssl_registry.experiments.probes.probing import probe, probe_encoder
from ssl_registry.training.finetuning.plan import Plan, complete, make_plan
from ssl_registry.training.finetuning.starting_model import build_encoder
from ssl_registry.training.probes.features import (
    affine_map,
    image_features,
    pyramid_of,
    voxel_features,
)
from ssl_registry.training.probes.models import (
    COMPONENTS,
    STRENGTHS,
    VOTES,
    Items,
    choose_strength,
    fit_linear,
    fit_nearest,
)
from ssl_registry.training.settings.runs import FinetuneSettings
from tests.pictures import eyes, write_aptos

UNET2D = {"name": "unet2d", "base_filters": 2, "levels": 3}
UNET3D = {"name": "unet3d", "base_filters": 2, "levels": 3}
VOLUMES: dict[str, Any] = {"data": "phantoms:8", "backbone": UNET3D, "size": 8}


def plan_of(**fields: Any) -> Plan:
    settings, summary = complete(FinetuneSettings(out="unused", **fields))
    return make_plan(settings, summary, Console(quiet=True))


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data = write_aptos(tmp_path_factory.mktemp("data") / "aptos", eyes(24, classes=3))
    return {
        "downstream": "classification2d", "data": str(data), "group_pattern": "(.+)_",
        "backbone": UNET2D, "size": 16,
    }  # fmt: skip


def test_levels_are_mapped_and_interpolated_in_either_order() -> None:
    shape, generator = (7, 6, 9), torch.Generator().manual_seed(0)
    pyramid = [
        torch.rand(3, 7, 6, 9, generator=generator),
        torch.rand(5, 4, 3, 5, generator=generator),
    ]
    whole = [F.interpolate(level[None], size=shape, mode="trilinear")[0] for level in pyramid]
    features = torch.cat(whole).flatten(1).T.double().numpy()
    voxels = torch.cartesian_prod(*map(torch.arange, shape))
    np.testing.assert_allclose(voxel_features(pyramid, voxels, shape), features, atol=1e-6)
    chance = np.random.default_rng(0)
    matrix, offset = chance.normal(size=(2, 8)), chance.normal(size=2)
    mapped = affine_map(pyramid, matrix, offset, shape)
    np.testing.assert_allclose(mapped, features @ matrix.T + offset, atol=1e-5)


def test_an_image_is_the_mean_of_every_level(graded: dict[str, Any]) -> None:
    plan = plan_of(**graded)
    encoder = build_encoder(plan)[0].eval()
    with torch.no_grad():
        pyramid = encoder(plan.test[0].image()[None])
    wanted = torch.cat([level.mean((0, 2, 3)) for level in pyramid])
    assert image_features(encoder, plan.test)[0] == pytest.approx(wanted.numpy(), rel=1e-5)


def a_linear_model(strength: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))


def a_neighbour_model(items: int, features: int) -> Pipeline:
    components = PCA(min(COMPONENTS, items, features), svd_solver="full")
    return make_pipeline(
        StandardScaler(), components, KNeighborsClassifier(min(VOTES, items // 10))
    )


def some_items(classes: int) -> Items:
    """Return overlapping clouds, four items a group, as many in each fold of three."""
    chance = np.random.default_rng(1)
    labels = np.arange(120) % classes
    features = chance.normal(size=(120, 40)) + labels[:, None] * chance.normal(size=40) / 3
    return Items(features, labels, [str(item // 4) for item in range(120)])


@pytest.mark.parametrize("classes", [2, 3])
def test_the_models_are_those_of_scikit_learn(classes: int) -> None:
    items = some_items(classes)
    tests = np.random.default_rng(2).normal(size=(200, 40)) * 2
    linear, nearest = fit_linear(items), fit_nearest(items)
    wanted = a_linear_model(choose_strength(items)).fit(items.features, items.classes)
    predicted = linear.predict(tests @ linear.matrix.T + linear.offset)
    assert (predicted == wanted.predict(tests)).all()
    wanted = a_neighbour_model(*items.features.shape).fit(items.features, items.classes)
    predicted = nearest.predict(tests @ nearest.matrix.T + nearest.offset)
    assert (predicted == wanted.predict(tests)).all()


def test_a_balanced_sample_is_corrected_by_the_root_of_bayes_rule() -> None:
    items, frequency = some_items(3), np.array([80.0, 15.0, 5.0])
    tests = np.random.default_rng(2).normal(size=(200, 40))
    model = a_linear_model(choose_strength(items)).fit(items.features, items.classes)
    wanted = (model.predict_proba(tests) * frequency**0.5).argmax(axis=1)  # forty of each were seen
    adapted = fit_linear(items).with_frequencies(frequency)
    assert (adapted.predict(tests @ adapted.matrix.T + adapted.offset) == wanted).all()
    assert (model.predict(tests) != wanted).any()


def test_the_regularisation_is_chosen_on_groups_left_out() -> None:
    items = some_items(3)
    grid = {"logisticregression__C": STRENGTHS}
    search = GridSearchCV(a_linear_model(1.0), grid, cv=GroupKFold(3), scoring="neg_log_loss")
    search.fit(items.features, items.classes, groups=[int(group) for group in items.groups])
    assert choose_strength(items) == search.best_params_["logisticregression__C"]
    assert STRENGTHS[0] < choose_strength(items) < STRENGTHS[-1]


def test_grades_are_scored_as_by_scikit_learn(graded: dict[str, Any]) -> None:
    plan = plan_of(**graded)
    encoder, _ = build_encoder(plan)
    train, tests = image_features(encoder, plan.train), image_features(encoder, plan.test)
    grades = np.array([case.case.grade for case in plan.train])
    groups = [plan.source.group_of(case.case) for case in plan.train]
    model = a_linear_model(choose_strength(Items(train, grades, groups))).fit(train, grades)
    actual = [case.case.grade for case in plan.test]
    kappa = cohen_kappa_score(actual, model.predict(tests), weights="quadratic")
    scores = probe_encoder(plan, encoder)
    assert set(scores) == {"linear_probe", "knn_probe"}
    assert scores["linear_probe"] == pytest.approx(kappa)
    model = a_neighbour_model(*train.shape).fit(train, grades)
    kappa = cohen_kappa_score(actual, model.predict(tests), weights="quadratic")
    assert scores["knn_probe"] == pytest.approx(kappa)


def test_masks_are_scored_as_by_scikit_learn() -> None:
    plan = plan_of(**VOLUMES, fraction=0.3)
    encoder, _ = build_encoder(plan)
    assert len(plan.train) == 2

    def whole(case: Any) -> np.ndarray[Any, Any]:
        shape = case.label().shape
        levels = pyramid_of(encoder, case)
        full = [F.interpolate(level[None], size=shape, mode="trilinear")[0] for level in levels]
        return torch.cat(full).flatten(1).T.double().numpy()

    # So few voxels are all drawn; they come class by class.
    features, classes, groups = [], [], []
    for case in plan.train:
        order = case.label().flatten().argsort(stable=True).numpy()
        features.append(whole(case)[order])
        classes.append(case.label().flatten().numpy()[order])
        groups += [case.case.name] * len(order)
    items = Items(np.concatenate(features), np.concatenate(classes), groups)
    model = a_linear_model(choose_strength(items)).fit(items.features, items.classes)
    predicted = [
        torch.from_numpy(model.predict(whole(case))).reshape(case.label().shape)
        for case in plan.test
    ]
    task = plan.settings.downstream
    dice = task.score(predicted, [case.label() for case in plan.test])["dice"]
    assert probe_encoder(plan, encoder)["linear_probe"] == pytest.approx(dice, abs=1e-3)


def test_the_same_settings_give_the_same_scores_and_another_seed_others() -> None:
    fields = {**VOLUMES, "size": 16, "out": "unused"}
    first = probe(FinetuneSettings(**fields))
    assert probe(FinetuneSettings(**fields)) == first
    assert probe(FinetuneSettings(**fields, seed=1)) != first
    assert all(0 <= score <= 1 for score in first.values())


def test_a_pretrained_encoder_is_probed_as_it_lies_in_its_folder(tmp_path: Path) -> None:
    fields = {**VOLUMES, "size": 16}
    run = pretrain(
        task="rotation3d", epochs=1, quiet=True, validate_every=1, out=tmp_path / "run", **fields
    )
    settings = {"data": fields["data"], "encoder": run.folder, "out": tmp_path / "unused"}
    pretrained = probe(FinetuneSettings(**settings))
    assert pretrained != probe(FinetuneSettings(**fields, out=tmp_path / "unused"))
    assert not (tmp_path / "unused").exists()


class Bare2d(Backbone):
    """An encoder that returns the picture itself."""

    spatial_dims: ClassVar[Literal[2, 3]] = 2

    def build(self, in_channels: int) -> Encoder:
        return BareEncoder(in_channels)


class BareEncoder(Encoder):
    strides = ((1, 1),)

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = (in_channels,)
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]


@pytest.mark.parametrize("downstream", ["classification2d", "segmentation2d"])
def test_what_is_separable_is_separated(tmp_path: Path, downstream: str) -> None:
    chance = np.random.default_rng(0)
    for number in range(20):
        bright = chance.random((16, 16)) < (0.2 if number % 2 else 0.6)
        values = np.where(bright, 200, 50) + chance.integers(0, 50, bright.shape)
        if downstream == "segmentation2d":
            image, mask = tmp_path / "images", tmp_path / "masks"
            mask.mkdir(exist_ok=True)
            Image.fromarray(np.uint8(255 * bright)).save(mask / f"{number}.png")
        else:
            image = tmp_path / ("few" if number % 2 else "many")
        image.mkdir(exist_ok=True)
        Image.fromarray(np.uint8(values)).save(image / f"{number}.png")
    plan = plan_of(downstream=downstream, data=str(tmp_path), backbone=UNET2D, size=16)
    assert probe_encoder(plan, BareEncoder(1)) == {"linear_probe": 1.0, "knn_probe": 1.0}


def test_a_single_class_is_predicted_where_there_is_no_other() -> None:
    items = Items(np.eye(4), np.full(4, 2), ["a", "b", "c", "d"])
    for fit in (fit_linear, fit_nearest):
        fitted = fit(items)
        mapped = np.eye(4) @ fitted.matrix.T + fitted.offset
        assert fitted.predict(mapped).tolist() == [2, 2, 2, 2]
