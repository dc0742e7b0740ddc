import pytest
import torch


@pytest.fixture(autouse=True)
def draws_alike():
    """What a test draws without a seed of its own is the same in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
