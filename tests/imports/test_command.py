import torch

from lifline.export.nir import nir_bytes, nir_metadata, to_nir
from lifline.models.model import load_model
from lifline.params import read_params
from tests.conftest import MNIST, assert_one_line_error, untrained


def write_nir(path, params, dataset=MNIST):
    model = untrained(params, seed=2)
    path.write_bytes(nir_bytes(to_nir(model.network, nir_metadata(model.params, dataset))))
    return model


def test_a_nir_file_becomes_a_model_with_its_proof(workspace, lifline):
    model = write_nir(workspace / "network.nir", read_params().network)
    code, out, _ = lifline("import", "network.nir")
    assert code == 0
    assert "784-20-10" in out
    assert "differ in class on 0 of 500 images, in output spike counts on 0" in out
    loaded = load_model(workspace / "models/imported.safetensors")
    assert loaded.params == model.params
    assert torch.equal(loaded.network.layers[0].projection.weight, model.network.layers[0].projection.weight)


def test_a_file_for_other_images_is_not_compared(workspace, lifline):
    write_nir(workspace / "network.nir", read_params().network, MNIST.model_copy(update={"title": "Other"}))
    code, out, _ = lifline("import", "network.nir", "--output", "other.safetensors")
    assert code == 0
    assert "not compared: the images of Other" in out


def test_what_cannot_be_imported_leaves_no_model(workspace, lifline):
    (workspace / "bad.nir").write_bytes(b"no NIR")
    write_nir(workspace / "network.nir", read_params().network)
    for arguments, message in (
        (["bad.nir"], "bad.nir is no HDF5 file"),
        (["none.nir"], "none.nir is missing"),
        (["params.yaml"], "ends with '.yaml'; allowed are .nir"),
        (["network.nir", "--layers", "30"], "--layers is 30; allowed is none"),
        (["dvc.pt"], "dvc.pt is missing"),
    ):
        code, _, err = lifline("import", *arguments)
        assert_one_line_error((code, err), message)
    assert not (workspace / "models/imported.safetensors").exists()
