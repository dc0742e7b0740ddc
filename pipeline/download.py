"""Stage download: the data set that params.yaml names -> data/images.safetensors."""

from lifline.command import run_stage
from lifline.download.obtain import obtain_dataset
from lifline.params import read_params
from lifline.paths import DATA


def main() -> None:
    """Make the data set one file for all stages: fetched from the first source that serves it, or the user's own."""
    obtain_dataset(read_params(), DATA)


if __name__ == "__main__":
    run_stage(main)
