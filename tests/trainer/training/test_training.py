"""One cycle of a training: learning rates over its course, statistics, and what a setback changes."""

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.drawings import bowls
from trainer.config import FitConfig, Precision, make_config
from trainer.nets.vision import Vision
from trainer.pictures import to_device, to_float
from trainer.training import training as training_module
from trainer.training.augment import Augmentation
from trainer.training.photographs import Photographs
from trainer.training.step import critic_step
from trainer.training.training import Training, decay

CONFIG = make_config(
    Path("bowls"), "modern", "wgan-gp", resolution=32, width=4, batch=3, latent_size=8, steps=8,
    generator="plain", critic="plain",
)  # fmt: skip

SEEING = make_config(
    Path("bowls"), "modern", "wgan-gp", resolution=32, width=4, batch=2, latent_size=8, steps=8
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
    assert [decay(0, 100, 0.5, gone) for gone in (0.0, 0.5, 0.75, 1.0, 1.5)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    training = start()
    seen = []
    for _ in range(8):
        training.cycle()
        seen.append(rates(training)[0] / CONFIG.critic_lr)
    assert seen == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_both_networks_begin_as_a_function_of_the_seed_and_their_averages_with_them() -> None:
    one, same, other = start(), start(), start(replace(CONFIG, seed=1))
    for name in ("generator", "critic"):
        made = (getattr(training.networks, name) for training in (one, same, other))
        begun, again, apart = (network.state_dict() for network in made)
        torch.testing.assert_close(begun, again, rtol=0, atol=0)
        assert any(not torch.equal(tensor, apart[key]) for key, tensor in begun.items())
        average = getattr(one.networks, f"{name}_average")
        torch.testing.assert_close(dict(average.state_dict()), dict(begun), rtol=0, atol=0)
        assert not average.training
    weight = one.networks.generator.get_parameter("to_rgb.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


def test_networks_learn_in_training_mode_whoever_used_them_meanwhile() -> None:
    training = start()
    networks = training.networks
    for network in (networks.generator, networks.critic):
        network.eval()
    training.cycle()
    assert networks.generator.training
    assert networks.critic.training
    assert not networks.generator_average.training


def test_what_sees_can_be_given_and_heads_count_as_the_settings_say() -> None:
    vision, pictures = Vision(), to_device(bowls(4, 32), torch.device("cpu"))
    training = Training(replace(CONFIG, head_weights=(2.0,)), pictures, vision=vision)
    assert training.networks.vision is vision
    assert vision.head_weights == (2.0,)
    assert training.task.head_weights is not None
    assert training.task.head_weights.tolist() == [2.0]
    assert training.task.lengths is None
    assert start().task.head_weights is None


def test_time_is_counted_in_minutes_where_a_limit_is_set() -> None:
    training = start(replace(CONFIG, minutes=2.0))
    found = []
    assert training.seconds == 0
    for seconds in (0.0, 30.0, 120.0, 150.0):
        training.seconds = seconds
        found.append((training.time_used, training.time_left, training.done))
    assert found == [(0, 120, False), (0.25, 90, False), (1, 0, True), (1.25, 0, True)]
    training.seconds = 90.0
    training.cycle()
    assert rates(training)[0] == pytest.approx(CONFIG.critic_lr * 0.25 / CONFIG.lr_decay)


def test_a_training_ends_with_its_last_step() -> None:
    training = start()
    training.seconds = 1e9
    training.step = CONFIG.steps - 1
    assert (training.time_used, training.time_left, training.done) == (0, math.inf, False)
    training.cycle()
    assert training.done
    assert training.images_seen == CONFIG.steps * CONFIG.batch


@pytest.mark.parametrize(
    ("changes", "most"),
    [({}, 6), ({"steps": 100}, 12), ({"colour": 0.5}, None), ({"translation": 0.1}, None)],
)
def test_photographs_are_looked_at_ahead_where_each_look_is_used_often(
    changes: dict[str, Any], most: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten are shown in 100 batches of three, five times in each look; augmented ones are never seen again."""
    asked = []

    def keep_looks(self: Photographs, gigabytes: float, *, most: int, show: bool) -> int:
        asked.append((gigabytes, most, show))
        return 4

    monkeypatch.setattr(Photographs, "keep_looks", keep_looks)
    config = replace(CONFIG, steps=50, n_critic=2, cache_gb=3.0, colour=0.0, translation=0.0)
    assert start(replace(config, **changes)).keep_looks() == (0 if most is None else 4)
    assert asked == ([] if most is None else [(3.0, most, True)])


def test_an_example_is_of_a_steps_sizes_and_leaves_the_training_as_it_was() -> None:
    training = start()
    before = training.rng.get_state()
    example = training.example()
    (view,) = example.reals
    assert view.shape == (CONFIG.batch, 3, 32, 32)
    assert example.draw.latents.shape == (CONFIG.batch, CONFIG.latent_size)
    assert example.draw.offset.shape == (2,)
    assert example.epsilon.shape == (CONFIG.batch,)
    assert torch.equal(training.rng.get_state(), before)


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
    seeds = set()
    for setbacks, other.step in product(range(4), range(0, 300, 100)):
        other.set_back(setbacks)
        other.draw_anew()
        seeds.add(other.rng.initial_seed())
    assert len(seeds) == 12, "of each step and each setback another"


def test_statistics_are_means_and_start_anew() -> None:
    training = start()
    assert set(training.take_statistics().critic.values()) == {0.0}
    for _ in range(2):
        training.cycle()
        training.cycle()
        sums, shown = training.critic_sums.clone(), 2 * CONFIG.batch
        generator_loss = training.generator_sums.item() / shown
        statistics = training.take_statistics()
        assert list(statistics.critic.values()) == pytest.approx((sums / shown)[:, 0].tolist())
        assert statistics.generator_loss == pytest.approx(generator_loss)
        assert statistics.heads == {}, "there is but one"
        assert training.critic_sums.abs().sum() == training.generator_sums.abs().sum() == 0


def test_a_single_sample_has_statistics_of_its_own() -> None:
    training = start(replace(CONFIG, batch=1, generator_norm="pixel"))
    training.cycle()
    sums = training.critic_sums[:, 0].tolist()
    assert list(training.take_statistics().critic.values()) == pytest.approx(sums)


def shown(monkeypatch: pytest.MonkeyPatch, training: Training, cycles: int) -> list[torch.Tensor]:
    """What the critic's steps were given of photographs, batch by batch."""
    seen = []
    step = critic_step

    def watched(*arguments: Any, **options: Any) -> None:
        seen.append(arguments[4][0])
        step(*arguments, **options)

    monkeypatch.setattr(training_module, "critic_step", watched)
    for _ in range(cycles):
        training.cycle()
    return seen


def test_each_photograph_is_shown_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten in batches of two, with two critic steps: five batches hold them all."""
    training = start(replace(CONFIG, mirror=False, batch=2, n_critic=2))
    batches = shown(monkeypatch, training, 5)
    pictures = to_float(training.photographs.pictures)
    first = torch.cat(batches[:5])
    found = [int((pictures == row).flatten(1).all(1).nonzero()) for row in first]
    assert sorted(found) == list(range(10))
    assert found != sorted(found)
    assert not torch.equal(torch.cat(batches[5:]), first)


def test_photographs_are_mirrored_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    training = start(replace(CONFIG, mirror=True))
    pictures = to_float(training.photographs.pictures)
    rows = torch.cat(shown(monkeypatch, training, 8))
    upright = [bool((pictures == row).flatten(1).all(1).any()) for row in rows]
    turned = [bool((pictures.flip(3) == row).flatten(1).all(1).any()) for row in rows]
    assert all(a != b for a, b in zip(upright, turned, strict=True))
    assert 0 < sum(turned) < len(rows)


def test_photographs_are_augmented_as_fakes_are(monkeypatch: pytest.MonkeyPatch) -> None:
    training = start(replace(CONFIG, mirror=False, colour=1.0, translation=0.25))
    assert training.task.augmentation == Augmentation(1.0, 0.25)
    pictures = to_float(training.photographs.pictures)
    for row in torch.cat(shown(monkeypatch, training, 2)):
        assert not (pictures == row).flatten(1).all(1).any()


@pytest.mark.parametrize(
    ("objective", "kind"),
    [("wgan-gp", torch.optim.Adam), ("wgan", torch.optim.RMSprop), ("dcgan", torch.optim.Adam)],
)
def test_each_objective_has_its_optimiser(objective: str, kind: type[torch.optim.Optimizer]) -> None:
    """WGAN's authors found momentum to hurt (Arjovsky et al. 2017, section 5)."""
    training = start(
        make_config(
            Path("bowls"),
            "modern",
            objective,
            resolution=32,
            width=4,
            batch=3,
            latent_size=8,
            generator="plain",
            critic="plain",
        )
    )
    assert type(training.critic_optimiser) is type(training.generator_optimiser) is kind
    assert training.task.joined is (objective != "dcgan")
    if kind is torch.optim.Adam:
        assert training.critic_optimiser.defaults["fused"], "one kernel for all weights"
        betas = (training.config.beta1, training.config.beta2)
        assert training.critic_optimiser.defaults["betas"] == betas


@pytest.mark.parametrize(
    ("precision", "rounds_well", "wanted"),
    [
        ("bf16", False, torch.bfloat16),
        ("float32", True, torch.float32),
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
    ],
)
def test_a_step_computes_in_the_precision_that_is_asked_for(
    precision: Precision, rounds_well: bool, wanted: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16 in both networks' convolutions, by itself where it is the device's own; else in neither."""
    monkeypatch.setattr(training_module, "rounds_well", lambda device: rounds_well)
    training = start(replace(SEEING, precision=precision))
    kinds: dict[str, torch.dtype] = {}

    def note(name: str) -> Any:
        return lambda module, given, out: kinds.update({name: out.dtype})

    networks = training.networks
    for name, network in (("generator", networks.generator), ("critic", networks.critic)):
        convolution = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
        convolution.register_forward_hook(note(name))
    training.cycle()
    assert kinds == {"generator": wanted, "critic": wanted}


def test_small_plain_networks_are_not_rounded_by_themselves_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_module, "rounds_well", lambda device: True)
    with start(CONFIG).autocast():
        assert not torch.is_autocast_enabled("cpu")
    with start(replace(CONFIG, precision="bf16")).autocast():
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("objective", ["wgan-gp", "wgan", "dcgan"])
def test_a_seeing_critic_is_trained_and_what_it_sees_by_is_not(objective: str) -> None:
    """Never trained, averaged, clipped, drawn anew or moved by `train()`."""
    training = start(
        make_config(
            Path("bowls"),
            "modern",
            objective,
            resolution=32,
            width=4,
            batch=2,
            latent_size=8,
            n_critic=1,
        )
    )
    networks = training.networks
    before = {name: t.clone() for name, t in networks.vision.state_dict().items()}
    heads = {name: p.clone() for name, p in networks.critic.named_parameters()}
    training.cycle()
    training.networks.vision.train()
    training.cycle()
    assert all(torch.equal(t, before[name]) for name, t in networks.vision.state_dict().items())
    moved = {name.split(".")[1] for name, p in networks.critic.named_parameters() if not p.equal(heads[name])}
    assert moved == set(networks.critic.head_names)
    statistics = training.take_statistics()
    assert set(statistics.heads) == set(networks.critic.head_names)
    assert all(math.isfinite(value) for value in statistics.critic.values())


def test_one_photograph_is_enough_for_a_seeing_critic() -> None:
    config = make_config(Path("bowl"), "modern", "wgan-gp", resolution=32, width=4, batch=2, latent_size=8)
    training = Training(config, to_device(bowls(1, 32), torch.device("cpu")))
    training.cycle()
    assert training.take_statistics().finite


@pytest.mark.parametrize("objective", ["wgan-gp", "wgan"])
def test_rates_and_decay_kept_in_tensors_are_the_same(objective: str) -> None:
    """As a captured graph wants them: the same weights and averages, also while rates fall."""
    config = make_config(
        Path("bowls"), "modern", objective, resolution=32, width=4, batch=3, latent_size=8, steps=4,
        n_critic=2, generator="plain", critic="plain",
    )  # fmt: skip
    pictures = to_device(bowls(10, 32), torch.device("cpu"))
    runs = [Training(config, pictures, staged=staged) for staged in (False, True)]
    for training in runs:
        training.set_back(1)
        for _ in range(4):
            training.cycle()
    assert [float(rate) for rate in rates(runs[1])] == pytest.approx(rates(runs[0]))
    assert [isinstance(rates(training)[0], torch.Tensor) for training in runs] == [False, True]
    assert not start(config).staged, "it costs time where there is no graph"
    for name in ("critic", "generator", "critic_average", "generator_average"):
        one, other = (dict(getattr(training.networks, name).named_parameters()) for training in runs)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_statistics_are_means_also_over_several_critic_steps() -> None:
    training = start(replace(CONFIG, n_critic=3))
    training.cycle()
    sums = training.critic_sums[:, 0] / (3 * CONFIG.batch)
    assert list(training.take_statistics().critic.values()) == pytest.approx(sums.tolist())


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
    assert training.statistics().finite
    for network in (training.networks.generator, training.networks.critic):
        assert all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
