ftdemo compare mine.jsonl --documents handbook/ --instruction "Answer in one sentence."
