import json

import pytest

from lifline.errors import ModelError
from lifline.evaluation.evaluate import evaluate_by_num_steps, report_on
from lifline.evaluation.report import EvaluationReport
from tests.conftest import changed, first, untrained

OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""The SHA-256 of an empty file (NIST, FIPS 180-4 examples)."""


@pytest.fixture(scope="module")
def report(params, test_images):
    model = untrained(changed(params, network={"layers": "9", "num_steps": 3, "threshold": 0.3}).network)
    return report_on(evaluate_by_num_steps(model, first(test_images, 50)), "ab" * 32, {"predictions.csv": OF_NOTHING})


@pytest.fixture
def written(report, tmp_path):
    path = tmp_path / "evaluation.json"
    report.write(path)
    return path


def test_what_is_written_is_read_back(report, written):
    assert EvaluationReport.read(written, "ab" * 32) == report
    content = written.read_bytes()
    report.write(written)
    assert written.read_bytes() == content


def test_the_file_holds_the_figures_that_runs_have(report, written):
    content = json.loads(written.read_text())
    assert content["model_sha256"] == "ab" * 32
    assert [stop["num_steps"] for stop in content["by_num_steps"]] == [1, 2, 3]
    details = {"model_sha256", "decisions_sha256", "by_num_steps", "operations", "energy"}
    assert report.as_metrics() == {name: content[name] for name in content.keys() - details}
    assert content["by_num_steps"][-1]["accuracy"] == content["accuracy"]


def test_a_report_on_another_model_is_refused(written):
    with pytest.raises(ModelError, match=f"is of the model with SHA-256 {'ab' * 32}, not of {'cd' * 32}; `dvc repro"):
        EvaluationReport.read(written, "cd" * 32)


def test_tables_of_decisions_are_the_evaluations_own(report, tmp_path):
    table, another = tmp_path / "predictions.csv", tmp_path / "gate.csv"
    with pytest.raises(ModelError, match=r"predictions\.csv is missing; `dvc repro evaluate` makes it"):
        report.check_decisions(table)
    for path in (table, another):
        path.touch()
    report.check_decisions(table)
    with pytest.raises(ModelError, match=r"gate\.csv is of another evaluation"):
        report.check_decisions(table, another)
    table.write_text("actual,predicted\n")
    with pytest.raises(
        ModelError, match=r"predictions\.csv is of another .* `dvc repro --force --single-item evaluate`"
    ):
        report.check_decisions(table)


def test_a_missing_report_is_named(tmp_path):
    with pytest.raises(ModelError, match="none is missing; `dvc repro evaluate` makes it"):
        EvaluationReport.read(tmp_path / "none", "ab" * 32)


def test_a_file_that_is_no_report_by_its_size_is_not_read(written):
    with written.open("r+b") as file:
        file.truncate(10**12)
    with pytest.raises(ModelError, match=r"has 1,000,000,000,000 bytes; allowed are 1,000,000"):
        EvaluationReport.read(written, "ab" * 32)


def test_a_folder_in_its_place_is_named(tmp_path):
    with pytest.raises(IsADirectoryError) as raised:
        EvaluationReport.read(tmp_path, "ab" * 32)
    assert raised.value.filename == str(tmp_path)


def without(name):
    return lambda content: {key: value for key, value in content.items() if key != name}


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (without("accuracy"), "accuracy"),
        (without("model_sha256"), "model_sha256"),
        (lambda content: content | {"accuracy": 1.5}, "accuracy"),
        (lambda content: content | {"accuracy": None}, "accuracy"),
        (lambda content: content | {"accuracy": float("nan")}, "accuracy"),
        (lambda content: content | {"correct": -1}, "correct"),
        (lambda content: content | {"by_num_steps": []}, "by_num_steps"),
        (lambda content: content | {"by_num_steps": [{"num_steps": 1}]}, r"by_num_steps\.0\.accuracy"),
        (lambda content: content | {"accuracy_by_class": {}}, "accuracy_by_class"),
        (lambda content: content | {"mood": "good"}, "mood"),
        (lambda content: [content], "its JSON"),
        (lambda _: "text", "its JSON"),
    ],
)
def test_a_damaged_report_is_refused_with_the_place(written, damage, place):
    written.write_text(json.dumps(damage(json.loads(written.read_text()))))
    with pytest.raises(ModelError, match=rf"^\S+evaluation\.json is damaged at {place}: .*`dvc repro .* evaluate`"):
        EvaluationReport.read(written, "ab" * 32)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"accuracy": 1e999}'])
def test_what_is_no_json_is_refused(written, content):
    written.write_bytes(content)
    with pytest.raises(ModelError, match=r"is damaged at .*`dvc repro .* evaluate`"):
        EvaluationReport.read(written, "ab" * 32)
