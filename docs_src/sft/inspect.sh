ftdemo inspect replies --model smollm2 --rows 1       # the trained tokens are in colour
ftdemo inspect sft --rows 1                           # an agent's notes and the reply, as tiny reads them
ftdemo inspect sft --train-on all --rows 1            # the same row with every token trained
