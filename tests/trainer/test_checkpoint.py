"""The checkpoint's format: what goes in comes out, and what is not one is refused in a sentence."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.checkpoints import ARCH, ARCHITECTURE, make_checkpoint, metadata, with_document
from trainer import checkpoint
from trainer.copies import CopyTest
from trainer.errors import TrainerError
from trainer.layout import Layout
from trainer.metadata import CheckpointError, fingerprint_of, read_metadata
from trainer.metrics.realism import Realism
from trainer.nets.critic import Critic
from trainer.nets.generator import Generator, make_generator
from trainer.nets.vision import PretrainedVision, Vision
from trainer.pictures import to_uint8
from trainer.scale import Scale

PHOTOGRAPHS = torch.arange(10.0)[:, None].repeat(1, ARCH.critic.at(4))
"""Features of ten held-out photographs."""


def networks() -> tuple[Generator, Critic, Vision]:
    return make_generator(ARCH.generator), Critic(ARCH.critic), Vision()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "bowl.safetensors"
    checkpoint.save(path, *networks(), PHOTOGRAPHS, metadata())
    return path


@pytest.fixture(scope="module")
def made_seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("seeing") / "seeing.safetensors", critic="seeing")


@pytest.fixture
def seeing(made_seeing: Path, tmp_path: Path) -> Path:
    """A seeing critic's checkpoint, to be changed at will."""
    return Path(shutil.copy(made_seeing, tmp_path))


