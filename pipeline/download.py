"""Stage download: MNIST's four IDX files -> data/mnist/."""

from lifline.command import run_command
from lifline.download import download_mnist
from lifline.paths import DATA
from lifline.provenance import record_source


def main() -> None:
    """Fetch MNIST from the first source that serves it."""
    record_source(download_mnist(DATA))


if __name__ == "__main__":
    run_command(main)
