"""Champion: the version of a model that scores now, as the control log says.

    version(3, digest), alias("champion", 3) ─▶ load ─▶ Scorer: from here on it fills `score`

Until there is one, scores are null. As each change stands in the log between two batches, a replay scores every event
with the version that scored it first.
"""

from __future__ import annotations

from collections.abc import Callable

from events.columns import Batch, Column, Layout
from events.errors import IntegrityViolation
from events.types import FLOAT64
from models.document import SCORE
from models.scorer import Scorer

Load = Callable[[str, int], Scorer]
"""The verified scorer of a name and version. May raise IntegrityViolation, ServiceUnavailable."""


class Champion:
    """An enrichment: the column `score` of one stream. One thread uses it.

    scorer: of the version that scores now; None before the first
    """

    def __init__(self, name: str, stream: str, load: Load) -> None:
        self.name, self.stream, self._load = name, stream, load
        self.scorer: Scorer | None = None
        self._digests: dict[int, str] = {}

    def failed_rows(self) -> list[int]:
        """The events of the last batch that it should have scored and couldn't."""
        return self.scorer.failed_rows.tolist() if self.scorer else []

    def version(self, version: int, digest: str) -> None:
        """That version exists, with this file."""
        self._digests[version] = digest

    def alias(self, alias: str, version: int) -> None:
        """It is champion or challenger from here on. `use` has to come before the next batch.

        Raises IntegrityViolation if the file in the store isn't the one that the control log means.
        """
        if alias != "champion":
            return
        scorer = self._load(self.name, version)
        wanted = self._digests.get(version)
        if scorer.card.digest != wanted:
            raise IntegrityViolation(
                f"model {self.name} version {version}: the store has SHA-256 {scorer.card.digest}, the control log "
                f"says {wanted or 'nothing'}",
                "put the file back that was registered, or train a new version",
            )
        self.scorer = scorer

    def needed(self) -> set[tuple[str, str]]:
        """See Enrichment."""
        return self.scorer.needed() if self.scorer else set()

    def columns(self) -> tuple[Column, ...]:
        """See Enrichment."""
        return (Column(self.stream, SCORE, FLOAT64),)

    def use(self, layout: Layout, code: Callable[[str], int]) -> None:
        """See Enrichment."""
        if self.scorer:
            self.scorer.use(layout, code)

    def compute(self, batch: Batch) -> None:
        """See Enrichment."""
        if self.scorer:
            self.scorer.compute(batch)
