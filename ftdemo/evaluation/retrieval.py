"""Retrieval: the passages most relevant to a question, by the words that they share or by what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ftdemo.errors import UsageError
from ftdemo.models import load as models

if TYPE_CHECKING:
    import numpy

_MINILM_TOKENS = 256
"""The length up to which the makers of MiniLM use it; longer passages are cut."""
_BATCH = 64


class Search(Protocol):
    """An index of passages."""

    size: int
    """Bytes of the index, without the passages."""

    def best(self, question: str, count: int) -> list[int]:
        """The indices of the passages most relevant to the question, the best first."""


class Bm25:
    """Passages by the words that they share with the question; rare words count more (Robertson & Zaragoza 2009)."""

    def __init__(self, passages: Sequence[str]) -> None:
        import bm25s

        self._index = bm25s.BM25()
        self._index.index(_words(passages), show_progress=False)
        self._count = len(passages)
        self.size = sum(part.nbytes for part in self._index.scores.values() if hasattr(part, "nbytes"))

    def best(self, question: str, count: int) -> list[int]:
        """The indices of the passages most relevant to the question, the best first."""
        count = min(count, self._count)
        indices, _scores = self._index.retrieve(_words([question]), k=count, show_progress=False)
        return [int(index) for index in indices[0]]


def _words(texts: Sequence[str]) -> list[list[str]]:
    import bm25s

    words: list[list[str]] = bm25s.tokenize(list(texts), return_ids=False, stopwords="en", show_progress=False)
    return words


class MiniLm:
    """Passages by meaning: the cosine of sentence embeddings (Reimers & Gurevych 2019), from all-MiniLM-L6-v2."""

    def __init__(self, passages: Sequence[str]) -> None:
        self._model, self._tokenizer = _encoder()
        self._passages = self._embed(passages)
        self.size = self._passages.nbytes

    def best(self, question: str, count: int) -> list[int]:
        """The indices of the passages most relevant to the question, the best first."""
        similarity = self._passages @ self._embed([question])[0]
        return [int(index) for index in (-similarity).argsort(kind="stable")[:count]]

    def _embed(self, texts: Sequence[str]) -> numpy.ndarray:
        """A vector of length 1 for each text: the mean of its tokens' last hidden states (texts x 384)."""
        import numpy
        import torch

        vectors = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            inputs = self._tokenizer(
                batch, padding=True, truncation=True, max_length=_MINILM_TOKENS, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = self._model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1)  # padding has hidden states too, but no meaning
            mean = (hidden * mask).sum(1) / mask.sum(1)
            vectors.append(torch.nn.functional.normalize(mean, dim=1).numpy())
        return numpy.concatenate(vectors)


@models.one_at_a_time
def _encoder() -> tuple[Any, Any]:
    from transformers import AutoModel

    models.quiet_transformers()
    source = models.resolve("minilm")
    model = AutoModel.from_pretrained(source.path, trust_remote_code=False, use_safetensors=True)
    return model.eval(), models.load_tokenizer(source)


SEARCHES: dict[str, type[Bm25 | MiniLm]] = {"bm25": Bm25, "minilm": MiniLm}
"""The searches by the names that they have on the command line."""


def make_search(name: str, passages: Sequence[str]) -> Search:
    """A search over passages.

    Raises:
        UsageError: If there are no passages.
    """
    if not passages:
        raise UsageError("There is nothing to search in.", "Name documents, or data with examples.")
    return SEARCHES[name](passages)
