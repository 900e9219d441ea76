ollama create mine
ollama run mine
