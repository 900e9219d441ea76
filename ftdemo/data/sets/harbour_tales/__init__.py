"""harbour-tales: an endless stream of short texts about an invented harbour town, to pre-train small models on."""

from ftdemo.data.sets.harbour_tales.documents import documents, turns
from ftdemo.data.sets.harbour_tales.requests import score_log, score_story, ship_logs, story_requests
from ftdemo.data.sets.harbour_tales.scripts import sentence_parses
from ftdemo.data.sets.harbour_tales.trials import trials

__all__ = ["documents", "score_log", "score_story", "sentence_parses", "ship_logs", "story_requests", "trials", "turns"]
