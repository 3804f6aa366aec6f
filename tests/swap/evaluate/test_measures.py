import numpy as np
import pytest

from swap.evaluate.measures import PSNR_CAP, mae, mse, psnr, ssim, tremble


def pictures(count=3, side=16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((count, side, side, 3), np.float32)


def test_errors_and_decibels_of_every_picture_follow_their_definitions():
    x, y = pictures(), pictures(seed=1)
    mask = np.random.default_rng(2).random((3, 16, 16))
    for i in range(3):
        d = x[i].astype(float) - y[i]
        assert mae(x, y)[i] == pytest.approx(sum(map(abs, d.ravel())) / d.size)
        weighted = sum(
            mask[i, r, c] * d[r, c, k] ** 2 for r in range(16) for c in range(16) for k in range(3)
        )
        expected = weighted / (3 * mask[i].sum())
        assert mse(x, y, mask)[i] == pytest.approx(expected)
        assert psnr(x, y, mask)[i] == pytest.approx(10 * np.log10(1 / expected))


def test_one_mask_serves_all_pictures_and_hides_what_it_does_not_cover():
    x, y = pictures(), pictures()
    y[:, :8] += 0.5
    mask = np.zeros((16, 16))
    mask[8:] = 1
    assert mae(x, y, mask) == pytest.approx([0, 0, 0])
    assert mae(x, y, 1 - mask) == pytest.approx([0.5] * 3, rel=1e-6)


def test_a_perfect_picture_has_the_capped_psnr_and_ssim_1():
    x = pictures()
    assert psnr(x, x).tolist() == [PSNR_CAP] * 3
    assert ssim(x, x) == pytest.approx([1, 1, 1])


def naive_ssim_map(x, y):
    """Wang et al. 2004, equation 13, pixel by pixel from its definition; one channel."""
    along = np.array([np.exp(-(d**2) / (2 * 1.5**2)) for d in range(-5, 6)])
    window = np.outer(along, along)
    window /= window.sum()
    out = np.empty((len(x) - 10, len(x[0]) - 10))
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            p, q = (v[r : r + 11, c : c + 11].astype(float) for v in (x, y))
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            out[r, c] = (2 * mp * mq + 1e-4) * (2 * cov + 9e-4)
            out[r, c] /= (mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)
    return out


def test_ssim_is_that_of_the_definition_over_the_picture_and_under_a_mask():
    x = pictures(2, 17)
    y = np.clip(x * 0.7 + 0.2 + 0.1 * pictures(2, 17, 5), 0, 1)
    mask = np.random.default_rng(3).random((2, 17, 17))
    for i in range(2):
        maps = np.stack([naive_ssim_map(x[i, ..., k], y[i, ..., k]) for k in range(3)], -1)
        assert ssim(x, y)[i] == pytest.approx(maps.mean(), abs=1e-9)
        inner = mask[i, 5:-5, 5:-5, None]
        weighted = (maps * inner).sum() / (3 * inner.sum())
        assert ssim(x, y, mask)[i] == pytest.approx(weighted, abs=1e-9)


def test_ssim_of_grey_pictures_is_that_of_the_same_in_three_colours():
    rng = np.random.default_rng(4)
    x, y = rng.random((2, 3, 20, 17, 1))
    np.testing.assert_allclose(ssim(x, y), ssim(x.repeat(3, 3), y.repeat(3, 3)), rtol=1e-12)


def test_what_stands_still_or_moves_evenly_does_not_tremble():
    first, step = pictures(2, 8) / 4
    clip = np.stack([first + t * step for t in range(9)])
    assert tremble(clip) == pytest.approx(0, abs=1e-6)


def test_noise_that_is_new_in_each_frame_trembles_by_its_deviation_times_root_6():
    rng = np.random.default_rng(0)
    clip = 0.1 * rng.standard_normal((200, 16, 16, 3))
    assert tremble(clip) == pytest.approx(0.1 * 6**0.5, rel=0.01)
    mask = np.zeros((16, 16))
    mask[:8] = 1
    clip[:, 8:] = 0
    assert tremble(clip, mask) == pytest.approx(0.1 * 6**0.5, rel=0.01)
    assert tremble(clip, np.repeat(mask[None], 200, 0)) == tremble(clip, mask)


@pytest.mark.parametrize("measure", [mse, mae, psnr, ssim])
def test_wrong_shapes_and_empty_masks_are_refused(measure):
    x = pictures()
    with pytest.raises(ValueError, match="equal"):
        measure(x, x[:2])
    mask = np.ones((3, 16, 16))
    mask[1] = 0
    with pytest.raises(ValueError, match="picture 1 is empty"):
        measure(x, x, mask)


def test_two_frames_cannot_tremble():
    with pytest.raises(ValueError, match="3 frames"):
        tremble(pictures(2))
