"""The published tables are what the code makes of the published rows."""

import re
import sys
from pathlib import Path
from statistics import mean

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_site"))

from evidence import BESIDE, HEADLINES, evidence_pictures, rows_of, table_of  # noqa: E402

from scripts import measure_from_scratch  # noqa: E402
from scripts.count_verdicts import count_demos, count_groups, demo_rows  # noqa: E402
from scripts.list_results import OWN, RESULTS, main, settings_of  # noqa: E402
from ssl_registry.cli.overrides import read_words  # noqa: E402
from ssl_registry.data.sources.layouts import is_phantoms  # noqa: E402
from ssl_registry.experiments.demo import demo_settings  # noqa: E402
from ssl_registry.experiments.grid.settings import EfficiencySettings  # noqa: E402
from ssl_registry.experiments.scratch import SCRATCH  # noqa: E402
from ssl_registry.experiments.statistics.estimates import Estimate  # noqa: E402
from ssl_registry.experiments.statistics.rows import Row  # noqa: E402
from ssl_registry.experiments.statistics.summary import summarise  # noqa: E402
from ssl_registry.training.settings.reading import check_settings  # noqa: E402
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings  # noqa: E402

NAMES = sorted(HEADLINES)
IN_SPACE = ("rotation3d", "rpl3d", "jigsaw3d", "exemplar3d")
BOTH = "place2d+rpl2d"
LINES = {
    "hippocampus": IN_SPACE,
    "hippocampus-place": ("place3d",),
    "few-labels": IN_SPACE,
    "supervised": ("supervised",),
    "two-levels": IN_SPACE,
    "levels": ("finest-1", "finest-2", "finest-3"),
    "acdc": ("place2d",),
    "acdc-long": ("place2d", "rpl2d"),
    "acdc-dense": ("genesis2d", "masked2d", "local2d"),
    "acdc-fresh": ("place2d", "rpl2d", BOTH),
    "chestxray": ("imagenet", "rotation2d", "imagenet-rotation2d"),
    "chestxray-unet": ("rotation2d",),
    "chestxray-tasks": (
        *("rotation2d", "rotation2d-window", "rpl2d", "jigsaw2d", "exemplar2d"),
        *("simclr2d", "moco2d", "byol2d", "masked2d"),
    ),
    "demo": ("place2d",),
    "fundus": ("rotation2d", "rpl2d", "jigsaw2d", "exemplar2d"),
}


@pytest.mark.parametrize(("name", "score"), [*HEADLINES.items(), *BESIDE])
def test_the_tables_of_the_page_are_those_of_the_rows(name: str, score: str) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    table = table_of(name, score)
    assert table.strip() in page, f"paste this:\n{table}"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_settings_gives_the_lines_repeats_and_steps_of_the_rows(name: str) -> None:
    file = settings_of(RESULTS / f"{name}.csv")
    said = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings, rows = EfficiencySettings.read(**said), rows_of(name)
    assert {row.seed for row in rows} == set(settings.seeds)
    # Phantoms have no patients' names, so patients are cases there.
    cases = is_phantoms(settings.data) or settings.count == "cases"
    assert {row.unit for row in rows} == {"cases" if cases else "patients"}
    assert {row.steps for row in rows} == {settings.finetune.steps}
    if file.stem == name:
        lines = {SCRATCH, *settings.encoders, *(task.label for task in settings.tasks)}
        assert {row.line for row in rows} == lines
        assert {row.labelled for row in rows} == set(settings.labelled or ())


@pytest.mark.parametrize("name", sorted({settings_of(RESULTS / f"{n}.csv").stem for n in NAMES}))
def test_the_page_shows_the_file_of_settings_as_it_is(name: str) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    file = RESULTS / f"{name}.yaml"
    assert f"```yaml\n{file.read_text(encoding='utf-8')}```" in page
    assert f"ssl-registry efficiency docs/results/{name}.yaml" in page


def test_make_results_names_every_table_its_command_and_its_hours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(".csv")[0] for line in lines] == sorted([*NAMES, *OWN])
    for line in lines:
        command = re.search(r"(?:efficiency|python) (\S+)  # (\d+\.\d) h of fine-tuning", line)
        assert command
        assert (ROOT / command[1]).is_file()
        assert float(command[2]) > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_line_has_the_same_repeats(name: str) -> None:
    rows = rows_of(name)
    repeats = {
        line: {(row.seed, row.labelled) for row in rows if row.line == line}
        for line in {row.line for row in rows}
    }
    assert set(repeats) == {SCRATCH, *LINES[name]}
    assert all(repeats[line] == repeats[SCRATCH] for line in repeats)
    assert len({row.seed for row in rows}) >= 3


