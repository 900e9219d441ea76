"""The rows that a run held out, found again in its data even where that has changed since."""

from __future__ import annotations

from dataclasses import dataclass

from ftdemo.data import BUILT_IN, AnyRow, Trial, load_splits
from ftdemo.data.row_hashes import RowHashes, row_hash
from ftdemo.data.split import heldout_candidates
from ftdemo.errors import UsageError
from ftdemo.runs.run import Run


@dataclass(frozen=True)
class Heldout:
    """Rows that a run held out."""

    rows: tuple[AnyRow, ...]
    trials: tuple[Trial, ...] = ()
    """For generated texts: the openings whose continuations are scored."""
    missing: int = 0
    """Rows that it held out and that its data no longer holds."""
    is_recorded: bool = True
    """Whether the run says which rows it held out. If not, these are chosen again, as if its data had not changed."""


def find_heldout(run: Run) -> Heldout:
    """The rows that a run held out, in the order in which it did, read from its data as that is now.

    Raises:
        UsageError: If its data holds none of them any more.
        DataError: If its data cannot be read.
    """
    data, seed, hashes = run.recipe.data, run.recipe.seed, run.row_hashes
    if hashes is None or data in BUILT_IN:
        splits = load_splits(data, seed=seed)
        return Heldout(splits.heldout, splits.trials, is_recorded=data in BUILT_IN)
    wanted = set(hashes.heldout)
    found: dict[bytes, AnyRow] = {}
    if wanted:
        for row in heldout_candidates(data, seed=seed):
            if (key := row_hash(row)) in wanted:
                found.setdefault(key, row)
    rows = tuple(found[key] for key in hashes.heldout if key in found)
    if wanted and not rows:
        what = f"{data} has changed: it contains none of the {len(hashes.heldout)} examples that this run held out."
        raise UsageError(what, "Restore the file, or use `--data` to name examples that the run was not trained on.")
    return Heldout(rows, missing=len(hashes.heldout) - len(rows))


def refuse_changed_rows(run: Run, now: RowHashes) -> None:
    """Refuse to resume a run on other rows than it began with: it would train on rows that it held out.

    Raises:
        UsageError: If its training or held-out examples are not the same, or in another order.
    """
    then = run.row_hashes
    if then is None or then == now:
        return
    counts = f"{then.train_rows:,} training and {len(then.heldout)} held-out examples then"
    counts += f", {now.train_rows:,} and {len(now.heldout)} now"
    if (then.train_rows, len(then.heldout)) == (now.train_rows, len(now.heldout)):
        counts = "the same number, but other examples or another order"
    what = f"{run.recipe.data} has changed since this run began: {counts}."
    restore = "Restore the data as it was"
    if run.recipe.data in BUILT_IN:
        restore = f"Resume the run with ftdemo {run.record['versions']['ftdemo']}, which generated its data"
    raise UsageError(what, f"{restore}, or train again and give another `--out`.")
