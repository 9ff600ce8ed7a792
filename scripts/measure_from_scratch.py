"""Measure what augmentation, normalisation and the images' shape are worth without pretraining.

    python scripts/measure_from_scratch.py         # run what is missing, and write the rows
    python scripts/measure_from_scratch.py --table # print the table that docs/results.md shows

Run it from a folder in which `Dataset027_ACDC` lies. Each run is one `ssl-registry finetune` with
the settings of `docs/results/from-scratch.yaml` and the words of its variant; runs that are there
already stay.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

from ssl_registry.experiments.statistics.estimates import Estimate, paired_p

RESULTS: Final = Path(__file__).parents[1] / "docs" / "results"
ROWS: Final = RESULTS / "from-scratch.csv"
RUNS: Final = Path("runs")
SEEDS: Final = range(5)
PATIENTS: Final = 39
"""Patients to train on, once the test patients are taken away."""

Variant: TypeAlias = tuple[str, str, str, int]
"""Shape, normalisation, augmentation and labelled patients."""

SHAPES: Final = {
    "2d-slices": "slices=thick size=64 preprocessing.spacing=[3.5,3.5,10] preprocessing.fit=crop "
    "batch_size=12",
    "3d-volumes": "size=[64,64,12] preprocessing.spacing=[3.5,3.5,10] preprocessing.fit=crop "
    "batch_size=2",
    "3d-cube": "size=40 batch_size=2",
    "3d-plan": "size=[184,184,9] batch_size=2",
    "3d-large-cube": "size=64 batch_size=2",
    "3d-nnunet": "size=[64,64,12] preprocessing.spacing=[3.5,3.5,10] preprocessing.fit=crop "
    "batch_size=2",
}
"""Settings by the shape of the images: slices, the scans' own proportions, or a cube."""

FEW: Final = [
    *[
        (shape, norm, augment, 8)
        for shape in ("2d-slices", "3d-volumes")
        for norm in ("batch", "instance")
        for augment in ("none", "light")
    ],
    *[(shape, "instance", "light", 8) for shape in ("3d-cube", "3d-plan", "3d-large-cube")],
]
ALL: Final = ("3d-volumes", "instance", "light", PATIENTS)
NNUNET: Final = ("3d-nnunet", "instance", "nnunet", PATIENTS)

CONTRASTS: Final = [
    *[
        (
            f"`light` in place of `none`, {shape[:2].upper()}, {norm}",
            (shape, norm, "light", 8),
            (shape, norm, "none", 8),
        )
        for shape in ("2d-slices", "3d-volumes")
        for norm in ("batch", "instance")
    ],
    *[
        (
            f"instance in place of batch, {shape[:2].upper()}, {augment}",
            (shape, "instance", augment, 8),
            (shape, "batch", augment, 8),
        )
        for shape in ("2d-slices", "3d-volumes")
        for augment in ("none", "light")
    ],
    (
        "the scans' proportions in place of a cube of 40",
        ("3d-volumes", "instance", "light", 8),
        ("3d-cube", "instance", "light", 8),
    ),
    (
        "the plan in place of a cube of 64",
        ("3d-plan", "instance", "light", 8),
        ("3d-large-cube", "instance", "light", 8),
    ),
]
"""What is compared with what."""

UNET: Final = "backbone=unet{dims} backbone.norm={norm} "
SMALL: Final = UNET + "backbone.base_filters=8 backbone.levels=4"
LARGE: Final = UNET + "backbone.base_filters=16 backbone.levels=5 steps=60"
"""As wide and deep as `plan` makes it; a step takes seconds, so that there are fewer."""
NETWORKS: Final = {
    "3d-plan": f"{LARGE} backbone.strides=[[1,1,1],[2,2,1],[2,2,1],[2,2,2],[2,2,1]]",
    "3d-large-cube": LARGE,
    "3d-nnunet": "backbone=nnunet-plainconv3d backbone.n_stages=5 "
    "backbone.features_per_stage=[8,16,32,64,128] "
    "backbone.strides=[[1,1,1],[2,2,1],[2,2,2],[2,2,1],[2,2,1]] "
    "backbone.kernel_sizes=[[3,3,1],[3,3,3],[3,3,3],[3,3,3],[3,3,3]] "
    "downstream.deep_supervision=true optimizer=sgd momentum=0.99 schedule=poly "
    "learning_rate=0.01 weight_decay=0.00003 warmup=0 clip=12",
}
"""Networks other than the small U-Net.

That of `ssl-registry plan Dataset027_ACDC --cpu`, the same for a cube of about as many voxels, and
the one that nnU-Net plans for these spacings, as wide as the small one, with its training.
"""

