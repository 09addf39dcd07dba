"""The program of the article that this project starts from, with only its errors fixed.

Fixed: SGD had no parameters and no learning rate, the last layer had 1000 classes, nothing was moved to a GPU.
Replaced: `LazyLinear` by the layer that it infers; `Caltech256`, which needs the whole data set, by a folder of the
same files, opened in the same way.
"""

from collections import OrderedDict
from collections.abc import Iterator

import PIL.Image
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.speed.cases import CLASSES, LEARNING_RATE, MOMENTUM, STORED_SIDE, WEIGHT_DECAY, Case

Layer = tuple[int, int, int] | str


def gray_to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Caltech256 has both RGB and greyscale images."""
    return image.convert("RGB")


class VGG(nn.Module):
    """The article's class, with its nets A, D and E, for crops of `pixels` pixels."""

    conv_architectures: dict[str, list[Layer]] = {  # noqa: RUF012 - as in the article
        "A": [
            *((3, 64, 3), "max", (64, 128, 3), "max", (128, 256, 3), (256, 256, 3), "max"),
            *((256, 512, 3), (512, 512, 3), "max", (512, 512, 3), (512, 512, 3), "max"),
        ],
        "D": [
            *((3, 64, 3), (64, 64, 3), "max", (64, 128, 3), (128, 128, 3), "max"),
            *((128, 256, 3), (256, 256, 3), (256, 256, 3), "max"),
            *((256, 512, 3), (512, 512, 3), (512, 512, 3), "max"),
            *((512, 512, 3), (512, 512, 3), (512, 512, 3), "max"),
        ],
        "E": [
            *((3, 64, 3), (64, 64, 3), "max", (64, 128, 3), (128, 128, 3), "max"),
            *((128, 256, 3), (256, 256, 3), (256, 256, 3), (256, 256, 3), "max"),
            *((256, 512, 3), (512, 512, 3), (512, 512, 3), (512, 512, 3), "max"),
            *((512, 512, 3), (512, 512, 3), (512, 512, 3), (512, 512, 3), "max"),
        ],
    }

    def __init__(self, architecture_identifier: str, pixels: int) -> None:
        super().__init__()
        self.fully_connected = nn.Sequential(
            nn.Flatten(),
            nn.Linear(512 * (pixels // 32) ** 2, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, CLASSES),
        )
        self.conv_layers = nn.Sequential()
        for options in self.conv_architectures[architecture_identifier]:
            if isinstance(options, tuple):
                self.conv_layers.append(nn.Conv2d(*options, padding="same", stride=1))
                self.conv_layers.append(nn.ReLU())
            else:
                self.conv_layers.append(nn.MaxPool2d(kernel_size=2, stride=2, padding=0))
        self.model = nn.Sequential(
            OrderedDict([("feature_extractor", self.conv_layers), ("classifier", self.fully_connected)])
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 256) of crops (N, 3, pixels, pixels)."""
        return self.model(images)


def build_network(net: str, pixels: int) -> nn.Module:
    """Return net A, D or E."""
    return VGG(net, pixels)


class Article:
    """The article's loader, net and loop."""

    precision = "float32"

    def __init__(self, case: Case, device: str, precision: str) -> None:
        del precision  # it always uses float32
        self._device = torch.device(device)
        transform = transforms.Compose([
            gray_to_rgb,
            transforms.ToTensor(),
            # Our stored side; the article has 512, which would make it slower.
            transforms.Resize((STORED_SIDE[case.pixels], STORED_SIDE[case.pixels]), antialias=False),
            transforms.RandomCrop(size=(case.pixels, case.pixels)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ])  # fmt: skip
        dataset = datasets.ImageFolder(case.images.files, transform, loader=PIL.Image.open)
        self._dataloader = DataLoader(dataset, batch_size=case.batch_size, shuffle=True)
        self._model = build_network(case.net, case.pixels).to(self._device)
        self._loss_fn = nn.CrossEntropyLoss()
        self._optimizer = torch.optim.SGD(
            self._model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        self._running_loss = 0.0

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of the loader."""
        for inputs, labels in self._dataloader:
            yield inputs.to(self._device), labels.to(self._device)

    def train(self, images: Tensor, labels: Tensor) -> None:
        """Take one step, as in the article's loop."""
        self._optimizer.zero_grad()
        outputs = self._model(images)
        loss = self._loss_fn(outputs, labels)
        loss.backward()
        self._optimizer.step()
        self._running_loss += loss.item()
