"""Stage download: MNIST's four IDX files -> data/mnist/."""

from lifline.data.sources import download_mnist
from lifline.errors import run_command
from lifline.files import MNIST


def main() -> None:
    """Fetch MNIST from the first source that serves it."""
    download_mnist(MNIST)


if __name__ == "__main__":
    run_command(main)
