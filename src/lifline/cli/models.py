"""Commands on a model: ask it, serve it, or take one from elsewhere."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lifline.cli.options import Model
from lifline.command import USER_ERROR
from lifline.errors import LiflineError, PictureError
from lifline.paths import working_copy
from lifline.system.ports import HOST

if TYPE_CHECKING:
    from lifline.serving.predictor import Predictor

app = typer.Typer()


@app.command(epilog="Example: lifline predict docs/three.png --show")
def predict(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            help="PNG, JPEG, WebP, GIF, BMP, TIFF of any size; with --output a folder of them, or an .npz file.",
        ),
    ],
    show: Annotated[bool, typer.Option("--show", help="Draw the spikes, in IMAGE.spikes.png.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write a table, a row for each image of a folder or .npz.")
    ] = None,
    model: Model = None,
) -> None:
    """Tell what a picture shows: class, confidence and spikes.

    The picture is prepared as the images are on which the network was trained: handwriting, in any two colours, is cut
    out. Confidence is the share of the output spikes that the class has. Needs ONNX Runtime, not PyTorch.

    `lifline predict scans --output predictions.csv` predicts all pictures in scans and the folders in it; one that
    cannot be read has a row that tells why. Of an .npz it takes x_test, or the only array, of images as the network
    sees them: [B, H, W] or [B, H, W, C], whole numbers of 0 to 255 or floats of 0 to 1.
    """
    from lifline.serving.predictor import Predictor

    if output is not None:
        if show or len(images) != 1:
            raise LiflineError("--output takes one folder or .npz file, without --show")
        from lifline.serving.batch import predict_all

        print(predict_all(Predictor(model), images[0], output))
        return
    if not _predict_each(Predictor(model), images, show):
        sys.exit(USER_ERROR)


def _predict_each(predictor: "Predictor", images: list[Path], show: bool) -> bool:
    """Print a line a picture; whether all could be read."""
    from lifline.serving.picture import read_picture

    all_read = True
    for path in images:
        try:
            if path.is_dir() or path.suffix.lower() == ".npz":
                raise PictureError(f"{path} holds many images; --output FILE.csv predicts all of them")
            image = read_picture(path, predictor.dataset)
        except PictureError as error:
            all_read = False
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            continue
        prediction = predictor.predict(image)
        print(f"{path}: {prediction.describe()}")
        if show:
            from lifline.figures.prediction import draw_prediction
            from lifline.system.files import write_bytes

            drawn = Path(f"{path}.spikes.png")
            write_bytes(drawn, draw_prediction(image, prediction))
            print(drawn)
    return all_read


@app.command("import", epilog="Example: lifline import network.nir --output models/imported.safetensors")
def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="NIR (.nir), or a state dict (.safetensors, .pt).")],
    output: Annotated[Path, typer.Option(help="Where to write the model.")] = Path("models/imported.safetensors"),
    layers: Annotated[
        str | None,
        typer.Option(
            help="Of a state dict, which does not tell its pooling, such as 12C5-MP2-64C5-MP2; by default "
            "network.layers of params.yaml."
        ),
    ] = None,
    reset: Annotated[
        Literal["subtract"] | None,
        typer.Option(help="How the neurons of a NIR file that does not say so are reset."),
    ] = None,
) -> None:
    """Make a model file of a NIR file or a snnTorch state dict.

    Both are compared on the test images. What the file does not say, such as steps and decoding, is taken from
    params.yaml, and the kind of images from the repository's data set. NIR files that lifline wrote say all of it. No
    code in the file is run.
    """
    from lifline.imports.command import import_file

    read, written = file.absolute(), output.absolute()
    os.chdir(working_copy())
    print(import_file(read, written, layers, reset == "subtract"))


@app.command(epilog="Example: lifline serve --port 8080")
def serve(
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="IPv4 address to listen on; in a container 0.0.0.0, which is open.")
    ] = HOST,
    model: Model = None,
) -> None:
    """Serve a page to draw on, and predictions over HTTP.

    By default it answers this machine alone. The page takes pictures, too. POST /predict takes a picture and answers in
    JSON: class, confidence, output spikes; /predict?details=true with every spike. Ctrl-C stops the server.
    """
    from lifline.serving.predictor import Predictor
    from lifline.serving.server import serve as answer

    answer(Predictor(model), port, host)


@app.command(epilog="Example: lifline page --output page")
def page(
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write it; made where it is not there.")],
    model: Model = None,
) -> None:
    """Write the page of `lifline serve`, to open without a server.

    Opened from a folder, it answers in the browser. The network and ONNX Runtime for browsers, which npm fetches once,
    are in files beside it, some 9 MB. Pictures are prepared as by the server where they show one character or object on
    an even ground.
    """
    from lifline.serving.predictor import Predictor
    from lifline.serving.static_page import write_page

    print(f"{write_page(Predictor(model), output)}: open it in a browser; the folder holds all that it needs")