TITLES: Final = {
    "2d-slices": "slices of 64 x 64",
    "3d-volumes": "volumes of 64 x 64 x 12",
    "3d-cube": "cubes of 40 x 40 x 40",
    "3d-plan": "volumes of 184 x 184 x 9, as planned",
    "3d-large-cube": "cubes of 64 x 64 x 64, the planned network",
    "3d-nnunet": "volumes of 64 x 64 x 12, nnU-Net's network and training",
}


def name_of(variant: Variant, seed: int) -> str:
    """Return the folder of a run within `runs`."""
    return "-".join(map(str, (*variant, seed)))


def words_of(variant: Variant, seed: int) -> list[str]:
    """Return the words of `ssl-registry finetune` that train a variant."""
    shape, norm, augment, patients = variant
    dims = shape[:2]
    return [
        str(RESULTS / "from-scratch.yaml"),
        *f"downstream=segmentation{dims} downstream.cross_entropy=0.5".split(),
        *NETWORKS.get(shape, SMALL).format(dims=dims, norm=norm).split(),
        *SHAPES[shape].split(),
        *f"augment={augment} fraction={round(patients / PATIENTS, 4)} seed={seed}".split(),
        *(["steps=1000", "count=patients"] if patients == PATIENTS else []),
        f"out={RUNS / name_of(variant, seed)}",
    ]


def train(variant: Variant, seed: int) -> None:
    """Train one run, if it is not there."""
    if not (RUNS / name_of(variant, seed) / "result.json").exists():
        program = Path(sys.executable).with_name("ssl-registry")
        subprocess.run([program, "finetune", *words_of(variant, seed)], check=True)  # noqa: S603


def collected() -> Iterator[dict[str, object]]:
    """Yield a row for each run that is there."""
    for variant in [*FEW, ALL, NNUNET]:
        for seed in SEEDS:
            result = RUNS / name_of(variant, seed) / "result.json"
            if not result.exists():
                continue
            said = json.loads(result.read_text())
            score = said["score"]
            yield {
                **dict(zip(("shape", "norm", "augment", "patients"), variant, strict=True)),
                "seed": seed,
                **{key: score.get(key, "") for key in ("dice", "dice_1", "dice_2", "dice_3")},
                **{key: score.get(key, "") for key in ("nsd", "hd95")},
                "seconds": said.get("seconds", ""),
            }


def write_rows() -> None:
    """Write the rows of all runs that are there."""
    rows = list(collected())
    with ROWS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def scores_of() -> dict[Variant, dict[int, float]]:
    """Return the published Dice of each variant, by seed."""
    with ROWS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found: dict[Variant, dict[int, float]] = {}
    for row in rows:
        variant = (row["shape"], row["norm"], row["augment"], int(row["patients"]))
        found.setdefault(variant, {})[int(row["seed"])] = float(row["dice"])
    return found


def gains() -> dict[str, list[float]]:
    """Return what each choice is worth, seed by seed."""
    scores = scores_of()
    return {
        title: [scores[better][seed] - scores[worse][seed] for seed in sorted(scores[better])]
        for title, better, worse in CONTRASTS
    }


def table() -> str:
    """Return the published rows as two tables: the Dice, and what each choice is worth."""
    lines = [
        "| images | normalisation | augmentation | patients | Dice |",
        "| --- | --- | --- | ---: | ---: |",
        *(
            f"| {TITLES[shape]} | {norm} | {augment} | {patients} | {_spell([*each.values()])} |"
            for (shape, norm, augment, patients), each in scores_of().items()
        ),
        "",
        "| 8 volumes | difference, paired by seed | p |",
        "| --- | ---: | ---: |",
    ]
    for title, each in gains().items():
        lines.append(f"| {title} | {_spell(each, '+')} | {paired_p(each):.2g} |")
    return "\n".join(lines)


def _spell(values: list[float], sign: str = "") -> str:
    said = Estimate.of(values)
    low, high = f"{said.low:{sign}.3f}", f"{said.high:{sign}.3f}"
    return f"{said.mean:{sign}.3f} ({low} to {high}), n = {said.count}"


def main() -> None:
    """Run what is missing and write the rows, or print the table."""
    if "--table" in sys.argv[1:]:
        sys.stdout.write(f"{table()}\n")
        return
    for variant in [*FEW, ALL, NNUNET]:
        for seed in SEEDS:
            train(variant, seed)
    write_rows()


if __name__ == "__main__":
    main()
