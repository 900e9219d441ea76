ftdemo compare mine --model smollm2 --instruction "Your best prompt" --documents handbook/
