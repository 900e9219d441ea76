"""general-knowledge: plain prose and simple questions that show what a model forgets."""
