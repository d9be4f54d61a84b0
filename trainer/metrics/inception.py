"""FID and KID on Inception features through torch-fidelity, for those who have a network: `meshibot[fid]`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from trainer.errors import TrainerError
from trainer.pictures import to_device

KID_SUBSET = 1000


class _Pictures(Dataset[Tensor]):
    """uint8 (3, r, r), one at a time, as torch-fidelity wants them."""

    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        self.pictures = to_device(pictures, torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return self.pictures[index].contiguous()


def inception_figures(
    fakes: NDArray[np.uint8], reals: NDArray[np.uint8], *, device: str | torch.device = "cpu"
) -> dict[str, float]:
    """`fid` and `inception_kid` of uint8 (n, r, r, 3) against uint8 (m, r, r, 3).

    Raises TrainerError where torch-fidelity is not installed or its weights can't be fetched.
    """
    require_torch_fidelity()
    import torch_fidelity

    try:
        figures = torch_fidelity.calculate_metrics(
            input1=_Pictures(fakes),
            input2=_Pictures(reals),
            cuda=torch.device(device).type == "cuda",
            fid=True,
            kid=True,
            kid_subset_size=min(KID_SUBSET, len(fakes), len(reals)),
            cache=False,
            verbose=False,
        )
    except OSError as error:  # URLError and HTTPError are OSErrors, and so is a full disk
        raise TrainerError(
            f"The Inception weights can't be fetched ({error}): "
            "evaluate with a network once, after that they are kept; or leave out --fid."
        ) from None
    return {
        "fid": float(figures["frechet_inception_distance"]),
        "inception_kid": float(figures["kernel_inception_distance_mean"]),
    }


def require_torch_fidelity() -> None:
    """Raises TrainerError where torch-fidelity can't be imported, so that one learns it before the work."""
    try:
        import torch_fidelity  # noqa: F401
    except (ImportError, RuntimeError) as error:
        # torchvision built for another torch raises RuntimeError on import.
        raise TrainerError(
            f"--fid needs torch-fidelity ({error}): pip install 'meshibot[fid]', or leave out --fid."
        ) from None
