import numpy as np
import pytest

from ml.geometry import OUTSIDE, Octaves, crop_squares, squares, without_nested


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_crop_of_its_own_size_is_the_image_itself() -> None:
    image = noise(40, 50)
    crops = crop_squares(image, [[5, 3, 29, 27], [0, 0, 24, 24]], 24)
    assert np.array_equal(crops[0], image[3:27, 5:29])
    assert np.array_equal(crops[1], image[:24, :24])


def test_the_square_is_as_long_as_the_longer_side_times_the_margin() -> None:
    boxes = np.array([[10, 20, 30, 60]], np.float32)
    assert squares(boxes, 1.5).tolist() == [[20, 40, 60]]
    image = noise(80, 80)
    wider = crop_squares(image, boxes, 40, margin=1.0)
    assert np.array_equal(wider[0], image[20:60, 0:40])


def test_outside_of_the_photo_is_gray_and_not_a_mirror_image() -> None:
    image = np.full((20, 20, 3), 255, np.uint8)
    crop = crop_squares(image, [[-10, -10, 10, 10]], 20)[0]
    assert (crop[:10] == OUTSIDE).all()
    assert (crop[:, :10] == OUTSIDE).all()
    assert (crop[10:, 10:] == 255).all()
    assert (crop_squares(image, [[100, 100, 140, 140]], 8) == OUTSIDE).all()


def test_a_large_face_is_averaged_and_not_picked_from_its_pixels() -> None:
    board = np.indices((512, 512)).sum(axis=0) % 2 * 255
    image = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)
    crop = crop_squares(image, [[0, 0, 512, 512]], 32)[0]
    assert np.ptp(crop) <= 2
    assert abs(float(crop.mean()) - 127.5) < 2


def test_every_pixel_of_a_large_face_counts() -> None:
    # 256 pixels of noise averaged into one vary by 5; the four that bilinear sampling looks at, by 37.
    assert crop_squares(noise(512, 512), [[0, 0, 512, 512]], 32)[0].std() < 12
    assert Octaves(noise(512, 512)).resized(32, 32).std() < 12


def test_shrunken_crops_stay_in_place() -> None:
    ramp = np.repeat(np.linspace(0, 255, 1000)[None, :, None], 1000, axis=0).repeat(3, axis=2).astype(np.uint8)
    crop = crop_squares(ramp, [[0, 0, 1000, 1000]], 20)[0].astype(float)
    expected = (np.arange(20) + 0.5) / 20 * 255
    assert np.abs(crop[10, :, 0] - expected).max() < 2


def test_crops_keep_the_order_of_their_boxes_whatever_their_sizes() -> None:
    image = noise(300, 300)
    boxes = np.array([[0, 0, 300, 300], [10, 10, 34, 34], [50, 60, 210, 220], [5, 5, 17, 17]], np.float32)
    together = crop_squares(image, boxes, 24, 1.35)
    for crop, box in zip(together, boxes, strict=True):
        assert np.array_equal(crop, crop_squares(image, box[None], 24, 1.35)[0])


def test_no_boxes_give_no_crops() -> None:
    assert crop_squares(noise(10, 10), np.empty((0, 4)), 48).shape == (0, 48, 48, 3)
    assert crop_squares(noise(10, 10), [], 48).shape == (0, 48, 48, 3)


def test_more_crops_than_one_remap_can_hold_are_cut_in_parts() -> None:
    image = noise(30, 30)
    crops = crop_squares(image, np.tile(np.array([[2, 2, 26, 26]], np.float32), (1500, 1)), 24)
    assert (crops == image[2:26, 2:26]).all()


def test_a_box_without_extent_gives_one_colour_and_no_error() -> None:
    crop = crop_squares(noise(30, 30), [[7, 7, 7, 7]], 8)
    assert np.ptp(crop[0].reshape(-1, 3), axis=0).max() <= 1


def test_a_photo_too_long_for_opencv_can_be_cropped_all_the_same() -> None:
    image = np.zeros((30, 40_000, 3), np.uint8)
    image[:, 39_000:] = 200
    crops = crop_squares(image, [[39_100, 0, 39_130, 30], [100, 0, 130, 30]], 8)
    assert (crops[0] == 200).all()
    assert (crops[1] == 0).all()


def test_halving_keeps_the_last_row_and_column_of_an_odd_photo() -> None:
    image = np.zeros((5, 7, 3), np.uint8)
    image[-1], image[:, -1] = 200, 200
    half = Octaves(image)[1]
    assert half.shape == (3, 4, 3)
    assert (half[-1] == 200).all()
    assert (half[:, -1] == 200).all()


def test_of_nested_boxes_the_better_one_stays() -> None:
    whole, part, beside = [0, 0, 100, 100], [10, 10, 40, 40], [90, 90, 130, 130]
    assert without_nested(np.array([whole, part, beside], np.float32), 0.7).tolist() == [0, 2]
    assert without_nested(np.array([part, whole, beside], np.float32), 0.7).tolist() == [0, 2]
    assert without_nested(np.array([whole, part], np.float32), 1.0).tolist() == [0, 1]
    assert without_nested(np.empty((0, 4), np.float32), 0.7).tolist() == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_no_pixels_or_such_of_another_shape_or_type_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 pixels"):
        crop_squares(image, [[0, 0, 2, 2]], 8)
