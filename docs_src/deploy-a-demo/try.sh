cd lora-space
python3 -m venv .venv
.venv/bin/pip install -r requirements.txt
SPACE_ID=me/lora .venv/bin/python app.py
