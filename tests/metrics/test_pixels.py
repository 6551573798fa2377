"""Claims about PixCorr and SSIM."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mindeye.errors import DataError
from mindeye.metrics import pixels


def pictures(n: int, size: int = 24, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 6, 6, generator=rng)
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


def ssim_by_hand(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13, window by window in plain numpy on grey images."""
    weight = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(weight, weight) / weight.sum() ** 2
    out = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * p * p).sum() - mp**2, (window * q * q).sum() - mq**2
            cov = (window * p * q).sum() - mp * mq
            c1, c2 = 0.01**2, 0.03**2
            out.append(
                (2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2))
            )
    return float(np.mean(out))


def test_pixcorr_by_hand() -> None:
    a = torch.tensor([[[[0.0, 0.1], [0.2, 0.3]]] * 3])
    b = torch.tensor([[[[0.3, 0.1], [0.2, 0.0]]] * 3])
    # deviations (-.15 -.05 .05 .15) . (.15 -.05 .05 -.15) = -.04; over .05
    assert pixels.pixcorr(a, b, size=None)[0] == pytest.approx(-0.8)


def test_pixcorr_ignores_brightness_and_contrast() -> None:
    a = pictures(3)
    np.testing.assert_allclose(pixels.pixcorr(0.4 * a + 0.3, a, size=None), 1.0, atol=1e-6)
    np.testing.assert_allclose(pixels.pixcorr(1 - a, a, size=None), -1.0, atol=1e-6)


def test_ssim_follows_the_formula_on_grey_images() -> None:
    a, b = pictures(2, seed=1), pictures(2, seed=2)
    grey = torch.tensor([0.2125, 0.7154, 0.0721])[:, None, None]
    expected = [
        ssim_by_hand((x * grey).sum(0).double().numpy(), (y * grey).sum(0).double().numpy())
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(pixels.ssim(a, b, size=None), expected, atol=1e-6)


def test_identical_pictures_score_one() -> None:
    a = pictures(2)
    np.testing.assert_allclose(pixels.ssim(a, a), 1.0)
    np.testing.assert_allclose(pixels.pixcorr(a, a), 1.0)


def test_a_constant_reconstruction_scores_zero_pixcorr_and_a_finite_ssim() -> None:
    a, grey = pictures(2), torch.full((2, 3, 24, 24), 0.5)
    assert pixels.pixcorr(grey, a).tolist() == [0.0, 0.0]
    assert pixels.pixcorr(a, grey, size=None).tolist() == [0.0, 0.0]
    assert np.isfinite(pixels.ssim(grey, a)).all()
    np.testing.assert_allclose(pixels.ssim(grey, grey), 1.0)


def test_noise_and_a_swapped_pair_lower_both_scores() -> None:
    a = pictures(4)
    noisy = (a + 0.2 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    swapped = a[[1, 0, 2, 3]]
    for score in (pixels.pixcorr, pixels.ssim):
        assert (score(noisy, a, size=None) < 0.99).all()
        one = score(swapped, a, size=None)
        assert (one[:2] < 0.9).all()
        np.testing.assert_allclose(one[2:], 1.0)


def test_both_metrics_are_symmetric() -> None:
    a, b = pictures(3, seed=1), pictures(3, seed=2)
    for score in (pixels.pixcorr, pixels.ssim):
        np.testing.assert_allclose(score(a, b, size=None), score(b, a, size=None), atol=1e-12)


def test_batching_does_not_change_scores() -> None:
    a, b = pictures(35, seed=1), pictures(35, seed=2)
    one_by_one = [pixels.pixcorr(a[i : i + 1], b[i : i + 1], size=48)[0] for i in range(35)]
    np.testing.assert_allclose(pixels.pixcorr(a, b, size=48), one_by_one, atol=1e-12)


def test_antialias_matters_when_shrinking_and_not_when_enlarging() -> None:
    a = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    small = [pixels.resize_images(a, 10, antialias=flag) for flag in (True, False)]
    large = [pixels.resize_images(a, 80, antialias=flag) for flag in (True, False)]
    assert float((small[0] - small[1]).abs().max()) > 0.1
    torch.testing.assert_close(large[0], large[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(2, 3, 24, 24) * 255, r"\[0, 1\]"),
        (torch.full((2, 3, 24, 24), torch.nan), r"\[0, 1\]"),
        (torch.rand(3, 3, 24, 24), "pair up"),
        (torch.rand(2, 24, 24, 3), "N, 3, H, W"),
        (torch.zeros(2, 3, 24, 24, dtype=torch.uint8), "float"),
    ],
)
def test_wrong_inputs_are_refused(images: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pixels.pixcorr(images, pictures(2))


def test_pixcorr_is_the_correlation_of_flattened_pictures() -> None:
    a, b = pictures(11, seed=1), pictures(11, seed=2)
    expected = [
        np.corrcoef(x.flatten().astype(np.float64), y.flatten().astype(np.float64))[0, 1]
        for x, y in zip(a.numpy(), b.numpy(), strict=True)
    ]
    np.testing.assert_allclose(pixels.pixcorr(a, b, size=None), expected, rtol=0, atol=1e-12)


def test_ssim_of_many_pictures_is_in_their_order() -> None:
    a, b = pictures(20, seed=1), pictures(20, seed=2)
    one_by_one = [pixels.ssim(a[i : i + 1], b[i : i + 1], size=30)[0] for i in range(20)]
    assert pixels.ssim(a, b, size=30).tolist() == one_by_one


def test_pictures_smaller_than_the_window_are_refused_by_ssim() -> None:
    with pytest.raises(DataError, match="11 px"):
        pixels.ssim(torch.rand(1, 3, 10, 10), torch.rand(1, 3, 10, 10), size=None)
