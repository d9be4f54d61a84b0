"""The checkpoint's format: what goes in comes out, and what is not one is refused in a sentence."""

import json
import os
import shutil
import struct
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.checkpoints import make_checkpoint
from tests.shapes import small
from trainer import checkpoint
from trainer.checkpoint import CheckpointError, Metadata
from trainer.copies import CopyTest
from trainer.errors import TrainerError
from trainer.metrics.metric import Metric
from trainer.metrics.realism import Realism
from trainer.nets.critic import Critic
from trainer.nets.generator import Generator, make_generator
from trainer.nets.vision import PretrainedVision, Vision
from trainer.pictures import to_uint8
from trainer.typicality import Layout, Scale, nearness

ARCH = small()
ARCHITECTURE = json.loads(json.dumps(asdict(ARCH)))
PHOTOGRAPHS = torch.arange(10.0)[:, None].repeat(1, ARCH.critic.at(4))
"""Features of ten held-out photographs."""


def metadata(**changes: object) -> Metadata:
    document = Metadata(
        architecture=ARCHITECTURE,
        objective="wgan-gp",
        preset="modern",
        step=7,
        images_seen=224,
        data_fingerprint="f" * 64,
        training_pictures=90,
        held_out_pictures=10,
        score_quantiles=(-1.0, 0.0, 0.5, 3.0),
        metrics={"swd": Metric(12.5, 3.25), "gap": Metric(0.5)},
        held_out_apart=True,
        score_scale=(0.5, 1.0, -2.0, 0.25, 0.5),
        head_weights=(0.5,),
        training_hashes=("00ff00ff00ff00ff",),
        versions={"torch": "2"},
        provenance="どんぶり\n二杯",
    )
    return replace(document, **changes)  # type: ignore[arg-type]


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


def header_of(path: Path) -> tuple[dict[str, object], bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_header(path: Path, header: object, rest: bytes) -> None:
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + rest)


def with_document(path: Path, **changes: object) -> None:
    """Rewrite the metadata inside the file."""
    header, rest = header_of(path)
    inner = header["__metadata__"]
    assert isinstance(inner, dict)
    inner["meshibot"] = json.dumps({**json.loads(inner["meshibot"]), **changes})
    write_header(path, header, rest)


class TestRoundTrip:
    def test_metadata_and_weights_come_back(self, tmp_path: Path) -> None:
        generator, critic, vision = networks()
        path = tmp_path / "a" / "b.safetensors"
        fingerprint = checkpoint.save(path, generator, critic, vision, PHOTOGRAPHS, metadata())
        loaded = checkpoint.load(path)
        assert loaded.metadata == metadata()
        assert checkpoint.read_metadata(path) == metadata()
        assert loaded.fingerprint == fingerprint == checkpoint.fingerprint_of(path)
        for ours, theirs in ((generator, loaded.generator), (critic, loaded.critic)):
            for name, tensor in ours.state_dict().items():
                assert torch.equal(tensor, theirs.state_dict()[name])
            assert not theirs.training
            assert not any(parameter.requires_grad for parameter in theirs.parameters())
        assert not loaded.find_copies(np.zeros((2, 32, 32, 3), np.uint8)).any()

    def test_what_older_files_lack_has_a_value_that_promises_nothing(self, saved: Path) -> None:
        needed = [field.name for field in fields(Metadata) if field.default is field.default_factory]
        header, rest = header_of(saved)
        inner = header["__metadata__"]
        assert isinstance(inner, dict)
        document = json.loads(inner["meshibot"])
        assert (document["format_version"], document["least_reader"]) == (3, 3)
        kept = {name: document[name] for name in (*needed, "format", "format_version")}
        inner["meshibot"] = json.dumps(kept)
        write_header(saved, header, rest)
        found = checkpoint.load(saved).metadata
        assert found == Metadata(**{name: getattr(metadata(), name) for name in needed})
        assert not found.held_out_apart
        assert (found.score_scale, found.head_weights, found.training_hashes) == ((), (), ())

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
        assert loaded.photographs.shape[1] == loaded.critic.feature_size()

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

    def test_a_score_is_of_critic_and_typicality_where_the_file_can_tell_both(self, seeing: Path) -> None:
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
        near = nearness(copies.components(described.content), copies.training)
        scale = (0.5, 2.0, -3.0, 4.0)
        for of_copies, of_layout, said, typical in (
            (copies, layout, scale, by_layout),
            (None, layout, scale, by_layout),
            (copies, None, scale, near),
            (None, None, scale, None),
            (copies, layout, (*scale, 0.25), by_layout),
            (copies, layout, (), None),
        ):
            document = replace(plain.metadata, score_scale=said)
            changed = replace(plain, copies=of_copies, layout=of_layout, metadata=document)
            expected = by_critic if typical is None else Scale(*said).score(by_critic, typical)
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


