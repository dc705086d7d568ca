"""One view of an image by torchvision's operations on Pillow images: what the faster pipelines are held against."""

from __future__ import annotations

from PIL import Image, ImageFilter
from torch import Tensor

from golang.data.crops.draw import NEUTRAL, ViewParameters


def apply(image: Image.Image, parameters: ViewParameters, size: int) -> Tensor:
    """One view of an RGB image, uint8 [3, size, size]."""
    from torchvision.transforms import functional as F  # with it comes torch's compiler, for which no launcher waits

    top, left, height, width = parameters.box
    view = F.resized_crop(image, top, left, height, width, [size, size], F.InterpolationMode.BILINEAR, antialias=True)
    if parameters.flip:
        view = F.hflip(view)
    if parameters.color is not None:
        adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        for index in parameters.color.order:
            factor = parameters.color.factors[index]
            if factor != NEUTRAL[index]:  # a hue switched off must not be rounded through HSV and back
                view = adjust[index](view, factor)
    if parameters.gray:
        view = F.to_grayscale(view, num_output_channels=3)
    if parameters.blur_radius is not None:
        view = view.filter(ImageFilter.GaussianBlur(parameters.blur_radius))
    tensor: Tensor = F.pil_to_tensor(view)
    return tensor