class TestRoundTrip:
    def test_metadata_and_weights_come_back(self, tmp_path: Path) -> None:
        generator, critic, vision = networks()
        path = tmp_path / "a" / "b.safetensors"
        fingerprint = checkpoint.save(path, generator, critic, vision, PHOTOGRAPHS, metadata())
        loaded = checkpoint.load(path)
        assert loaded.metadata == metadata()
        assert read_metadata(path) == metadata()
        assert loaded.fingerprint == fingerprint == fingerprint_of(path)
        for ours, theirs in ((generator, loaded.generator), (critic, loaded.critic)):
            for name, tensor in ours.state_dict().items():
                assert torch.equal(tensor, theirs.state_dict()[name])
            assert not theirs.training
            assert not any(parameter.requires_grad for parameter in theirs.parameters())
        assert not loaded.find_copies(np.zeros((2, 32, 32, 3), np.uint8)).any()

    def test_half_precision_is_computed_in_float32(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        made = networks()
        full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
        checkpoint.save(full, *made, PHOTOGRAPHS, metadata())
        checkpoint.save(half, *made, PHOTOGRAPHS, metadata(), half=True)
        assert half.stat().st_size < 0.7 * full.stat().st_size
        pictures = checkpoint.load(half).sample([1, 2])
        assert pictures.dtype == torch.float32
        torch.testing.assert_close(pictures, checkpoint.load(full).sample([1, 2]), rtol=0, atol=0.05)

    def test_the_score_is_the_realism_of_the_critics_features(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        path = tmp_path / "x.safetensors"
        generator, critic, vision = networks()
        with torch.inference_mode():
            photographs = critic.features((torch.rand(12, 3, 32, 32) * 2 - 1,))
        checkpoint.save(path, generator, critic, vision, photographs, metadata())
        loaded = checkpoint.load(path)
        assert loaded.photographs is not None
        assert torch.equal(loaded.photographs, photographs)
        pictures = loaded.sample([1, 2, 3])
        with torch.inference_mode():
            wanted = Realism(photographs)(critic.features((pictures,)))
        torch.testing.assert_close(loaded.score(pictures), wanted)

    def test_a_seed_is_a_picture(self, saved: Path) -> None:
        loaded = checkpoint.load(saved)
        one, two = loaded.sample([3, 4]), loaded.sample([4])
        torch.testing.assert_close(one[1:], two, rtol=1e-5, atol=1e-5)
        assert loaded.score(one).shape == (2,)
        array = to_uint8(one)
        assert array.shape == (2, 32, 32, 3)
        assert array.dtype == "uint8"

    def test_what_a_seeing_critic_looks_through_is_in_the_file(
        self, seeing: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The bot needs no other package for it; the file is larger by its 6 MB in half precision."""
        monkeypatch.setattr("trainer.nets.efficientnet.read_weights", lambda: pytest.fail("read again"))
        loaded = checkpoint.load(seeing)
        assert loaded.metadata.networks.critic.kind == "seeing"
        assert 6e6 < seeing.stat().st_size < 9e6
        pictures = loaded.sample([1, 2])
        scores = loaded.score(pictures)
        assert scores.shape == (2,)
        torch.testing.assert_close(loaded.score(pictures[:1]), scores[:1], rtol=1e-3, atol=1e-3)
        assert loaded.photographs is None

    def test_heads_count_in_the_score_as_the_file_says_and_in_older_ones_as_they_did_then(
        self, seeing: Path
    ) -> None:
        loaded = checkpoint.load(seeing)
        pictures = loaded.sample([1, 2, 3])
        assert not loaded.find_copies(to_uint8(pictures)).any()
        heads = loaded.critic(loaded.vision(pictures))
        for said, used in (([0.5, 3, 1, 1, 2, 8], [0.5, 3, 1, 1, 2, 8]), ([], [2, 4, 4, 2.5, 1.7, 1])):
            with_document(seeing, head_weights=said)
            weights = torch.tensor(used, dtype=torch.float32)
            expected = heads @ weights / weights.sum()
            scores = checkpoint.load(seeing).score(pictures)
            torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-3)
        with_document(seeing, head_weights=[1, 1])
        with pytest.raises(CheckpointError, match=r"weighs 2 heads of its critic, which has 6"):
            checkpoint.load(seeing)

    def test_content_that_is_scored_by_and_has_nothing_to_be_compared_with(self, seeing: Path) -> None:
        with_document(seeing, score_scale=[0.5, 2.0, -3.0, 4.0, 0.5, -20.0, 3.0])
        with pytest.raises(CheckpointError, match="lacks the photographs that its scores compare"):
            checkpoint.load(seeing)

    def test_a_score_is_of_critic_layout_and_content_where_the_file_can_tell_them(self, seeing: Path) -> None:
        """By layouts, or as in files of before them; and the critic's alone where a part is missing."""
        plain = checkpoint.load(seeing)
        assert isinstance(plain.vision, PretrainedVision)
        pictures = plain.sample(range(8))
        described, by_critic = plain.vision.describe(pictures), plain.score(pictures)
        layout = Layout.measured(described.layout)
        copies = CopyTest.measured(*[described.content] * 3)
        assert layout is not None
        assert copies is not None
        by_layout = layout.typicality(described.layout)
        near = copies.nearness(described.content)
        scale = Scale(0.5, 2.0, -3.0, 4.0)
        whole = replace(scale, nearness_mean=-20.0, nearness_deviation=3.0)
        for of_copies, of_layout, said, typical in (
            (copies, layout, scale, by_layout),
            (None, layout, scale, by_layout),
            (copies, None, scale, near),
            (None, None, scale, None),
            (copies, layout, replace(scale, critic_weight=0.25), by_layout),
            (copies, layout, whole, by_layout),
            (copies, layout, None, None),
        ):
            document = replace(plain.metadata, score_scale=said)
            changed = replace(plain, copies=of_copies, layout=of_layout, metadata=document)
            expected = by_critic if said is None or typical is None else said.score(by_critic, typical, near)
            torch.testing.assert_close(changed.score(pictures), expected, rtol=1e-3, atol=1e-3)
        parts = (plain.generator, plain.critic, plain.vision, plain.photographs, plain.metadata)
        checkpoint.save(seeing, *parts, copies, layout)
        loaded = checkpoint.load(seeing)
        for ours, theirs in ((copies, loaded.copies), (layout, loaded.layout)):
            assert theirs is not None
            torch.testing.assert_close(theirs.to_tensors(), ours.to_tensors(), check_dtype=False)
        damaged = replace(layout, mean=torch.full_like(layout.mean, torch.nan))
        checkpoint.save(seeing, *parts, None, damaged)
        with pytest.raises(CheckpointError, match="holds values that are not numbers"):
            checkpoint.load(seeing)

    def test_nothing_half_written_is_left(self, tmp_path: Path) -> None:
        checkpoint.save(tmp_path / "x.safetensors", *networks(), PHOTOGRAPHS, metadata())
        assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]

    def test_a_place_that_can_not_be_written_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(TrainerError, match="can't be written"):
            checkpoint.save(tmp_path / "file" / "x.safetensors", *networks(), PHOTOGRAPHS, metadata())


class TestRounded:
    """What chooses among many looks in bf16, where that is the device's own."""

    @pytest.mark.parametrize("own", [True, False])
    def test_scores_are_near_enough_to_choose_by(
        self, made_seeing: Path, monkeypatch: pytest.MonkeyPatch, own: bool
    ) -> None:
        monkeypatch.setattr("trainer.checkpoint.rounds_well", lambda device: own)
        exact, rounded = (checkpoint.load(made_seeing, rounded=each) for each in (False, True))
        pictures = exact.sample(range(12))
        scores = exact.score(pictures)
        off = rounded.score(pictures) - scores
        assert off.dtype == torch.float32
        assert off.any() == own
        assert off.std() < 0.1 * scores.std()


class TestRefusals:
    @pytest.mark.parametrize(
        "content", [b"", b"abc", b"\x80\x04" * 40, b"PK\x03\x04" + b"\0" * 100, b"\xff" * 64]
    )
    def test_not_a_checkpoint(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a checkpoint"):
            checkpoint.load(path)

    @pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
    def test_cut_short(self, saved: Path, share: float) -> None:
        data = saved.read_bytes()
        saved.write_bytes(data[: max(9, int(len(data) * share))])
        with pytest.raises(CheckpointError, match="cut short"):
            checkpoint.load(saved)

    @pytest.mark.parametrize(
        ("network", "changes"),
        [
            ("generator", {"channels": [5, 4, 4, 4]}),
            ("generator", {"latent_size": 9}),
            ("generator", {"kind": "gated"}),
            ("critic", {"kind": "seeing"}),
            ("critic", {"norm": "batch"}),
        ],
    )
    def test_shapes_that_are_not_those_it_claims(
        self, saved: Path, network: str, changes: dict[str, object]
    ) -> None:
        architecture = {**ARCHITECTURE, network: {**ARCHITECTURE[network], **changes}}
        with_document(saved, architecture=architecture, head_weights=[])
        with pytest.raises(CheckpointError, match="does not hold the networks"):
            checkpoint.load(saved)

    def test_whole_numbers_in_place_of_weights(self, saved: Path) -> None:
        with safe_open(saved, "pt") as file:
            metadata = file.metadata()
        tensors = load_file(saved)
        name = next(n for n, t in tensors.items() if n.startswith("generator.") and t.is_floating_point())
        tensors[name] = tensors[name].to(torch.int16)
        save_file(tensors, saved, metadata)
        with pytest.raises(CheckpointError, match="does not hold the networks"):
            checkpoint.load(saved)

    def test_weights_that_are_not_numbers(self, tmp_path: Path) -> None:
        generator, critic, vision = networks()
        with torch.no_grad():
            next(generator.parameters())[0, 0] = float("nan")
        path = tmp_path / "x.safetensors"
        checkpoint.save(path, generator, critic, vision, PHOTOGRAPHS, metadata())
        with pytest.raises(CheckpointError, match="not numbers"):
            checkpoint.load(path)

    @pytest.mark.parametrize(
        "features",
        [torch.zeros(0, 4), torch.zeros(3, 5), torch.zeros(3), torch.full((2, 4), torch.nan)],
        ids=["none", "of another network", "flat", "no numbers"],
    )
    def test_features_that_can_not_be(self, tmp_path: Path, features: torch.Tensor) -> None:
        path = tmp_path / "x.safetensors"
        checkpoint.save(path, *networks(), features, metadata())
        with pytest.raises(CheckpointError, match="train or copy it again"):
            checkpoint.load(path)

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (RuntimeError("Failed to initialize cpuinfo!"), "/proc/cpuinfo"),
            (RuntimeError("could not create a primitive"), "MemoryDenyWriteExecute"),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "Memory ran out"),
            (MemoryError(), "Memory ran out"),
        ],
    )
    def test_what_the_machine_is_to_blame_for_is_no_bad_checkpoint(
        self, saved: Path, error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As torch says it while it reads or computes."""

        def fail(*arguments: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "isfinite", fail)
            with pytest.raises(TrainerError, match=words) as caught:
                checkpoint.load(saved)
        assert not isinstance(caught.value, CheckpointError)
        loaded = checkpoint.load(saved)
        monkeypatch.setattr(type(loaded.generator), "forward", fail)
        with pytest.raises(TrainerError, match=words):
            loaded.sample([1])

    def test_an_error_of_another_kind_is_not_hidden(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*arguments: object) -> None:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(torch.Tensor, "isfinite", fail)
        with pytest.raises(RuntimeError, match="a fault of ours"):
            checkpoint.load(saved)
