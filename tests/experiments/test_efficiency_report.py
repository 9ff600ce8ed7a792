"""The report: what it says and shows of runs, and how it stands in a browser."""

import base64
import csv
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.experiments.report.page import write_efficiency_report
from ssl_registry.experiments.statistics.class_scores import class_scores
from ssl_registry.experiments.statistics.further_scores import further_scores
from ssl_registry.experiments.statistics.rows import Failure, Row, read_rows
from ssl_registry.experiments.statistics.summary import as_csv, summarise
from ssl_registry.training.finetuning.learning import FinetuneVerdict
from tests.browser import open_page
from tests.experiments.curves import folders, report, result
from tests.experiments.rows import make_row
from tests.experiments.runs import write_experiment, write_pretraining

LINES = {"scratch": 0.5, "rotation3d": 0.8, "rpl3d": 0.3}
NOTE = "validation accuracy 0.04, where guessing gives 0.04"


@dataclass(frozen=True)
class Reported:
    """An experiment and its report."""

    settings: EfficiencySettings
    rows: list[Row]
    page: Path

    @property
    def text(self) -> str:
        return self.page.read_text(encoding="utf-8")

    @property
    def words(self) -> str:
        """The page's text alone."""
        visible = re.sub(r"<style>.*?</style>|<[^>]+>", " ", self.text, flags=re.DOTALL)
        return " ".join(visible.split())


def read(out: Path, **fields: Any) -> EfficiencySettings:
    return EfficiencySettings.read(**{"data": "phantoms:12", "out": out, **fields})


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    out = tmp_path_factory.mktemp("experiment")
    rows = write_experiment(out, LINES)
    rows = [replace(row, scores={**row.scores, "linear_probe": 0.25}) for row in rows]
    extra = {"hd95": 3.25, "hd95_1": 3.25, "dice_whole tumour": 0.75}
    rows = [replace(row, scores={**row.scores, **extra}) for row in rows]
    pretrained = [
        write_pretraining(
            out / "pretrain" / line / str(seed), line, seed, [0.1, 0.2, 0.5],
            learnt=line != "rpl3d", note=NOTE if line == "rpl3d" else "",
        )
        for line in ("rotation3d", "rpl3d")
        for seed in (0, 1)
    ]  # fmt: skip
    tasks = [{"name": "rotation3d", "pretrain": {"keep": "best-probe"}}, "rpl3d"]
    settings = read(out, tasks=tasks)
    failures = [Failure("runs/rpl3d/5-labelled-seed-7", "the loss became <nan> in epoch 3")]
    page = write_efficiency_report(settings, rows[::-1], failures, pretrained)
    return Reported(settings, rows, page)


def test_the_page_needs_no_other_file_and_no_network(reported: Reported) -> None:
    sources = re.findall(r'(?:src|href)="([^"]*)"', reported.text)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "http" not in re.sub(r"base64,[^\"]*", "", reported.text)
    assert "@import" not in reported.text


def test_the_figures_lie_beside_the_page_and_are_inside_it(reported: Reported) -> None:
    names = {"cases", "curve", "curve-linear", "differences", "pretext", "classes", "samples"}
    files = {path.stem: path for path in reported.page.parent.glob("*.png")}
    assert set(files) == names
    inside = re.findall(r'src="data:image/png;base64,([^"]*)"', reported.text)
    assert {base64.b64decode(data) for data in inside} == {p.read_bytes() for p in files.values()}
    for path in files.values():
        picture = Image.open(path)
        assert min(picture.size) > 300
        assert len(picture.convert("L").getcolors() or range(999)) > 20
    assert all(re.search(r'alt="[^"]+"', tag) for tag in re.findall("<img[^>]*>", reported.text))


def test_each_line_has_its_verdict_in_the_order_of_the_settings(reported: Reported) -> None:
    words = reported.words
    helped, worse = words.index("rotation3d helped:"), words.index("rpl3d made it worse:")
    assert helped < worse < words.index("Differences to training from scratch")
    assert f"The pretext task was not learnt (seed 0 and seed 1): {NOTE}" in words


def test_the_page_opens_with_one_sentence_and_the_curve(reported: Reported) -> None:
    opening = reported.words.index("After rotation3d, ")
    assert re.search(
        r"cases were worth more than \d+ from scratch, the most tried\.", reported.words
    )
    assert opening < reported.words.index("rotation3d helped:")
    assert reported.text.index('class="opening"') < reported.text.index("<img")
    first = re.findall(r'src="data:image/png;base64,([^"]*)"', reported.text)[0]
    assert base64.b64decode(first) == (reported.page.parent / "curve.png").read_bytes()


