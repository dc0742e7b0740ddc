"""`lifline import`: a file of another library's becomes a model, with the proof that it is the same network."""

import io
from importlib.metadata import version
from pathlib import Path

import nir
import safetensors

from lifline.data.datasets import Dataset, load_dataset
from lifline.data.tensor_file import HEADER, SHA256
from lifline.errors import ModelError
from lifline.export.nir_readers import Run, compare_by_hand, run_of_modules, snntorch_by_hand
from lifline.export.proof import require_equality
from lifline.imports.limits import in_a_line, read_limited
from lifline.imports.nir import read_nir
from lifline.imports.state_dict import modules_of, parts_of, read_state_dict
from lifline.layers import describe_network
from lifline.models.model import Model, save_model
from lifline.params import NetworkParams, Params, read_params
from lifline.paths import DATA, MODEL

NIR = ".nir"
STATE_DICTS = (".safetensors", ".pt", ".pth")


def import_file(path: Path, output: Path, layers: str | None, resets_by_subtraction: bool) -> str:
    """Write a model of what a file holds; returns lines that say what it is, and how far it and the file disagree.

    Run it in the repository's folder.

    Raises:
        ModelError: the file cannot be imported, or decides otherwise than the model; nothing is written.
    """
    if output.suffix != MODEL.suffix or (output.exists() and output.samefile(path)):
        raise ModelError(f"--output is {output}; allowed is another file than FILE, that ends with {MODEL.suffix}")
    params, dataset = read_params(), load_dataset(DATA) if DATA.exists() else None
    if path.suffix == NIR:
        model, run = _of_nir(path, params, dataset, layers, resets_by_subtraction)
    elif path.suffix in STATE_DICTS:
        if resets_by_subtraction:
            raise ModelError(f"--reset is subtract; allowed is none for {path}: a state dict tells its own")
        model, run = _of_state_dict(path, params, dataset, layers)
    else:
        raise ModelError(f"{path} ends with {path.suffix!r}; allowed are {', '.join((NIR, *STATE_DICTS))}")
    proof = _proof(model, run, dataset, params.export.max_class_mismatches)
    if output == MODEL.absolute():
        _require_same(model.params, params.network)
    output.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, output)
    network = describe_network(model.params.layers, model.dataset.shape, len(model.dataset.class_names))
    return f"{output}: {network}, beta {model.params.beta}, threshold {model.params.threshold}\n{proof}"


def _is_ours(path: Path) -> bool:
    """Whether a file has the header that lifline writes."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return f'"{SHA256}"' in (file.metadata() or {}).get(HEADER, "")
    except safetensors.SafetensorError:
        return False


def _require_same(imported: NetworkParams, asked: NetworkParams) -> None:
    """Refuse a model in the place of the pipeline's that stages would take for another's."""
    differing = [f"network.{name}: {value}" for name, value in imported if value != getattr(asked, name)]
    if differing:
        raise ModelError(f"{MODEL} is of the params in params.yaml; set there {', '.join(differing)}")


def _of_nir(
    path: Path, params: Params, dataset: Dataset | None, layers: str | None, resets_by_subtraction: bool
) -> tuple[Model, Run]:
    if layers is not None:
        raise ModelError(f"--layers is {layers}; allowed is none for {path}: a NIR file tells its own")
    content = read_limited(path)
    model = read_nir(content, str(path), params.network, dataset.info if dataset else None, resets_by_subtraction)
    try:
        graph = nir.read(io.BytesIO(content), type_check=False)  # which is safe behind `read_nir`
        return model, snntorch_by_hand(graph)
    except Exception as error:  # nir raises many kinds
        raise ModelError(f"{path} is read by lifline, but not by nir {version('nir')}: {in_a_line(error)}") from None


def _of_state_dict(path: Path, params: Params, dataset: Dataset | None, layers: str | None) -> tuple[Model, Run]:
    if path.is_file() and _is_ours(path):
        raise ModelError(f"{path} is lifline's own; allowed is a network of another library's")
    if dataset is None:
        raise ModelError(
            f"{path} does not say what its images are, and {DATA} is missing; `dvc repro download` makes it"
        )
    network = params.network if layers is None else params.network.model_copy(update={"layers": layers})
    content = read_limited(path)
    parts = parts_of(content, str(path), network, dataset.info)
    return read_state_dict(content, str(path), network, dataset.info), run_of_modules(modules_of(parts))


def _proof(model: Model, run: Run, dataset: Dataset | None, max_class_mismatches: int) -> str:
    if dataset is None or dataset.info != model.dataset:
        return f"not compared: the images of {model.dataset.title}, as the file has them, are not those of {DATA}"
    comparison = compare_by_hand(run, model.network, model.params.decoding, dataset.test)
    require_equality(comparison, max_class_mismatches)
    return comparison.describe()
