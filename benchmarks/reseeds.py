"""`python -m benchmarks.reseeds NAME`: keep which test images the networks of the last `lifline seeds` got wrong.

It is written to benchmarks/results/reseeds/NAME.json. A test lets `lifline champion` judge these networks.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlflow import MlflowClient, entities
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from lifline.command import run_command
from lifline.errors import LiflineError
from lifline.system.files import write_bytes
from lifline.tracking.evidence import DECISIONS, read_decisions
from lifline.tracking.runs import SEEDS_EXPERIMENT
from lifline.tracking.uri import read_tracking_uri

RESULTS = Path(__file__).parent / "results" / "reseeds"
SPIKES = "test/spikes_per_image/"


def main() -> None:
    """Read the runs of the last `lifline seeds` and write what they decided."""
    if len(sys.argv) != 2:  # noqa: PLR2004
        raise LiflineError("usage: python -m benchmarks.reseeds NAME")
    path = RESULTS / f"{sys.argv[1]}.json"
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, packed(MlflowClient(read_tracking_uri())).encode())
    print(path)


def packed(client: MlflowClient) -> str:
    """Return the recipe, and a line for each seed."""
    experiment = client.get_experiment_by_name(SEEDS_EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id] if experiment else [], order_by=["attributes.start_time"])
    parents = [run for run in runs if MLFLOW_PARENT_RUN_ID not in run.data.tags]
    if not parents:
        raise LiflineError("there are no seeds; `lifline seeds 20` trains some")
    parent = parents[-1]
    children = [
        run
        for run in runs
        if run.data.tags.get(MLFLOW_PARENT_RUN_ID) == parent.info.run_id and run.info.status == "FINISHED"
    ]
    seeds = ",\n".join(f"  {json.dumps(_seed(client, run))}" for run in children)
    recipe = {
        "recipe": parent.data.tags["recipe"],
        "num_images": int(children[0].data.tags["test/total"]),
        "data_sha256": children[0].data.tags["data_sha256"],
        "device": children[0].data.tags["device"],
    }
    return json.dumps(recipe, indent=1).removesuffix("\n}") + f',\n "seeds": [\n{seeds}\n ]\n}}\n'


def _seed(client: MlflowClient, run: entities.Run) -> dict[str, Any]:
    """Return its spikes an image, and the test images that its network takes for another class."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(client.download_artifacts(run.info.run_id, DECISIONS["test images"], folder)).read_bytes()
    wrong = [image for image, each in enumerate(read_decisions(table)) if each.actual != each.predicted]
    spikes = sum(value for name, value in run.data.metrics.items() if name.startswith(SPIKES))
    return {"seed": int(run.data.params["train.seed"]), "spikes_per_image": round(spikes, 3), "wrong": wrong}


if __name__ == "__main__":
    run_command(main)
