import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lifline.snn import Record, decode
from lifline.snn.decoding import DECODINGS


def record(spikes, membrane) -> Record:
    """One image: spikes and membrane as T rows of C."""
    to_TBC = lambda rows: torch.tensor(rows, dtype=torch.float32).unsqueeze(1)  # noqa: E731, N806
    return Record(to_TBC(spikes), to_TBC(membrane), torch.empty(0))


def decide(spikes, membrane, how) -> int:
    """The rule, image by image, in plain Python."""
    classes = range(spikes.shape[1])
    counts = [sum(spikes[:, c]) for c in classes]
    potential = [np.float32(membrane[:, c].sum()) for c in classes]
    latency = [next((t for t, spike in enumerate(spikes[:, c]) if spike), len(spikes)) for c in classes]
    rank = {
        "rate": lambda c: (-counts[c], c),
        "rate_membrane": lambda c: (-counts[c], -potential[c], c),
        "latency": lambda c: (latency[c], -potential[c], c),
        "membrane": lambda c: (-potential[c], c),
    }
    return min(classes, key=rank[how])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("rate", 0), ("rate_membrane", 2), ("latency", 1), ("membrane", 3)],
)
def test_each_decoding_looks_at_something_else(how, expected):
    spikes = [[0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0]]
    membrane = [[0.1, 0.2, 0.3, 9.0]] * 3
    assert decode(record(spikes, membrane), how).tolist() == [expected]


def test_without_a_spike_the_rate_takes_the_lowest_class_and_the_others_the_membrane():
    silent = record([[0, 0, 0]] * 4, [[-1.0, 0.5, 0.2]] * 4)
    assert {how: decode(silent, how).item() for how in DECODINGS} == {
        "rate": 0,
        "rate_membrane": 1,
        "latency": 1,
        "membrane": 1,
    }


shapes = st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5))


@given(data=st.data(), shape=shapes, how=st.sampled_from(list(DECODINGS)))
def test_equal_to_the_rule_image_by_image(data, shape, how):
    spikes = data.draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0.0, 1.0])))
    # Quarters add exactly, so that the order of a sum does not decide.
    membrane = data.draw(hnp.arrays(np.float32, shape, elements=st.integers(-8, 8).map(lambda n: n / 4)))
    decided = decode(Record(torch.from_numpy(spikes), torch.from_numpy(membrane), torch.empty(0)), how)
    assert decided.tolist() == [decide(spikes[:, image], membrane[:, image], how) for image in range(shape[1])]


def test_an_unknown_decoding_is_named():
    with pytest.raises(ValueError, match=r"^decoding is 'foo'; allowed are rate, rate_membrane, latency, membrane$"):
        decode(record([[1, 0]], [[0.5, 0.5]]), "foo")