@pytest.mark.long
def test_each_experiment_has_a_curve_and_its_differences() -> None:
    pictures = evidence_pictures()
    assert set(pictures) == {
        f"pictures/{name}-{kind}.png" for name in NAMES for kind in ("curve", "differences")
    }
    assert all(content.startswith(b"\x89PNG") for content in pictures.values())


def test_the_published_seeds_of_the_demo_were_run_as_the_demo_runs() -> None:
    said = yaml.safe_load((RESULTS / "demo.yaml").read_text(encoding="utf-8"))
    published = EfficiencySettings.read(**said)
    assert published == demo_settings(seeds=published.seeds, out=published.out)
    assert not set(published.seeds) & set(demo_settings().seeds)


def test_the_page_says_how_often_the_demo_helps() -> None:
    rows, size = demo_rows(), len(demo_settings().seeds)
    page = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    helped, demos = count_demos(rows, size)
    assert f"{helped} of the {demos} demos" in page
    helped, groups = count_groups(rows, size)
    assert f"{helped} of all {groups} groups of {size}" in page
    helped, groups = count_groups(rows, size - 1)
    assert f"would have been {helped} of {groups}" in page
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"all {demos} demos of five fresh seeds each" in readme


def test_the_page_shows_what_training_from_scratch_gave() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    settings = (RESULTS / "from-scratch.yaml").read_text(encoding="utf-8")
    assert f"```yaml\n{settings}```" in page
    assert OWN["from-scratch"] in page
    assert measure_from_scratch.table() in page, f"paste this:\n{measure_from_scratch.table()}"


@pytest.mark.parametrize(
    "variant", [*measure_from_scratch.FEW, measure_from_scratch.ALL, measure_from_scratch.NNUNET]
)
def test_the_settings_of_training_from_scratch_are_settings(
    variant: measure_from_scratch.Variant,
) -> None:
    said = read_words(measure_from_scratch.words_of(variant, 3))
    check_settings(FinetuneSettings, said, "finetune")
    assert said["seed"] == 3
    assert said["augment"] == variant[2]


def test_what_the_pages_say_of_normalisation_is_of_the_rows() -> None:
    page = (ROOT / "docs" / "how-to" / "segmentation-networks.md").read_text(encoding="utf-8")
    page = " ".join(page.split())
    gains = measure_from_scratch.gains()
    slices, volumes = (
        -mean(gains[f"instance in place of batch, {dims}, light"]) for dims in ("2D", "3D")
    )
    assert f"better by {slices:.3f} in batches of 12 slices" in page
    assert f"by {volumes:.3f}, which is no clear difference" in page


def gains_of(rows: list[Row], line: str, labelled: int) -> list[float]:
    """Return by how much a line is better than training from scratch, of each seed."""
    scores = {(row.line, row.seed): row.score for row in rows if row.labelled == labelled}
    seeds = sorted({seed for _, seed in scores})
    return [scores[line, seed] - scores[SCRATCH, seed] for seed in seeds]


def test_which_task_to_take_has_the_figures_of_the_rows() -> None:
    page = (ROOT / "docs" / "how-to" / "which-task.md").read_text(encoding="utf-8")
    page = " ".join(page.split())
    hearts = measure_from_scratch.gains()
    light = sorted(mean(each) for title, each in hearts.items() if title.startswith("`light`"))
    assert f"worth {light[0]:.2f} to {light[-1]:.2f} of Dice" in page
    batch = -mean(hearts["instance in place of batch, 2D, light"])
    assert f"batch normalisation {batch:.2f} in slices" in page
    demo = [gains_of(demo_rows(), "place2d", labelled) for labelled in (1, 2, 4)]
    gains = [f"{sum(each) / len(each):.2f}" for each in demo]
    better = [sum(gain > 0 for gain in each) for each in demo]
    assert f"gained {gains[0]}, {gains[1]} and {gains[2]} of Dice" in page
    assert f"in {better[0]}, {better[1]} and {better[2]} of 20 seeds" in page
    fresh = [gains_of(rows_of("acdc-fresh"), "place2d", labelled) for labelled in (1, 2, 4)]
    gains = [f"{mean(each):.2f}" for each in fresh]
    better = [sum(gain > 0 for gain in each) for each in fresh]
    assert f"`place2d` gained {gains[0]}, {gains[1]} and {gains[2]} of Dice" in page
    assert f"in {better[0]}, {better[1]} and {better[2]} of 10 seeds" in page
    pairs = [gains_of(rows_of("acdc-fresh"), "rpl2d", labelled) for labelled in (1, 2, 4)]
    gains = [f"{mean(each):.2f}" for each in pairs]
    assert f"`rpl2d` {gains[0]}, {gains[1]} and {gains[2]}" in page
    both = [gains_of(rows_of("acdc-fresh"), BOTH, labelled) for labelled in (1, 2, 4)]
    gains = [f"{mean(each):.2f}" for each in both]
    assert f"both at once {gains[0]}, {gains[1]} and {gains[2]}" in page
    scans = gains_of(rows_of("hippocampus-place"), "place3d", 3)
    assert f"`place3d` gained {mean(scans):.2f} with three labelled scans" in page
    chest = rows_of("chestxray")
    imagenet, rotation = (
        [gains_of(chest, line, labelled) for labelled in (50, 200)]
        for line in ("imagenet", "rotation2d")
    )
    first, second = (f"{sum(each) / len(each):.2f}" for each in imagenet)
    assert f"gained {first} and {second} of kappa with 50 and 200 grades" in page
    first, second = (f"{sum(each) / len(each):.2f}" for each in rotation)
    assert f"and {first} and {second} from `rotation2d`" in page
    fewer, more = (sum(gain > 0 for gain in each) for each in rotation)
    assert f"better than no pretraining in {fewer} and {more} of 5 seeds" in page


