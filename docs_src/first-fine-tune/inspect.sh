ftdemo inspect lora --rows 1
