"""support-voice: letters to an invented harbour shop, and the answers of its crew."""
