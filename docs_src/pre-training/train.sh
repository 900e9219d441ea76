ftdemo train scratch                       # a model of a million parameters, and its tokenizer
ftdemo train scratch --width 64 --layers 3
ftdemo train scratch --examples 2000       # a third of the text
ftdemo inspect scratch                     # every trained token in colour: all but the first
ftdemo evaluate runs/…                     # the folder that training names
