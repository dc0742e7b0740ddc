import torch

from lifline.snn.firing import firing_of


def test_shares_are_of_neurons_and_of_images():
    """Two steps, five images, by hand."""
    hidden = torch.tensor([0, 0, 10, 9, 8])  # of ten looks: two neurons never fire, two at nine looks and more
    output_counts = torch.tensor([[2, 0], [0, 1], [0, 0], [1, 1], [2, 2]])
    firing = firing_of({"hidden_1": hidden, "output": output_counts.sum(0)}, output_counts, num_steps=2)
    assert firing.silent == {"hidden_1": 2 / 5, "output": 0}
    assert firing.saturated == {"hidden_1": 2 / 5, "output": 0}
    assert firing.silent_outputs == 1 / 5
    assert firing.ties == 2 / 5  # who is silent ties with nobody
