"""Presets, options, and what may change at a resume."""

import json
from pathlib import Path

import pytest

from trainer.config import FitConfig, differences, make_config, with_changes
from trainer.errors import UsageError

DATA = Path("ramen")


def test_article_is_the_articles_recipe() -> None:
    config = make_config(DATA, "article", "wgan-gp")
    assert (config.batch, config.n_critic, config.latent_size) == (8, 1, 128)
    assert (config.critic_lr, config.generator_lr) == (3e-4, 1e-4)
    assert (config.beta1, config.beta2, config.penalty_weight) == (0.0, 0.9, 10.0)
    assert config.generator_norm == "batch"
    assert config.critic_norm == "none"
    assert config.ema_half_life == config.drift_weight == config.lr_decay == 0
    assert not config.mirror
    assert config.colour == config.translation == 0


def test_modern_averages_mirrors_and_has_no_batch_norm_in_the_critic() -> None:
    config = make_config(DATA, "modern", "wgan-gp")
    assert config.ema_half_life > 0
    assert config.drift_weight > 0
    assert config.mirror
    assert config.critic_norm == "none"


def test_the_users_options_win_over_objective_and_preset() -> None:
    assert make_config(DATA, "modern", "wgan").n_critic == 5
    assert make_config(DATA, "modern", "wgan", n_critic=2, batch=None).n_critic == 2
    assert make_config(DATA, "modern", "dcgan").critic_norm == "batch"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("resolution", 48),
        ("steps", 0),
        ("batch", 0),
        ("n_critic", 0),
        ("width", -1),
        ("critic_lr", 0.0),
        ("generator_lr", float("nan")),
        ("snap", -1),
        ("eval_every", -5),
        ("device", "tpu"),
        ("precision", "int4"),
        ("critic_norm", "batch"),
        ("width", 2049),
        ("critic_width", 0),
        ("latent_size", 8193),
        ("cache_gb", -1.0),
        ("cache_gb", float("nan")),
        ("generator", "residual"),
        ("critic", "blind"),
        ("compile", "always"),
        ("generator_norm", "layer"),
    ],
)
def test_what_can_not_be_trained_is_refused_by_name(option: str, value: object) -> None:
    name = "critic" if option == "critic_norm" else f"--{option.replace('_', '-')}"
    with pytest.raises(UsageError, match=name):
        make_config(DATA, "modern", "wgan-gp", **{option: value})


@pytest.mark.parametrize(("memory", "wanted"), [(2.0, 0.5), (16.0, 4.0), (64.0, 4.0), (float("inf"), 4.0)])
def test_a_small_machine_keeps_less_of_what_is_seen(
    memory: float, wanted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.config.memory_limit_gb", lambda: memory)
    assert make_config(DATA, "modern", "wgan-gp").cache_gb == wanted
    assert make_config(DATA, "modern", "wgan-gp", cache_gb=6.0).cache_gb == 6.0


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="--preset old"):
        make_config(DATA, "old", "wgan-gp")
    with pytest.raises(UsageError, match="--objective hinge"):
        make_config(DATA, "modern", "hinge")


def test_config_survives_json() -> None:
    config = make_config(DATA, "article", "dcgan", width=3)
    assert FitConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(("name", "value"), [("steps", "x"), ("guard", 1), ("data", 5), ("critic_lr", None)])
def test_a_value_of_another_kind_is_no_setting(name: str, value: object) -> None:
    document = make_config(DATA, "modern", "wgan-gp").to_json()
    with pytest.raises(TypeError, match=name):
        FitConfig.from_json({**document, name: value})


def test_a_resume_may_look_more_often_and_go_on_longer() -> None:
    config = make_config(DATA, "modern", "wgan-gp")
    changed = with_changes(config, steps=99_999, snap=7, eval_every=0, data=None)
    assert differences(config, changed) == []


def test_a_resume_with_other_mathematics_names_the_difference() -> None:
    config = make_config(DATA, "modern", "wgan-gp")
    changed = with_changes(config, critic="plain", batch=7)
    assert differences(config, changed) == ["batch: 16 → 7", "critic: seeing → plain"]


def test_widths_become_channels() -> None:
    config = make_config(DATA, "modern", "wgan-gp")
    assert config.channels == (128, 128, 64, 32, 16)
    assert config.critic_channels == (64, 64, 32, 16, 8), "a seeing critic's own head is small"
    plain = make_config(DATA, "modern", "wgan-gp", critic="plain", width=8, critic_width=4)
    assert (plain.channels, plain.critic_channels) == ((8,) * 5, (4,) * 5)
    assert plain.architecture.resolution == 64
    assert make_config(DATA, "article", "wgan-gp").critic_channels == (128, 128, 64, 32, 16)


def test_heads_are_weighed_each_by_a_number_above_zero() -> None:
    weights = (1.0, 3.0, 3.0, 2.5, 2.5, 2.0)
    config = make_config(DATA, "modern", "wgan-gp", head_weights=weights)
    assert FitConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert make_config(DATA, "modern", "wgan-gp").head_weights == ()
    assert differences(config, with_changes(config, head_weights=weights[::-1])) != []
    with pytest.raises(UsageError, match=r"--head-weights are 6, and a plain critic has 1"):
        make_config(DATA, "modern", "wgan-gp", critic="plain", head_weights=weights)
    with pytest.raises(UsageError, match=r"--head-weights have to be more than 0"):
        make_config(DATA, "modern", "wgan-gp", head_weights=(*weights[:5], 0.0))


def test_settings_of_an_earlier_version_are_read() -> None:
    """A run's config.json from before networks were described by their channels."""
    old = {"data": "ramen", "resolution": 32, "width": 4, "kind": "plain", "latent_size": 8, "beta2": 0.9}
    config = FitConfig.from_json(old)
    assert (config.generator, config.critic) == ("plain", "plain")
    assert config.channels == config.critic_channels == (16, 8, 4, 2)
    assert (config.latent_size, config.beta2) == (8, 0.9)
    with pytest.raises(ValueError, match="residual"):
        FitConfig.from_json({**old, "kind": "residual"})
