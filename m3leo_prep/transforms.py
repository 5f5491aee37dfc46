"""Transforms of samples: ``ChipDataset(..., transform=Compose([RandomFlip(), RandomRotate90()]))``."""

from m3leo_prep.reader.learning.phase import PhaseView
from m3leo_prep.reader.learning.targets import ChipTarget
from m3leo_prep.reader.learning.transforms.base import Compose, Transform
from m3leo_prep.reader.learning.transforms.channels import ChannelDropout, ChannelMask, ModalityDropout, SelectChannels
from m3leo_prep.reader.learning.transforms.cropping import RandomCrop
from m3leo_prep.reader.learning.transforms.info import KeyInfo, key_info
from m3leo_prep.reader.learning.transforms.turning import RandomFlip, RandomRotate90

__all__ = [
    "ChannelDropout",
    "ChannelMask",
    "ChipTarget",
    "Compose",
    "KeyInfo",
    "ModalityDropout",
    "PhaseView",
    "RandomCrop",
    "RandomFlip",
    "RandomRotate90",
    "SelectChannels",
    "Transform",
    "key_info",
]