def test_what_the_page_says_of_chest_and_hearts_is_in_the_rows() -> None:
    page = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    chest, hearts = rows_of("chestxray"), rows_of("acdc-dense")
    worth = {}
    for line in LINES["chestxray"]:
        gains = [*gains_of(chest, line, 50), *gains_of(chest, line, 200)]
        worth[line] = sum(gains) / len(gains)
    assert f"is worth {worth['rotation2d']:.3f} of kappa" in page
    assert f"ImageNet's weights {worth['imagenet']:.3f} (" in page
    assert f"gave {worth['imagenet-rotation2d']:.3f}: " in page
    first = [f"{gains_of(hearts, line, 1)[0]:.3f}" for line in LINES["acdc-dense"]]
    assert f"(seed 0: {first[0]}, {first[1]} and {first[2]};" in page
    others = [gain for line in LINES["acdc-dense"] for gain in gains_of(hearts, line, 1)[1:]]
    assert len(others) == 12
    assert sum(gain < 0 for gain in others) == 6
    assert "twelve differences six are negative" in page


def test_what_the_page_says_of_longer_pretraining_is_in_the_rows() -> None:
    page = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    rows = rows_of("acdc-long")
    place, rpl = (
        [f"{mean(gains_of(rows, line, labelled)):.3f}" for labelled in (1, 2, 4)]
        for line in ("place2d", "rpl2d")
    )
    assert f"With one labelled volume `place2d` is {place[0]} (" in page
    assert f"With two it is {place[1]} above, with four {place[2]}." in page
    assert f"is {rpl[0]}, {rpl[1]} and {rpl[2]} above" in page
    scratch = {row.seed: row.score for row in rows if (row.line, row.labelled) == (SCRATCH, 1)}
    assert f"learnt nothing: {scratch[0]:.3f}" in page
    passes = PretrainSettings.model_fields["epochs"].default
    assert f"`pretrain` makes {passes} passes unless told otherwise" in page


def test_what_the_page_says_of_fresh_seeds_is_in_the_rows() -> None:
    page = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    rows = rows_of("acdc-fresh")
    place, rpl, both = (
        [gains_of(rows, line, labelled) for labelled in (1, 2, 4)] for line in LINES["acdc-fresh"]
    )
    one, two, four = (f"{mean(each):.3f}" for each in place)
    assert f"`place2d` with one and two labelled volumes, by {one} and {two} of Dice" in page
    assert f"`place2d` is {one} of Dice above training from scratch" in page
    assert f"with two {two} (" in page
    assert f"with four it is {four} above" in page
    assert [sum(gain > 0 for gain in each) for each in place[:2]] == [10, 9]
    one, two, four = (f"{mean(each):.3f}" for each in rpl)
    assert f"`rpl2d` with two and four, by {two} and {four}" in page
    assert f"is {two} above with two (" in page
    assert f"and {four} with four (" in page
    assert f"with one it changes nothing ({one})" in page
    assert [sum(gain > 0 for gain in each) for each in rpl[1:]] == [8, 8]
    one, two, four = (f"{mean(each):.3f}" for each in both)
    assert f"asked at once with all three, by {one}, {two} and {four}" in page
    assert f"Asked together they are {one}, {two} and {four} above" in page
    better = [sum(gain > 0 for gain in each) for each in both]
    assert "in {}, {} and {} of ten seeds".format(*better) in page
    clear = {
        (one.line, one.labelled)
        for one in summarise(rows)
        if one.comparison and one.comparison.clear
    }
    assert {n for line, n in clear if line == BOTH} == {1, 2, 4}
    assert all(
        len({n for other, n in clear if other == line}) == 2 for line in ("place2d", "rpl2d")
    )
    assert {line for line, n in clear if n == 2} == set(LINES["acdc-fresh"])
    how_to = " ".join((ROOT / "docs/how-to/joint-training.md").read_text(encoding="utf-8").split())
    assert "with one, two and four labelled volumes, where each alone helped with two of" in how_to


