from ftdemo.recipe import NAMED
from ftdemo.training.loop import train
from ftdemo.training.prepare import prepare

recipe = NAMED["lora"].with_settings({"max_steps": 3})
learner = prepare(recipe)
for event in train(recipe, learner):
    print(event)