def test_it_says_where_the_weights_of_the_best_probe_were_kept(reported: Reported) -> None:
    assert "The encoders of rotation3d are those of the best probe" in reported.words


def test_failures_are_told_and_escaped(reported: Reported) -> None:
    assert "runs/rpl3d/5-labelled-seed-7</code>: the loss became &lt;nan&gt; in epoch 3" in (
        reported.text
    )


def test_the_table_says_what_the_summary_says(reported: Reported) -> None:
    summaries = summarise(reported.rows)
    for summary in summaries:
        assert f"{summary.score.mean:.3f} ({summary.score.low:.3f} to" in reported.words
        if summary.comparison:
            assert f"{summary.comparison.difference.mean:+.3f}" in reported.words
    assert "linear probe" in reported.words
    assert "0.250" in reported.words
    assert "nearest neighbours" not in reported.words
    written = (reported.settings.out / "summary.csv").read_text()
    assert written == as_csv(summaries, "dice")
    assert [row["line"] for row in csv.DictReader(written.splitlines())][::2] == [*LINES]


def test_scores_of_regions_are_none_over_all_classes() -> None:
    scores = {"dice": 0.5, "nsd": 0.3, "dice_1": 0.4, "nsd_1": 0.2}
    regions = {"dice_whole tumour": 0.6, "nsd_whole tumour": 0.1}
    assert further_scores([make_row("scratch", 0.1, 0, {**scores, **regions})]) == ["nsd"]


def test_scores_beside_the_headline_have_a_table_of_their_own(reported: Reported) -> None:
    assert further_scores(reported.rows) == ["hd95"]
    (told,) = re.findall(r"<details><summary>further scores:.*?</details>", reported.text, re.S)
    assert told.count("3.250") >= len(LINES)
    assert "lower is better" in told
    assert "0.750" not in told


def test_every_class_has_its_scores_with_intervals_as_tables(reported: Reported) -> None:
    folder = reported.page.parent
    with (folder.parent / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["line"] for row in rows} == set(LINES)
    first = rows[0]
    scores = class_scores(reported.rows, float(first["fraction"]))
    assert scores is not None
    estimate = scores.classes[first["class"]][first["line"]]
    assert float(first["mean"]) == pytest.approx(estimate.mean, rel=1e-5)
    assert int(first["runs"]) == estimate.count
    lines = [line for line in (folder / "classes.md").read_text().splitlines() if "|" in line]
    assert {line.count("|") for line in lines} == {len(LINES) + 2}


