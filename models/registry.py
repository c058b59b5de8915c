"""Registry: the files of models in the store, by name and version.

    STORE/models/card_risk/v3/model.onnx     written first
                              card.json      written last: without it there is no version

A file never changes. Which version is champion, the control log says.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import fsspec

from events.errors import IntegrityViolation, ServiceUnavailable
from models.card import CARD_BYTES_MAX, MODEL_BYTES_MAX, Card, decode_card, encode_card

FOLDER = "models"
MODEL, CARD = "model.onnx", "card.json"

VERSION = re.compile(r"v([1-9][0-9]{0,8})", re.ASCII)


class Registry:
    """The models in a store: a folder, or an address that fsspec knows. Every method may raise ServiceUnavailable."""

    def __init__(self, store: str) -> None:
        self.store = store
        try:
            self._files, root = fsspec.core.url_to_fs(store)
        except (ValueError, ImportError, OSError) as error:
            hint = "name a folder, or an address whose package is installed, in address.store"
            raise ServiceUnavailable(f"store {store}: {error}", hint) from error
        self._root = PurePosixPath(root) / FOLDER

    def names(self) -> list[str]:
        """Of all models, sorted."""
        return sorted(name for name in self._entries(self._root) if self.versions(name))

    def versions(self, name: str) -> list[int]:
        """Of a model, from the first; empty where there is none."""
        return [number for number in self._numbers(name) if CARD in self._entries(self._path(name, number))]

    def add(self, card: Card, model: bytes) -> None:
        """Keeps a version. Raises IntegrityViolation if that version is there."""
        path = self._path(card.name, card.version)
        try:
            self._files.makedirs(str(path), exist_ok=True)
            self._files.pipe_file(str(path / MODEL), model, mode="create")
            self._files.pipe_file(str(path / CARD), encode_card(card), mode="create")
        except FileExistsError as error:
            raise IntegrityViolation(
                f"store {self.store}: {card.name} version {card.version} is there",
                "a version never changes: train anew",
            ) from error
        except OSError as error:
            raise self._away(path, error) from error

    def next_version(self, name: str) -> int:
        """The number behind all that were taken."""
        return max(self._numbers(name), default=0) + 1

    def card(self, name: str, version: int) -> Card:
        """The card of a version. Raises IntegrityViolation for one that can't be, or is another's."""
        path = self._path(name, version) / CARD
        card = decode_card(self._read(path, CARD_BYTES_MAX), str(path))
        if (card.name, card.version) != (name, version):
            raise IntegrityViolation(f"{path}: is the card of {card.name} version {card.version}", "put it back")
        return card

    def model(self, name: str, version: int) -> bytes:
        """The file of a version; `models.graph.verified` says whether it is what the card says."""
        return self._read(self._path(name, version) / MODEL, MODEL_BYTES_MAX)

    def where(self, name: str, version: int) -> str:
        """The file's place, for people."""
        return str(self._path(name, version) / MODEL)

    def _path(self, name: str, version: int) -> PurePosixPath:
        return self._root / name / f"v{version}"

    def _numbers(self, name: str) -> list[int]:
        found = (VERSION.fullmatch(entry) for entry in self._entries(self._root / name))
        return sorted(int(match[1]) for match in found if match)

    def _entries(self, path: PurePosixPath) -> list[str]:
        """Names in a folder; none where it isn't there."""
        try:
            self._files.invalidate_cache(str(path))
            return [PurePosixPath(found).name for found in self._files.ls(str(path), detail=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._away(path, error) from error

    def _read(self, path: PurePosixPath, most: int) -> bytes:
        try:
            with self._files.open(str(path), "rb") as file:
                data = bytes(file.read(most + 1))
        except FileNotFoundError as error:
            versions = ", ".join(map(str, self.versions(path.parent.parent.name))) or "none"
            raise ServiceUnavailable(f"{path}: no such file", f"there are the versions: {versions}") from error
        except OSError as error:
            raise self._away(path, error) from error
        if len(data) > most:
            raise IntegrityViolation(f"{path}: more than {most} bytes, which is the limit")
        return data

    def _away(self, path: PurePosixPath, error: OSError) -> ServiceUnavailable:
        return ServiceUnavailable(f"store {self.store}: {path}: {error}", "check address.store and its rights")
