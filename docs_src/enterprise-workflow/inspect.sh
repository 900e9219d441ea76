ftdemo inspect mine --model smollm2 --rows 1
