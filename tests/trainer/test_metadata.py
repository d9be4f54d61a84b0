"""What a checkpoint says of itself: what is none is refused in a sentence, without torch."""

import json
import os
import struct
import tempfile
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests.checkpoints import ARCH, ARCHITECTURE, header_of, metadata, with_document, write_header
from trainer.metadata import FORMAT_VERSION, CheckpointError, Metadata, read_metadata
from trainer.scale import Scale


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file that says what it is, and has no tensors."""
    path = tmp_path / "bowl.safetensors"
    write_header(path, {"__metadata__": {"meshibot": json.dumps(metadata().to_json())}}, b"")
    return path


class TestReading:
    def test_what_goes_in_comes_out(self, saved: Path) -> None:
        assert read_metadata(saved) == metadata()

    def test_what_older_files_lack_has_a_value_that_promises_nothing(self, saved: Path) -> None:
        needed = [field.name for field in fields(Metadata) if field.default is field.default_factory]
        header, rest = header_of(saved)
        inner = header["__metadata__"]
        assert isinstance(inner, dict)
        document = json.loads(inner["meshibot"])
        kept = {name: document[name] for name in (*needed, "format", "format_version")}
        inner["meshibot"] = json.dumps(kept)
        write_header(saved, header, rest)
        found = read_metadata(saved)
        assert found == Metadata(**{name: getattr(metadata(), name) for name in needed})
        assert not found.held_out_apart
        assert (found.score_scale, found.head_weights, found.training_hashes) == (None, (), ())

    def test_a_scale_from_before_the_critics_weight_has_one_of_then(self, saved: Path) -> None:
        with_document(saved, score_scale=[0.5, 1.0, -2.0, 0.25])
        assert read_metadata(saved).score_scale == Scale(0.5, 1.0, -2.0, 0.25, 1.0)

    @pytest.mark.parametrize(("critic", "least"), [("plain", 3), ("seeing", 6)])
    def test_only_a_file_that_earlier_programs_read_wrongly_asks_for_this_version(
        self, critic: str, least: int
    ) -> None:
        """Those of format 5 miss the critic's features of photographs in a seeing one's."""
        shapes = {**ARCHITECTURE, "critic": {**ARCHITECTURE["critic"], "kind": critic}}
        assert metadata(architecture=shapes).to_json()["least_reader"] == least


class TestRefusals:
    @given(st.binary(max_size=200))
    def test_any_bytes_are_refused_in_a_sentence(self, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.safetensors"
            path.write_bytes(content)
            with pytest.raises(CheckpointError):
                read_metadata(path)

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="no checkpoint at"):
            read_metadata(tmp_path / "none.safetensors")
        with pytest.raises(CheckpointError, match="is a folder"):
            read_metadata(tmp_path)

    def test_what_to_give_for_a_missing_file(self, saved: Path) -> None:
        """Of few photographs there is a last one, and no best."""
        missing = saved.with_name("best.safetensors")
        with pytest.raises(CheckpointError, match=rf"at {missing}: what is there is {saved.name}\.$"):
            read_metadata(missing)
        saved.with_name("step-00000005.safetensors").touch()
        saved.with_name("step-00000010.safetensors").touch()
        with pytest.raises(CheckpointError, match=r"what is there is .* and 2 others"):
            read_metadata(missing)

    def test_what_is_no_file(self) -> None:
        with pytest.raises(CheckpointError, match="is no file"):
            read_metadata(Path(os.devnull))

    @pytest.mark.parametrize("tensors", [{"weight": np.zeros(2)}, {}])
    def test_another_programs_safetensors(
        self, tmp_path: Path, tensors: dict[str, NDArray[np.float64]]
    ) -> None:
        path = tmp_path / "x.safetensors"
        save_file(tensors, path)
        with pytest.raises(CheckpointError, match="not a checkpoint of this trainer"):
            read_metadata(path)

    def test_a_newer_format(self, saved: Path) -> None:
        with_document(saved, format_version=FORMAT_VERSION + 1, least_reader=FORMAT_VERSION + 1)
        with pytest.raises(CheckpointError, match="upgrade meshibot"):
            read_metadata(saved)

    def test_a_newer_format_that_this_version_can_read_all_the_same(self, saved: Path) -> None:
        with_document(saved, format_version=FORMAT_VERSION + 1, news="of no importance")
        assert read_metadata(saved) == metadata()

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
            {"score_scale": [0, 1, 0, 1, 1, 1, 0]},
            {"score_scale": [0, 1, 0, 1, 1, 1, 1, 1]},
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
            read_metadata(saved)
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 400 + len(str(saved))

    @pytest.mark.parametrize(
        "changes", [{"format_version": 1e999}, {"least_reader": 1e999}, {"least_reader": []}]
    )
    def test_a_version_that_is_no_number(self, saved: Path, changes: dict[str, object]) -> None:
        with_document(saved, **changes)
        with pytest.raises(CheckpointError, match="not a checkpoint of this trainer"):
            read_metadata(saved)

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
            read_metadata(path)

    def test_an_older_format_says_what_to_do(self, saved: Path) -> None:
        with_document(saved, format_version=1)
        with pytest.raises(CheckpointError, match="make it anew with trainer fit"):
            read_metadata(saved)

    def test_the_format_before_this_one_is_read(self) -> None:
        """The checkpoint that shipped then; `test_earlier` draws with it."""
        path = Path(__file__).parents[1] / "data" / "checkpoint-format-2.safetensors"
        assert read_metadata(path).networks.generator.kind == "plain"


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
