import numpy as np
import torch
from PIL import Image

from lifline.export.nir import nir_bytes, nir_metadata, to_nir
from lifline.models.model import load_model
from lifline.params import read_params
from lifline.paths import MODEL
from tests.conftest import MNIST, assert_one_line_error, save_untrained, untrained


def write_nir(path, params, dataset=MNIST):
    model = untrained(params, seed=2)
    path.write_bytes(nir_bytes(to_nir(model.network, nir_metadata(model.params, dataset))))
    return model


def test_a_nir_file_becomes_a_model_with_its_proof(workspace, lifline):
    model = write_nir(workspace / "network.nir", read_params().network)
    code, out, _ = lifline("import", "network.nir")
    assert code == 0
    assert "784-20-10" in out
    assert "equal classes on 500 images in snnTorch by hand (" in out
    loaded = load_model(workspace / "models/imported.safetensors")
    assert loaded.params == model.params
    assert torch.equal(loaded.network.layers[0].projection.weight, model.network.layers[0].projection.weight)


def test_an_imported_model_is_evaluated_exported_and_served(store, workspace, lifline, stage):
    write_nir(workspace / "network.nir", read_params().network)
    assert lifline("import", "network.nir", "--output", "models/model.safetensors")[0] == 0
    assert stage("evaluate")[0] == stage("export")[0] == 0
    pixels = np.zeros((40, 40), np.uint8)
    pixels[10:30, 18:22] = 255
    Image.fromarray(pixels).save("one.png")
    assert lifline("predict", "one.png")[1].startswith("one.png: ")


def test_a_model_in_the_pipelines_place_is_of_its_params(workspace, lifline):
    params = read_params().network
    write_nir(workspace / "network.nir", params.model_copy(update={"beta": 0.85}))
    code, _, err = lifline("import", "network.nir", "--output", "models/model.safetensors")
    assert_one_line_error((code, err), "is of the params in params.yaml; set there network.beta: 0.85\n")
    assert not (workspace / "models/model.safetensors").exists()


def test_a_file_for_other_images_is_not_compared(workspace, lifline):
    write_nir(workspace / "network.nir", read_params().network, MNIST.model_copy(update={"title": "Other"}))
    code, out, _ = lifline("import", "network.nir", "--output", "other.safetensors")
    assert code == 0
    assert "not compared: the images of Other" in out


def test_what_cannot_be_imported_leaves_no_model(workspace, lifline):
    (workspace / "bad.nir").write_bytes(b"no NIR")
    write_nir(workspace / "network.nir", read_params().network)
    save_untrained()
    for arguments, message in (
        (["bad.nir"], "bad.nir is no HDF5 file"),
        (["none.nir"], "none.nir is missing"),
        (["params.yaml"], "ends with '.yaml'; allowed are .nir"),
        (["network.nir", "--layers", "30"], "--layers is 30; allowed is none"),
        (["dvc.pt"], "dvc.pt is missing"),
        ([str(MODEL)], f"{MODEL} is lifline's own; allowed is a network of another library's"),
        (["dvc.pt", "--reset", "subtract"], "--reset is subtract; allowed is none for"),
        (["network.nir", "--output", "network.nir"], "--output is"),
    ):
        code, _, err = lifline("import", *arguments)
        assert_one_line_error((code, err), message)
    assert not (workspace / "models/imported.safetensors").exists()
