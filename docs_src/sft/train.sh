ftdemo train sft                          # replies and their stop token
ftdemo train sft --train-on all           # the agent's notes too
ftdemo train sft --no-train-stop          # the stop token left out
ftdemo chat runs/…                         # the folder that training names