def test_what_the_page_says_of_places_on_hippocampi_is_in_the_rows() -> None:
    page = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    one, three = (gains_of(rows_of("hippocampus-place"), "place3d", n) for n in (1, 3))
    better = sum(gain > 0 for gain in three)
    assert f"by {mean(three):.3f} of Dice after 240 steps" in page
    assert f"`place3d` is {mean(three):.3f} of Dice above" in page
    assert f"in {better} of ten seeds" in page
    assert f"with one it is {mean(one):.3f} above" in page


def test_what_the_pages_say_of_the_chest_with_a_unet_is_in_the_rows() -> None:
    page = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    short = " ".join((ROOT / "docs/how-to/which-task.md").read_text(encoding="utf-8").split())
    unet, efficient = rows_of("chestxray-unet"), rows_of("chestxray")
    gains = [gains_of(unet, "rotation2d", labelled) for labelled in (50, 200)]
    fewer, more = (mean(each) for each in gains)
    assert f"{fewer:+.3f} of kappa with 50 grades and {more:+.3f} with 200" in page
    assert [sum(gain > 0 for gain in each) for each in gains] == [1, 3]

    def scores(rows: list[Row], line: str) -> list[float]:
        return [
            mean(row.score for row in rows if (row.line, row.labelled) == (line, labelled))
            for labelled in (50, 200)
        ]

    for rows, line, said in (
        (unet, SCRATCH, "it has {} and {},"),
        (efficient, SCRATCH, "the EfficientNet has {} and {} from scratch"),
        (efficient, "rotation2d", "{} and {} after `rotation2d`"),
        (efficient, "imagenet", "{} and {} with ImageNet's weights"),
    ):
        assert said.format(*(f"{score:.3f}" for score in scores(rows, line))) in page
    assert "kappa of {:.2f} and {:.2f} from scratch".format(*scores(unet, SCRATCH)) in short
    assert "which had {:.2f} and {:.2f}, gained".format(*scores(efficient, SCRATCH)) in short


def test_what_the_pages_say_of_nine_tasks_on_the_chest_is_in_the_rows() -> None:
    page = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    short = " ".join((ROOT / "docs/how-to/which-task.md").read_text(encoding="utf-8").split())
    rows, counts = rows_of("chestxray-tasks"), (20, 50, 200, 2108)

    def worth(line: str) -> list[float]:
        """Return the gain of each seed, averaged over the numbers of grades."""
        gains = [gains_of(rows, line, labelled) for labelled in counts]
        return [mean(each) for each in zip(*gains, strict=True)]

    assert not [one for one in summarise(rows) if one.comparison and one.comparison.clear]
    means = {line: mean(worth(line)) for line in LINES["chestxray-tasks"]}
    assert max(means, key=means.__getitem__) == "rpl2d"
    assert f"it is {means['rpl2d']:.3f} of kappa above training from scratch" in page
    assert f"`rpl2d` being nearest with {means['rpl2d']:.2f}" in short
    assert sum(gain > 0 for gain in worth("rpl2d")) == 5
    interval = Estimate.of(worth("rpl2d"))
    assert f"({interval.low:.3f} to {interval.high:.3f}, p = 0.062" in page
    assert f"`rotation2d` is {-means['rotation2d']:.3f} below" in page
    assert f"of a window {means['rotation2d-window']:.3f} above" in page
    assert f"`jigsaw2d` {-means['jigsaw2d']:.3f} below" in page
    assert f"`exemplar2d` {-means['exemplar2d']:.3f} below" in page
    all_grades = gains_of(rows, "moco2d", 2108)
    assert all(gain > 0 for gain in all_grades)
    assert f"five seeds, by {mean(all_grades):.3f}" in page

    votes = rows_of("chestxray-tasks", "knn_probe")
    few = {
        line: [
            mean(each) for each in zip(*(gains_of(votes, line, n) for n in counts[:3]), strict=True)
        ]
        for line in LINES["chestxray-tasks"]
    }
    better = ("simclr2d", "moco2d", "byol2d", "masked2d")
    least, most = min(mean(few[line]) for line in better), max(mean(few[line]) for line in better)
    assert f"by {least:.2f} to {most:.2f} of kappa on average" in page
    assert all(gain > 0 for line in better for gain in few[line])
    assert all(
        mean(gains_of(votes, line, n)) < 0
        for line in ("rotation2d", "jigsaw2d")
        for n in counts[2:]
    )
    linear = rows_of("chestxray-tasks", "linear_probe")
    probed = mean(one.score for one in linear if (one.line, one.labelled) == ("byol2d", 20))
    tuned = mean(one.score for one in rows if (one.line, one.labelled) == (SCRATCH, 20))
    assert f"({probed - tuned:.3f} of kappa above" in page
