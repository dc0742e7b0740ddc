"""Each format has its files and its proof, or a reason why there are none."""

import io
import re
from functools import partial
from importlib.metadata import version

import nir
import onnx
import onnxruntime
import pytest
import torch

from lifline.data.datasets import Dataset
from lifline.data.images import LabelledImages
from lifline.errors import ModelError
from lifline.export import formats, nir_readers
from lifline.export.formats import Subject, export_all, export_as
from lifline.export.integer.quantize import quantize
from lifline.models.model import run_over
from lifline.snn.decoding import decode
from tests.conftest import changed, first, untrained

NETWORK = {"layers": "20", "num_steps": 4, "threshold": 0.3}


def relabelled(model, data):
    looks = run_over(model.network, data)
    return LabelledImages(data.images, torch.cat([decode(look.record, model.params.decoding) for look in looks]))


@pytest.fixture(scope="module")
def subject(params, mnist):
    """An untrained network, and a few images to prove it by, whose labels are what it takes them for."""

    def make(**network) -> Subject:
        others = changed(params, network=NETWORK | network, data={"validation_size": 100})
        model = untrained(others.network, seed=3)
        parts = (relabelled(model, first(part, count)) for part, count in ((mnist.train, 120), (mnist.test, 300)))
        return Subject(model, "ab" * 32, others, Dataset(mnist.info, *parts, mnist.sha256), 1.0)

    return make


@pytest.fixture(scope="module")
def in_all_formats(subject):
    """What a network leaves as, and what is told of it."""
    told = []
    return export_all(subject(), told.append), told


def test_a_network_leaves_in_all_formats_with_their_proofs(in_all_formats):
    exports, _ = in_all_formats
    assert [sorted(export.files) for export in exports.values()] == [
        ["model.onnx"],
        ["formats/model.nir"],
        [f"formats/integer/network.{kind}" for kind in ("c", "h", "safetensors")],
    ]
    assert onnx.load_from_string(exports["onnx"].files["model.onnx"]).graph.input[0].name == "image"
    assert nir.read(io.BytesIO(exports["nir"].files["formats/model.nir"])).metadata["model_sha256"] == "ab" * 32
    assert exports["onnx"].figures["images"] == exports["integer"].figures["test"]["images"] == 300
    assert exports["integer"].figures["validation"]["images"] == 100
    readers = exports["nir"].figures
    assert readers["snnTorch by hand"] == {"images": 300, "class_mismatches": 0, "spike_count_mismatches": 0}
    assert len(readers) == len(exports["nir"].sentences) >= 3
    assert {export.class_mismatches for export in exports.values()} == {0}


@pytest.mark.parametrize(
    ("name", "network", "reason"),
    [
        ("nir", {"layers": "2C5-MP2"}, "max pooling, MP2, for which NIR has no node"),
        ("nir", {"spike_delay": 1}, "network.spike_delay is 1; allowed in NIR is 0"),
        ("integer", {"coding": "rate"}, "network.coding is rate, which draws numbers"),
    ],
)
def test_what_a_format_cannot_carry_is_said_and_not_made(subject, name, network, reason):
    export = export_as(name, subject(**network))
    assert (export.files, export.class_mismatches) == ({}, 0)
    assert reason in export.figures["not_made"]
    assert reason in export.sentences[0]
    assert export.verdict.startswith("not made: ")
    assert reason in export.verdict


def test_each_proof_is_told_in_a_line(in_all_formats):
    exports, told = in_all_formats
    integer = exports["integer"].figures["test"]
    judged = exports["integer"].figures["validation"]
    lost = round(100 * (judged["float_accuracy"] - judged["integer_accuracy"]))
    right, others = 100 * integer["integer_accuracy"], integer["class_mismatches"]
    assert told == [
        f"ONNX: proven, equal classes on 300 images in ONNX Runtime {onnxruntime.__version__}",
        f"NIR: proven, equal classes and spike counts on 300 images with snntorch {version('snntorch')}'s neurons",
        f"integers, in C: {lost} of 100 validation images lost, 1 allowed; "
        f"{right:.2f} % of 300 test images right, the network's 100.00 %; other classes on {others}",
    ]


def test_a_card_has_what_differs_beside_the_proofs(in_all_formats):
    exports, _ = in_all_formats
    assert "spikes differ, output membranes by up to" in exports["onnx"].sentences[0]
    by_hand, *others = exports["nir"].sentences
    assert by_hand.startswith(f"equal classes on 300 images in snnTorch by hand (snntorch {version('snntorch')}, ")
    assert all("as expected of neurons that reset otherwise" in line for line in others)
    assert exports["integer"].sentences[0].endswith("spikes, since its numbers are rounded")


def test_a_reader_that_fails_is_told_and_if_it_is_the_proof_there_is_no_file(subject, monkeypatch):
    def broken(graph):
        def run(inputs, steps):
            raise RuntimeError("it broke\nhere")

        return run

    by_hand, other, *_ = nir_readers.READERS
    readers = (by_hand, other._replace(build=broken))
    monkeypatch.setattr(formats, "compare_readers", partial(nir_readers.compare_readers, readers=readers))
    export = export_as("nir", subject())
    assert export.figures[other.name] == {"refused": "RuntimeError: it broke here"}
    readers = (by_hand._replace(build=broken), other)
    monkeypatch.setattr(formats, "compare_readers", partial(nir_readers.compare_readers, readers=readers))
    with pytest.raises(ModelError, match="RuntimeError: it broke here"):
        export_as("nir", subject())


@pytest.mark.parametrize(
    ("name", "maker"),
    [("onnx", "to_onnx"), ("nir", "to_nir")],
)
def test_a_proof_that_fails_leaves_nothing(subject, monkeypatch, name, maker):
    asked = subject()
    another = untrained(asked.params.network, seed=11).network
    make = getattr(formats, maker)
    monkeypatch.setattr(formats, maker, lambda _, *others: make(another, *others))
    with pytest.raises(ModelError, match=r"differ in class on .*allowed by export.max_class_mismatches") as raised:
        export_as(name, asked._replace(params=changed(asked.params, export={"max_class_mismatches": 0})))
    assert not re.search(r"\n", str(raised.value))


def test_where_integers_lose_more_than_is_allowed_they_are_not_made_and_the_others_are(subject, monkeypatch):
    asked = subject()
    another = untrained(asked.params.network, seed=11).network
    monkeypatch.setattr(formats, "quantize", lambda _, *others: quantize(another, *others))
    told: list[str] = []
    params = changed(asked.params, export={"max_accuracy_loss": 0.0})
    exports = export_all(asked._replace(params=params), told.append)
    assert [bool(export.files) for export in exports.values()] == [True, True, False]
    reason = exports["integer"].figures["not_made"]
    assert re.fullmatch(r"of the validation images .*; allowed by export.max_accuracy_loss are 0 of 100", reason)
    assert told[-1].startswith("integers, in C: not made: of the validation images")
