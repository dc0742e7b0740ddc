import math
import re
import runpy
from contextlib import chdir

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifline.data.datasets import Dataset
from lifline.evaluation.evaluate import evaluate_by_num_steps, report_on
from lifline.export.card import model_card, wilson_interval
from lifline.export.formats import Subject, export_as
from lifline.paths import ONNX_MODEL
from lifline.system.files import write_bytes
from tests.conftest import changed, first, untrained


@given(total=st.integers(1, 100_000), share=st.floats(0, 1))
def test_at_either_end_of_the_interval_the_count_is_just_as_far_from_what_is_expected(total, share):
    correct = round(share * total)
    for end in wilson_interval(correct, total):
        deviation = abs(correct / total - end)
        assert deviation == pytest.approx(1.959964 * math.sqrt(max(0, end * (1 - end)) / total), abs=1e-6)


def test_the_interval_is_the_published_one():
    """Newcombe 1998, table I: 81 of 263."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with chdir(tmp_path_factory.mktemp("card")) as folder:
        yield folder


@pytest.fixture(scope="module")
def card(params, mnist, folder):
    params = changed(params, network={"layers": "40-30", "num_steps": 12, "threshold": 0.3})
    model, data = untrained(params.network, seed=2), first(mnist.test, 500)
    report = report_on(evaluate_by_num_steps(model, data), "ab" * 32, {})
    dataset = Dataset(mnist.info, first(mnist.train, 5_100), data, mnist.sha256)
    subject = Subject(model, "ab" * 32, params, dataset, report.accuracy)
    exports = {name: export_as(name, subject) for name in params.export.formats}
    write_bytes(ONNX_MODEL, exports["onnx"].files["model.onnx"])
    return report, exports, model_card(params, dataset, report, exports)


def test_a_card_tells_what_the_model_is(card):
    report, exports, text = card
    assert text.startswith("# A spiking network for MNIST: 784-40-30-10, 12 steps\n")
    low, high = wilson_interval(report.correct, 500)
    flowing, skipped = " ".join(text.split()), report.energy.zeros_skipped
    for part in (
        f"**{report.accuracy:.2%} of the 500 test images**",
        f"{low:.2%} to {high:.2%}",
        "ab" * 32,
        *exports["onnx"].sentences,
        *exports["nir"].sentences,
        *exports["integer"].sentences,
        "`formats/integer/network.h` 1 kB",
        f"{784 * 40:,} multiply-accumulates at 4.6 pJ",
        f"{report.synaptic_operations_per_image:,.0f} synaptic operations, additions at 0.9 pJ",
        f"{report.operations.effective_acs:,.0f} effective ACs",
        f"| 1. arithmetic alone, fp32 | {report.energy_nanojoules_per_image:,.0f} |",
        f"| 2. with memory, int8 | {report.energy_with_memory_nanojoules_per_image:,.0f} (",
        "| 3. ordinary network, int8, 4-bit activations | "
        f"{report.energy_of_quantised_network_nanojoules_per_image:,.0f} (",
        "| nJ per image | with all values | without pixels and activations of 0 |",
        f"and {abs(skipped.spiking.total / skipped.quantised.total - 1):.1%}",
        "than it where both skip zeros.",
        f"{report.accuracy_by_class['7']:.2%}",
        "`hidden_2` float32 `[12, batch, 30]`",
        "`train.seed` 42",
    ):
        assert part in flowing
    steps = [int(step) for step in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)]
    assert steps[-1] == 12
    assert len(steps) <= 10
    assert len(text.partition("\n## Params")[0]) < 5000  # what there is room for in MLflow's registry


def test_the_program_in_a_card_runs(card, tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", card[-1], flags=re.DOTALL)
    (tmp_path / "program.py").write_text(program)
    (decided,) = runpy.run_path(str(tmp_path / "program.py"))["decided"]
    assert 0 <= decided <= 9


@pytest.mark.parametrize("coding", [pytest.param("latency", marks=pytest.mark.slow), "rate"])
def test_a_card_tells_how_images_are_coded(params, mnist, tmp_path, monkeypatch, coding):
    monkeypatch.chdir(tmp_path)
    params = changed(params, network={"layers": "20", "num_steps": 3, "coding": coding})
    model, data = untrained(params.network, seed=2), first(mnist.test, 600)
    report = report_on(evaluate_by_num_steps(model, data), "ab" * 32, {})
    dataset = mnist._replace(test=data)
    export = export_as("onnx", Subject(model, "ab" * 32, params, dataset, report.accuracy))
    assert (export.figures["images"], export.class_mismatches) == (600, 0)
    card = model_card(params, dataset, report, {"onnx": export})
    assert "0 multiply-accumulates at 4.6 pJ in the first layer, whose input is spikes" in card
    assert ("`spike_train`: float32 0 or 1, `[3, batch, 1, 28, 28]`" in card) == (coding == "rate")
    write_bytes(ONNX_MODEL, export.files["model.onnx"])
    (program,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    (tmp_path / "program.py").write_text(program)
    (decided,) = runpy.run_path(str(tmp_path / "program.py"))["decided"]
    assert 0 <= decided <= 9
