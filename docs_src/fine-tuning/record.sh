ftdemo record specialist
ftdemo record overfitting
ftdemo record how-much-data
ftdemo record data-quality
ftdemo record base-updated
