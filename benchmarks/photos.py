"""Generated photographs: JPEGs of COCO's usual size whose spectrum and weight are like a photograph's."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

SIZES = ((640, 480), (640, 427), (480, 640), (640, 480), (500, 375), (427, 640), (640, 480), (640, 425))


def photos(count: int, seed: int = 0, sizes: tuple[tuple[int, int], ...] = SIZES) -> list[bytes]:
    """Files of quality 90, some 110 to 190 kB each: noise whose amplitude falls with frequency, partly common to the
    colours."""
    rng = np.random.default_rng(seed)
    files = []
    for number in range(count):
        width, height = sizes[number % len(sizes)]
        rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        amplitude = np.maximum(np.hypot(rows, columns), 1 / width) ** -1.1
        noise = [
            np.fft.irfft2(amplitude * np.exp(2j * np.pi * rng.random(amplitude.shape)), s=(height, width))
            for _ in range(4)
        ]
        light, *colors = (layer / layer.std() for layer in noise)
        pixels = np.stack([127 + 55 * (light + 0.4 * color) for color in colors], axis=2)
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files
