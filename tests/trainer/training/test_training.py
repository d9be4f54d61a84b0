"""One cycle of a training: learning rates over its course, statistics, and what a setback changes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.drawings import bowls
from trainer.config import FitConfig, make_config
from trainer.pictures import to_device
from trainer.training.training import Training, decay

CONFIG = make_config(
    Path("bowls"), "modern", "wgan-gp", resolution=32, width=4, batch=3, latent_size=8, steps=8,
    generator="plain", critic="plain",
)  # fmt: skip


def start(config: FitConfig = CONFIG) -> Training:
    return Training(config, to_device(bowls(10, 32), torch.device("cpu")))


def rates(training: Training) -> tuple[float, float]:
    optimisers = (training.critic_optimiser, training.generator_optimiser)
    critic, generator = (optimiser.param_groups[0]["lr"] for optimiser in optimisers)
    return critic, generator


def test_learning_rates_are_kept_and_then_fall_to_zero() -> None:
    assert [decay(step, 100, 0.5) for step in (0, 50, 75, 100)] == [1.0, 1.0, 0.5, 0.0]
    assert decay(99, 100, 0.0) == 1.0
    training = start()
    seen = []
    for _ in range(8):
        training.cycle()
        seen.append(rates(training)[0] / CONFIG.critic_lr)
    assert seen == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_each_setback_lowers_both_learning_rates_and_reorders_the_data() -> None:
    training = start(replace(CONFIG, lr_decay=0.0))
    before = training.photographs.order.indices(0, 10)
    training.set_back(2)
    training.cycle()
    assert rates(training) == pytest.approx((CONFIG.critic_lr / 4, CONFIG.generator_lr / 4))
    assert not torch.equal(before, training.photographs.order.indices(0, 10))


def test_drawing_anew_gives_other_random_numbers() -> None:
    one, other = start(), start()
    other.draw_anew()
    one.cycle()
    other.cycle()
    weights = [next(training.networks.critic.parameters()) for training in (one, other)]
    assert not torch.equal(*weights)


def test_statistics_are_means_and_start_anew() -> None:
    training = start()
    training.cycle()
    training.cycle()
    sums, shown = training.critic_sums.clone(), 2 * CONFIG.batch
    statistics = training.take_statistics()
    assert list(statistics.critic.values()) == pytest.approx((sums / shown)[:, 0].tolist())
    assert training.critic_sums.abs().sum() == 0


def test_both_networks_are_averaged_over_the_same_half_life() -> None:
    training = start(replace(CONFIG, ema_half_life=3.0, ema_ramp=0.0))  # a batch: half of the old stays
    networks = training.networks
    for average, network in (
        (networks.generator_average, networks.generator),
        (networks.critic_average, networks.critic),
    ):
        before = [parameter.clone() for parameter in average.parameters()]
        training.cycle()
        for old, new, latest in zip(before, average.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(new, (old + latest) / 2)
            assert not new.requires_grad


def test_bf16_trains_to_finite_weights() -> None:
    """The path that a GPU takes by default, on the CPU."""
    training = start(replace(CONFIG, precision="bf16"))
    for _ in range(3):
        training.cycle()
    for network in (training.networks.generator, training.networks.critic):
        assert all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