def test_the_appendix_table_is_markdown_with_a_row_a_line(reported: Reported) -> None:
    text = (reported.page.parent / "table.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    starts = [line.split("|")[1].strip() for line in rows]
    assert starts == [
        "",
        "---",
        "from scratch",
        "rotation3d",
        "rpl3d",
        "",
        "---",
        "rotation3d",
        "rpl3d",
    ]
    assert "10 % (10 cases)" in rows[0]
    for summary in summarise(reported.rows):
        assert f"{summary.score.mean:.3f} (" in text


def test_the_page_shows_all_settings_and_what_made_the_runs(reported: Reported) -> None:
    shown = re.search(r"<pre>(.*?)</pre>", reported.text, re.DOTALL)
    assert shown
    assert yaml.safe_load(shown.group(1).replace("&#39;", "'")) == reported.settings.model_dump(
        mode="json"
    )
    count = len(reported.rows)
    assert f"{count} runs by ssl-registry 0.1.0, torch 2.9.0; commit 0123abc" in reported.words


@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_the_page_without_errors_or_scrolling_sideways(
    reported: Reported, tmp_path: Path, width: int
) -> None:
    seen = open_page(reported.page, width, tmp_path / "browser")
    assert seen.width == width
    assert seen.needed == width
    assert seen.images == 7
    assert (seen.missing, seen.broken) == ([], [])


def test_the_browser_test_would_notice(reported: Reported, tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    bad = (
        '<img src="gone.png" alt="gone"><p style="width: 500px">wide</p><script>nothing()</script>'
    )
    page.write_text(reported.text.replace("</body>", f"{bad}</body>"))
    seen = open_page(page, 360, tmp_path / "browser")
    assert seen.needed > 360
    assert seen.missing == ["gone"]
    assert len(seen.broken) == 2


def test_a_real_experiment_is_reported_in_a_browser_and_as_data(
    curve: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(curve, tmp_path / "out"))
    page = report(out)
    notes = {result(folder)["learnt_note"] for folder in folders(out, "pretrain")}
    told = re.findall(r"was not learnt \([^)]*\): ([^<]*)<", page.read_text())
    assert told  # two epochs are few
    assert set(told) == {note for note in notes if "better than guessing" in note}
    seen = open_page(page, 360, tmp_path / "browser")
    assert seen.images == 7
    assert (seen.needed, seen.missing, seen.broken) == (360, [], [])
    # Every digit that the summary takes is in results.csv.
    assert (out / "summary.csv").read_text() == as_csv(summarise(read_rows(out)), "dice")


def test_graded_images_have_confusion_matrices_and_samples(tmp_path: Path) -> None:
    from tests.pictures import eyes, write_aptos

    data = str(write_aptos(tmp_path / "data", eyes(12, classes=3)))
    rows = write_experiment(
        tmp_path / "out", {"scratch": 0.2, "anything2d": 0.9}, data=data,
        downstream="classification2d", size=16, fractions=(0.5,),
    )  # fmt: skip
    settings = read(
        tmp_path / "out", data=data, encoders={"anything2d": "x"}, downstream="classification2d"
    )
    page = write_efficiency_report(settings, rows, [], [])
    assert {path.stem for path in page.parent.glob("*.png")} == {
        "cases", "curve", "curve-linear", "differences", "classes", "confusion", "samples",
    }  # fmt: skip
    assert "anything2d helped" in page.read_text()


def test_one_run_a_line_makes_a_report_that_cannot_tell(tmp_path: Path) -> None:
    rows = write_experiment(tmp_path, {"scratch": 0.5, "rpl3d": 0.9}, fractions=(0.5,), seeds=(0,))
    page = write_efficiency_report(read(tmp_path, tasks=["rpl3d"]), rows, [], [])
    assert "Whether rpl3d helps is unclear from these repeats" in page.read_text()


def test_lines_that_learnt_nothing_are_called_so_in_the_report_and_its_table(
    tmp_path: Path,
) -> None:
    verdict = FinetuneVerdict(False, "", 0.1, ("lesion",))
    rows = write_experiment(tmp_path, {"scratch": 0.0, "rpl3d": 0.0}, fractions=(0.5,))
    rows = [replace(row, learning=verdict) for row in rows]
    page = write_efficiency_report(read(tmp_path, tasks=["rpl3d"]), rows, [], [])
    assert "Neither rpl3d nor training from scratch learnt anything" in page.read_text()
    marks = page.read_text().count(
        "fine-tuning learnt nothing; lesion was never predicted in 3 of 3 runs</span>"
    )
    assert marks == 2
    table = (page.parent / "table.md").read_text()
    assert table.count("learnt nothing") == 2
    assert "times the labels" not in table


def test_scratch_alone_can_be_reported(tmp_path: Path) -> None:
    """All runs of the other line failed."""
    rows = write_experiment(tmp_path, {"scratch": 0.5}, fractions=(0.5,), seeds=(0, 1))
    failures = [Failure("pretrain/rpl3d/seed-0", "out of luck")]
    page = write_efficiency_report(read(tmp_path, tasks=["rpl3d"]), rows, failures, [])
    assert not (page.parent / "differences.png").exists()
    assert "out of luck" in page.read_text()


def test_nothing_finished_is_said(tmp_path: Path) -> None:
    failures = [Failure("runs/scratch/5-labelled-seed-0", "out of luck")]
    page = write_efficiency_report(read(tmp_path, tasks=["rpl3d"]), [], failures, [])
    assert "No run has finished yet" in page.read_text()
    assert "out of luck" in page.read_text()


def test_data_that_is_gone_costs_the_samples_alone(tmp_path: Path) -> None:
    rows = write_experiment(tmp_path, {"scratch": 0.5, "rpl3d": 0.9}, fractions=(0.5,))
    for row in rows:
        config = row.folder / "config.yaml"
        config.write_text(config.read_text().replace("phantoms:12", str(tmp_path / "gone")))
    page = write_efficiency_report(read(tmp_path, tasks=["rpl3d"]), rows, [], [])
    assert "They could not be shown:" in page.read_text()
    assert (page.parent / "curve.png").exists()


def test_undefined_scores_are_counted_for_the_reader(tmp_path: Path) -> None:
    rows = write_experiment(tmp_path, {"scratch": 0.5, "rpl3d": 0.9}, fractions=(0.5,))
    rows[0] = replace(rows[0], scores={"dice": float("nan")})
    page = write_efficiency_report(read(tmp_path, tasks=["rpl3d"]), rows, [], [])
    assert "1 run has no defined dice and is left out" in page.read_text()