class TestRefusals:
    @pytest.mark.parametrize(
        "content", [b"", b"abc", b"\x80\x04" * 40, b"PK\x03\x04" + b"\0" * 100, b"\xff" * 64]
    )
    def test_not_a_checkpoint(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a checkpoint"):
            checkpoint.load(path)

    @given(st.binary(max_size=200))
    def test_any_bytes_are_refused_in_a_sentence(self, content: bytes) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.safetensors"
            path.write_bytes(content)
            with pytest.raises(CheckpointError):
                checkpoint.load(path)

    @pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
    def test_cut_short(self, saved: Path, share: float) -> None:
        data = saved.read_bytes()
        saved.write_bytes(data[: max(9, int(len(data) * share))])
        with pytest.raises(CheckpointError, match="cut short"):
            checkpoint.load(saved)

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="no checkpoint at"):
            checkpoint.load(tmp_path / "none.safetensors")
        with pytest.raises(CheckpointError, match="is a folder"):
            checkpoint.load(tmp_path)

    def test_what_to_give_for_a_missing_file(self, saved: Path) -> None:
        """Of few photographs there is a last one, and no best."""
        missing = saved.with_name("best.safetensors")
        with pytest.raises(CheckpointError, match=rf"at {missing}: what is there is {saved.name}\.$"):
            checkpoint.load(missing)
        saved.with_name("step-00000005.safetensors").touch()
        saved.with_name("step-00000010.safetensors").touch()
        with pytest.raises(CheckpointError, match=r"what is there is .* and 2 others"):
            checkpoint.load(missing)

    def test_what_is_no_file(self) -> None:
        with pytest.raises(CheckpointError, match="is no file"):
            checkpoint.load(Path(os.devnull))

    @pytest.mark.parametrize("tensors", [{"weight": torch.zeros(2)}, {}])
    def test_another_programs_safetensors(self, tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
        path = tmp_path / "x.safetensors"
        save_file(tensors, path)
        with pytest.raises(CheckpointError, match="not a checkpoint of this trainer"):
            checkpoint.load(path)

    def test_a_newer_format(self, saved: Path) -> None:
        with_document(
            saved, format_version=checkpoint.FORMAT_VERSION + 1, least_reader=checkpoint.FORMAT_VERSION + 1
        )
        with pytest.raises(CheckpointError, match="upgrade meshibot"):
            checkpoint.load(saved)

    def test_a_newer_format_that_this_version_can_read_all_the_same(self, saved: Path) -> None:
        with_document(saved, format_version=checkpoint.FORMAT_VERSION + 1, news="of no importance")
        assert checkpoint.load(saved).metadata == metadata()

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

    @pytest.mark.parametrize(
        "changes",
        [
            {"architecture": {}},
            {"architecture": {**asdict(ARCH), "critic": {}}},
            {"architecture": {**asdict(ARCH), "generator": {**asdict(ARCH.generator), "channels": [4]}}},
            {"score_quantiles": []},
            {"score_quantiles": [2, 1]},
            {"score_quantiles": [1]},
            {"score_quantiles": [-1e308, 0, 1e308]},
            {"score_scale": [1, 2, 3]},
            {"score_scale": [0, 1, 0, float("nan")]},
            {"score_scale": [0, 1, 0, float("inf")]},
            {"score_scale": [0, 0, 0, 1]},
            {"score_scale": [0, 1, 0, -1]},
            {"score_scale": [0, 1, 0, 1, 0]},
            {"score_scale": [0, 1, 0, 1, 1, 1]},
            {"score_quantiles": [0, float("nan")]},
            {"score_quantiles": [0, 10**400]},
            {"step": "many"},
            {"step": float("inf")},
            {"step": -1},
            {"images_seen": 2**63},
            {"architecture": None},
            {"architecture": [1]},
            {"architecture": {**asdict(ARCH), "generator": {**asdict(ARCH.generator), "latent_size": 1e999}}},
            {"score_quantiles": [-1e308, 1e308]},
            {"metrics": [1, 2]},
            {"metrics": {"\x1b[2J": {"value": 1}}},
            {"metrics": {"swd": {"value": 1e999}}},
            {"versions": ["2.13"]},
            {"versions": {"torch": "\x1b[2J"}},
            {"versions": {"torch": 2}},
            {"metrics": {"swd": 5}},
            {"metrics": {"swd": {"value": 1, "floor": "low"}}},
            {"training_hashes": ["zz"]},
            {"training_hashes": 5},
            {"training_hashes": {"a": 1}},
            {"training_hashes": "abc"},
            {"head_weights": 5},
            {"head_weights": [1, -1]},
            {"head_weights": [0]},
            {"head_weights": [float("inf")]},
            {"objective": ["x"]},
            {"objective": "\x1b[2J\x1b]0;a title\x07"},
            {"provenance": "\ud800"},
            {"licence_note": "x" * 100_000},
        ],
    )
    def test_damaged_metadata(self, saved: Path, changes: dict[str, object]) -> None:
        with_document(saved, **changes)
        with pytest.raises(CheckpointError, match="damaged metadata") as refused:
            checkpoint.load(saved)
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 400 + len(str(saved))

    @pytest.mark.parametrize(
        "changes", [{"format_version": 1e999}, {"least_reader": 1e999}, {"least_reader": []}]
    )
    def test_a_version_that_is_no_number(self, saved: Path, changes: dict[str, object]) -> None:
        with_document(saved, **changes)
        with pytest.raises(CheckpointError, match="not a checkpoint of this trainer"):
            checkpoint.load(saved)

    @pytest.mark.parametrize(
        "header",
        [
            b"[" * 100_000,
            b'{"__metadata__": ' + b"[" * 100_000,
            b'{"a": {"data_offsets": [0, Infinity]}}',
            b'{"a": {"data_offsets": [0, ' + b"9" * 5_000 + b"]}}",
            b'{"a": [1]}',
            b"[1, 2]",
        ],
    )
    def test_a_header_that_is_none(self, tmp_path: Path, header: bytes) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        with pytest.raises(CheckpointError, match="is not a checkpoint: give"):
            checkpoint.read_metadata(path)

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

    def test_an_older_format_says_what_to_do(self, saved: Path) -> None:
        with_document(saved, format_version=1)
        with pytest.raises(CheckpointError, match="make it anew with trainer fit"):
            checkpoint.read_metadata(saved)

    def test_the_format_before_this_one_is_read(self) -> None:
        """The checkpoint that shipped then; `test_earlier` draws with it."""
        path = Path(__file__).parents[1] / "data" / "checkpoint-format-2.safetensors"
        assert checkpoint.read_metadata(path).networks.generator.kind == "plain"


class TestCalibration:
    @given(st.floats(0, 1))
    def test_score_and_quantile_are_inverse(self, quantile: float) -> None:
        document = metadata()
        assert document.quantile_of(document.score_at(quantile)) == pytest.approx(quantile, abs=1e-9)

    @given(st.floats(-10, 10), st.floats(-10, 10))
    def test_quantiles_ascend_with_the_score(self, a: float, b: float) -> None:
        low, high = sorted((a, b))
        assert metadata().quantile_of(low) <= metadata().quantile_of(high)

    def test_values_by_hand(self) -> None:
        document = metadata()
        assert document.quantile_of(-5) == 0
        assert document.quantile_of(0.25) == pytest.approx(0.5)
        assert document.quantile_of(99) == 1
        assert document.score_at(1 / 3) == pytest.approx(0.0)
        assert document.score_at(1) == document.score_at(1.5) == 3.0
        assert document.score_at(0) == document.score_at(-0.5) == -1.0
        assert (document.quantile_of(-1.0), document.quantile_of(3.0)) == (0, 1)

    def test_of_scores_that_are_the_lowest_none_lies_below(self) -> None:
        tied = metadata(score_quantiles=(0.0, 0.0, 1.0, 1.0))
        assert (tied.quantile_of(0.0), tied.quantile_of(1.0)) == (0, 1)
        assert tied.quantile_of(0.5) == pytest.approx(0.5)
